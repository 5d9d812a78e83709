"""Sum equations to the global gradient and matrix, ``G^T W r`` and ``G^T W G - N^T N``.

``N = Q^T W G`` is the part absorbed by the records' local parameters, with Q the projection of the local fits. Both
parts are sparse in different ways. Equations with equal labels are summed first, and the sums are added to the matrix
once per pass. N has a few rows per record. Records with equal labels at their begin, end and middle use nearly the same
parameters, so the product is computed for some dozens of them at once, with those columns only.
"""

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.solver.equations import Equations
from faser_align.alignment.solver.local_fit import LocalFits

_RECORDS = 64  # per product
_PLACES_MAX = 16  # equations with more labels are not summed by sets


class Sums:
    """Gradient, matrix and accepted entries of the variable parameters.

    Args:
        columns: shape (places, sets): number of each label among the variable parameters, -1 if it is fixed or absent.
        n: number of variable parameters.
        with_matrix: whether to compute the matrix.
    """

    def __init__(self, columns: IntArray, n: int, *, with_matrix: bool) -> None:
        self._columns = columns
        self._places = [place for place in range(len(columns)) if (columns[place] >= 0).any()]
        self._by_set = len(self._places) <= _PLACES_MAX
        self._n = n
        self._gradient = np.zeros(columns.shape)
        self._accepted = np.zeros(columns.shape[1], np.int64)
        self._moments: dict[tuple[int, int], FloatArray] = {}
        self._matrix = np.zeros((n, n)) if with_matrix else None

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
        if self._matrix is None or not places:
            return
        factors = chunk.factors[places].astype(np.float64)
        weighted = factors * weights
        if self._by_set:
            self._add_moments(sets, places, factors, chunk.weight * weighted)
        self._add_records(chunk, fits, places, factors, weighted, kept)

    def merge(self, other: "Sums") -> None:
        """Add other sums of the same parameters, which must not be used afterwards."""
        self._gradient += other._gradient
        self._accepted += other._accepted
        for key, sums in other._moments.items():
            self._moments[key] = self._moments[key] + sums if key in self._moments else sums
        if self._matrix is not None and other._matrix is not None:
            self._matrix += other._matrix

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

    def matrix(self) -> FloatArray | None:
        """Return the symmetric matrix, or None."""
        if self._matrix is None:
            return None
        matrix = self._matrix.copy()
        for (i, j), sums in self._moments.items():
            a, b = self._columns[i], self._columns[j]
            both = (a >= 0) & (b >= 0)
            np.add.at(matrix, (a[both], b[both]), sums[both])
            if i != j:
                np.add.at(matrix, (b[both], a[both]), sums[both])
        return matrix

    def _add_moments(
        self, sets: npt.NDArray[np.int32], places: list[int], factors: FloatArray, weighted: FloatArray
    ) -> None:
        count = self._columns.shape[1]
        for i, first in enumerate(places):
            for j in range(i + 1):
                sums = np.asarray(np.bincount(sets, weighted[i] * factors[j], count), np.float64)
                key = (first, places[j])
                self._moments[key] = self._moments[key] + sums if key in self._moments else sums

    def _add_records(
        self,
        chunk: Equations,
        fits: LocalFits,
        places: list[int],
        factors: FloatArray,
        weighted: FloatArray,
        kept: BoolArray | None,
    ) -> None:
        """Subtract ``N^T N`` for a few records at a time, sorted so that their labels are nearly the same."""
        assert self._matrix is not None
        assert fits.projection is not None
        starts, counts = chunk.offsets[:-1], np.diff(chunk.offsets)
        if kept is not None:
            counts, starts = counts[kept[starts]], starts[kept[starts]]
        if not len(starts):
            return
        sets, columns = chunk.sets, self._columns[places]
        # a track's first, last, and middle sets of labels say where it crosses the detector
        order = np.lexsort((sets[starts + counts // 2], sets[starts], sets[starts + counts - 1]))
        ends = np.cumsum(counts[order])
        equations = np.arange(ends[-1]) + np.repeat(starts[order] - ends + counts[order], counts[order])
        begin = 0
        for first in range(0, len(order), _RECORDS):
            sizes = counts[order[first : first + _RECORDS]]
            end = begin + int(sizes.sum())
            at = equations[begin:end]
            begin = end
            of = sets[at]
            used = self._used(columns, of)
            if not len(used):
                continue
            width = len(used) + 1  # the last column is for fixed parameters
            where = np.full(self._n + 1, len(used))
            where[used] = np.arange(len(used))
            rows = np.repeat(np.arange(len(sizes)) * width, sizes)
            local = where[columns]
            keys = np.empty((len(places), len(at)), np.int64)
            words = np.empty((len(places), len(at)))
            for place in range(len(places)):
                np.add(local[place].take(of), rows, out=keys[place])
                weighted[place].take(at, out=words[place])
            n = len(fits.projection)
            mixed = np.empty((n, len(sizes) * width))
            products = np.empty_like(words)
            for number, projection in enumerate(fits.projection):
                np.multiply(words, projection[at], out=products)
                mixed[number] = np.bincount(keys.ravel(), products.ravel(), len(sizes) * width)
            absorbed = mixed.reshape(-1, width)[:, :-1]
            product = -(absorbed.T @ absorbed)
            if not self._by_set:
                product += self._dense(keys - rows, words, factors[:, at], width)
            flat = (used[:, None] * self._n + used).ravel()
            np.add.at(self._matrix.reshape(-1), flat, (chunk.weight * product).ravel())

    def _used(self, columns: IntArray, sets: npt.NDArray[np.int32]) -> IntArray:
        """Return the variable parameters of equations with these sets of labels, ascending."""
        there = np.zeros(self._n + 1, np.bool_)
        there[columns[:, np.bincount(sets, minlength=columns.shape[1]) > 0]] = True
        return np.flatnonzero(there[:-1])

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
