"""Find the parameter directions that the global matrix does not determine, and describe them.

With ``C`` the matrix and ``Z`` a basis allowed by the constraints, they are the null space of ``Z^T C Z``. Each
parameter is scaled by its own effect, the square root of its diagonal element of ``C``, so that lengths and angles are
comparable.
"""

from collections.abc import Mapping

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.labels import describe

_SHARE_MIN = 0.01  # relative to the largest effect; smaller ones are omitted
_NAMED_MAX = 6


def directions(matrix: FloatArray, null_space: FloatArray, count: int) -> FloatArray:
    """Return the ``count`` least determined directions, shape (count, parameters).

    In each, the parameter with the largest effect has the weight 1 and is absent from the other directions. Returns
    none if the numbers overflow.

    Args:
        matrix: matrix of the normal equations, shape (parameters, parameters).
        null_space: orthonormal columns allowed by the constraints, shape (parameters, directions).
        count: number of undetermined directions.
    """
    effects = _sizes(matrix)
    basis = null_space / np.linalg.norm(null_space / effects[:, None], axis=0)
    reduced = basis.T @ matrix @ basis
    sizes = _sizes(reduced)
    scaled = reduced / np.outer(sizes, sizes)
    if not np.isfinite(scaled).all():
        return np.zeros((0, len(matrix)))
    vectors = np.linalg.eigh(scaled)[1][:, :count]
    return _as_weights((basis @ (vectors / sizes[:, None])).T * effects, effects)


def directions_of(matrix: FloatArray, vectors: FloatArray) -> FloatArray:
    """Return the directions of known null vectors as ``directions`` does; shape (parameters, count) of ``vectors``."""
    effects = _sizes(matrix)
    return _as_weights(np.linalg.qr(vectors * effects[:, None])[0].T, effects)


def _sizes(matrix: FloatArray) -> FloatArray:
    """Return the roots of the diagonal elements, and 1 where one is zero."""
    sizes = np.sqrt(np.abs(np.diagonal(matrix)))
    return np.where(sizes > 0, sizes, 1.0)


def _as_weights(modes: FloatArray, effects: FloatArray) -> FloatArray:
    """Return directions as weights, shape (count, parameters); ``modes`` are parameters times their ``effects``."""
    count = len(modes)
    for row in range(count):
        pivot = int(np.argmax(np.abs(modes[row])))
        modes[row] /= modes[row, pivot]
        for other in range(count):
            if other != row:
                modes[other] -= modes[other, pivot] * modes[row]
    modes[np.abs(modes) < _SHARE_MIN * np.abs(modes).max(axis=1, keepdims=True)] = 0.0
    largest = np.argmax(np.abs(modes), axis=1)
    weights = modes / effects
    return np.asarray(weights / weights[np.arange(count), largest][:, None])


def in_words(direction: Mapping[int, float]) -> str:
    """Return weights and names of a direction's parameters, largest weights first, in mm and rad."""
    ordered = sorted(direction.items(), key=lambda item: (-round(abs(item[1]), 3), item[0]))
    named = [f"{weight:+.3g} {describe(label)}" for label, weight in ordered[:_NAMED_MAX]]
    more = len(ordered) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")
