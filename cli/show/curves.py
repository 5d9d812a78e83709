"""Draw the convergence with characters: chi2/ndf, expected residual shift and delta chi2 per iteration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.fsm import criteria

Row = Mapping[str, Any]

CURVES = (
    ("chi2_per_ndf", "chi2/ndf of the reconstruction", "1"),
    ("effect_um", "expected residual shift", "um"),
    ("significance", "expected delta chi2 per parameter", "1"),
    ("relative", "relative", "1"),
    ("largest_um", "largest correction", "um"),
    ("largest_urad", "largest correction", "urad"),
)
IF_ASKED = ("relative", "largest")  # drawn if a criterion uses them
HEIGHT, WIDTH_MIN, MARGIN = (
    10,
    24,
    28,
)  # rows; columns of the curve, and of the numbers and axis label beside it


def plots(seen: Row, rules: Mapping[str, Any], width: int) -> list[str]:
    """Return the drawings with headings, for quantities that have values.

    Args:
        seen: a snapshot.
        rules: ``[convergence]`` of the latest stage, for the thresholds; empty for an imported campaign.
        width: width of the terminal (columns).
    """
    rows = [row for row in seen["iterations"] if row["metrics"]]
    limits = criteria.limits(rules)
    found = []
    for key, heading, unit in CURVES:
        if key.startswith(IF_ASKED) and key not in limits:
            continue
        values = [_largest(row, unit) if key.startswith("largest") else _number(row, key) for row in rows]
        drawn = _plot(values, unit=unit, log=key != "chi2_per_ndf", limit=limits.get(key), width=width)
        if drawn:
            found.append(f"{heading}{', and its limit' if key in limits else ''}\n{drawn}")
    return found


def _number(row: Row, key: str) -> float | None:
    value: float | None = row["metrics"].get(key, row.get(key))
    return value


def _largest(row: Row, unit: str) -> float | None:
    """Return the largest correction of a unit, without its sign."""
    found = [one.get("largest") for one in row["metrics"].get("corrections", {}).values() if one.get("unit") == unit]
    return max((abs(value) for value in found if value is not None), default=None)


def _plot(values: Sequence[float | None], *, unit: str, log: bool, limit: float | None, width: int) -> str:
    import plotille

    points = [
        (at, v) for at, v in enumerate(values, start=1) if v is not None and math.isfinite(v) and (v > 0 or not log)
    ]
    if not points:
        return ""
    scaled = [(at, math.log10(v) if log else v) for at, v in points]
    levels = [v for _, v in scaled] + ([math.log10(limit)] if limit and log else [])
    room = 0.1 * (max(levels) - min(levels)) or 0.5
    figure = plotille.Figure()
    figure.origin = False  # on a logarithmic scale its line would be at 1, and look like a limit
    figure.with_colors = False  # its first colour is white, which is invisible on white
    figure.width, figure.height = max(WIDTH_MIN, width - MARGIN), HEIGHT
    figure.set_x_limits(min_=0.5, max_=len(values) + 0.5)
    figure.set_y_limits(min_=min(levels) - room, max_=max(levels) + room)
    figure.y_ticks_fkt = lambda low, _: f"{10**low if log else low:10.4g}"
    figure.y_label = unit
    if len(scaled) > 1:
        figure.plot([at for at, _ in scaled], [v for _, v in scaled])
    figure.scatter([at for at, _ in scaled], [v for _, v in scaled], marker="o")
    if limit and log:
        figure.plot([0.5, len(values) + 0.5], [math.log10(limit)] * 2)
    return "\n".join([*str(figure.show()).splitlines()[:-2], *_axis(len(values), figure.width)])


def _axis(count: int, width: int) -> tuple[str, str]:
    """Return the axis with each iteration's number below its point, where there is room.

    plotille has a number only every ten columns.
    """
    ticks, names, free = ["-"] * width, [" "] * width, 0
    for number in range(1, count + 1):
        at, name = int((number - 0.5) / count * width), str(number)
        if free <= at <= width - len(name):
            ticks[at], names[at : at + len(name)] = "|", name
            free = at + len(name) + 1
    return f"{'-' * 11}|-{''.join(ticks)}> (iteration)", f"{' ' * 11}| {''.join(names)}".rstrip()
