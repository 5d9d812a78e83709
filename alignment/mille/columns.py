"""Read branches of a ROOT tree once, in order, with bounded memory for any basket size.

Large files have either thousands of small baskets, for each of which a general reader would cost more than the data, or
a few huge ones, which would not fit into memory. uproot reads the tree's description.
"""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.mille.baskets import SPILL_BYTES, Basket, read_basket, spill

_NUMBERS = ("double", "float", *(f"std::{u}int{bits}_t" for u in ("", "u") for bits in (16, 32, 64)))


class Damaged(Exception):
    """A branch cannot be read; the text says why, ``entry`` where."""

    def __init__(self, text: str, branch: str, entry: int) -> None:
        super().__init__(text)
        self.branch = branch
        self.entry = entry


@lru_cache(maxsize=1)  # branches of the same entries share their layout, one after the other
def _layout(offsets_bytes: bytes, header: int, size: int) -> tuple[IntArray, IntArray]:
    """Return how many numbers each entry has, and the position of each number in the bytes of all entries.

    Entries have ``header`` bytes before numbers of ``size`` bytes. Their offsets are given as bytes, for the cache.

    Raises ValueError if they do not ascend.
    """
    offsets = np.frombuffer(offsets_bytes, np.int64)
    lengths = (np.diff(offsets) - header) // size
    if (lengths < 0).any() or offsets[0] < 0:
        raise ValueError("offsets that do not ascend")
    before = np.cumsum(lengths) - lengths
    first = offsets[:-1] - offsets[0] + header - size * before
    return lengths, np.repeat(first, lengths) + size * np.arange(int(lengths.sum()))


@dataclass
class Column:
    """One branch or field, read in ascending order of entries; made by ``tree_column`` and ``ntuple_column``.

    Attributes:
        name: name of the branch.
        edges: first entry of each basket, and the number of entries. ``read`` returns a basket by its number.
        dtype, shape, header: type of the numbers, their shape in an entry, and the number of bytes before them.
        jagged: whether entries have varying numbers of values.
    """

    name: str
    edges: IntArray
    read: Callable[[int], Basket]
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    header: int = 0
    jagged: bool = False
    _basket: int = -1
    _data: Basket | None = None

    def take(self, start: int, stop: int) -> tuple[FloatArray, IntArray | None]:
        """Return the values of the entries ``start`` to ``stop`` (exclusive), and their number per entry.

        The number is None if each entry has one value. Entries must be requested in ascending order. Raises Damaged.
        """
        parts: list[tuple[FloatArray, IntArray | None]] = []
        while start < stop:
            basket = int(np.searchsorted(self.edges, start, side="right")) - 1
            end = min(stop, int(self.edges[basket + 1]))
            try:
                parts.append(self._entries(basket, start - int(self.edges[basket]), end - int(self.edges[basket])))
            except (ValueError, IndexError, struct.error, zlib.error, OSError, RuntimeError) as error:
                raise Damaged(str(error), self.name, start) from error
            start = end
        if len(parts) == 1:
            return parts[0]
        lengths = [part[1] for part in parts if part[1] is not None]
        return np.concatenate([part[0] for part in parts]), np.concatenate(lengths) if lengths else None

    def close(self) -> None:
        """Release the last basket; another one may be read afterwards."""
        if self._data is not None:
            self._data.close()
        self._data = None

    def _entries(self, basket: int, first: int, last: int) -> tuple[FloatArray, IntArray | None]:
        if basket != self._basket or self._data is None:
            self.close()  # frees its memory before the next one is read
            self._data = self.read(basket)
            self._basket = basket
        data, dtype, size = self._data, self.dtype, self.dtype.itemsize
        if not self.jagged:
            width = int(np.prod(self.shape, dtype=np.int64)) * size
            values = data.read(first * width, last * width).view(dtype).astype(np.float64)
            return values, (np.full(last - first, width // size, np.int64) if self.shape else None)
        offsets = data.offsets(first, last + 1)
        lengths, numbers = _layout(offsets.tobytes(), self.header, size)
        raw = data.read(int(offsets[0]), int(offsets[-1]))
        if not self.header:
            return raw.view(dtype).astype(np.float64), lengths
        # numbers follow their entries' headers, not aligned
        if not len(numbers):
            return np.zeros(0), lengths
        every = np.ndarray((len(raw) - size + 1,), dtype, raw.data, strides=(1,))
        return every[numbers].astype(np.float64), lengths


def tree_column(branch: Any, file: BinaryIO) -> Column:
    """Return the column of a tree's branch.

    Args:
        branch: uproot's description of the branch: numbers, vectors of them, or arrays with a counter.
        file: the ROOT file, opened for reading.

    Raises ValueError if the branch has another type.
    """
    kind = branch.interpretation
    content = getattr(kind, "content", None)
    stored = getattr(kind if content is None else content, "from_dtype", None)
    if stored is None or (content is not None and stored.shape) or stored.base.kind not in "fiu":
        raise ValueError(f"{branch.typename} is neither a number nor a vector of numbers")
    jagged = content is not None
    header = int(getattr(kind, "header_bytes", 0) or 0)
    edges = np.asarray(branch.entry_offsets, np.int64)
    seeks = np.asarray(branch.member("fBasketSeek"), np.int64)

    def read(basket: int) -> Basket:
        seek = int(seeks[basket]) if basket < len(seeks) else 0
        if seek:
            return read_basket(file, seek, int(edges[basket + 1] - edges[basket]), jagged=jagged)
        content = branch.basket(basket)  # not yet written with the tree, so it is in the tree's description
        offsets = None if content.byte_offsets is None else np.asarray(content.byte_offsets, np.int64)
        return Basket(np.asarray(content.data, np.uint8), offsets)

    return Column(str(branch.name), edges, read, stored.base, stored.shape, header, jagged)


def ntuple_column(field: Any) -> Column:
    """Return the column of an RNTuple's field: one number or a vector per entry.

    Args:
        field: uproot's description of the field.

    Raises ValueError if the field has another type.
    """
    scalar = field.typename in _NUMBERS
    vector = re.fullmatch(r"std::(?:vector<([\w:]+)>|array<([\w:]+),\s*\d+>)", field.typename)
    if not scalar and (vector is None or (vector[1] or vector[2]) not in _NUMBERS):
        raise ValueError(f"{field.typename} is neither a number nor a vector of numbers")
    clusters = field.ntuple.cluster_summaries
    edges = np.array([*(cluster.num_first_entry for cluster in clusters), field.ntuple.num_entries], np.int64)

    def read(cluster: int) -> Basket:
        import awkward

        content = field.array(entry_start=int(edges[cluster]), entry_stop=int(edges[cluster + 1]))
        values = np.asarray(awkward.flatten(content, axis=None), np.float64)
        offsets = None if scalar else 8 * np.concatenate([[0], np.cumsum(np.asarray(awkward.num(content)))])
        data = values.view(np.uint8)
        return Basket(data if len(data) <= SPILL_BYTES else spill([data], len(data)), offsets)

    return Column(str(field.name), edges, read, np.dtype("<f8"), jagged=not scalar)
