"""Histograms and profiles that can be added, stored and drawn.

Both follow the protocol of Scikit-HEP's plotting tools (``uhi.typing.plottable``): hist and mplhep draw them as they are.
In JSON they have the form that ``uhi`` defines (``uhi_schema`` 1), so that other programs can read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import FloatArray, IntArray

WIDTH_FRACTIONS = (0.158655, 0.5, 0.841345)  # median and plus or minus one standard deviation of a normal distribution


class Traits(NamedTuple):
    """Properties of an axis that plotting tools read; the last two are not in the protocol, but mplhep reads them."""

    circular: bool = False
    discrete: bool = False
    underflow: bool = False
    overflow: bool = False


@dataclass(frozen=True)
class Bins:
    """Continuous axis of ``edges``; contents have one more bin below and one above it.

    Attributes:
        name: name of the axis, for ``Histogram.sum`` and the like.
        label: quantity and unit, for drawings.
        edges: ascending, one more than bins.
        regular: whether all bins have the same width.
    """

    traits: ClassVar = Traits(underflow=True, overflow=True)
    name: str
    label: str
    edges: tuple[float, ...]
    regular: bool = False

    @staticmethod
    def evenly(name: str, label: str, bins: int, lower: float, upper: float) -> "Bins":
        """Return an axis of ``bins`` bins of the same width."""
        return Bins(name, label, tuple(np.linspace(lower, upper, bins + 1).tolist()), regular=True)

    @property
    def size(self) -> int:
        """Number of bins, including those below and above."""
        return len(self) + 2

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __getitem__(self, at: int) -> tuple[float, float]:
        bins = range(len(self))[at]
        return self.edges[bins], self.edges[bins + 1]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return (self[at] for at in range(len(self)))

    def to_uhi(self) -> dict[str, Any]:
        """Return the axis as ``uhi`` writes it."""
        shape: dict[str, Any] = {"type": "variable", "edges": list(self.edges)}
        if self.regular:
            shape = {"type": "regular", "lower": self.edges[0], "upper": self.edges[-1], "bins": len(self)}
        metadata = {"name": self.name, "label": self.label}
        return shape | {"underflow": True, "overflow": True, "circular": False, "metadata": metadata}


@dataclass(frozen=True)
class Categories:
    """Axis of names, such as modules; contents have no other bins."""

    traits: ClassVar = Traits(discrete=True)
    name: str
    label: str
    categories: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self)

    def __len__(self) -> int:
        return len(self.categories)

    def __getitem__(self, at: int) -> str:
        return self.categories[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self.categories)

    def to_uhi(self) -> dict[str, Any]:
        """Return the axis as ``uhi`` writes it."""
        metadata = {"name": self.name, "label": self.label}
        return {"type": "category_str", "categories": list(self.categories), "flow": False, "metadata": metadata}


Axis = Bins | Categories


class _OnAxes:
    """Base of histograms and profiles: axes, and an array over their bins."""

    axes: tuple[Axis, ...]
    contents: npt.NDArray[Any]
    _each: ClassVar[tuple[int, ...]] = ()  # shape of the numbers of a bin

    def __post_init__(self) -> None:
        if self.contents.shape != (*self.shape, *self._each):
            raise ValueError(f"contents have the shape {self.contents.shape} and the axes {self.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the contents, with bins below and above continuous axes."""
        return tuple(axis.size for axis in self.axes)

    def axis(self, name: str) -> int:
        """Return the position of the axis with this name; raise KeyError if there is none."""
        names = [axis.name for axis in self.axes]
        if name not in names:
            raise KeyError(f"no axis {name}; there are {', '.join(names) or 'none'}")
        return names.index(name)

    def __add__(self, other: Self) -> Self:
        if self.axes != other.axes:
            raise ValueError("histograms with different axes cannot be added")
        return replace(self, contents=self.contents + other.contents)  # type: ignore[type-var]

    def sum(self, *names: str) -> Self:
        """Return the sum, or the means, over the axes with these names."""
        at = tuple(self.axis(name) for name in names)
        axes = tuple(axis for place, axis in enumerate(self.axes) if place not in at)
        return replace(self, axes=axes, contents=np.asarray(self.contents.sum(axis=at)))  # type: ignore[type-var]

    def at(self, **categories: str | Sequence[str]) -> Self:
        """Return the part in one category of an axis, without that axis, or in a list of categories.

        ``residuals.at(module="003", side="0")`` is a histogram of one axis. Raises KeyError for an unknown category.
        """
        array, axes = self.contents, list(self.axes)
        for name, wanted in categories.items():
            axis = self.axes[self.axis(name)]
            if isinstance(axis, Bins):
                raise KeyError(f"{name} is continuous; at() needs an axis of categories")
            single = isinstance(wanted, str)
            given = (str(wanted),) if single else tuple(wanted)
            unknown = [one for one in given if one not in axis.categories]
            if unknown:
                raise KeyError(f"no {name} {unknown[0]}")
            places, place = [axis.categories.index(one) for one in given], axes.index(axis)
            array = np.take(array, places[0] if single else places, axis=place)
            axes[place : place + 1] = [] if single else [Categories(name, axis.label, given)]
        return replace(self, axes=tuple(axes), contents=array)  # type: ignore[type-var]

    def _chosen(self, *, flow: bool) -> npt.NDArray[Any]:
        """Return the array, only with ``flow`` with bins below and above continuous axes."""
        inside = tuple(slice(1, -1) if isinstance(axis, Bins) and not flow else slice(None) for axis in self.axes)
        return np.asarray(self.contents[inside])


@dataclass(frozen=True, eq=False)
class Histogram(_OnAxes):
    """Numbers of entries.

    Attributes:
        axes: the last one is usually continuous.
        contents: entries, with one bin below and one above each continuous axis, shape ``shape``.
    """

    kind: ClassVar = "COUNT"  # a word of the protocol
    axes: tuple[Axis, ...]
    contents: IntArray

    @staticmethod
    def empty(*axes: Axis) -> "Histogram":
        """Return a histogram without entries."""
        return Histogram(axes, np.zeros([axis.size for axis in axes], np.int64))

    def values(self, flow: bool = False) -> FloatArray:
        """Return the entries; with ``flow`` also those below and above continuous axes."""
        return self._chosen(flow=flow).astype(np.float64)

    variances = counts = values  # the variance of a number of entries is that number

    def rebin(self, factor: int) -> "Histogram":
        """Return the histogram with each ``factor`` bins of its last axis merged; their number must be a multiple."""
        axis = self._last_bins()
        if len(axis) % factor:
            raise ValueError(f"{len(axis)} bins cannot be merged by {factor}")
        inner = self.contents[..., 1:-1]
        merged = inner.reshape(*inner.shape[:-1], -1, factor).sum(axis=-1)
        contents = np.concatenate([self.contents[..., :1], merged, self.contents[..., -1:]], axis=-1)
        wider = Bins(axis.name, axis.label, axis.edges[::factor], axis.regular)
        return Histogram((*self.axes[:-1], wider), contents)

    def quantiles(self, fractions: Sequence[float] = WIDTH_FRACTIONS) -> FloatArray:
        """Return quantiles along the last axis, shape (..., fractions); NaN without entries.

        They are interpolated inside a bin. A quantile below or above the axis is its first or last edge.
        """
        edges = np.array(self._last_bins().edges)
        rows = [quantiles(row, edges, fractions) for row in self.contents.reshape(-1, self.contents.shape[-1])]
        return np.reshape(rows, (*self.contents.shape[:-1], len(fractions)))

    def moments(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return entries on the last axis, their mean and rms about it, from the middles of bins; NaN without entries."""
        edges = np.array(self._last_bins().edges)
        middles = (edges[1:] + edges[:-1]) / 2
        inner = self.contents[..., 1:-1].astype(np.float64)
        entries = inner.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = inner @ middles / entries
            variance = inner @ middles**2 / entries - mean**2
        return entries, mean, np.sqrt(np.maximum(variance, 0.0))

    def _last_bins(self) -> Bins:
        axis = self.axes[-1] if self.axes else None
        if not isinstance(axis, Bins):
            raise TypeError("the last axis is not continuous")
        return axis

    def _to_uhi_(self) -> dict[str, Any]:
        """Return the histogram as ``uhi`` writes it, with arrays."""
        return _uhi(self.axes, {"type": "int", "values": self.contents})


@dataclass(frozen=True, eq=False)
class Profile(_OnAxes):
    """Means of a quantity in bins.

    Attributes:
        axes: as of a histogram.
        contents: entries, sum of the quantity and sum of its square, shape (``*shape``, 3).
        label: the quantity and its unit.
    """

    kind: ClassVar = "MEAN"
    _each: ClassVar = (3,)
    axes: tuple[Axis, ...]
    contents: FloatArray
    label: str = ""

    def values(self, flow: bool = False) -> FloatArray:
        """Return the means; NaN without entries."""
        sums = self._chosen(flow=flow)
        return _ratio(sums[..., 1], sums[..., 0])

    def variances(self, flow: bool = False) -> FloatArray:
        """Return the sample variances of the quantity; the error of a mean is ``sqrt(variance / counts)``.

        NaN with fewer than two entries.
        """
        entries, total, squares = np.moveaxis(self._chosen(flow=flow), -1, 0)
        deviations = np.maximum(squares - _ratio(total**2, entries), 0.0)
        return _ratio(deviations, np.maximum(entries - 1, 0.0))

    def counts(self, flow: bool = False) -> FloatArray:
        """Return the entries."""
        return np.asarray(self._chosen(flow=flow)[..., 0])

    def _to_uhi_(self) -> dict[str, Any]:
        """Return the profile as ``uhi`` writes it, with arrays."""
        means, variances = (np.nan_to_num(part) for part in (self.values(flow=True), self.variances(flow=True)))
        storage = {"type": "mean", "counts": self.counts(flow=True), "values": means, "variances": variances}
        return _uhi(self.axes, storage) | {"metadata": {"label": self.label}}


def quantiles(contents: IntArray, edges: FloatArray, fractions: Sequence[float] = WIDTH_FRACTIONS) -> FloatArray:
    """Return quantiles of the contents of bins, with those below and above ``edges``; NaN without entries."""
    total = contents.sum()
    if not total:
        return np.full(len(fractions), np.nan)
    return np.interp(np.array(fractions) * total, np.cumsum(contents[:-1]), edges)


def from_uhi(values: Mapping[str, Any]) -> Histogram | Profile:
    """Return the histogram or profile that ``_to_uhi_`` described, also after a round trip through JSON.

    Raises ValueError if it is not a dense histogram of counts or means.
    """
    try:
        if values["uhi_schema"] != 1:
            raise ValueError(f"uhi_schema is {values['uhi_schema']}, not 1")
        axes = tuple(_axis(axis) for axis in values["axes"])
        storage = values["storage"]
        if storage["type"] == "int" and "index" not in storage:
            return Histogram(axes, np.array(storage["values"], np.int64))
        if storage["type"] == "mean":
            entries, means, variances = (
                np.array(storage[key], np.float64) for key in ("counts", "values", "variances")
            )
            squares = np.maximum(entries - 1, 0.0) * variances + entries * means**2
            sums = np.stack([entries, entries * means, squares], axis=-1)
            return Profile(axes, sums, str(values.get("metadata", {}).get("label", "")))
        raise ValueError(f"a storage of type {storage['type']}")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a histogram: {error}") from error


def _axis(values: Mapping[str, Any]) -> Axis:
    name, label = (str(values["metadata"][key]) for key in ("name", "label"))
    if values["type"] == "category_str" and not values["flow"]:
        return Categories(name, label, tuple(map(str, values["categories"])))
    if values["type"] in ("regular", "variable") and values["underflow"] and values["overflow"]:
        if values["type"] == "regular":
            return Bins.evenly(name, label, int(values["bins"]), float(values["lower"]), float(values["upper"]))
        return Bins(name, label, tuple(map(float, values["edges"])))
    raise ValueError(f"an axis of type {values['type']} with these bins")


def _uhi(axes: Sequence[Axis], storage: Mapping[str, Any]) -> dict[str, Any]:
    return {"uhi_schema": 1, "axes": [axis.to_uhi() for axis in axes], "storage": dict(storage)}


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)
