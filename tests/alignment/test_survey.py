"""Test the spectrum in units of a survey, and the drift along weak modes."""

from typing import Any

import numpy as np
import pytest

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.detector import LAYERS_Z_MM
from faser_align.alignment.parameters.constants import Constants
from faser_align.alignment.parameters.labels import KEYS, layer_label, module_rz_label, module_x_label
from faser_align.alignment.quality.survey import freeze, spectrum, weak_modes
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.config.solving import Survey

SURVEY: Any = Survey().model_dump()
Y_OF_LAYERS = tuple(layer_label(layer // 3, layer % 3, 2) for layer in range(12))
CURVED = (LAYERS_Z_MM / 2500.0) ** 2 - float(np.mean((LAYERS_Z_MM / 2500.0) ** 2))
MODULE = tuple(sorted((module_x_label(1, 0, 3, 0), module_x_label(1, 0, 3, 1), module_rz_label(1, 0, 3))))


def without(direction: FloatArray) -> Normal:
    """Return normal equations of layers' y that determine all but one direction to 1 um."""
    unit = direction / np.linalg.norm(direction)
    return Normal(Y_OF_LAYERS, np.eye(12) - np.outer(unit, unit), np.zeros(12), np.zeros((0, 12)))


def moved(shifts_um: FloatArray) -> Constants:
    layers = [key for key in KEYS if len(key) == 2]
    return {key: (0.0, 1e-3 * float(y), 0.0, 0.0, 0.0, 0.0) for key, y in zip(layers, shifts_um, strict=True)}


def test_a_drift_has_a_name_and_a_size() -> None:
    """A drift along an undetermined curvature is named and measured in um and in standard deviations of the survey."""
    shifts = 300.0 * CURVED / np.abs(CURVED).max()
    found = weak_modes(without(CURVED), Y_OF_LAYERS, moved(shifts), {}, SURVEY)
    assert (found["directions"], found["weak"]) == (12, 1)
    assert found["drift_sigma"] == pytest.approx(np.linalg.norm(shifts) / 60.0)
    assert found["drift_um"] == pytest.approx(np.sqrt(np.mean(shifts**2)))
    worst = found["modes"][0]
    assert (worst["name"], worst["error_sigma"], worst["weak"]) == ("curvature in y", None, True)
    assert worst["overlap"] > 0.8
    assert (worst["where"], worst["drift_um"]) == ("32" if shifts[11] > shifts[0] else "00", pytest.approx(300.0))
    assert found["errors"][1] == pytest.approx(1 / 60.0, rel=0.01)


def test_modes_of_one_name_are_numbered_by_their_error() -> None:
    """Modes are listed by drift, but numbered by error: the numbers do not depend on the drift."""
    rx = tuple(layer_label(1, layer, 3) for layer in range(3))
    normal = Normal(rx, np.diag([4e-9, 1e-9, 2e-9]), np.zeros(3), np.zeros((0, 3)))
    for drifts in ((1.0, 2.0, 3.0), (3.0, 2.0, 1.0)):
        now = {f"1{layer}": (0.0, 0.0, 0.0, 1e-3 * drift, 0.0, 0.0) for layer, drift in enumerate(drifts)}
        found = {mode["where"]: mode["name"] for mode in weak_modes(normal, rx, now, {}, SURVEY)["modes"]}
        shape = "layer.rx of station 1"
        assert found == {"11": shape, "12": f"{shape} (2)", "10": f"{shape} (3)"}


def test_what_the_tracks_determine_is_no_drift() -> None:
    """A large misalignment that the tracks determine does not count, whatever its size."""
    tilt = 300.0 * (LAYERS_Z_MM - LAYERS_Z_MM.mean()) / 2500.0
    normal = Normal(Y_OF_LAYERS, np.eye(12), np.zeros(12), np.zeros((0, 12)))
    found = weak_modes(normal, Y_OF_LAYERS, moved(tilt), {}, SURVEY)
    assert (found["weak"], found["drift_sigma"], found["drift_um"]) == (0, 0.0, 0.0)


def test_a_module_moves_along_its_strips_with_its_layer() -> None:
    """A survey allows a module along its strips its own accuracy and that of its layer, where the layer's x is fixed."""
    normal = Normal(MODULE, np.diag([1e-9, 1e-9, 1e-9]), np.zeros(3), np.zeros((0, 3)))
    along = weak_modes(normal, MODULE, {"103": (0.0, 0.2, 0.0, 0.0, 0.0, 0.0)}, {}, SURVEY)
    found = spectrum(normal, MODULE, SURVEY)
    assert along["weak"] == 3
    assert along["modes"][0]["name"] == "module.y of module 103"
    assert along["drift_um"] == pytest.approx(200.0)
    assert along["drift_sigma"] == pytest.approx(0.2 / np.hypot(SURVEY["module_y"], SURVEY["layer_x"]), rel=1e-6)
    across = weak_modes(normal, MODULE, {"103": (0.05, 0.0, 0.0, 0.0, 0.0, 0.0)}, {}, SURVEY)
    assert across["drift_sigma"] == pytest.approx(0.05 / SURVEY["module_x"], rel=1e-6)
    # rows and directions are dual: a displacement along a direction is one standard deviation of it alone
    assert found.rows.T @ found.directions == pytest.approx(np.eye(3), abs=1e-9)


def test_constraints_remove_directions() -> None:
    """A constraint on the parameters removes its direction from the spectrum."""
    normal = Normal(Y_OF_LAYERS, np.eye(12), np.zeros(12), np.ones((1, 12)))
    found = spectrum(normal, Y_OF_LAYERS, SURVEY)
    assert len(found.errors) == 11
    assert np.ones(12) @ found.directions == pytest.approx(np.zeros(11), abs=1e-9)


def test_a_frozen_direction_changes_no_other() -> None:
    """A step that freezes a weak mode resets it to the campaign's start, and gives the same answer in other directions."""
    rng = np.random.default_rng(6)
    unit = CURVED / np.linalg.norm(CURVED)
    root = rng.standard_normal((40, 12)) @ (np.eye(12) - 0.9999 * np.outer(unit, unit))
    normal = Normal(Y_OF_LAYERS, root.T @ root, 50.0 * rng.standard_normal(12), np.zeros((0, 12)))
    now, first = moved(200.0 * unit), moved(np.zeros(12))
    (frozen,) = freeze(normal, Y_OF_LAYERS, now, first, SURVEY, 1.0)
    assert frozen.name == "curvature in y"
    row = np.array([1e-3 * frozen.factors[label] for label in Y_OF_LAYERS])
    equations = np.block([[normal.matrix, row[:, None]], [row, np.zeros(1)]])
    held = np.linalg.solve(equations, [*normal.gradient, frozen.value])[:12]
    found = spectrum(normal, Y_OF_LAYERS, SURVEY)
    free = np.linalg.solve(normal.matrix, normal.gradient)
    differences = found.rows.T @ (held - free) / found.errors
    assert found.errors[0] > 1.0 > found.errors[1]
    assert differences[1:] == pytest.approx(np.zeros(11), abs=1e-6)
    assert found.rows[:, 0] @ (200.0 * unit + held) == pytest.approx(0.0, abs=1e-6)
    assert freeze(normal, Y_OF_LAYERS, now, first, SURVEY, 1e9) == ()
