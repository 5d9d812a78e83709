"""Eliminate constraints as pede does, bit for bit: their order, and the QL decomposition of their matrix.

If data and constraints determine everything, any basis of the subspace allowed by the constraints gives the same
values. Otherwise the result depends on the basis, and a redundant constraint leaves a direction that consists of
rounding errors. To reproduce them, sums run from the first element to the last one, as in pede (GRPCON of pede, QLDECB
of mpqldec, in V04-16).
"""

from collections.abc import Sequence

import numpy as np

from faser_align.alignment.arrays import FloatArray


def groups(labels: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the numbers of constraints that share labels, in pede's order.

    Constraints are sorted by their first and last label and grouped if they have labels in common; a constraint without
    labels is a group of its own.

    Args:
        labels: for each constraint, its labels with a factor other than zero.
    """
    ranges = [(min(of), max(of)) if of else (0, 0) for of in labels]
    by_range = sorted(range(len(labels)), key=lambda number: ranges[number])
    having: dict[int, list[int]] = {}
    for number, of in enumerate(labels):
        for label in set(of):
            having.setdefault(label, []).append(number)
    group: dict[int, int] = {}
    count = 0
    for number in by_range:
        related = [other for label in sorted(set(labels[number])) for other in having[label]]
        if number not in group:
            known = next((group[other] for other in related if other in group), None)
            if known is None:
                count += 1
            group[number] = count if known is None else known
        group.update(dict.fromkeys(related, group[number]))
    return [[number for number in by_range if group[number] == at] for at in sorted(set(group.values()))]


def reflectors(matrix: FloatArray) -> FloatArray | None:
    """Return the Householder reflectors of the constraints' QL decomposition, shape (constraints, parameters).

    They are applied in the given order. None if the decomposition meets an element that is exactly zero, with which
    pede ends (code 27); a redundant constraint usually leaves a tiny one instead.
    """
    n_constraints, n = matrix.shape
    work = matrix.copy()
    vectors = np.zeros((n_constraints, n))
    for k in range(n_constraints - 1, -1, -1):
        end = n + k - n_constraints + 1
        if end < 1:
            return None
        normal = work[k, :end].copy()
        norm = np.sqrt(_sums(normal * normal))
        if norm == 0.0:
            return None
        normal[-1] += norm if normal[-1] >= 0 else -norm
        normal /= np.sqrt(_sums(normal * normal))
        products = _sums(normal * work[: k + 1, :end])
        work[: k + 1, :end] -= (2.0 * normal) * products[:, None]
        if work[k, end - 1] == 0.0:
            return None
        vectors[n_constraints - 1 - k, :end] = normal
    return vectors


def basis(normals: FloatArray) -> FloatArray:
    """Return an orthonormal basis allowed by the constraints, shape (parameters, parameters - constraints)."""
    n_constraints, n = normals.shape
    columns = np.eye(n)[:, : n - n_constraints]
    for normal in normals[::-1]:
        columns -= 2.0 * np.outer(normal, normal @ columns)
    return columns


def compact(normals: FloatArray) -> FloatArray:
    """Return the matrix ``T`` of the product of all reflections, ``I - V T V^T`` with the reflectors as columns of V.

    (R. Schreiber and C. Van Loan, SIAM J. Sci. Stat. Comput. 10 (1989) 53.)
    """
    count = len(normals)
    products = normals @ normals.T
    triangle = np.zeros((count, count))
    for k in range(count):
        triangle[:k, k] = -2.0 * (triangle[:k, :k] @ products[:k, k])
        triangle[k, k] = 2.0
    return triangle


def _sums(terms: FloatArray) -> FloatArray:
    """Return row sums, added from the first element to the last one."""
    return np.asarray(np.cumsum(terms, axis=-1)[..., -1])
