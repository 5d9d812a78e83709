"""Draw pictures of the detector on matplotlib's axes."""

from typing import TYPE_CHECKING

import numpy as np

from faser_align.alignment.parameters.labels import LAYERS, MODULES, STATIONS, constants_key
from faser_align.pages.figures import style
from faser_align.pages.figures.shapes import Arrows, Map, Maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP = 84.0  # height of a picture (points)


def maps(data: Maps, experiment: str) -> "Figure":
    """Draw the detector once for each quantity: modules, and a bar for each layer, coloured about zero."""
    figure, grid = style.frame(experiment, len(data.maps), height=34 + STRIP * len(data.maps), left=8)
    figure.subplots_adjust(bottom=4 / (34 + STRIP * len(data.maps)), hspace=0.1)
    for axes, of in zip(grid[:, 0], data.maps, strict=True):
        _detector(axes, of.label, of.unit)
        if isinstance(of, Arrows):
            _arrows(axes, of)
        else:
            _map(axes, of)
    return figure


def _places() -> dict[str, float]:
    """Return the x coordinate of each layer in pictures of the detector, in widths of a module."""
    return {
        constants_key(station, layer): 2.3 * (3 * number + layer) + 0.7 * number
        for number, station in enumerate(STATIONS)
        for layer in LAYERS
    }


def _detector(axes: "Axes", label: str, unit: str) -> None:
    """Prepare a picture of the detector: its layers' names below, and what it shows above."""
    places = _places()
    for key, x in places.items():
        axes.text(x + 1, -0.2, key, ha="center", va="top", color=style.SOFT)
    axes.set_xlim(0, max(places.values()) + 2)
    axes.set_ylim(-1.5, 6.1)
    axes.set_axis_off()
    axes.text(0, 4.9, style.with_unit(label, unit), va="bottom")


def _map(axes: "Axes", of: Map) -> None:
    from matplotlib.collections import PolyCollection

    squares, colours = [], []
    for layer, x in _places().items():
        if any(len(key) == 2 for key in of.values):
            squares.append(_square(x, 0, 1.94, 3.94))
            colours.append(_shade(of, layer))
            continue
        if not any(key.startswith(layer) for key in of.values):
            squares.append(_square(x, 0, 1.94, 3.94))
            colours.append(style.BACK)
            continue
        for module in MODULES:
            column, row = divmod(module, 4)
            squares.append(_square(x + column, row, 0.94, 0.94))
            colours.append(_shade(of, f"{layer}{module}"))
    axes.add_collection(PolyCollection(squares, facecolors=colours, edgecolors=style.LINE, linewidths=0.4))
    steps = np.linspace(-1.0, 1.0, 21)
    left, width = axes.get_xlim()[1] - 8.0, 0.18
    axes.text(left - 0.4, 4.9, f"−{_end(of.most)}", ha="right", va="bottom")
    axes.text(left + width * len(steps) + 0.4, 4.9, f"+{_end(of.most)}", va="bottom")
    shades = [style.colour(float(share)) for share in steps]
    bars = [_square(left + width * at, 5.1, width, 0.6) for at in range(len(steps))]
    axes.add_collection(PolyCollection(bars, facecolors=shades, edgecolors=shades, linewidths=0.4))


def _arrows(axes: "Axes", of: Arrows) -> None:
    """Draw the shift of each layer from its middle; x points to the left, as seen along the beam."""
    from matplotlib.collections import PolyCollection

    places = _places()
    frames = [_square(x, 0, 1.94, 3.94) for x in places.values()]
    axes.add_collection(PolyCollection(frames, facecolors=style.BACK, edgecolors=style.LINE, linewidths=0.4))
    length = 1.9 / of.most if of.most else 0.0
    arrow = {"arrowstyle": "-|>", "color": style.AFTER, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    for key, (x, y) in of.values.items():
        start = places[key] + 0.97, 1.97
        axes.annotate("", (start[0] - length * x, start[1] + length * y), start, arrowprops=arrow)
    axes.text(axes.get_xlim()[1], 4.9, f"longest {_end(of.most)}", ha="right", va="bottom")


def _end(most: float) -> str:
    """Return the end of a scale with three digits and without an exponent."""
    return f"{float(f'{most:.3g}'):,g}"


def _shade(of: Map, key: str) -> str:
    value = of.values.get(key)
    return style.BACK if value is None else style.colour(value / of.most if of.most else 0.0)


def _square(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
