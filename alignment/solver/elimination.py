"""Elimination of constraints as pede does it, to the last bit: their order, and the QL decomposition of their matrix.

Where the data and the constraints determine everything, any basis of what the constraints allow gives the same
values. Where they do not, the answer depends on it, and a constraint that follows from others leaves a direction that
consists of rounding errors. pede repeats them exactly, since it sums from the first element to the last one; so the
same is done here (GRPCON of pede, QLDECB of mpqldec, in V04-16).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def order(labels: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the constraints in the order in which they are eliminated; ``labels`` as those of ``groups``."""
    return [number for group in groups(labels) for number in group]


def groups(labels: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of the constraints that belong together, in pede's order.

    Constraints are sorted by their first and last label and collected into groups that have labels in common; a
    constraint without labels is a group of its own.

    Args:
        labels: of each constraint, those that have a factor other than zero.
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
    """Householder's reflectors of the QL decomposition of constraints, shape (constraints, parameters).

    They are applied in the order in which they are given. None if the decomposition meets an element that is exactly
    zero, with which pede ends (code 27); a constraint that follows from others mostly leaves one that is tiny.
    """
    n_constraints, n = matrix.shape
    work = matrix.copy()
    found = np.zeros((n_constraints, n))
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
        found[n_constraints - 1 - k, :end] = normal
    return found


def basis(normals: FloatArray) -> FloatArray:
    """Orthonormal columns of what the constraints allow, shape (parameters, parameters - constraints)."""
    n_constraints, n = normals.shape
    columns = np.eye(n)[:, : n - n_constraints]
    for normal in normals[::-1]:
        columns -= 2.0 * np.outer(normal, normal @ columns)
    return columns


def _sums(terms: FloatArray) -> FloatArray:
    """Sums of rows, made from the first element to the last one."""
    return np.asarray(np.cumsum(terms, axis=-1)[..., -1])
