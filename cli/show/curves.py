"""Draw the convergence with characters: chi2/ndf, expected residual shift and delta chi2 per iteration."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.fsm.rules import limits_of

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
HEIGHT_MIN, HEIGHT_MAX = 4, 12  # rows
WIDTH_MIN, MARGIN = 24, 28  # columns of the curve, and of the numbers and axis label beside it
_DECADES = (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 50)  # heights of a row on a logarithmic scale
_ROUND = (1, 2, 5)


def plots(seen: Row, rules: Mapping[str, Any], width: int) -> list[str]:
    """Return the drawings with headings, for quantities that have values.

    Args:
        seen: a snapshot.
        rules: ``[convergence]`` of the latest stage, for the thresholds; empty for an imported campaign.
        width: width of the terminal (columns).
    """
    rows = [row for row in seen["iterations"] if row["metrics"]]
    limits = limits_of(rules)
    found = []
    for key, heading, unit in CURVES:
        if key.startswith(IF_ASKED) and key not in limits:
            continue
        values = [
            _largest(row, unit) if key.startswith("largest") else row["metrics"].get(key, row.get(key)) for row in rows
        ]
        drawn = _plot(values, unit=unit, log=key != "chi2_per_ndf", limit=limits.get(key), width=width)
        if drawn:
            limit = f", limit {limits[key]:g}{f' {unit}' if unit != '1' else ''}" if key in limits else ""
            found.append(f"{heading}{limit}\n{drawn}")
    return found


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
    at_limit = math.log10(limit) if limit and log else None
    levels = [v for _, v in scaled] + ([] if at_limit is None else [at_limit])
    low, step, height = _scale(min(levels), max(levels), log=log)
    figure = plotille.Figure()
    figure.origin = False  # on a logarithmic scale its line would be at 1, and look like a limit
    figure.with_colors = False  # its first colour is white, which is invisible on white
    figure.width, figure.height = max(WIDTH_MIN, width - MARGIN), height
    figure.set_x_limits(min_=0.5, max_=len(values) + 0.5)
    figure.set_y_limits(min_=low, max_=low + height * step)
    figure.y_ticks_fkt = lambda row, _: _tick(row, step, log=log, limit=at_limit).rjust(10)
    figure.y_label = unit
    if len(scaled) > 1:
        figure.plot([at for at, _ in scaled], [v for _, v in scaled])
    figure.scatter([at for at, _ in scaled], [v for _, v in scaled], marker="o")
    if at_limit is not None:
        figure.plot([0.5, len(values) + 0.5], [at_limit] * 2)
    return "\n".join([*str(figure.show()).splitlines()[:-2], *_axis(len(values), figure.width)])


def _scale(least: float, most: float, *, log: bool) -> tuple[float, float, int]:
    """Return the lower end of the axis, the height of a row, which is round, and the number of rows."""
    smallest = max(most - least, 0.5 if log else 0.01 * abs(most), 1e-9) / HEIGHT_MAX
    powers = itertools.count(math.floor(math.log10(smallest)))
    for step in _DECADES if log else (times * 10.0**power for power in powers for times in _ROUND):
        low = math.floor(least / step + 1e-9)
        rows = math.floor(most / step + 0.15) - low + 1  # a point at the upper edge is drawn in the next row
        if step >= smallest and rows <= HEIGHT_MAX:
            break
    return low * step, step, max(rows, HEIGHT_MIN)


def _tick(row: float, step: float, *, log: bool, limit: float | None) -> str:
    """Return the name of a row from ``row`` to ``row + step``: its limit, or a round number in it."""
    if limit is not None and row - 1e-9 <= limit < row + step - 1e-9:
        return "limit"
    if not log:
        return f"{round(row / step) * step:.10g}"
    for times in _ROUND if step < 0.3 else (1,):
        power = math.ceil(row - math.log10(times) - 1e-9)
        if power + math.log10(times) < row + step - 1e-9:
            return f"{times * 10.0**power:g}"
    return ""


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
