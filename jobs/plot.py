"""Draw a campaign's convergence for its messages, in the Millepede job, if matplotlib is installed."""

import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faser_align.fsm.metrics import Metrics
from faser_align.pages.figures import style
from faser_align.system.atomic import temporary
from faser_align.system.formatting import symbols

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES, _DPI = (8.0, 7.2), 100
_BLUE, _ORANGE, _GREY = *style.COLOURS[:2], style.SOFT
_DASHED = "\n(dashed: limits)"
_COLOURS = (*style.COLOURS, _GREY)


def plot(
    path: str, name: str, history: Sequence[Metrics], limits: Mapping[str, float], label: str = style.LABEL
) -> str:
    """Draw the convergence of a campaign into the PNG file ``path``.

    Args:
        path: the picture, written atomically.
        name: the campaign's name.
        history: metrics of its iterations, oldest first; missing values and values that are not finite leave a gap.
        limits: limits of the convergence criteria, named as in ``fsm.rules.limits_of``.
        label: the experiment's label.

    Returns:
        Why there is no picture, or an empty string. Never raises, because no result depends on the picture.
    """
    # matplotlib warns if a job has no home folder for its cache, which does not matter here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        if (missing.name or "").partition(".")[0] == "matplotlib":
            return (
                f"matplotlib is not installed for the jobs' Python ({sys.executable}): install faser-align[plot] there"
            )
        return f"matplotlib cannot be used by the jobs' Python ({sys.executable}): {missing}"
    except Exception as broken:  # noqa: BLE001 -- an installation may be broken in any way
        return f"matplotlib cannot be used by the jobs' Python ({sys.executable}): {broken}"
    try:
        with style.look():
            figure = Figure(figsize=_INCHES, dpi=_DPI)
            figure.subplots_adjust(left=0.135, right=0.985, bottom=0.075, top=0.95, hspace=0.08)
            _draw(figure, name, history, limits, label)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with temporary(path) as written:
                figure.savefig(
                    written, format="png", metadata={"Software": "faser-align"}, pil_kwargs={"compress_level": 1}
                )
    except Exception as problem:  # noqa: BLE001 -- see above
        return f"the plot could not be drawn: {type(problem).__name__}: {problem}"
    return ""


def _draw(figure: "Figure", name: str, history: Sequence[Metrics], limits: Mapping[str, float], label: str) -> None:
    chi2, small, moved = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 3))
    style.name(figure, label, name)
    x = list(range(1, len(history) + 1))
    chi2.plot(x, [_number(metrics.get("chi2_per_ndf")) for metrics in history], "o-", color=_BLUE)
    chi2.set_ylabel("χ²/ndf")
    curves = [
        ("effect_um", "expected residual shift [µm]", _BLUE),
        ("significance", "expected Δχ² per parameter", _ORANGE),
    ]
    curves += [("relative", "relative", _COLOURS[2])] if "relative" in limits else []
    for key, words, colour in curves:
        _log(small, x, words, [_number(metrics.get(key)) for metrics in history], colour)
        _limit(small, limits.get(key), colour)
    small.set_ylabel("expected correction" + _DASHED * any(key in limits for key, _, _ in curves))
    kinds = sorted({kind for metrics in history for kind in _mapping(metrics.get("corrections"))})
    absolute = [key for key in limits if key.startswith("largest_")]
    size = "largest" if absolute else "rms"
    for kind, colour in zip(kinds, _COLOURS, strict=False):
        corrections = [_mapping(_mapping(metrics.get("corrections")).get(kind)) for metrics in history]
        unit = next((correction["unit"] for correction in corrections if "unit" in correction), "")
        _log(
            moved,
            x,
            f"{kind} [{symbols(unit)}]",
            [abs(_number(correction.get(size))) for correction in corrections],
            colour,
        )
    for key in absolute:
        _limit(moved, limits[key], _GREY, key.removeprefix("largest_"))
    moved.set_ylabel(f"correction, {size}" + _DASHED * bool(absolute))
    moved.set_xlabel("iteration")
    _tick(moved, x, history)
    for axes in (chi2, small, moved):
        axes.grid(visible=True)
        axes.yaxis.set_label_coords(-0.09, 1.0)
    for axes in (small, moved):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", frameon=False, ncols=4)


def _limit(axes: "Axes", value: float | None, colour: str, unit: str = "") -> None:
    """Draw a criterion's limit as a dashed line, labelled if its unit would not be clear."""
    if value is None or value <= 0:
        return
    axes.axhline(value, color=colour, linestyle="--", linewidth=1)
    if unit:
        place = axes.get_yaxis_transform()  # x in fractions of the axes
        axes.text(
            0.995,
            value,
            f"{value:g} {symbols(unit)}",
            color=colour,
            fontsize="small",
            ha="right",
            va="bottom",
            transform=place,
        )


def _tick(axes: "Axes", x: Sequence[int], history: Sequence[Metrics]) -> None:
    """Label iterations by number, with several stages as stage.number."""
    staged = len({metrics.get("stage") for metrics in history}) > 1
    names = [
        f"{metrics.get('stage')}.{metrics.get('iteration')}" if staged else f"{metrics.get('iteration')}"
        for metrics in history
    ]
    every = max(1, math.ceil(len(x) / 20))
    axes.set_xticks(x[::every], names[::every])


def _log(axes: "Axes", x: Sequence[int], label: str, values: Sequence[float], colour: str) -> None:
    """Draw a curve on a logarithmic scale, without values that are not positive."""
    shown = [value if value > 0 else math.nan for value in values]
    if any(math.isfinite(value) for value in shown):
        if axes.get_yscale() != "log":
            _scale(axes)
        axes.plot(x, shown, "o-", color=colour, label=label)


def _scale(axes: "Axes") -> None:
    """Make the scale logarithmic, with numbers instead of powers of ten, which take as long to lay out as all else."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


def _number(value: object) -> float:
    """Return ``value`` as a float, or NaN, which is not drawn."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
