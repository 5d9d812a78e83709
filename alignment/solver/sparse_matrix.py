"""Store the global matrix by its elements, for problems of thousands of parameters.

Two parameters have an element only if a record contains both. With local tracks, nearly all pairs have none.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from faser_align.alignment.arrays import FloatArray, Int32Array, IntArray

_BLOCK = 1 << 16  # elements
_ELEMENT_BYTES = 100  # at most, of an element of the upper triangle while it is sorted, copied to both, and used
_PENDING = 1 << 20


@dataclass(frozen=True)
class SparseMatrix:
    """A symmetric matrix in compressed rows, both triangles.

    Attributes:
        offsets: shape (n + 1,): elements ``offsets[i] ... offsets[i+1]`` belong to row i, which has at least that of the
            diagonal.
        columns, values: of the elements, ascending by row and column; those of the diagonal are zero.
        diagonal: shape (n,).
    """

    offsets: IntArray
    columns: Int32Array
    values: FloatArray
    diagonal: FloatArray

    @staticmethod
    def make(n: int, keys: IntArray, values: FloatArray) -> "SparseMatrix":
        """Return the matrix of ``n`` rows with these elements ``row * n + column`` of the upper triangle, each once."""
        bare = np.setdiff1d(np.arange(n), (keys // n)[keys // n == keys % n])
        if len(bare):
            keys = np.concatenate([keys, bare * (n + 1)])
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], np.concatenate([values, np.zeros(len(bare))])[order]
        # numpy sorts short integers by radix
        rows, columns = (part.astype(np.uint16) if n <= 1 << 16 else part for part in (keys // n, keys % n))
        below = np.flatnonzero(rows != columns)
        below = below[np.argsort(columns[below], kind="stable")]  # the lower triangle, by rows
        upper_counts, lower_counts = np.bincount(rows, minlength=n), np.bincount(columns[below], minlength=n)
        offsets = np.concatenate([[0], np.cumsum(upper_counts + lower_counts)])
        all_columns, all_values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1])
        diagonal_at = offsets[:-1] + lower_counts  # a row of the upper triangle begins with the diagonal
        at = np.arange(len(keys)) + np.repeat(diagonal_at - np.cumsum(upper_counts) + upper_counts, upper_counts)
        all_columns[at], all_values[at] = columns, values
        at = np.arange(len(below)) + np.repeat(offsets[:-1] - np.cumsum(lower_counts) + lower_counts, lower_counts)
        all_columns[at], all_values[at] = rows[below], values[below]
        diagonal = all_values[diagonal_at]
        all_values[diagonal_at] = 0.0
        return SparseMatrix(offsets, all_columns, all_values, diagonal)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __matmul__(self, vector: FloatArray) -> FloatArray:
        product = np.empty(len(self))
        for rows, elements, starts in self._blocks:
            terms = vector.take(self.columns[elements], mode="clip")
            terms *= self.values[elements]
            np.add.reduceat(terms, starts, out=product[rows])
        product += self.diagonal * vector
        return product

    @cached_property
    def _blocks(self) -> list[tuple[slice, slice, IntArray]]:
        """Rows and elements of blocks that fit into the processor's cache, and where the rows begin in a block."""
        blocks = []
        bounds = np.searchsorted(self.offsets, np.arange(0, self.offsets[-1], _BLOCK))
        for first, last in pairwise(np.unique(np.append(bounds, len(self))).tolist()):
            begin = int(self.offsets[first])
            blocks.append((slice(first, last), slice(begin, int(self.offsets[last])), self.offsets[first:last] - begin))
        return blocks

    def is_finite(self) -> bool:
        """Return whether all elements are finite."""
        return bool(np.isfinite(self.values).all() and np.isfinite(self.diagonal).all())

    def plus_diagonal(self, values: FloatArray) -> "SparseMatrix":
        """Return the matrix with values added to its diagonal; the other elements are shared."""
        return replace(self, diagonal=self.diagonal + values)

    def plus(self, other: "SparseMatrix") -> "SparseMatrix":
        """Return the sum of two matrices."""
        total = SparseSums(len(self))
        for matrix in (self, other):
            rows = np.repeat(np.arange(len(self)), np.diff(matrix.offsets))
            columns = matrix.columns.astype(np.int64)
            upper = columns > rows
            total.add_elements(rows[upper], columns[upper], matrix.values[upper])
            total.add_elements(np.arange(len(self)), np.arange(len(self)), matrix.diagonal)
        return total.matrix()


class SparseSums:
    """Sums of the elements of the upper triangle of a symmetric matrix.

    Args:
        n: number of parameters.
        bytes_max: memory for the sums and the matrix; 0 for any.

    Methods raise MemoryError if there are more elements than that.
    """

    def __init__(self, n: int, bytes_max: int = 0) -> None:
        self._n = n
        self._bytes_max = bytes_max
        self._keys: IntArray = np.zeros(0, np.int64)
        self._values = np.zeros(0)
        self._new_keys: list[IntArray] = []
        self._new_values: list[FloatArray] = []
        self._n_pending = 0

    def add(self, columns: IntArray, block: FloatArray) -> None:
        """Add a symmetric block of the rows and columns ``columns``, ascending."""
        rows, others = np.nonzero(np.triu(block))
        self.add_elements(columns[rows], columns[others], block[rows, others])

    def add_elements(self, rows: IntArray, columns: IntArray, values: FloatArray) -> None:
        """Add elements of the upper triangle."""
        self._new_keys.append(rows * self._n + columns)
        self._new_values.append(values)
        self._n_pending += len(values)
        if self._n_pending > max(_PENDING, len(self._keys) // 2):
            self._compress()

    def matrix(self) -> SparseMatrix:
        """Return the matrix of all added elements."""
        self._compress()
        return SparseMatrix.make(self._n, self._keys, self._values)

    def _compress(self) -> None:
        if not self._n_pending:
            return
        keys = np.concatenate([self._keys, *self._new_keys])
        self._new_keys = []
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys = keys[first]
        del keys
        values = np.concatenate([self._values, *self._new_values])
        self._new_values, self._n_pending = [], 0
        self._values = np.add.reduceat(values[order], first)
        needed = _ELEMENT_BYTES * len(first)
        if 0 < self._bytes_max < needed:
            raise MemoryError(
                f"the sparse matrix of {self._n:,} parameters has more than {len(first):,} elements, which need "
                f"{needed >> 20:,} MB, and {self._bytes_max >> 20:,} MB are left"
            )
