"""Test misaligned modules and the distance to the truth."""

import numpy as np
import pytest

from faser_align.alignment.parameters.constants import Constants
from faser_align.simulation.misalign import distance_to_truth, misplace_ift

TRUTH: Constants = {"00": (1.0, 0.2, 0.0, 0.05, 0.06, 0.002), "003": (0.1, 0.2, 0.0, 0.0, 0.0, 0.001)}


def test_ift_is_misplaced_by_the_given_rms() -> None:
    """Modules of the IFT move by exactly the requested rms; layers and other stations stay."""
    start = misplace_ift(TRUTH, seed=3)
    assert distance_to_truth(start, TRUTH) == pytest.approx((24.0, 121.0, 380.0))
    assert set(start) == set(TRUTH) | {f"0{layer}{module}" for layer in range(3) for module in range(8)}
    assert start["00"] == TRUTH["00"]
    assert misplace_ift(TRUTH, seed=3) == start
    assert misplace_ift(TRUTH, seed=4) != start


def test_constrained_modes_are_not_excited() -> None:
    """In each layer the mean shift across the strips and the mean rotation stay zero."""
    start = misplace_ift({}, seed=1, u_um=50.0)
    for layer in range(3):
        values = np.array([start[f"0{layer}{module}"] for module in range(8)])
        assert values[:, [0, 5]].mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-12)
        assert abs(values[:, 1].mean()) > 1e-4


def test_distance_ignores_constrained_modes() -> None:
    """A common shift and rotation of a layer's modules gives no distance."""
    moved: Constants = {f"01{module}": (0.3, 0.0, 0.0, 0.0, 0.0, 0.002) for module in range(8)}
    assert distance_to_truth(moved, {}) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
