"""Make the figure of the convergence: the judged quantities and the corrections against the iteration. Pure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faser_align.fsm.metrics import Metrics
from faser_align.fsm.rules import number
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Curve, Curves, Measured, Stack
from faser_align.system.formatting import symbols

if TYPE_CHECKING:
    from faser_align.pages.figures.source import Source

_JUDGED = {
    "effect_um": "residual shift [µm]",
    "significance": "Δχ² per parameter",
    "relative": "relative",
}
KINDS_MAX = 12  # of corrections: as many as degrees of freedom of modules and layers


def convergence(source: "Source") -> Plot | None:
    """The judged quantities of each iteration of the stage."""
    return of([one.metrics for one in source.iterations], source.limits)


def of(history: Sequence[Metrics], limits: Mapping[str, float]) -> Plot | None:
    """Return the figure of iterations, oldest first; None if they have no numbers.

    Args:
        history: metrics; missing values and values that are not finite leave a gap.
        limits: limits of the convergence criteria, named as in ``fsm.rules.limits_of``.
    """
    names = _names(history)
    absolute = any(key.startswith("largest_") for key in limits)
    frames = [
        ("χ²/ndf", [_curve("", [number(row, "chi2_per_ndf") for row in history])], False),
        (
            "expected",
            [
                _curve(words, [number(row, key) for row in history], limits.get(key), log=True)
                for key, words in _JUDGED.items()
                if key != "relative" or key in limits
            ],
            True,
        ),
        (f"correction, {'largest' if absolute else 'rms'}", _corrections(history, limits, absolute=absolute), True),
    ]
    shown = [
        Curves("iteration", label, "", found, log=log, names=names)
        for label, curves, log in frames
        if (found := [curve for curve in curves if curve.points])
    ]
    if not shown:
        return None
    caption = (
        "χ²/ndf of the reconstruction, what further corrections would change, and the corrections. Dashed: limits."
    )
    return Plot("convergence", "Convergence", caption, Stack(shown))


def _corrections(history: Sequence[Metrics], limits: Mapping[str, float], *, absolute: bool) -> list[Curve]:
    """Return a curve for each kind of correction: its rms, or its largest with the limit of its unit."""
    curves = []
    for kind in sorted({kind for row in history for kind in _mapping(row.get("corrections"))})[:KINDS_MAX]:
        found = [_mapping(_mapping(row.get("corrections")).get(kind)) for row in history]
        unit = next((str(one["unit"]) for one in found if "unit" in one), "")
        numbers = [number(one, "largest" if absolute else "rms") for one in found]
        values = [None if value is None else abs(value) for value in numbers]
        curves.append(_curve(f"{kind} [{symbols(unit)}]", values, limits.get(f"largest_{unit}"), log=True))
    return curves


def _curve(name: str, values: Sequence[float | None], limit: float | None = None, *, log: bool = False) -> Curve:
    """Return a curve of the values that can be drawn, at 1, 2, ..."""
    points = [
        (float(at), Measured(size))
        for at, size in enumerate(values, start=1)
        if size is not None and (size > 0 or not log)
    ]
    return Curve(name, points, limit if limit and limit > 0 else None)


def _names(history: Sequence[Metrics]) -> list[str]:
    """Return the numbers of iterations, with several stages as stage.number."""
    staged = len({row.get("stage") for row in history}) > 1
    return [f"{row.get('stage')}." * staged + f"{row.get('iteration')}" for row in history]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
