"""Test the errors of constants from the normal equations."""

import numpy as np
import pytest

from faser_align.alignment.parameters.labels import layer_label, module_rz_label, module_x_label
from faser_align.alignment.quality.constant_errors import constant_errors
from faser_align.alignment.solver.normal_equations import LAYER_LEVER_MM, STRIP_LEVER_MM, Normal

SIDES = (module_x_label(0, 0, 3, 0), module_x_label(0, 0, 3, 1))
RZ = module_rz_label(0, 0, 3)


def normal(
    covariance: list[list[float]], labels: tuple[int, ...], constraints: list[list[float]] | None = None
) -> Normal:
    """Return normal equations whose inverse is ``covariance`` (um^2), for labels in ascending order."""
    rows = np.array(constraints or np.zeros((0, len(labels))), dtype=float)
    return Normal(labels, np.linalg.inv(np.array(covariance)), np.zeros(len(labels)), rows)


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_the_sides_of_a_module_are_correlated(correlation: float) -> None:
    """x of a module is the mean of its sides, y their difference over the stereo angle: a correlation has opposite signs."""
    both = normal([[4.0, 4.0 * correlation], [4.0 * correlation, 4.0]], SIDES)
    found = constant_errors(both, set(SIDES))
    assert found == {
        "003": pytest.approx([np.sqrt(2 + 2 * correlation), np.sqrt(8 - 8 * correlation) / 0.04, 0, 0, 0, 0])
    }


def test_units_are_um_and_urad() -> None:
    """Angles are those of the rotation that moves a sensor by the error."""
    labels = tuple(sorted((RZ, layer_label(1, 2, 2), layer_label(1, 2, 5))))
    found = constant_errors(normal(np.diag([4.0] * 3).tolist(), labels), set(labels))
    assert found["003"] == pytest.approx([0, 0, 0, 0, 0, 2e3 / STRIP_LEVER_MM])
    assert found["12"] == pytest.approx([0, 2, 0, 0, 0, 2e3 / LAYER_LEVER_MM])


def test_a_constraint_makes_errors_smaller() -> None:
    """Where a constraint keeps the sum of two parameters at zero, each has half of the difference's variance."""
    labels = (layer_label(0, 0, 2), layer_label(0, 1, 2))
    free = constant_errors(normal([[4.0, 0.0], [0.0, 4.0]], labels), set(labels))
    tied = constant_errors(normal([[4.0, 0.0], [0.0, 4.0]], labels, [[1.0, 1.0]]), set(labels))
    assert (free["00"][1], tied["00"][1]) == pytest.approx((2.0, np.sqrt(2.0)))


def test_what_the_data_do_not_determine_has_no_error() -> None:
    """A parameter in a direction without information has no error, and a fixed one has none to be known."""
    labels = tuple(sorted(layer_label(0, layer, 2) for layer in range(3)))
    of = normal(np.diag([1.0, 1.0, 1e12]).tolist(), labels)
    found = constant_errors(of, set(labels))
    assert [found[key][1] for key in ("00", "01", "02")] == [pytest.approx(1.0), pytest.approx(1.0), None]
    assert constant_errors(of, {labels[0]}).keys() == {"00"}
    tilted = (layer_label(0, 0, 2), layer_label(0, 0, 3), layer_label(0, 1, 2))
    of_layer = constant_errors(normal(np.diag([1.0, 1e12, 1.0]).tolist(), tilted), set(tilted))["00"]
    assert (of_layer[1], of_layer[3]) == (pytest.approx(1.0), None)
    assert constant_errors(of, set()) == {}
