"""Test the order and elimination of constraints."""

import numpy as np
import pytest

from faser_align.alignment.solver.elimination import basis, groups, reflectors
from faser_align.alignment.solver.global_fit import Constraints, Inverse


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        ([[102, 422], [102, 422], [202, 422], [105, 425], [105, 425], [102, 422]], [0, 1, 5, 2, 3, 4]),
        ([[7, 9], [1, 2], [2, 7]], [1, 2, 0]),
        ([[5, 6], [], [1, 2]], [1, 2, 0]),
    ],
)
def test_constraints_are_sorted_by_labels_within_groups(labels: list[list[int]], expected: list[int]) -> None:
    """Constraints are ordered by first and last label, with those that share labels together."""
    assert [number for group in groups(labels) for number in group] == expected


def test_the_basis_is_what_constraints_allow() -> None:
    """The reflectors' last columns are orthonormal and satisfy every constraint."""
    matrix = np.random.default_rng(3).normal(size=(4, 11))
    normals = reflectors(matrix)
    assert normals is not None
    allowed = basis(normals)
    np.testing.assert_allclose(allowed.T @ allowed, np.eye(7), atol=1e-14)
    np.testing.assert_allclose(matrix @ allowed, 0.0, atol=1e-13)


def test_a_constraint_given_twice_may_be_exactly_singular() -> None:
    """A repeated constraint leaves exactly zero with 16 equal factors, and a rounding error with 12 followed by others."""
    for count, width, singular in ((16, 16, True), (12, 20, False)):
        matrix = np.zeros((2, width))
        matrix[:, :count] = 1.0
        assert (reflectors(matrix) is None) == singular
        assert Constraints.make(matrix, np.zeros(2)).singular == singular
    assert reflectors(np.ones((3, 2))) is None


def test_multipliers_take_nothing_away_twice() -> None:
    """With multipliers a redundant constraint removes no further direction."""
    matrix = np.zeros((2, 6))
    matrix[:, :5] = 1.0
    made = Constraints.make(matrix, np.zeros(2), multipliers=True)
    assert (made.rank, made.null_space.shape) == (1, (6, 5))
    inverse = Inverse.make(np.eye(6), made)
    assert inverse.defect == 0
    np.testing.assert_allclose(inverse.covariance, np.eye(6) - np.outer(matrix[0], matrix[0]) / 5, atol=1e-14)


def test_the_last_of_equal_pivots_is_taken() -> None:
    """Of pivots that differ by rounding the last one is determined; of exactly equal ones the first."""
    direction = np.array([1.0, -1.0])
    exact = np.outer(direction, direction)
    none = Constraints.make(np.zeros((0, 2)), np.zeros(0))
    assert Inverse.make(exact, none).step(direction).tolist() == [1.0, 0.0]
    for nearly in (exact * (1 + np.diag([1e-14, 0.0])), exact * (1 + np.diag([0.0, 1e-14]))):
        assert Inverse.make(nearly, none).step(direction) == pytest.approx([0.0, -1.0])
