"""Draw the shapes of data on matplotlib's axes."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.histograms import Histogram
from faser_align.alignment.quality.figure_data import centre_of
from faser_align.pages.figures import style
from faser_align.pages.figures.shapes import (
    Band,
    ByElement,
    Curves,
    Histograms,
    Measured,
    Stack,
    bins_of,
)
from faser_align.pages.numbers import measured, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND, RIDGE, FRAME = 110.0, 34.0, 130.0  # heights of a panel: elements, one of many histograms, curves (points)
ROW, LEGEND_ROW, SIGN = 20.0, 16.0, 6.8  # heights above the axes, mean width of a character (points)
LABEL_AT = 0.16  # distance of a y axis's name from the axis, in widths of the axes
_UNNAMED = ("", "error")
_CHARACTERS = 36  # on an x axis
RIDGES = 5  # from this number of panels on, histograms are drawn above each other in one frame


def by_element(data: ByElement, experiment: str) -> "Figure":
    """Draw values with errors against modules or layers, in the order of the beam; the first of several series is grey."""
    names = list(dict.fromkeys(name for band in data.bands for name in band.series))
    head = _head(names, experiment)
    figure, grid = style.frame(experiment, len(data.bands), height=60 + BAND * len(data.bands), head=head, sharex=True)
    keys = sorted({key for band in data.bands for values in band.series.values() for key in values})
    for axes, band in zip(grid[:, 0], data.bands, strict=True):
        _band(axes, band, keys, dict(zip(names, (colour for colour, _ in _looks(len(names))), strict=True)))
    _elements(grid[-1, 0], keys)
    _legend_above(figure, names, head, marker="o", markersize=4, linestyle="none")
    return figure


def _band(axes: "Axes", band: Band, keys: Sequence[str], colours: Mapping[str, str]) -> None:
    place = {key: at for at, key in enumerate(keys)}
    for number, (name, values) in enumerate(band.series.items()):
        shift = 0.3 * (number / (len(band.series) - 1) - 0.5) if len(band.series) > 1 else 0.0
        _points(axes, [(place[key] + shift, value) for key, value in values.items()], name, colours[name])
    if band.ends:
        axes.set_ylim(*band.ends)
    low, high = axes.get_ylim()
    if low <= 0 <= high:
        axes.axhline(0.0, color=style.SOFT, linewidth=0.6)
    for left, right in pairwise(keys):
        if left[0] != right[0]:
            axes.axvline(place[right] - 0.5, color=style.LINE, linewidth=0.8)
    _titled(axes, style.with_unit(band.label, band.unit))
    axes.set_ylim(low, high + 0.25 * (high - low))
    _in_thousands(axes)


def _points(
    axes: "Axes", points: Sequence[tuple[float, Measured]], name: str, colour: str, *, line: str = "none"
) -> None:
    bars = [(x, value, error) for x, (value, error) in points if error is not None]
    # One line with gaps is a tenth of the size of as many lines.
    axes.plot(
        [place for at, _, _ in bars for place in (at, at, math.nan)],
        [end for _, value, error in bars for end in (value - error, value + error, math.nan)],
        color=colour,
        linewidth=1,
    )
    x, y = [x for x, _ in points], [of.value for _, of in points]
    axes.plot(x, y, color=colour, label=name, marker="o", markersize=3, linestyle=line, linewidth=1.2)


def _elements(axes: "Axes", keys: Sequence[str]) -> None:
    """Label the x axis: a tick for each layer in its middle."""
    layers: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        layers.setdefault(key[:2], []).append(at)
    every = math.ceil(len(layers) / 12)
    shown = list(layers.items())[::every]
    axes.set_xticks([sum(places) / len(places) for _, places in shown], [layer for layer, _ in shown])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(keys) - 0.3)
    axes.set_xlabel("layer" if any(len(key) == 2 for key in keys) else "module, by layer")


def histograms(data: Histograms, experiment: str) -> "Figure":
    """Draw histograms: few in frames of their own, many above each other; the first of several series is grey."""
    return _ridges(data, experiment) if len(data.panels) >= RIDGES else _frames(data, experiment)


def _frames(data: Histograms, experiment: str) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    columns = 1 if len(data.panels) == 1 else 2
    rows = math.ceil(len(data.panels) / columns)
    names = list(data.panels[0].series)
    head = _head(names, experiment)
    height = 56 + (184 if rows == 1 else 150) * rows
    figure, grid = style.frame(experiment, rows, columns, height=height, head=head, sharex=True)
    for axes in grid.flat[len(data.panels) :]:
        axes.set_visible(False)
    if columns == 2 and not data.logx:
        grid[0, 0].xaxis.set_major_locator(MaxNLocator(4, prune="both"))  # labels of neighbours would meet
    for axes, panel in zip(grid.flat, data.panels, strict=False):
        for histogram, (colour, filled) in zip(panel.series.values(), _looks(len(panel.series)), strict=True):
            values = histogram.values() / (histogram.contents.sum() or 1 if data.of else 1)
            _stairs(axes, values, bins_of(histogram).edges, colour, filled=filled)
        _titled(axes, panel.label)
        if panel.note:
            axes.annotate(panel.note, (0.03, 1.0), (0, -30), "axes fraction", "offset points", color=style.SOFT)
        axes.set_ylim(0, axes.get_ylim()[1] * (1.5 if panel.note else 1.3))
        if data.logx:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        if data.mark:
            axes.axvline(data.mark[1], color=style.BAD, linestyle="--", linewidth=1)
        if columns == 2:
            axes.tick_params(labelleft=False)
    _trim(grid[0, 0], data)
    grid[-1, -1].set_xlabel(style.with_unit(data.label, data.unit))
    grid[0, 0].set_ylabel(f"share of {data.of}" if data.of else "entries")
    grid[0, 0].yaxis.set_label_coords(-LABEL_AT if columns == 1 else -0.05, 1.0)
    _in_thousands(grid[0, 0])
    _legend_above(figure, names, head)
    return figure


def _trim(axes: "Axes", data: Histograms) -> None:
    """Leave out the ends of the shared x axis that have hardly any entries."""
    lows, highs = [], []
    for histogram in (histogram for panel in data.panels for histogram in panel.series.values()):
        values, edges = histogram.values(), bins_of(histogram).edges
        filled = np.flatnonzero(values > 0.003 * np.max(values, initial=0.0))
        if len(filled):
            lows.append(edges[filled[0]])
            highs.append(edges[filled[-1] + 1])
    if data.mark:
        lows.append(data.mark[1])
        highs.append(data.mark[1])
    if lows and axes.get_xscale() == "log":
        axes.set_xlim(min(lows) / 1.1, max(highs) * 1.1)
    elif lows:
        room = 0.04 * (max(highs) - min(lows))
        axes.set_xlim(min(lows) - room, max(highs) + room)


def _stairs(
    axes: "Axes", values: Any, edges: Any, colour: str, *, filled: bool, width: float = 1.4, base: float = 0.0
) -> None:
    from matplotlib.patches import StepPatch

    filling: dict[str, Any] = {"facecolor": colour, "alpha": 0.45, "linewidth": 0}
    look = filling if filled else {"edgecolor": colour, "linewidth": width}
    patch = StepPatch(values, edges, baseline=base, fill=filled, **look)
    patch.sticky_edges.y.append(base)
    # axes.stairs would look for the extrema of each segment, which takes a tenth of a page's time.
    axes.add_artist(patch)
    axes.update_datalim([(edges[0], base), (edges[-1], max(values, default=base))])
    axes.autoscale_view()


def _ridges(data: Histograms, experiment: str) -> "Figure":
    names = list(dict.fromkeys(name for panel in data.panels for name in panel.series))
    head = _head(names, experiment)
    figure, grid = style.frame(experiment, height=60 + RIDGE * len(data.panels), left=34, head=head)
    axes = grid[0, 0]
    spread = max(_reach(histogram) for panel in data.panels for histogram in panel.series.values())
    for row, panel in enumerate(data.panels):
        base = float(len(data.panels) - 1 - row)
        looks = _looks(len(panel.series))
        for number, (histogram, (hue, filled)) in enumerate(zip(panel.series.values(), looks, strict=True)):
            edges, values = _shown(histogram, 1.6 * spread)
            centre = centre_of(histogram)
            if not centre or not values.sum():
                continue
            _stairs(axes, base + 0.85 * values / np.max(values), edges, hue, filled=filled, width=1.2, base=base)
            axes.plot([centre.median_um] * 2, [base, base + 0.85], color=hue, linewidth=1.0, linestyle=":")
            last = number == len(panel.series) - 1
            axes.text(
                0.99 if last else 0.01,
                base + 0.5,
                measured(centre.median_um, centre.error_um),
                ha="right" if last else "left",
                va="center",
                transform=axes.get_yaxis_transform(),
                color=hue if last else style.SOFT,
            )
        axes.axhline(base, color=style.LINE, linewidth=0.8)
    axes.set_xlim(-1.6 * spread or -1.0, 1.6 * spread or 1.0)
    axes.set_ylim(-0.05, len(data.panels) + 0.02)
    axes.set_yticks([len(data.panels) - 0.7 - row for row in range(len(data.panels))], [p.label for p in data.panels])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(style.with_unit(data.label, data.unit))
    _legend_above(figure, names, head)
    return figure


def _reach(histogram: Histogram) -> float:
    """Return the end of the range about zero that contains most entries of a histogram."""
    low, median, high = (float(value) for value in histogram.quantiles())
    return abs(median) + 2 * (high - low) if histogram.contents.any() else 0.0


def _shown(histogram: Histogram, end: float) -> tuple[FloatArray, FloatArray]:
    """Return edges and entries of the bins from ``-end`` to ``end``."""
    edges, values = np.array(bins_of(histogram).edges), histogram.values()
    chosen = np.flatnonzero((edges[1:] > -end) & (edges[:-1] < end))
    return edges[chosen[0] : chosen[-1] + 2], values[chosen]


def curves(data: Curves, experiment: str) -> "Figure":
    """Draw curves with points and errors."""
    figure, grid = style.frame(experiment, height=style.HEIGHT + 14 * max(0, len(data.curves) - 3))
    _curves(grid[0, 0], data)
    return figure


def stack(data: Stack, experiment: str) -> "Figure":
    """Draw frames of curves above one another."""
    heights = [1.0 + 0.12 * max(0, len(frame.curves) - 1) for frame in data.frames]
    high = FRAME * sum(heights)
    figure, grid = style.frame(experiment, len(data.frames), height=high, sharex=True, height_ratios=heights)
    for axes, frame in zip(grid[:, 0], data.frames, strict=True):
        _curves(axes, frame)
        axes.label_outer()
    return figure


def _curves(axes: "Axes", data: Curves) -> None:
    colours = [style.BEFORE, *style.COLOURS] if data.before else list(style.COLOURS)
    for number, curve in enumerate(data.curves):
        line, colour = "-" if data.lines else "none", colours[number % len(colours)]
        _points(axes, curve.points, curve.name, colour, line=line)
        if curve.limit is not None:
            axes.axhline(curve.limit, color=colour, linestyle="--", linewidth=1)
    if data.limit:
        axes.axhline(data.limit[1], color=style.BAD, linestyle="--", linewidth=1)
        axes.text(
            0.01, data.limit[1], data.limit[0], color=style.BAD, va="bottom", transform=axes.get_yaxis_transform()
        )
    if data.log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(low, 1.6 * high if data.limit else high)  # room for the limit's name
        _plain_decades(axes)
    elif data.pulls:
        _in_sigmas(axes)
    elif data.from_zero:
        axes.set_ylim(0.0, max(1.05 * axes.get_ylim()[1], 1e-3))
    elif axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
        axes.axhline(0.0, color=style.SOFT, linewidth=0.6)
    _label_x(axes, data)
    axes.set_xlabel(data.x_label)
    axes.set_ylabel(style.with_unit(data.y_label, data.unit))
    axes.yaxis.set_label_coords(-LABEL_AT, 1.0)
    _legend(axes, [curve.name for curve in data.curves])


def _label_x(axes: "Axes", data: Curves) -> None:
    """Label positions by name, as many as fit, or by whole numbers."""
    if data.names:
        every = math.ceil(len(data.names) * (1 + max(map(len, data.names))) / _CHARACTERS)
        axes.set_xticks(range(1, len(data.names) + 1, every), data.names[::every])
        axes.set_xlim(0.5, len(data.names) + 0.5)
    elif data.whole:
        last = max(round(x) for curve in data.curves for x, _ in curve.points)
        axes.set_xticks(range(1, last + 1, math.ceil(last / 10)))
        axes.set_xlim(0.8, max(last, 2) + 0.2)


def _looks(count: int) -> list[tuple[str, bool]]:
    """Return colour, and whether it is filled, of a panel's series: filled grey before lines, if there are several."""
    colours = [style.BEFORE, *style.COLOURS][:count] if count > 1 else [style.AFTER]
    return [(colour, count > 1 and colour == style.BEFORE) for colour in colours]


def _legend(axes: "Axes", names: Sequence[str]) -> None:
    """Add a legend above the data, unless the only series needs no name."""
    if len(names) > 1 or names[0] not in _UNNAMED:
        columns = max(1, min(len(names), int(_CHARACTERS / (4 + max(map(len, names))))))
        share = 0.1 + 0.2 * math.ceil(len(names) / columns)
        low, high = axes.get_ylim()
        if axes.get_yscale() == "log":
            axes.set_ylim(low, high * (high / low) ** share)
        elif axes.get_yscale() == "symlog":
            axes.set_ylim(low, high * 10 ** (4 * share))
        else:
            axes.set_ylim(low, high + share * (high - low))
        axes.legend(loc="upper left", ncols=columns, columnspacing=1.0, handletextpad=0.4)


def _columns(names: Sequence[str]) -> int:
    """Return how many names of a legend have room beside each other."""
    return max(1, min(len(names), int((style.WIDTH - 8) / (24 + SIGN * max(map(len, names))))))


def _head(names: Sequence[str], experiment: str) -> float:
    """Return the height (points) above the axes: the experiment's label, and rows of a legend without room beside it."""
    if len(names) < 2:
        return ROW
    beside = (
        len(names) <= _columns(names)
        and SIGN * len(experiment) + 58 + sum(24 + SIGN * len(name) for name in names) <= style.WIDTH
    )
    return ROW if beside else ROW + LEGEND_ROW * math.ceil(len(names) / _columns(names))


def _legend_above(figure: "Figure", names: Sequence[str], head: float, **look: Any) -> None:
    """Name several series above the axes, beside the experiment's label or below it."""
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    handles = [
        Line2D([], [], color=colour, **({"linewidth": 4 if filled else 1.4} | look), label=name)
        for name, (colour, filled) in zip(names, _looks(len(names)), strict=True)
    ]
    height = float(figure.get_figheight()) * style.POINTS
    figure.legend(
        handles=handles,
        loc="upper right",
        ncols=_columns(names),
        bbox_to_anchor=(1.0, 1.0 - (ROW - 4 if head > ROW else 0) / height),
        borderaxespad=0.2,
        borderpad=0.1,
        columnspacing=0.8,
        handlelength=0.9,
        handletextpad=0.3,
        labelspacing=0.2,
    )


def _titled(axes: "Axes", label: str) -> None:
    """Write the name of a panel inside it, where it cannot meet the ticks."""
    axes.set_title(label, y=1.0, pad=-14, loc="left", x=0.03)


def _in_sigmas(axes: "Axes") -> None:
    """Show values within one standard deviation on a linear scale, larger ones of either sign on a logarithmic scale."""
    low, high = axes.get_ylim()
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(min(1.5 * low, -2.0), max(1.5 * high, 2.0))
    axes.axhspan(-1.0, 1.0, color=style.LINE, alpha=0.5, linewidth=0)
    axes.axhline(0.0, color=style.SOFT, linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda value, _place: signed(f"{value:g}"))


def _plain_decades(axes: "Axes") -> None:
    """Label a logarithmic y axis with plain numbers: decades, and 2 and 5 in between if there are few."""
    low, high = axes.get_ylim()
    digits = (1, 2, 5) if high < 100 * low else (1,)

    def label(value: float, _place: float) -> str:
        digit = value / 10.0 ** math.floor(math.log10(value) + 1e-9)
        return f"{value:g}" if any(math.isclose(digit, of, rel_tol=1e-6) for of in digits) else ""

    axes.yaxis.set_major_formatter(label)
    axes.yaxis.set_minor_formatter(label)


def _in_thousands(axes: "Axes") -> None:
    """Label the ticks of a y axis with large numbers in thousands, for which there is room."""
    if max(map(abs, axes.get_ylim())) >= 1e4 and axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(lambda value, _place: signed(f"{value / 1e3:g}k") if value else "0")
