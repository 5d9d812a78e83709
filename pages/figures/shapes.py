"""Define the data of figures, which are also the rows of a table. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from faser_align.alignment.histograms import Bins, Histogram

Cell = str | float | None
Table = tuple[tuple[str, ...], list[tuple[Cell, ...]]]


class Measured(NamedTuple):
    """A value with its error, None where it is unknown."""

    value: float
    error: float | None = None


class Band(NamedTuple):
    """A panel with values of modules or layers: ``series`` has a value by name and key; ``ends`` are those of the axis."""

    label: str
    unit: str
    series: Mapping[str, Mapping[str, Measured]]
    ends: tuple[float, float] | None = None


class ByElement(NamedTuple):
    """Values of modules or layers, one panel above another."""

    bands: Sequence[Band]

    def table(self) -> Table:
        """Return columns and rows."""
        return ("quantity", "unit", "series", "element", "value", "error"), [
            (band.label, band.unit, name, key, *measured)
            for band in self.bands
            for name, values in band.series.items()
            for key, measured in values.items()
        ]


class Panel(NamedTuple):
    """Histograms in one frame, by the name of their series; ``note`` is written below the label."""

    label: str
    series: Mapping[str, Histogram]
    note: str = ""


class Histograms(NamedTuple):
    """Histograms of one quantity, in one panel or several.

    Attributes:
        label, unit: of the quantity.
        panels: the frames.
        logx: use a logarithmic x axis.
        mark: an expected value with its name.
        of: name of the entries; histograms are then drawn as fractions of all entries, because their numbers differ.
    """

    label: str
    unit: str
    panels: Sequence[Panel]
    logx: bool = False
    mark: tuple[str, float] | None = None
    of: str = ""

    def table(self) -> Table:
        """Return columns and rows."""
        return ("quantity", "unit", "panel", "series", "low", "high", "entries"), [
            (self.label, self.unit, panel.label, name, low, high, float(entries))
            for panel in self.panels
            for name, histogram in panel.series.items()
            for (low, high), entries in zip(bins_of(histogram), histogram.values(), strict=True)
        ]


def bins_of(histogram: Histogram) -> Bins:
    """Return the axis of a histogram that has one continuous axis."""
    (axis,) = histogram.axes
    assert isinstance(axis, Bins)
    return axis


class Curve(NamedTuple):
    """A series of points, x and y with its error; ``limit`` is a line of its colour."""

    name: str
    points: Sequence[tuple[float, Measured]]
    limit: float | None = None


class Curves(NamedTuple):
    """Curves in one frame.

    Attributes:
        x_label, y_label, unit: of the axes.
        curves: the series.
        log: use a logarithmic y axis.
        pulls: values are in standard deviations: the y axis is linear within 1, logarithmic beyond on both sides.
        lines: connect the points of a curve.
        names: labels of the positions 1, 2, ... on the x axis.
        limit: a horizontal line with its name.
        whole: the x axis has whole numbers, such as iterations.
        before: the first curve is the state before; it is grey.
        from_zero: the y axis begins at 0.
    """

    x_label: str
    y_label: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False
    pulls: bool = False
    lines: bool = True
    names: Sequence[str] = ()
    limit: tuple[str, float] | None = None
    whole: bool = False
    before: bool = False
    from_zero: bool = False

    def table(self) -> Table:
        """Return columns and rows."""
        return (self.x_label, "series", "quantity", "unit", "value", "error"), [
            (self.names[round(x) - 1] if self.names else x, curve.name, self.y_label, self.unit, *measured)
            for curve in self.curves
            for x, measured in curve.points
        ]


class Stack(NamedTuple):
    """Frames of curves above one another, with a common x axis."""

    frames: Sequence[Curves]

    def table(self) -> Table:
        """Return columns and rows."""
        tables = [frame.table() for frame in self.frames]
        return tables[0][0], [row for _, rows in tables for row in rows]


class Map(NamedTuple):
    """A value of each module, or of each layer, by key, for the picture of the detector; ``most`` is the end of the scale."""

    label: str
    unit: str
    values: Mapping[str, float]
    most: float

    def rows(self) -> list[tuple[Cell, ...]]:
        """Return the rows of the table."""
        return [(self.label, self.unit, key, value) for key, value in self.values.items()]


class Arrows(NamedTuple):
    """Displacements of layers along the detector's x and y, by key; ``most`` is the length of the longest."""

    label: str
    unit: str
    values: Mapping[str, tuple[float, float]]
    most: float

    def rows(self) -> list[tuple[Cell, ...]]:
        """Return the rows of the table."""
        return [
            (f"{self.label}, {axis}", self.unit, key, value)
            for key, xy in self.values.items()
            for axis, value in zip("xy", xy, strict=True)
        ]


class Maps(NamedTuple):
    """Pictures of the detector, one above another."""

    maps: Sequence[Map | Arrows]

    def table(self) -> Table:
        """Return columns and rows."""
        return ("quantity", "unit", "element", "value"), [row for of in self.maps for row in of.rows()]
