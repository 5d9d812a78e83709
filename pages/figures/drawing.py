"""Draw the shapes of data on matplotlib's axes."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.labels import LAYERS, MODULES, STATIONS, constants_key
from faser_align.pages.figures import scale, style
from faser_align.pages.figures.shapes import Band, ByElement, Curves, Histogram, Histograms, Map, Maps, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND, RIDGE, STRIP = 110.0, 34.0, 84.0  # heights of a panel of elements, a histogram among many, a picture (points)
RIDGES = 5  # from this number of panels on, histograms are drawn above each other in one frame
_QUANTILES = (0.158655, 0.5, 0.841345)


def by_element(data: ByElement, experiment: str) -> "Figure":
    """Draw values with errors against modules or layers, in the order of the beam; the first of several series is grey."""
    with style.look():
        figure, grid = style.frame(len(data.bands), 1, height=60 + BAND * len(data.bands), sharex=True)
        keys = sorted({key for band in data.bands for values in band.series.values() for key in values})
        for axes, band in zip(grid[:, 0], data.bands, strict=True):
            _band(axes, band, keys)
        _elements(grid[-1, 0], keys)
        style.name(figure, experiment)
    return figure  # type: ignore[no-any-return]


def _band(axes: "Axes", band: Band, keys: Sequence[str]) -> None:
    place = {key: at for at, key in enumerate(keys)}
    colours = _colours(len(band.series))
    for number, (name, values) in enumerate(band.series.items()):
        shift = 0.3 * (number / (len(band.series) - 1) - 0.5) if len(band.series) > 1 else 0.0
        _points(axes, [place[key] + shift for key in values], list(values.values()), name, colours[number])
    axes.axhline(0.0, color=style.SOFT, linewidth=0.6)
    for left, right in pairwise(keys):
        if left[0] != right[0]:
            axes.axvline(place[right] - 0.5, color=style.LINE, linewidth=0.8)
    axes.set_ylabel(_with_unit(band.label, band.unit))
    axes.yaxis.set_label_coords(-0.14, 1.0)
    _legend(axes, list(band.series))


def _points(
    axes: "Axes", x: Sequence[float], y: Sequence[Measured], name: str, colour: str, *, line: str = "none"
) -> None:
    bars = [(at, of.value, of.error) for at, of in zip(x, y, strict=True) if of.error is not None]
    # One line with gaps is a tenth of the size of as many lines.
    axes.plot(
        [place for at, _, _ in bars for place in (at, at, math.nan)],
        [end for _, value, error in bars for end in (value - error, value + error, math.nan)],
        color=colour,
        linewidth=1,
    )
    axes.plot(
        x,
        [measured.value for measured in y],
        color=colour,
        label=name,
        marker="o",
        markersize=3,
        linestyle=line,
        linewidth=1.2,
    )


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
    with style.look():
        return _ridges(data, experiment) if len(data.panels) >= RIDGES else _frames(data, experiment)


def _frames(data: Histograms, experiment: str) -> "Figure":
    columns = 1 if len(data.panels) == 1 else 2
    rows = math.ceil(len(data.panels) / columns)
    figure, grid = style.frame(rows, columns, height=56 + (184 if rows == 1 else 150) * rows, sharex=True)
    for axes in grid.flat[len(data.panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, data.panels, strict=False):
        for histogram, colour, filled in zip(
            panel.series.values(), _colours(len(panel.series)), _filled(len(panel.series)), strict=True
        ):
            _stairs(axes, histogram, colour, filled=filled)
        axes.set_title(panel.label, y=1.0, pad=-14, loc="left", x=0.03)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * 1.35)
        if columns == 2:
            axes.tick_params(labelleft=False)
    grid[-1, -1].set_xlabel(_with_unit(data.label, data.unit))
    grid[0, 0].set_ylabel("entries")
    style.name(figure, experiment)
    _legend_of(grid[0, 0], data)
    return figure  # type: ignore[no-any-return]


def _stairs(axes: "Axes", histogram: Histogram, colour: str, *, filled: bool) -> None:
    edges = np.asarray(histogram.axes[0].edges)
    axes.stairs(
        np.asarray(histogram.values()),
        edges,
        color=colour,
        fill=filled,
        alpha=0.45 if filled else 1.0,
        linewidth=0 if filled else 1.4,
    )


def _ridges(data: Histograms, experiment: str) -> "Figure":
    figure, grid = style.frame(1, 1, height=60 + RIDGE * len(data.panels), left=34)
    axes = grid[0, 0]
    spread = 0.0
    for row, panel in enumerate(data.panels):
        base = float(len(data.panels) - 1 - row)
        last = ""
        for histogram, colour, filled in zip(
            panel.series.values(), _colours(len(panel.series)), _filled(len(panel.series)), strict=True
        ):
            edges, values = np.asarray(histogram.axes[0].edges), np.asarray(histogram.values())
            found = quantiles(edges, values)
            if found is None:
                continue
            median, width = found[1], (found[2] - found[0]) / 2
            spread = max(spread, abs(median) + 4 * width)
            shown = base + 0.85 * values / max(float(values.max()), 1.0)
            axes.stairs(
                shown,
                edges,
                baseline=base,
                color=colour,
                fill=filled,
                alpha=0.45 if filled else 1.0,
                linewidth=0 if filled else 1.2,
            )
            axes.plot([median, median], [base, base + 0.85], color=colour, linewidth=1.0, linestyle=":")
            last = f"{median:+.1f} ± {width:.1f}"
        axes.axhline(base, color=style.LINE, linewidth=0.8)
        axes.text(0.99, base + 0.45, last, ha="right", transform=axes.get_yaxis_transform(), color=style.AFTER)
    axes.set_xlim(-1.6 * spread or -1.0, 1.6 * spread or 1.0)
    axes.set_ylim(-0.05, len(data.panels) + 0.02)
    axes.set_yticks([len(data.panels) - 1 - row for row in range(len(data.panels))], [p.label for p in data.panels])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(_with_unit(data.label, data.unit))
    style.name(figure, experiment, "median ± width")
    return figure  # type: ignore[no-any-return]


def quantiles(edges: FloatArray, values: FloatArray) -> tuple[float, float, float] | None:
    """Return the 16 %, 50 % and 84 % quantiles of a histogram; None if it is empty."""
    total = float(values.sum())
    if total <= 0:
        return None
    below = np.concatenate([[0.0], np.cumsum(values)])
    low, middle, high = (float(np.interp(share * total, below, edges)) for share in _QUANTILES)
    return low, middle, high


def curves(data: Curves, experiment: str) -> "Figure":
    """Draw curves with points and errors."""
    with style.look():
        figure, grid = style.frame()
        axes = grid[0, 0]
        for number, curve in enumerate(data.curves):
            _points(
                axes,
                curve.x,
                curve.y,
                curve.name,
                style.COLOURS[number % len(style.COLOURS)],
                line="-" if data.lines else "none",
            )
        if data.limit:
            axes.axhline(data.limit[1], color=style.BAD, linestyle="--", linewidth=1)
            axes.text(
                0.99,
                data.limit[1],
                data.limit[0],
                color=style.BAD,
                ha="right",
                va="bottom",
                transform=axes.get_yaxis_transform(),
            )
        if data.log:
            axes.set_yscale("log")
        if data.names:
            every = math.ceil(len(data.names) / 12)
            axes.set_xticks(range(1, len(data.names) + 1, every), data.names[::every])
        axes.set_xlabel(data.x_label)
        axes.set_ylabel(_with_unit(data.y_label, data.unit))
        axes.yaxis.set_label_coords(-0.14, 1.0)
        _legend(axes, [curve.name for curve in data.curves])
        style.name(figure, experiment)
    return figure  # type: ignore[no-any-return]


def maps(data: Maps, experiment: str) -> "Figure":
    """Draw the detector once for each quantity: modules, and a bar for each layer, coloured about zero."""
    with style.look():
        figure, grid = style.frame(len(data.maps), 1, height=34 + STRIP * len(data.maps), left=8)
        figure.subplots_adjust(bottom=4 / (34 + STRIP * len(data.maps)), hspace=0.1)
        for axes, of in zip(grid[:, 0], data.maps, strict=True):
            _map(axes, of)
        style.name(figure, experiment)
    return figure  # type: ignore[no-any-return]


def _map(axes: "Axes", of: Map) -> None:
    from matplotlib.collections import PolyCollection

    squares, colours = [], []
    x = 0.0
    for station in STATIONS:
        for layer in LAYERS:
            key = constants_key(station, layer)
            for module in MODULES:
                column, row = divmod(module, 4)
                squares.append(_square(x + column, row, 0.94, 0.94))
                colours.append(_shade(of, f"{key}{module}"))
            if key in of.values:
                squares.append(_square(x, 4.15, 1.94, 0.5))
                colours.append(_shade(of, key))
            axes.text(x + 1, -0.2, key, ha="center", va="top", color=style.SOFT)
            x += 2.3
        x += 0.7
    axes.add_collection(PolyCollection(squares, facecolors=colours, edgecolors=style.LINE, linewidths=0.4))
    axes.set_xlim(0, x - 1.0)
    axes.set_ylim(-1.5, 6.1)
    axes.set_axis_off()
    axes.text(0, 5.0, _with_unit(of.label, of.unit), va="bottom")
    steps = np.linspace(-1.0, 1.0, 21)
    left, width = x - 9.0, 0.18
    axes.text(left - 0.4, 5.0, f"−{of.most:.3g}", ha="right", va="bottom")
    axes.text(left + width * len(steps) + 0.4, 5.0, f"+{of.most:.3g}", va="bottom")
    axes.add_collection(
        PolyCollection(
            [_square(left + width * at, 5.2, width, 0.6) for at in range(len(steps))],
            facecolors=[scale.colour(float(share)) for share in steps],
        )
    )


def _shade(of: Map, key: str) -> str:
    value = of.values.get(key)
    return style.BACK if value is None else scale.colour(value / of.most if of.most else 0.0)


def _square(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _colours(count: int) -> list[str]:
    """Return the colours of a panel's series: grey before blue, if there are two."""
    return [style.AFTER] if count == 1 else [style.BEFORE, *style.COLOURS][:count]


def _filled(count: int) -> list[bool]:
    return [count > 1, *[False] * (count - 1)]


def _legend(axes: "Axes", names: Sequence[str]) -> None:
    """Add a legend above the data if there is more than one series."""
    if len(names) > 1:
        low, high = axes.get_ylim()
        if axes.get_yscale() == "log":
            axes.set_ylim(low, high * (high / low) ** 0.3)
        else:
            axes.set_ylim(low, high + 0.3 * (high - low))
        axes.legend(loc="upper left", ncols=3, columnspacing=1.0, handletextpad=0.4)


def _legend_of(axes: "Axes", data: Histograms) -> None:
    from matplotlib.lines import Line2D

    names: Mapping[str, Any] = data.panels[0].series
    if len(names) > 1:
        handles = [
            Line2D([], [], color=colour, linewidth=4 if filled else 1.4, label=name)
            for name, colour, filled in zip(names, _colours(len(names)), _filled(len(names)), strict=True)
        ]
        axes.figure.legend(handles=handles, loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)


def _with_unit(label: str, unit: str) -> str:
    return f"{label} [{unit}]" if unit else label
