"""Test the errors of constants from the normal equations, and corrections in units of them."""

from pathlib import Path

import numpy as np
import pytest

from faser_align.alignment.parameters.constants import correction_from_parameters
from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import (
    LAYER_LEVER_MM,
    PARAMETERS,
    STRIP_LEVER_MM,
    layer_label,
    module_rz_label,
    module_x_label,
)
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.quality.constant_errors import errors_of
from faser_align.alignment.quality.weak_modes import repetition
from faser_align.alignment.solver.normal_equations import Normal, in_um
from faser_align.alignment.solver.steering import parse_steering

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
    found = errors_of(both, set(SIDES))[1]
    assert found == {
        "003": pytest.approx([np.sqrt(2 + 2 * correlation), np.sqrt(8 - 8 * correlation) / 0.04, 0, 0, 0, 0])
    }


def test_units_are_um_and_urad() -> None:
    """Errors of angles are the rotations that move a sensor by the error in um."""
    labels = tuple(sorted((RZ, layer_label(1, 2, 2), layer_label(1, 2, 5))))
    found = errors_of(normal(np.diag([4.0] * 3).tolist(), labels), set(labels))[1]
    assert found["003"] == pytest.approx([0, 0, 0, 0, 0, 2e3 / STRIP_LEVER_MM])
    assert found["12"] == pytest.approx([0, 2, 0, 0, 0, 2e3 / LAYER_LEVER_MM])


def test_a_constraint_makes_errors_smaller() -> None:
    """Where a constraint keeps the sum of two parameters at zero, each has half of the difference's variance."""
    labels = (layer_label(0, 0, 2), layer_label(0, 1, 2))
    free = errors_of(normal([[4.0, 0.0], [0.0, 4.0]], labels), set(labels))[1]
    tied = errors_of(normal([[4.0, 0.0], [0.0, 4.0]], labels, [[1.0, 1.0]]), set(labels))[1]
    assert (free["00"][1], tied["00"][1]) == pytest.approx((2.0, np.sqrt(2.0)))


def test_what_the_data_do_not_determine_has_no_error() -> None:
    """A parameter that the data do not determine has no error; fixed parameters are not listed."""
    labels = tuple(sorted(layer_label(0, layer, 2) for layer in range(3)))
    of = normal(np.diag([1.0, 1.0, 1e12]).tolist(), labels)
    found = errors_of(of, set(labels))[1]
    assert [found[key][1] for key in ("00", "01", "02")] == [pytest.approx(1.0), pytest.approx(1.0), None]
    assert errors_of(of, {labels[0]})[1].keys() == {"00"}
    tilted = (layer_label(0, 0, 2), layer_label(0, 0, 3), layer_label(0, 1, 2))
    of_layer = errors_of(normal(np.diag([1.0, 1e12, 1.0]).tolist(), tilted), set(tilted))[1]["00"]
    assert (of_layer[1], of_layer[3]) == (pytest.approx(1.0), None)
    assert errors_of(of, set())[1] == {}


@pytest.mark.parametrize(
    ("fix", "frame"),
    [(["frame", "rx", "ry"], True), (["IFT", 21, 31, 41, "rx", "ry"], False), (["layer", "3ST"], False)],
)
@pytest.mark.parametrize("seed", range(3))
def test_errors_under_constraints_are_those_with_lagrange_multipliers(
    tmp_path: Path, fix: list[str | int], frame: bool, seed: int
) -> None:
    """Errors of random problems with the constraints of a step equal those of the dense matrix with multipliers."""
    rng = np.random.default_rng(seed)
    labels, free = sorted(PARAMETERS), PARAMETERS.keys() - fix_rules(fix)
    root = rng.standard_normal((len(labels), 2 * len(labels)))
    matrix = root @ root.T * np.outer(*[scale := 10.0 ** rng.uniform(-1, 1, len(labels))] * 2)
    (tmp_path / "tracks.bin").touch()
    steering = write_steering(tmp_path, [tmp_path / "tracks.bin"], (), {}, SolverOptions(frame=frame))
    normal = in_um(labels, matrix, scale, parse_steering(steering))

    of = [at for at, label in enumerate(labels) if label in free]
    rows = np.array(
        [
            [dict(terms).get(labels[at], 0.0) for at in of]
            for _, terms in parse_steering(steering).constraints
            if any(label in free for label, _ in terms)
        ]
    )
    with_multipliers = np.block([[matrix[np.ix_(of, of)], rows.T], [rows, np.zeros((len(rows),) * 2)]])
    covariance = np.linalg.inv(with_multipliers)[: len(of), : len(of)]
    found = errors_of(normal, free)[0]
    assert list(found) == [labels[at] for at in of]
    assert list(found.values()) == pytest.approx(np.sqrt(np.diagonal(covariance)).tolist(), rel=1e-6)


X, Y = module_x_label(0, 0, 3, 0), layer_label(1, 2, 2)


def independent(errors: dict[int, float]) -> Normal:
    """Return normal equations of independent parameters with these errors (um)."""
    labels = tuple(sorted(errors))
    return normal(np.diag([errors[label] ** 2 for label in labels]).tolist(), labels)


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
    found = repetition(independent({X: 1.0, Y: 3.0}), {X, Y}, now, correction_from_parameters(before))
    assert found == pytest.approx(cosine)


def test_weak_and_fixed_parameters_do_not_count() -> None:
    """A direction with an error of more than ten times the median, and a fixed parameter, do not change the cosine."""
    weak = layer_label(3, 2, 2)
    of = independent({X: 1.0, Y: 1.0, weak: 1000.0})
    before = correction_from_parameters({X: 0.001, weak: 5.0})
    assert repetition(of, {X, Y, weak}, {X: 0.001, weak: -5.0}, before) == pytest.approx(1.0)
    assert repetition(of, {X, Y}, {X: 0.001}, before) == pytest.approx(1.0)


def test_nothing_repeats_no_correction() -> None:
    """A correction that is zero has no direction."""
    of = independent({X: 1.0, Y: 1.0})
    assert repetition(of, {X, Y}, {X: 0.001}, {}) is None
    assert repetition(of, set(), {}, correction_from_parameters({X: 0.001})) is None
