"""Store the global matrix by its elements, for problems of thousands of parameters.

Two parameters have an element if a record contains both, so with local tracks nearly all pairs have none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import FloatArray, IntArray

_ELEMENT_BYTES = 120  # at most, of an element of the upper triangle while it is sorted, copied to both, and used
_PENDING = 1 << 20


@dataclass(frozen=True)
class SparseMatrix:
    """A symmetric matrix in compressed rows, both triangles.

    Attributes:
        offsets: shape (n + 1,): elements ``offsets[i] ... offsets[i+1]`` belong to row i, which has at least the diagonal one.
        columns, values: of the elements, ascending by row and column.
        diagonal_at: shape (n,): positions of the diagonal elements.
    """

    offsets: IntArray
    columns: npt.NDArray[np.int32]
    values: FloatArray
    diagonal_at: IntArray

    @staticmethod
    def make(n: int, keys: IntArray, values: FloatArray) -> "SparseMatrix":
        """Return the matrix of ``n`` rows with these elements ``row * n + column`` of the upper triangle, each once."""
        rows, columns = np.divmod(keys, n)
        below = np.flatnonzero(rows != columns)
        bare = np.flatnonzero(np.bincount(rows[rows == columns], minlength=n) == 0)
        every = np.concatenate([keys, columns[below] * n + rows[below], bare * (n + 1)])
        order = np.argsort(every, kind="stable")
        every = every[order]
        offsets = np.searchsorted(every, np.arange(n + 1) * n)
        return SparseMatrix(
            offsets,
            (every % n).astype(np.int32),
            np.concatenate([values, values[below], np.zeros(len(bare))])[order],
            np.searchsorted(every, np.arange(n) * (n + 1)),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __matmul__(self, vector: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(self.values * vector[self.columns], self.offsets[:-1]))

    def copy(self) -> "SparseMatrix":
        """Return a matrix whose elements can be changed."""
        return SparseMatrix(self.offsets, self.columns, self.values.copy(), self.diagonal_at)

    def diagonal(self) -> FloatArray:
        """Return the diagonal."""
        return np.asarray(self.values[self.diagonal_at])

    def add_diagonal(self, values: FloatArray) -> None:
        """Add values to the diagonal."""
        self.values[self.diagonal_at] += values

    def scaled(self, factors: FloatArray) -> "SparseMatrix":
        """Return the matrix with each row and column multiplied by its factor."""
        by_row = np.repeat(factors, np.diff(self.offsets))
        by_row *= factors[self.columns]
        by_row *= self.values
        return SparseMatrix(self.offsets, self.columns, by_row, self.diagonal_at)

    def plus(self, other: "SparseMatrix") -> "SparseMatrix":
        """Return the sum of two matrices."""
        total = SparseSums(len(self))
        for matrix in (self, other):
            rows = np.repeat(np.arange(len(self)), np.diff(matrix.offsets))
            columns = matrix.columns.astype(np.int64)
            upper = columns >= rows
            total.add_elements(rows[upper], columns[upper], matrix.values[upper])
        return total.matrix()


def sparse(matrix: FloatArray | SparseMatrix) -> SparseMatrix:
    """Return a matrix as a sparse one."""
    if isinstance(matrix, SparseMatrix):
        return matrix
    sums = SparseSums(len(matrix))
    sums.add(np.arange(len(matrix)), matrix)
    return sums.matrix()


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
        self._pending: list[tuple[IntArray, FloatArray]] = []
        self._n_pending = 0

    def add(self, columns: IntArray, block: FloatArray) -> None:
        """Add a symmetric block of the rows and columns ``columns``, ascending."""
        rows, others = np.nonzero(np.triu(block))
        self.add_elements(columns[rows], columns[others], block[rows, others])

    def add_elements(self, rows: IntArray, columns: IntArray, values: FloatArray) -> None:
        """Add elements of the upper triangle."""
        self._pending.append((rows * self._n + columns, values))
        self._n_pending += len(values)
        if self._n_pending > max(_PENDING, len(self._keys)):
            self._compress()

    def matrix(self) -> SparseMatrix:
        """Return the matrix."""
        self._compress()
        return SparseMatrix.make(self._n, self._keys, self._values)

    def _compress(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        values = np.concatenate([self._values, *(values for _, values in self._pending)])
        self._pending, self._n_pending = [], 0
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys, self._values = keys[first], np.add.reduceat(values[order], first)
        needed = _ELEMENT_BYTES * len(first)
        if 0 < self._bytes_max < needed:
            raise MemoryError(
                f"the sparse matrix of {self._n:,} parameters has more than {len(first):,} elements, which need "
                f"{needed >> 20:,} MB, and {self._bytes_max >> 20:,} MB are left"
            )
