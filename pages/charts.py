"""Draw line charts as SVG for a page, without scripts, fonts or fixed colours. Pure.

Colours come from the page's style sheet by class, so that a chart is readable in light and dark mode and on paper.
Every point has a title, which browsers show and screen readers read. Heights are in CSS pixels and x positions in per
cent, so that a chart fills the width of the page while its text keeps the page's size. Plotting libraries would add
scripts or styles several times larger than the page.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from faser_align.system.formatting import symbols

HEIGHT = 220.0  # CSS pixels, of the plotting area
RIGHT, TOP, BOTTOM = 16.0, 26.0, 40.0  # margins; the left one depends on the tick labels
SIGN_PX = 7.5  # width of a character, an upper estimate because the reader chooses the font
NARROWEST_PX = 250.0  # width of the plotting area on a phone
WIDER = 1.5  # CSS pixels by which a line is wider than the one above it
COLOURS = 8  # number of series colours in the style sheet


class Series(NamedTuple):
    """A line: its name, and a value or None for each position on the x axis."""

    name: str
    values: Sequence[float | None]


def line_chart(
    title: str,
    places: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str = "",
    log: bool = False,
    limit: float | None = None,
    groups: Sequence[object] = (),
) -> Markup:
    """Return a chart of one or more series.

    Args:
        title: what is shown; screen readers read it.
        places: labels of the positions on the x axis, which are iterations.
        series: values at these positions; at most eight have different colours.
        unit: unit of the values.
        log: use a logarithmic y axis and omit values that are not positive.
        limit: a threshold.
        groups: of the positions, such as stages; a line connects positions of one group only.

    Returns:
        The SVG, with a legend unless a single series has the chart's name; a sentence if no value can be shown.
    """
    title, unit = symbols(title), symbols(unit)

    def usable(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) and (value > 0 or not log) else None

    shown = [Series(symbols(s.name), [usable(value) for value in s.values]) for s in series]
    values = [value for s in shown for value in s.values if value is not None]
    if not values:
        return Markup("<p class='none'>{}: no numbers yet.</p>").format(title)
    spanned = values if limit is None else [*values, limit]
    ticks = (_decades if log else _steps)(min(spanned), max(spanned))
    scaled: Callable[[float], float] = math.log10 if log else float
    low, high = (scaled(end([*ticks, *spanned])) for end in (min, max))

    def y(value: float) -> float:
        return (1 - (scaled(value) - low) / ((high - low) or 1.0)) * HEIGHT

    parts = [_grid(ticks, y, unit), _names(places)]
    parts += [
        _line(s, number % COLOURS, places, y, unit, groups, WIDER * (len(shown) - 1 - number))
        for number, s in enumerate(shown)
    ]
    if limit is not None:
        parts.append(_limit(y, limit, unit, shown))
    drawn = Markup(
        "<svg class='chart' style='height:{h:g}px;padding:{top:g}px {right:g}px {bottom:g}px {left:g}px' role='img' "
        "aria-label='{title}'><title>{title}</title>{parts}</svg>"
    ).format(
        h=HEIGHT + TOP + BOTTOM,
        top=TOP,
        right=RIGHT,
        bottom=BOTTOM,
        left=12 + SIGN_PX * max(len(f"{tick:,g}") for tick in ticks),
        title=title,
        parts=Markup("").join(parts),
    )
    return drawn if [s.name for s in shown] == [title] else drawn + _legend(shown)


def _decades(low: float, high: float) -> list[float]:
    """Return powers of ten around the values, with 2 and 5 in between if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    every = max(1, math.ceil((last - first) / 6))
    if last - first > 2:
        return [10.0**power for power in range(first, last + every, every)]
    return [digit * 10.0**power for power in range(first, last) for digit in (1, 2, 5)] + [10.0**last]


def _steps(low: float, high: float) -> list[float]:
    """Return about five round numbers around the values."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _x(place: int, count: int) -> float:
    return 50.0 if count == 1 else 3 + 94 * place / (count - 1)


def number(value: float) -> str:
    """Return a value with three or four digits, without an exponent where that is readable."""
    return f"{value:,.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.2e}"


def _grid(ticks: Sequence[float], y: Callable[[float], float], unit: str) -> Markup:
    lines = [
        Markup("<line class='grid' x1='0' x2='100%' y1='{y:.1f}' y2='{y:.1f}'/>").format(y=y(tick))
        + Markup("<text class='tick' x='-6' y='{y:.1f}'>{text}</text>").format(y=y(tick) + 4, text=f"{tick:,g}")
        for tick in ticks
    ]
    named = Markup("<text class='tick' x='-6' y='-14'>{unit}</text>").format(unit=unit)
    return Markup("").join(lines) + (named if unit else "")


def _names(places: Sequence[str]) -> Markup:
    widest = SIGN_PX * (1 + max(map(len, places)))
    every = math.ceil(len(places) * widest / NARROWEST_PX)
    return Markup("").join(
        Markup("<text class='place' x='{x:.1f}%' y='{y:g}'>{text}</text>").format(
            x=_x(at, len(places)), y=HEIGHT + 17, text=name
        )
        for at, name in enumerate(places)
        if at % every == 0
    ) + Markup("<text class='place' x='50%' y='{y:g}'>iteration</text>").format(y=HEIGHT + 34)


def _limit(y: Callable[[float], float], limit: float, unit: str, series: Sequence[Series]) -> Markup:
    """Draw a dashed line with its name, on the side farther from the curves."""
    at = y(limit)
    words = f"limit {number(limit)} {unit}".strip()
    curves = [[y(value) for value in s.values if value is not None] for s in series]
    first, last = (min(abs(curve[end] - at) for curve in curves if curve) for end in (0, -1))
    return Markup(
        "<g class='limit'><title>{words}</title><line x1='0' x2='100%' y1='{y:.1f}' y2='{y:.1f}'/>"
        "<text class='{side}' x='{x}' y='{above:.1f}'>{words}</text></g>"
    ).format(
        words=words, y=at, above=at - 5, side="first" if first > last else "last", x="4" if first > last else "100%"
    )


def _line(
    series: Series,
    colour: int,
    places: Sequence[str],
    y: Callable[[float], float],
    unit: str,
    groups: Sequence[object],
    wider: float,
) -> Markup:
    """Draw a line, ``wider`` if others follow, so that an equal line does not hide it."""
    points = [(_x(at, len(places)), y(v), v, at) for at, v in enumerate(series.values) if v is not None]
    # Polylines do not support per cent.
    pieces = [
        Markup("<line x1='{:.1f}%' y1='{:.1f}' x2='{:.1f}%' y2='{:.1f}'/>").format(*a[:2], *b[:2])
        for a, b in pairwise(points)
        if not groups or groups[a[3]] == groups[b[3]]
    ]
    dots = [
        Markup("<circle cx='{x:.1f}%' cy='{y:.1f}' r='3.5' data-value='{v!r}'><title>{words}</title></circle>").format(
            x=x, y=height, v=v, words=f"{series.name}, {places[at]}: {number(v)} {unit}".strip()
        )
        for x, height, v, at in points
    ]
    return Markup("<g class='series c{colour}'{style}>{drawn}</g>").format(
        colour=colour,
        style=Markup(" style='--wider:{:g}px'").format(wider) if wider else "",
        drawn=Markup("").join([*pieces, *dots]),
    )


def _legend(series: Sequence[Series]) -> Markup:
    items = [
        Markup(
            "<li><svg class='key' aria-hidden='true'><g class='series c{}'><line x1='0' x2='100%' y1='6' y2='6'/>"
            "<circle cx='50%' cy='6' r='3.5'/></g></svg>{}</li>"
        ).format(at % COLOURS, escape(s.name))
        for at, s in enumerate(series)
    ]
    return Markup("<ul class='legend'>{}</ul>").format(Markup("").join(items))
