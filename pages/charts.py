"""Line charts as SVG that stands in a page: no script, no font, no colour of its own. Pure.

Colours come from the page's style sheet by class, so that a chart is readable in light, in dark and on paper; every point
has a title, which browsers show and screen readers say. Plotting libraries bring their own scripts or styles, several
times larger than the rest of the page.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 16.0, 12.0, 34.0
COLOURS = 8  # of series, in the style sheet


class Series(NamedTuple):
    """A line: its name, and for each place on the x axis a value, or None where there is none."""

    name: str
    values: Sequence[float | None]


class Limit(NamedTuple):
    """A threshold that is drawn across a chart."""

    name: str
    value: float


def line_chart(
    title: str,
    places: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str = "",
    log: bool = False,
    limit: Limit | None = None,
) -> Markup:
    """A chart of one or more series.

    Args:
        title: what is shown; for who does not see it.
        places: names of the places on the x axis.
        series: values over these places; at most eight are told apart by colour.
        unit: of the values.
        log: logarithmic y axis; values that are not positive are then left out.
        limit: a threshold.

    Returns:
        The SVG, with a legend where there are several series; a sentence if no value can be shown.
    """
    shown = [Series(s.name, [_usable(value, log) for value in s.values]) for s in series]
    values = [value for s in shown for value in s.values if value is not None]
    if not values:
        return Markup("<p class='none'>{}: no numbers yet.</p>").format(title)
    axis = _Axis([*values, *([limit.value] if limit else [])], log)
    parts = [_grid(axis, unit), _names(places)]
    if limit:
        parts.append(_limit(axis, limit, unit))
    parts += [_line(s, number % COLOURS, places, axis, unit) for number, s in enumerate(shown)]
    drawn = Markup(
        "<svg class='chart' viewBox='0 0 {w:g} {h:g}' role='img' aria-label='{title}'><title>{title}</title>{parts}</svg>"
    ).format(w=WIDTH, h=HEIGHT, title=title, parts=Markup("").join(parts))
    return drawn + _legend(shown) if len(shown) > 1 else drawn


def _usable(value: float | None, log: bool) -> float | None:
    return value if value is not None and math.isfinite(value) and (value > 0 or not log) else None


class _Axis:
    """The y axis: its ticks, and where a value stands."""

    def __init__(self, values: Sequence[float], log: bool) -> None:
        self._log = log
        low, high = min(values), max(values)
        self.ticks = _decades(low, high) if log else _steps(low, high)
        ends = [*self.ticks, low, high]
        self._low, self._high = self._scaled(min(ends)), self._scaled(max(ends))

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def y(self, value: float) -> float:
        """Height of a value in the drawing."""
        share = (self._scaled(value) - self._low) / ((self._high - self._low) or 1.0)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten around the values; halves and fifths too where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    every = max(1, math.ceil((last - first) / 6))
    if last - first > 2:
        return [10.0**power for power in range(first, last + every, every)]
    return [digit * 10.0**power for power in range(first, last) for digit in (1, 2, 5)] + [10.0**last]


def _steps(low: float, high: float) -> list[float]:
    """Five or so round numbers around the values."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _x(place: int, count: int) -> float:
    width = WIDTH - LEFT - RIGHT
    return LEFT + (width / 2 if count == 1 else width * (0.03 + 0.94 * place / (count - 1)))


def number(value: float) -> str:
    """A value with three or four digits, without an exponent where it can be read."""
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.2e}"


def _grid(axis: _Axis, unit: str) -> Markup:
    lines = [
        Markup("<line class='grid' x1='{a:g}' x2='{b:g}' y1='{y:.1f}' y2='{y:.1f}'/>").format(
            a=LEFT, b=WIDTH - RIGHT, y=axis.y(tick)
        )
        + Markup("<text class='tick' x='{x:g}' y='{y:.1f}'>{text}</text>").format(
            x=LEFT - 6, y=axis.y(tick) + 4, text=f"{tick:g}"
        )
        for tick in axis.ticks
    ]
    named = Markup("<text class='unit' x='4' y='{y:g}'>{unit}</text>").format(y=HEIGHT - BOTTOM + 22, unit=unit)
    return Markup("").join(lines) + (named if unit else "")


def _names(places: Sequence[str]) -> Markup:
    every = max(1, math.ceil(len(places) / 16))
    return Markup("").join(
        Markup("<text class='place' x='{x:.1f}' y='{y:g}'>{text}</text>").format(
            x=_x(at, len(places)), y=HEIGHT - BOTTOM + 22, text=name
        )
        for at, name in enumerate(places)
        if at % every == 0
    )


def _limit(axis: _Axis, limit: Limit, unit: str) -> Markup:
    y = axis.y(limit.value)
    words = f"{limit.name} {number(limit.value)} {unit}".strip()
    return Markup(
        "<g class='limit'><title>{words}</title><line x1='{a:g}' x2='{b:g}' y1='{y:.1f}' y2='{y:.1f}'/>"
        "<text x='{b:g}' y='{above:.1f}'>{words}</text></g>"
    ).format(words=words, a=LEFT, b=WIDTH - RIGHT, y=y, above=y - 4)


def _line(series: Series, colour: int, places: Sequence[str], axis: _Axis, unit: str) -> Markup:
    points = [(_x(at, len(places)), axis.y(v), v, at) for at, v in enumerate(series.values) if v is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    dots = [
        Markup("<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' data-value='{v!r}'><title>{words}</title></circle>").format(
            x=x, y=y, v=v, words=f"{series.name}, {places[at]}: {number(v)} {unit}".strip()
        )
        for x, y, v, at in points
    ]
    return Markup("<g class='series c{colour}'><polyline points='{path}'/>{dots}</g>").format(
        colour=colour, path=path, dots=Markup("").join(dots)
    )


def _legend(series: Sequence[Series]) -> Markup:
    items = [
        Markup("<li><span class='swatch c{}'></span>{}</li>").format(at % COLOURS, escape(s.name))
        for at, s in enumerate(series)
    ]
    return Markup("<ul class='legend'>{}</ul>").format(Markup("").join(items))
