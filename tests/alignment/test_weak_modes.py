"""Test weak modes, and the expected decrease from freeing fixed parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faser_align.alignment.detector import LAYERS_Z_MM
from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.parameters.constants import Constants, read_constants
from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import PARAMETERS, layer_label, module_rz_label, module_x_label
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.quality.mode_names import distinct, kinds_of
from faser_align.alignment.quality.pivot import pivot_doubt, tilt_doubt
from faser_align.alignment.quality.weak_modes import held_fixed, name, split
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.normal_equations import Normal, normal_equations
from faser_align.simulation import geometry, kfalignment, tracks
from faser_align.simulation import reconstruct as fit


def solved(folder: Path, fix: list[str | int], stations: int, believed: Constants) -> tuple[Normal, Solution]:
    """Return normal equations and solution for 4000 tracks in a perfect detector, reconstructed with ``believed``."""
    hits = tracks.simulate_file(geometry.build({}), 4000, seed=3, run=1, number=1)
    detector = geometry.build(believed)
    kfalignment.write(str(folder / "k.root"), (fit.reconstruct(batch, detector, stations) for batch in hits))
    convert([folder / "k.root"], folder / "m.bin", Cuts(residual_max=0.5, pivot="layer", derivative_max=1e6))
    steering = write_steering(folder, [folder / "m.bin"], fix_rules(fix, stations), {}, SolverOptions())
    return normal_equations(steering), solve(steering)


def free(fix: list[str | int], stations: int, solution: Solution) -> set[int]:
    return set(PARAMETERS) - fix_rules(fix, stations) - set(solution.entries_fixed)


def test_local_modules_are_all_determined(tmp_path: Path) -> None:
    """With all layers fixed no direction is weak, and the whole correction is significant."""
    normal, solution = solved(tmp_path, ["layer", "3ST"], 4, {"003": (0.02, 0.0, 0.0, 0.0, 0.0, 0.0)})
    found = split(normal, free(["layer", "3ST"], 4, solution), solution.values)
    assert found["weak"]["directions"] == 0
    assert found["modes"] == []
    assert found["significant"]["directions"] == solution.free_parameters
    # The expected decrease of the first solution is that of the correction, slightly reduced by presigmas.
    assert solution.expected_decrease is not None
    assert found["significant"]["expected_decrease"] == pytest.approx(solution.expected_decrease, rel=0.05)


def test_two_fixed_layers_leave_the_curvature_open(tmp_path: Path) -> None:
    """With two layers fixed, a displacement along the bending direction is a weak mode with that name."""
    fix: list[str | int] = ["IFT", 21, 41]
    normal, solution = solved(tmp_path, fix, 3, {})
    shift = {layer_label(2, layer, 2): 0.1 for layer in range(3)}
    found = split(normal, free(fix, 3, solution), shift)
    assert found["modes"][0]["name"] == "curvature in y"
    assert found["modes"][0]["error_um"] > 10
    assert found["weak"]["rms_um"] > 3 * found["significant"]["rms_um"]


@pytest.mark.slow
def test_what_was_held_fixed_wrongly_stands_out(tmp_path: Path) -> None:
    """A rotated layer of the spectrometer is the group with the largest expected decrease of chi2, and a correct one has none."""
    normal, solution = solved(tmp_path, ["layer", "3ST"], 4, {"21": (0.0, 0.0, 0.0, 0.0, 0.0, 0.002)})
    found = held_fixed(normal, free(["layer", "3ST"], 4, solution), solution.values)
    assert found["3ST layer.rz"]["significance"] > 20
    assert found["IFT layer.y"]["significance"] < 5
    assert found["all"]["expected_decrease"] >= found["3ST layer.rz"]["expected_decrease"]
    assert held_fixed(normal, set(PARAMETERS), solution.values) == {}


def test_what_is_hardly_measured_is_no_gain() -> None:
    """A direction with an error of hundreds of times the median, such as a global rotation, is not counted."""
    labels = tuple(layer_label(0, layer, dof) for layer in range(3) for dof in (1, 2))
    normal = Normal(labels, np.diag([1.0] * 5 + [1e-5]), np.array([0.0, 1.5, 0.0, 0.0, 1.0, 1.0]), np.zeros((0, 6)))
    found = held_fixed(normal, set(), {})["all"]
    assert (found["parameters"], found["expected_decrease"]) == (5, pytest.approx(3.25))


def test_what_has_no_direction_of_its_own_is_left_out() -> None:
    """Layers that their free modules move already have no row."""
    layers, modules = (
        tuple(layer_label(0, n, 1) for n in range(3)),
        tuple(module_x_label(0, 0, n, 0) for n in range(4)),
    )
    labels = tuple(sorted((*layers, *modules)))
    matrix = np.diag([1e-5 if label in layers else 1.0 for label in labels])
    assert held_fixed(Normal(labels, matrix, np.ones(7), np.zeros((0, 7))), set(modules), {}) == {}


@pytest.mark.parametrize(
    ("dof", "course", "expected"),
    [
        (2, LAYERS_Z_MM**2 - 2e6, "curvature in y"),
        (5, LAYERS_Z_MM - LAYERS_Z_MM.mean(), "twist about z"),
        (5, np.ones(12), "rotation about z as a whole"),
        (1, LAYERS_Z_MM - LAYERS_Z_MM.mean(), "tilt in x"),
        (3, np.array([0.0] * 3 + [1.0] * 3 + [0.0] * 6), "layer.rx of station 1"),
    ],
)
def test_layers_modes_have_names(dof: int, course: "np.typing.NDArray[np.float64]", expected: str) -> None:
    """A weak mode of layers is named by its shape along z."""
    labels = [layer_label(layer // 3, layer % 3, dof) for layer in range(12)]
    assert name(labels, course / np.linalg.norm(course)) == expected


def test_modules_modes_have_names() -> None:
    """Opposite shifts of both sides of all modules are named as a shift along the strips, others as a pattern."""
    signs = {0: 1, 2: 1, 5: 1, 7: 1}
    sides = [
        (station, layer, m, side) for station in range(4) for layer in range(3) for m in range(8) for side in (0, 1)
    ]
    labels = [module_x_label(*where) for where in sides]
    along = np.array([signs.get(m, -1) * (2.0 * side - 1.0) for _, _, m, side in sides])
    assert name(labels, along / np.linalg.norm(along)) == "mean module.y, which is layer.x"
    pattern = np.array([1.0 if (m + layer) % 2 else -1.0 for _, layer, m, _ in sides])
    assert name(labels, pattern / np.linalg.norm(pattern)) == "pattern of module.x"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({20: 3.0, 3: -3.0, 21: 1.0}, "pattern of module.rz, largest in 003 and 024"),
        ({at: (-1.0) ** at for at in range(48, 72)}, "pattern of module.rz, largest in station 2"),
        ({3: 3.0, 20: 1.0}, "module.rz of module 003"),
    ],
)
def test_patterns_name_where_they_are_largest(sizes: dict[int, float], expected: str) -> None:
    """A pattern has the name of its two largest modules or of the station with most of it; one module has its own name."""
    labels = [module_rz_label(at // 24, at // 8 % 3, at % 8) for at in range(96)]
    assert name(labels, np.array([sizes.get(at, 0.0) for at in range(96)])) == expected


def test_repeated_names_have_numbers() -> None:
    """Names are numbered in the order of errors, whatever modules are largest, so that a mode keeps its number."""
    names = ["pattern of module.y, largest in 000 and 010", "tilt in x", "pattern of module.y, largest in 003 and 013"]
    assert distinct([*names, "tilt in x"]) == [
        *names[:2],
        "pattern of module.y (2), largest in 003 and 013",
        "tilt in x (2)",
    ]
    assert kinds_of(distinct(names * 2)) == ["pattern of module.y", "tilt in x"]


def test_layers_that_turn_about_calypsos_pivot_are_doubted() -> None:
    """The warning names the step; without rx and ry, or with the layer's pivot, there is none."""
    stages = [{"steps": [{"name": "modules", "fix": ["layer"]}, {"name": "two-step", "fix": ["IFT", 21, 41]}]}]
    assert 'step "two-step" frees rx or ry' in pivot_doubt("calypso", stages, 3)
    assert pivot_doubt("layer", stages, 3) == ""
    assert pivot_doubt("calypso", [{"steps": stages[0]["steps"][:1]}], 4) == ""


def test_the_experts_own_parameters_count_for_the_doubt() -> None:
    """Labels in a step's own text take precedence over its fix rules, and a stage's stations over others."""
    modules = {"name": "own", "fix": ["layer", "3ST"]}
    assert pivot_doubt("calypso", [{"steps": [modules]}], 4) == ""
    frees = modules | {"parameters_text": "Parameter\n 213 0.0 0.005\n"}
    assert "own" in pivot_doubt("calypso", [{"steps": [frees]}], 4)
    fixes: dict[str, Any] = {"name": "own", "fix": ["IFT", "side", 20, 21, 22, 30, 31, 32, 40, 41]}
    assert "own" in pivot_doubt("calypso", [{"steps": [fixes]}], 4)
    fixes["parameters_text"] = "Parameter\n 423 0.0 -1.0\n 424 0.0 -1.0\n"
    assert pivot_doubt("calypso", [{"steps": [fixes]}], 4) == ""
    fixes["fix"] = fixes["fix"][1:]
    assert [bool(pivot_doubt("calypso", [{"steps": [fixes], "stations": n}], 4)) for n in (3, 4)] == [False, True]


def test_a_cut_that_takes_tilted_layers_is_doubted(data: Path) -> None:
    """FASER's constants tilt the IFT by 65 mrad: a cut of 2 mm/rad rejects most of its hits, 10 rejects none."""
    constants = read_constants(data / "constants" / "align_2025.txt")
    doubt = tilt_doubt("calypso", 2.0, constants)
    assert "layers 00, 01, 02, which the constants tilt by up to 65 mrad" in doubt
    assert tilt_doubt("calypso", 10.0, constants) == ""
    assert tilt_doubt("layer", 2.0, constants) == ""
