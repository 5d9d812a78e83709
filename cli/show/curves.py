"""Convergence drawn with characters, for a terminal: chi2/ndf, effect and significance over the iterations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

HEIGHT, WIDTH_MIN, MARGIN = 10, 24, 16  # rows; columns of the curve, and of the numbers beside it
TINY = 1e-300


def plots(seen: Row, rules: Mapping[str, Any], width: int) -> list[str]:
    """The drawings with their headings, as many as have numbers.

    Args:
        seen: a snapshot.
        rules: ``[convergence]`` of the campaign, for the thresholds.
        width: of the terminal (columns).
    """
    rows = [row for row in seen["iterations"] if row["metrics"]]
    found = []
    for key, heading, unit, limit in (
        ("chi2_per_ndf", "chi2/ndf of the reconstruction", "1", None),
        ("effect_um", "effect, and its limit", "um", rules["effect_um_max"]),
        ("significance", "significance, and its limit", "1", rules["significance_max"]),
    ):
        values = [row.get(key) for row in rows]
        drawn = _plot(values, unit=unit, log=limit is not None, limit=limit, width=width)
        if drawn:
            found.append(f"{heading}\n{drawn}")
    return found


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
    figure.with_colors = False  # its first colour is white, which nobody sees on white
    figure.width, figure.height = max(WIDTH_MIN, width - MARGIN), HEIGHT
    figure.set_x_limits(min_=0.5, max_=len(values) + 0.5)
    figure.set_y_limits(min_=min(levels) - room, max_=max(levels) + room)
    figure.y_ticks_fkt = lambda low, _: f"{10**low if log else low:10.4g}"
    figure.x_ticks_fkt = lambda low, high: next((str(n) for n in range(1, len(values) + 1) if low <= n < high), "")
    figure.x_label, figure.y_label = "iteration", unit
    if len(scaled) > 1:
        figure.plot([at for at, _ in scaled], [v for _, v in scaled])
    figure.scatter([at for at, _ in scaled], [v for _, v in scaled], marker="o")
    if limit and log:
        figure.plot([0.5, len(values) + 0.5], [math.log10(limit)] * 2)
    return str(figure.show())
