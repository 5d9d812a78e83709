"""Handle constraints of a few parameters each, for problems with thousands of parameters.

Constraints that share parameters, directly or through others, form a group. Projections are computed group by group, so
that their size is that of the constraints and not of the whole problem.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.solver.local_fit import invert_symmetric


class Form(NamedTuple):
    """A linear form: numbers of the variable parameters, ascending, and their factors."""

    columns: IntArray
    factors: FloatArray


class _Group(NamedTuple):
    """Constraints ``matrix @ p[columns]`` with their positions among all; ``rank`` of them are independent."""

    numbers: IntArray
    columns: IntArray
    matrix: FloatArray
    rank: int


@dataclass(frozen=True)
class LocalConstraints:
    """Linear equalities of the variable parameters: ``global_fit.Constraints`` for large problems.

    Attributes:
        n: number of variable parameters.
        values: right-hand sides minus the contribution of fixed parameters.
        rank: rank of the product matrix, as pede counts it.
        singular: always False: redundant constraints change no values.
    """

    n: int
    values: FloatArray
    rank: int
    _groups: tuple[_Group, ...]
    singular: bool = False

    @staticmethod
    def make(n: int, forms: Sequence[Form], values: FloatArray) -> "LocalConstraints":
        """Prepare constraints of ``n`` parameters."""
        groups = []
        for numbers in _groups([form.columns for form in forms]):
            columns = np.unique(np.concatenate([forms[number].columns for number in numbers]))
            matrix = np.zeros((len(numbers), len(columns)))
            for row, number in zip(matrix, numbers, strict=True):
                row[np.searchsorted(columns, forms[number].columns)] = forms[number].factors
            _, ranks = invert_symmetric((matrix @ matrix.T)[None])
            groups.append(_Group(np.array(numbers), columns, matrix, int(ranks[0])))
        return LocalConstraints(n, values, sum(group.rank for group in groups), tuple(groups))

    def __len__(self) -> int:
        return len(self.values)

    def feasible(self, parameters: FloatArray, tolerance: float) -> tuple[FloatArray, bool]:
        """Return the nearest parameters that satisfy the constraints, and whether they differ from the given ones.

        The parameters stay unchanged if they satisfy the constraints within ``tolerance``, rms.
        """
        differences = self._differences(parameters)
        if not len(differences) or np.sqrt(np.mean(differences**2)) < tolerance:
            return parameters, False
        moved = parameters.copy()
        for _ in range(2):
            differences = self._differences(moved)
            for group in self._groups:
                left, sizes, right = np.linalg.svd(group.matrix, full_matrices=False)
                parts = (left.T @ differences[group.numbers])[: group.rank] / sizes[: group.rank]
                moved[group.columns] += parts @ right[: group.rank]
        return moved, True

    def projection(self, scales: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the projection onto the space that the constraints allow, for parameters multiplied by ``scales``."""
        rows: list[tuple[IntArray, FloatArray]] = []  # orthonormal and sparse: columns and values
        for group in self._groups:
            right = np.linalg.svd(group.matrix / scales[group.columns], full_matrices=False)[2]
            rows += [(group.columns, row) for row in right[: group.rank]]
        if not rows:
            return lambda vector: vector
        columns, values = (np.concatenate(part) for part in zip(*rows, strict=True))
        sizes = np.array([len(row) for row, _ in rows])
        starts = np.cumsum(sizes) - sizes

        def project(vector: FloatArray) -> FloatArray:
            parts = np.add.reduceat(values * vector[columns], starts)
            return vector - np.bincount(columns, values * np.repeat(parts, sizes), self.n)

        return project

    def _differences(self, parameters: FloatArray) -> FloatArray:
        differences = self.values.copy()
        for group in self._groups:
            differences[group.numbers] -= group.matrix @ parameters[group.columns]
        return differences


def _groups(columns: Sequence[IntArray]) -> list[list[int]]:
    """Return the numbers of constraints that share columns, directly or through others."""
    group_of = list(range(len(columns)))

    def root(number: int) -> int:
        while group_of[number] != number:
            number = group_of[number] = group_of[group_of[number]]
        return number

    first: dict[int, int] = {}
    for number, of in enumerate(columns):
        for column in of.tolist():
            group_of[root(number)] = root(first.setdefault(column, number))
    groups: dict[int, list[int]] = {}
    for number in range(len(columns)):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())
