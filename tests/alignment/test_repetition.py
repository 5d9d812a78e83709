"""Test the comparison of a correction with the one before."""

import numpy as np
import pytest

from faser_align.alignment.parameters.constants import correction_from_parameters
from faser_align.alignment.parameters.labels import layer_label, module_x_label
from faser_align.alignment.quality.weak_modes import repetition
from faser_align.alignment.solver.normal_equations import Normal

X, Y = module_x_label(0, 0, 3, 0), layer_label(1, 2, 2)
LABELS = tuple(sorted((X, Y)))


def normal(errors: dict[int, float]) -> Normal:
    """Return normal equations of independent parameters with these errors (um)."""
    of = sorted(errors)
    return Normal(tuple(of), np.diag([errors[label] ** -2 for label in of]), np.zeros(len(of)), np.zeros((0, len(of))))


@pytest.mark.parametrize(
    ("now", "before", "cosine"),
    [
        ({X: 0.002, Y: 0.004}, {X: 0.001, Y: 0.002}, 1.0),
        ({X: 0.002, Y: 0.004}, {X: -0.001, Y: -0.002}, -1.0),
        ({X: 0.002}, {Y: 0.002}, 0.0),
        ({X: 0.002, Y: 0.002}, {X: 0.002}, 3 / np.sqrt(10)),
    ],
)
def test_it_is_the_cosine_in_units_of_errors(now: dict[int, float], before: dict[int, float], cosine: float) -> None:
    """Corrections are compared in units of their errors: 2 um with an error of 1 um are three times those with 3 um."""
    found = repetition(normal({X: 1.0, Y: 3.0}), set(LABELS), now, correction_from_parameters(before))
    assert found == pytest.approx(cosine)


def test_weak_and_fixed_parameters_do_not_count() -> None:
    """A direction with an error of more than ten times the median, and a fixed parameter, do not change the cosine."""
    weak = layer_label(3, 2, 2)
    of = normal({X: 1.0, Y: 1.0, weak: 1000.0})
    before = correction_from_parameters({X: 0.001, weak: 5.0})
    assert repetition(of, {X, Y, weak}, {X: 0.001, weak: -5.0}, before) == pytest.approx(1.0)
    assert repetition(of, {X, Y}, {X: 0.001}, before) == pytest.approx(1.0)


def test_nothing_repeats_no_correction() -> None:
    """A correction that is zero has no direction."""
    of = normal({X: 1.0, Y: 1.0})
    assert repetition(of, set(LABELS), {X: 0.001}, {}) is None
    assert repetition(of, set(), {}, correction_from_parameters({X: 0.001})) is None
