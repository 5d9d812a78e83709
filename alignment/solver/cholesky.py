"""Invert positive definite matrices by Cholesky decomposition, in blocks, so that nearly all work is matrix products.

numpy has LAPACK's decomposition, but its ``inv`` takes no advantage of symmetry and needs twice the time.
"""

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray

_SMALL = 64  # matrices that are not divided further


def invert_positive(matrix: FloatArray) -> FloatArray:
    """Return the inverse of a symmetric matrix; raises LinAlgError if it is not positive definite."""
    inverse = np.linalg.cholesky(matrix)
    _invert_triangle(inverse)
    _square(inverse)
    return inverse


def pivots(matrix: FloatArray, epsilon: float, equal: float) -> IntArray | None:
    """Return the parameters that have a pivot, in pede's order, as ``local_fit.invert_symmetric`` chooses them.

    The decomposition computes one column at a time, so that finding them takes a third of the operations of an inversion.
    Returns None if a remainder is negative by more than rounding: the matrix is not positive semidefinite.

    Args:
        matrix: symmetric.
        epsilon: smallest pivot, relative to the original diagonal element.
        equal: pivots closer than this, relative to the original ones, are equal except for rounding: the last is taken.
    """
    n = len(matrix)
    diagonal = np.diagonal(matrix).copy()
    left, limits = diagonal.copy(), np.abs(diagonal) * epsilon
    factors = np.zeros((n, n))
    chosen: list[int] = []
    for k in range(n):
        if (left < -limits).any():
            return None
        candidates = np.where(left > limits, left, -1.0)
        candidates[chosen] = -1.0
        pivot = int(np.argmax(candidates))
        largest = candidates[pivot]
        if largest <= 0:
            break
        alike = np.flatnonzero((candidates > 0) & (candidates >= largest - equal * diagonal))
        if (candidates == largest).sum() == 1:
            pivot = int(alike[-1])
        column = (matrix[pivot] - factors[:k, pivot] @ factors[:k]) / np.sqrt(candidates[pivot])
        factors[k] = column
        left -= column**2
        left[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, np.int64)


def _invert_triangle(lower: FloatArray) -> None:
    """Replace a lower triangular matrix by its inverse."""
    if len(lower) <= _SMALL:
        lower[:] = np.linalg.inv(lower)
        return
    half = len(lower) // 2
    first, last, corner = lower[:half, :half], lower[half:, half:], lower[half:, :half]
    _invert_triangle(first)
    _invert_triangle(last)
    corner[:] = -(last @ corner) @ first


def _square(lower: FloatArray) -> None:
    """Replace a lower triangular matrix L by ``L^T L``."""
    if len(lower) <= _SMALL:
        lower[:] = lower.T @ lower
        return
    half = len(lower) // 2
    first, last, corner = lower[:half, :half], lower[half:, half:], lower[half:, :half]
    _square(first)
    first += corner.T @ corner
    corner[:] = last.T @ corner
    _square(last)
    lower[:half, half:] = corner.T
