"""Sum equations to the global gradient and matrix, ``G^T W r`` and ``G^T W G - N^T N``.

``N = Q^T W G`` is the part absorbed by the records' local parameters, with Q the projection of the local fits. Both
parts are sparse in different ways. Equations with equal labels are summed first, and the sums are added to the matrix
once per pass. N has a few rows per record. Records with equal labels at their beginning, middle and end use nearly the
same parameters, so the product is computed for some dozens of them at once, with those columns only.
"""

from collections import defaultdict
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, Int32Array, IntArray
from faser_align.alignment.solver.equations import Equations, side_by_side
from faser_align.alignment.solver.local_fit import LocalFits
from faser_align.alignment.solver.sparse_matrix import SparseMatrix, SparseSums

_RECORDS = 96  # at most, per product
_RECORDS_LOCAL = 32  # that begin at one place are enough for a product of their own
_PLACES_MAX = 16  # equations with more labels are not summed by sets
_SMALL = 512  # parameters; with more, products wait for other records that begin at the same place
_FILL = 2  # elements of a product, relative to those of its records alone, above which the latter are added
_PAIRS = 1 << 19  # of labels, at a time
_WAITING_BYTES = 16 << 20


class _Rows(NamedTuple):
    """Data of a chunk's accepted records that the products need.

    Of each equation the number of its set of labels, its factors with and without weights, and its projection; of each
    record its first equation and their number.
    """

    sets: Int32Array
    starts: IntArray
    counts: IntArray
    factors: FloatArray | None
    weighted: FloatArray
    projection: FloatArray
    weight: float

    @property
    def nbytes(self) -> int:
        return self.weighted.nbytes * (1 if self.factors is None else 2) + self.projection.nbytes + self.sets.nbytes


class Sums:
    """Gradient, matrix and accepted entries of the variable parameters.

    Args:
        columns: shape (places, sets): number of each label among the variable parameters, -1 if it is fixed or absent.
        n: number of variable parameters.
        with_matrix: whether to compute the matrix.
        sparse_bytes: memory for a sparse matrix; 0 for a dense one.
    """

    def __init__(self, columns: IntArray, n: int, *, with_matrix: bool, sparse_bytes: int = 0) -> None:
        self._columns = columns
        self._places = [place for place in range(len(columns)) if (columns[place] >= 0).any()]
        self._by_set = len(self._places) <= _PLACES_MAX
        self._n = n
        self._gradient = np.zeros(columns.shape)
        self._accepted = np.zeros(columns.shape[1], np.int64)
        self._moments: defaultdict[tuple[int, int], FloatArray] = defaultdict(lambda: np.zeros(columns.shape[1]))
        self._with_matrix = with_matrix
        self._sparse_bytes = sparse_bytes
        self._waiting: list[_Rows] = []

    def add(self, chunk: Equations, fits: LocalFits, weights: FloatArray, kept: BoolArray | None) -> None:
        """Add equations.

        Args:
            chunk: the equations.
            fits: fits of their records, with projections if a matrix is computed.
            weights: ``1 / error^2`` after down-weighting, shape (equations,).
            kept: which equations are added, shape (equations,); None for all.
        """
        sets, count = chunk.sets, self._columns.shape[1]
        places = [place for place in self._places if place < len(chunk.factors)]
        residuals = fits.residuals
        if kept is not None:
            weights, residuals = np.where(kept, weights, 0.0), np.where(kept, residuals, 0.0)
            self._accepted += np.bincount(sets[kept], minlength=count)
        else:
            self._accepted += np.bincount(sets, minlength=count)
        pulls = chunk.weight * weights * residuals
        for place in places:
            self._gradient[place] += np.bincount(sets, pulls * chunk.factors[place], count)
        if not self._with_matrix or not places:
            return
        assert fits.projection is not None
        factors = chunk.factors[places].astype(np.float64)
        weighted = factors * weights
        for i, first in enumerate(places if self._by_set else ()):
            mine = chunk.weight * weighted[i]
            for j in range(i + 1):
                sums = np.asarray(np.bincount(sets, mine * factors[j], count), np.float64)
                self._moments[first, places[j]] += sums
        starts, counts = chunk.offsets[:-1], np.diff(chunk.offsets)
        if kept is not None:
            starts, counts = starts[kept[starts]], counts[kept[starts]]
        known = None if self._by_set else factors
        self._waiting.append(_Rows(sets, starts, counts, known, weighted, fits.projection, chunk.weight))

    def merge(self, other: "Sums") -> None:
        """Add other sums of the same parameters, which must not be used afterwards."""
        self._gradient += other._gradient
        self._accepted += other._accepted
        for key, sums in other._moments.items():
            self._moments[key] += sums
        self._waiting += other._waiting
        if sum(rows.nbytes for rows in self._waiting) > _WAITING_BYTES:
            self._multiply()

    def gradient(self) -> FloatArray:
        """Return the negative gradient of half the chi2."""
        there = self._columns >= 0
        return np.asarray(np.bincount(self._columns[there], self._gradient[there], self._n), np.float64)

    def accepted(self) -> IntArray:
        """Return the entries of each variable parameter."""
        entries = np.zeros(self._n, np.int64)
        for row in self._columns:
            np.add.at(entries, row[row >= 0], self._accepted[row >= 0])
        return entries

    def matrix(self) -> FloatArray | SparseMatrix | None:
        """Return the symmetric matrix, or None."""
        if not self._with_matrix:
            return None
        self._multiply()
        for (i, j), sums in self._moments.items():
            a, b = self._columns[i], self._columns[j]
            both = (a >= 0) & (b >= 0)
            self._add_elements(a[both], b[both], sums[both], np.full(int(both.sum()), i != j))
        return self._matrix.matrix() if isinstance(self._matrix, SparseSums) else self._matrix

    @cached_property
    def _matrix(self) -> FloatArray | SparseSums:
        """The products so far, and finally the whole matrix."""
        return SparseSums(self._n, self._sparse_bytes) if self._sparse_bytes else np.zeros((self._n, self._n))

    def _multiply(self) -> None:
        """Add the products of the waiting records, those of equal weight together."""
        waiting, self._waiting = self._waiting, []
        for weight in dict.fromkeys(rows.weight for rows in waiting):
            self._add_records(_joined([rows for rows in waiting if rows.weight == weight]))

    def _add_records(self, rows: _Rows) -> None:
        """Subtract ``N^T N`` for a few records at a time, sorted so that their labels are nearly the same."""
        starts, counts, sets = rows.starts, rows.counts, rows.sets
        if not len(starts):
            return
        columns = self._columns[self._places[: len(rows.weighted)]]
        # a track's first, last, and middle sets of labels say where it crosses the detector
        crossings = (sets[starts + counts // 2], sets[starts], sets[starts + counts - 1])
        if self._n <= _SMALL:
            order = np.lexsort(crossings)
            batches = [*range(0, len(order), _RECORDS), len(order)]
        else:
            first = columns[:, sets[starts]]
            places = np.min(np.where(first < 0, self._n, first), axis=0)
            order = np.lexsort((*crossings, places))
            batches = _batches(places[order])
        ends = np.cumsum(counts[order])
        equations = np.arange(ends[-1]) + np.repeat(starts[order] - ends + counts[order], counts[order])
        begins = np.concatenate([[0], ends]).tolist()
        single: list[IntArray] = []
        for begin, end in pairwise(batches):
            sizes, at = counts[order[begin:end]], equations[begins[begin] : begins[end]]
            there = np.zeros(self._n + 1, np.bool_)  # the last one is for fixed parameters
            there[columns.take(np.flatnonzero(np.bincount(sets[at])), axis=1)] = True
            used = np.flatnonzero(there[:-1])
            if not len(used):
                continue
            alone = int((sizes * len(columns)) @ (sizes * len(columns)))
            if self._n > _SMALL and len(used) ** 2 > _FILL * alone:
                single.append(order[begin:end])
                continue
            product = rows.weight * self._product(rows, columns, used, at, sizes)
            if isinstance(self._matrix, SparseSums):
                self._matrix.add(used, product)
            else:
                flat = (used[:, None] * self._n + used).ravel()
                np.add.at(self._matrix.reshape(-1), flat, product.ravel())
        if single:
            those = np.concatenate(single)
            self._add_pairs(rows, columns, starts[those], counts[those])

    def _add_pairs(self, rows: _Rows, columns: IntArray, starts: IntArray, counts: IntArray) -> None:
        """Subtract ``N^T N`` of records that share few parameters, pair by pair of the labels of each."""
        for size in np.unique(counts).tolist():
            slots = size * len(columns)  # labels of a record, by place and equation
            first, second = np.triu_indices(slots)
            alike = np.flatnonzero(first % size == second % size)  # pairs of one equation
            of_size = starts[counts == size]
            step = max(1, _PAIRS // slots**2)
            for begin in range(0, len(of_size), step):
                at = of_size[begin : begin + step, None] + np.arange(size)
                of_slots = columns[:, rows.sets[at]].swapaxes(0, 1).reshape(-1, slots)
                weighted = rows.weighted[:, at]
                mixed = weighted * rows.projection[:, None, at]  # combination, place, record, equation
                mixed = np.moveaxis(mixed, 2, 0).reshape(len(at), -1, slots)
                values = -(mixed.swapaxes(1, 2) @ mixed)[:, first, second]
                if rows.factors is not None:
                    words, factors = (of.swapaxes(0, 1).reshape(-1, slots) for of in (weighted, rows.factors[:, at]))
                    values[:, alike] += words[:, first[alike]] * factors[:, second[alike]]
                a, b = of_slots[:, first], of_slots[:, second]
                there = (a >= 0) & (b >= 0)
                twice = np.broadcast_to(first != second, a.shape)[there]
                self._add_elements(a[there], b[there], rows.weight * values[there], twice)

    def _add_elements(self, a: IntArray, b: IntArray, values: FloatArray, twice: BoolArray) -> None:
        """Add values for pairs of parameters; where ``twice``, also for the exchanged pair, on the diagonal too."""
        if isinstance(self._matrix, SparseSums):
            values = np.where(twice & (a == b), 2.0 * values, values)
            self._matrix.add_elements(np.minimum(a, b), np.maximum(a, b), values)
        else:
            flat = self._matrix.reshape(-1)
            np.add.at(flat, a * self._n + b, values)
            np.add.at(flat, b[twice] * self._n + a[twice], values[twice])

    def _product(self, rows: _Rows, columns: IntArray, used: IntArray, at: IntArray, sizes: IntArray) -> FloatArray:
        """Return the product of records with ``sizes`` equations ``at`` positions, for the parameters ``used``."""
        width = len(used) + 1  # the last column is for fixed parameters
        of = rows.sets.take(at).astype(np.int64)
        where = np.full(self._n + 1, len(used))
        where[used] = np.arange(len(used))
        record = np.repeat(np.arange(len(sizes)) * width, sizes)
        keys, words = np.empty((len(columns), len(at)), np.int64), np.empty((len(columns), len(at)))
        for place, column in enumerate(columns):  # the mode avoids copies
            np.take(where.take(column, mode="wrap"), of, out=keys[place], mode="clip")
            np.take(rows.weighted[place], at, out=words[place], mode="clip")
        keys += record
        mixed = np.empty((len(rows.projection), len(sizes) * width))
        products = np.empty_like(words)
        for number, projection in enumerate(rows.projection):
            np.multiply(words, projection.take(at), out=products)
            mixed[number] = np.bincount(keys.ravel(), products.ravel(), len(sizes) * width)
        absorbed = mixed.reshape(-1, width)[:, :-1]
        product = absorbed.T @ absorbed
        np.negative(product, out=product)
        if rows.factors is not None:
            product += self._dense(keys - record, words, rows.factors[:, at], width)
        return np.asarray(product)

    @staticmethod
    def _dense(columns: IntArray, weighted: FloatArray, factors: FloatArray, width: int) -> FloatArray:
        """Return ``G^T W G`` of equations with many labels."""
        n_equations = columns.shape[1]
        keys = (np.arange(n_equations) * width + columns).ravel()
        left, right = (
            np.bincount(keys, words.ravel(), n_equations * width).reshape(-1, width)[:, :-1]
            for words in (weighted, factors)
        )
        return np.asarray(left.T @ right)


def _batches(places: npt.NDArray[Any]) -> list[int]:
    """Return where each product begins, and where the last one ends, for records in the order of their ``places``.

    Records of one place have nearly the same parameters, so they get a product of their own unless they are few.
    """
    bounds = [0]
    for end in [*(np.flatnonzero(np.diff(places)) + 1).tolist(), len(places)]:
        while end - bounds[-1] > _RECORDS:
            bounds.append(bounds[-1] + _RECORDS)
        if end - bounds[-1] >= _RECORDS_LOCAL:
            bounds.append(end)
    if bounds[-1] < len(places):
        bounds.append(len(places))
    return bounds


def _joined(several: list[_Rows]) -> _Rows:
    """Return the records of several chunks as of one."""
    if len(several) == 1:
        return several[0]
    firsts = np.cumsum([0] + [len(rows.sets) for rows in several])
    return _Rows(
        np.concatenate([rows.sets for rows in several]),
        np.concatenate([rows.starts + first for rows, first in zip(several, firsts, strict=False)]),
        np.concatenate([rows.counts for rows in several]),
        None
        if several[0].factors is None
        else side_by_side([rows.factors for rows in several if rows.factors is not None]),
        side_by_side([rows.weighted for rows in several]),
        side_by_side([rows.projection for rows in several]),
        several[0].weight,
    )
