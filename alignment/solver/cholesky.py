"""Invert positive definite matrices by Cholesky decomposition, in blocks, so that nearly all work is matrix products.

numpy has LAPACK's decomposition, but its ``inv`` takes no advantage of symmetry and needs twice the time.
"""

import numpy as np

from faser_align.alignment.arrays import FloatArray

_SMALL = 64  # matrices that are not divided further


def invert_positive(matrix: FloatArray) -> FloatArray:
    """Return the inverse of a symmetric matrix; raises LinAlgError if it is not positive definite."""
    inverse = np.linalg.cholesky(matrix)
    _invert_triangle(inverse)
    _square(inverse)
    return inverse


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
