"""Test the steering texts of steps: faser-alignment-script's named steps, experts' additions, dry runs."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from campaigns import manifest

from faser_align.alignment.parameters.labels import PARAMETERS, module_x_label
from faser_align.alignment.pede.keywords import check_lines
from faser_align.alignment.pede.results import read_result
from faser_align.alignment.pede.steering_text import SolverOptions, parse_parameters, step_fixed, write_steering
from faser_align.alignment.solver.steering import parse_steering
from faser_align.config.load import parse_config
from faser_align.dag.texts import StepTexts, steering_texts
from faser_align.fsm.errors import UserError

OF_21_AND_41 = [label for label in PARAMETERS if re.fullmatch(r"(21|41)\d\d?\d?\d?", str(label))]


def record_of(text: str, folder: str = "/campaign") -> dict[str, Any]:
    """Return the manifest of a campaign with this configuration."""
    return manifest(parse_config(text, f"{folder}/faser-align.toml"), folder)


def example(name: str) -> list[StepTexts]:
    """Return the steps of an example."""
    return steering_texts(record_of((files("faser_align.examples") / f"steps_{name}.toml").read_text()))


def presigmas(texts: StepTexts) -> dict[int, float]:
    """Return the presigma of each label in a parameter file whose start values are all zero."""
    lines = [line.split() for line in texts.texts["par.txt"].splitlines()]
    assert lines[0] == ["Parameter"]
    assert {line[1] for line in lines[1:]} == {"0"}
    return {int(label): float(presigma) for label, _, presigma in lines[1:]}


SIDES = "x of module sides (two per module give module.x and module.y)"


def described(free: set[int]) -> dict[int, float]:
    """Return the presigma of all 348 labels: -1 fixed, 0.05 mm or 0.005 rad."""
    return {
        label: -1.0 if label not in free else 0.05 if parameter.translation else 0.005
        for label, parameter in PARAMETERS.items()
    }


def test_three_stations_take_two_steps() -> None:
    """The first step fixes layers 21 and 41 with their modules and x of every layer, the second all but these layers."""
    first, second = example("3st_two_steps")
    layers_x = {label for label, parameter in PARAMETERS.items() if parameter.kind == "layer.x"}
    outside = {label for label, parameter in PARAMETERS.items() if parameter.station == 0}
    assert len(OF_21_AND_41) == 2 * (5 + 24)
    assert presigmas(first) == described(set(PARAMETERS) - outside - set(OF_21_AND_41) - layers_x)
    assert presigmas(second) == described(set(OF_21_AND_41) - layers_x)
    assert (
        first.free == f"196 free: 7 layer.y, 7 layer.rx, 7 layer.ry, 7 layer.rz, 112 {SIDES}, 56 module.rz; 152 fixed"
    )


def test_three_stations_can_be_aligned_in_one_step() -> None:
    """Layers 21, 31 and 41 define the frame, with the mean of the modules of two along the strips; rx and ry stay."""
    folder = files("faser_align.examples")
    (step,) = steering_texts(record_of((folder / "steps_3st_one_step.toml").read_text(), folder=str(folder)))
    assert step.free == f"229 free: 6 layer.y, 7 layer.rz, 144 {SIDES}, 72 module.rz; 119 fixed"
    constraints = step.texts["con.txt"].split("Constraint 0.0")[1:]
    assert len(constraints) == 26
    shift_v, shift_u = {}, {}
    for module in range(8):
        for side in (0, 1):
            label = module_x_label(3, 1, module, side)
            sign = (1 if module in (0, 2, 5, 7) else -1) * (1 if side else -1)
            shift_v[label], shift_u[label] = 0.02 * sign, 1.0
    factors = dict(line.split() for line in constraints[25].splitlines()[1:])
    factors = {int(label): float(factor) for label, factor in factors.items()}
    assert factors.keys() == shift_v.keys()
    assert sum(factor * shift_v[label] for label, factor in factors.items()) > 0
    assert all(factor * shift_v[label] > 0 for label, factor in factors.items())
    assert sum(factor * shift_u[label] for label, factor in factors.items()) == 0


def test_ift_with_layers_fixed() -> None:
    """All layers and everything outside the IFT are fixed, the modules of the IFT free."""
    (step,) = example("ift_fix_layer")
    free = {label for label, p in PARAMETERS.items() if p.station == 0 and p.kind.startswith("module")}
    assert presigmas(step) == described(free)
    assert step.free == f"72 free: 48 {SIDES}, 24 module.rz; 276 fixed"


def test_ift_with_sides_fixed() -> None:
    """The modules are fixed, and of the layers those of the IFT are free."""
    (step,) = example("ift_fix_side")
    free = {label for label, p in PARAMETERS.items() if p.station == 0 and p.kind.startswith("layer")}
    assert presigmas(step) == described(free)


def test_the_whole_workflow_is_an_example() -> None:
    """faser-alignment-script's three sets are three stages with the same steps."""
    whole = example("workflow")
    assert [texts.stage for texts in whole] == ["3ST alignment"] * 2 + [
        "IFT alignment (global)",
        "IFT alignment (local)",
    ]
    single = [*example("3st_two_steps"), *example("ift_fix_side"), *example("ift_fix_layer")]
    assert [presigmas(texts) for texts in whole] == [presigmas(texts) for texts in single]


def test_the_steering_is_the_predecessors() -> None:
    """Binaries, 24 constraints and faser-alignment-script's keywords are there, and no other setting."""
    (step,) = example("ift_fix_layer")
    assert step.texts["str.txt"].splitlines() == [
        "Cfiles",
        "par.txt",
        "con.txt",
        "/campaign/iter01/2kfalignment/mp2input_011705_00400.bin",
        "/campaign/iter01/2kfalignment/mp2input_011705_00401.bin",
        "skipemptycons",
        "hugecut 2000",
        "method inversion 3 0.001",
        "entries 25",
        "printcounts",
        "monitorresiduals",
        "end",
    ]
    blocks = step.texts["con.txt"].split("Constraint 0.0\n")[1:]
    sums = [{int(line.split()[0]) for line in block.splitlines()} for block in blocks]
    assert all(line.split()[1] == "1.0" for block in blocks for line in block.splitlines())
    expected = [
        {label for label, p in PARAMETERS.items() if (p.station, p.layer, p.kind) == (station, layer, kind)}
        for station in range(4)
        for layer in range(3)
        for kind in ("module.x", "module.rz")
    ]
    assert sums == expected
    assert [len(labels) for labels in sums[:2]] == [16, 8]


def test_rules_free_what_fasers_own_alignment_freed() -> None:
    """In the recorded result of 2024 two layers are free with all others fixed; the rules give the same labels."""
    result = read_result(Path(__file__).parents[1] / "data" / "pede" / "millepede_2024.res")
    free = {label for label, row in result.items() if row.difference is not None}
    others = [10, 12, 20, 21, 22, 30, 32, 40, 41, 42]
    assert set(PARAMETERS) - step_fixed({"fix": others}, 4) == free


def test_a_steps_own_parameters_may_free_the_only_ones() -> None:
    """Parameters that a step's own text frees are free even if ``fix`` names the whole tracker."""
    step = {"fix": ["IFT", "3ST"], "parameters": "own.txt", "parameters_text": "Parameter\n 102 0 0.05\n"}
    assert set(PARAMETERS) - step_fixed(step, 4) == {102}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"fix": ["IFT", "3ST"]}, "fix = [IFT, 3ST] fixes every parameter"),
        (
            {
                "fix": [],
                "parameters": "own.txt",
                "parameters_text": "".join(f"Parameter\n{n} 0 -1\n" for n in PARAMETERS),
            },
            "fix = [] with own.txt fixes every parameter",
        ),
        (
            {"fix": ["IFT", "3ST"], "parameters": "own.txt", "parameters_text": "Parameter\n10302 0 0.005\n"},
            "frees only module 3 of layer 0 of station 0, rotation about z (10302), which a constraint keeps in place",
        ),
    ],
)
def test_something_must_be_free(step: Any, said: str) -> None:
    """A step in which nothing can move, by its rules, its own parameters or the constraints, is rejected."""
    with pytest.raises(UserError) as raised:
        step_fixed(step, 4)
    assert said in str(raised.value)


def test_a_later_step_holds_what_an_earlier_one_found(tmp_path: Path) -> None:
    """A fixed parameter keeps its start value, which is the previous step's result."""
    found = {102: 0.00125, 10001: -0.5}
    fixed = step_fixed({"fix": ["layer", "3ST"]}, 4)
    (tmp_path / "x.bin").touch()
    steering = parse_steering(write_steering(tmp_path, [tmp_path / "x.bin"], fixed, found, SolverOptions()))
    assert steering.parameters[102] == (0.00125, -1.0)
    assert steering.parameters[10001] == (-0.5, 0.05)


def test_presigmas_of_kinds_go_before_the_general_ones() -> None:
    """A step's presigma of a kind takes precedence over the solver's, and that over presigma_mm and presigma_rad."""
    text = """
    [solver]
    presigma_mm = 0.1
    presigma = {layer_rx = 0.001, module_rz = 0.002}
    [[stages]]
    name = "s"
    [[stages.steps]]
    name = "t"
    fix = ["3ST"]
    presigma = {module_rz = 0.003}
    """
    (step,) = steering_texts(record_of(text))
    found = presigmas(step)
    assert (found[103], found[104], found[10001], found[10002]) == (0.001, 0.005, 0.1, 0.003)


def test_own_parameters_go_before_the_rules(tmp_path: Path) -> None:
    """The expert's file is read after the generated one, as in pede: later numbers other than zero count."""
    own = tmp_path / "mine.txt"
    own.write_text("* mine\nParameter\n102 0.5 -1\n 10001 0.0 0.01 ! tighter\n21101 0 0.05\nConstraint 0\n102 1.0\n")
    text = '[[stages]]\nname = "s"\n[[stages.steps]]\nname = "t"\nfix = ["layer", "3ST"]\nparameters = "mine.txt"\n'
    record = record_of(text, str(tmp_path))
    (step,) = record["stages"][0]["steps"]
    assert step["parameters"] == str(own)
    fixed = step_fixed(step, 4)
    assert fixed == step_fixed({"fix": ["layer", "3ST"]}, 4) - {21101}
    (texts,) = steering_texts(record)
    for name, content in texts.texts.items():
        (tmp_path / name).write_text(content.replace("/iter01/2kfalignment/", "/"))
    for file in (400, 401):
        (tmp_path / f"mp2input_011705_00{file}.bin").touch()
    steering = parse_steering(tmp_path / "str.txt")
    assert steering.parameters[102] == (0.5, -1.0)
    assert steering.parameters[10001] == (0.0, 0.01)
    assert steering.parameters[21101] == (0.0, 0.05)
    assert len(steering.constraints) == 25


def test_own_parameters_must_be_there(tmp_path: Path) -> None:
    """A file that cannot be read is named with its step."""
    text = '[[stages]]\nname = "s"\n[[stages.steps]]\nname = "t"\nparameters = "none.txt"\n'
    with pytest.raises(UserError, match=r"step 't': parameters = .*none\.txt: cannot read"):
        record_of(text, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("102 0 0\n", "line 1 comes before any keyword"),
        ("Parameter\n4711 0 0\n", "label 4711 is not a parameter of the tracker"),
        ("Parameter\n\n102 x\n", r"line 3, '102 x', is not `label start presigma`"),
        ("Parameter\n102 0.0\n", r"line 2, '102 0\.0', is not `label start presigma`"),
        ("Parameter\n102 1e999 0\n", "line 2"),
        ("frobnicate 3\n", "line 1, 'frobnicate 3', does not begin with a keyword"),
        ("Parameter\n102 1 2 3\n", "line 2"),
    ],
)
def test_own_parameters_are_looked_at(text: str, words: str) -> None:
    """An invalid line is reported with file and line."""
    with pytest.raises(UserError, match=words) as raised:
        parse_parameters(text, "mine.txt")
    assert str(raised.value).startswith("mine.txt: ")


def test_own_parameters_are_read_as_the_solvers_read_them() -> None:
    """Fortran exponents, comments of both kinds and keywords inside a list mean the same as in pede."""
    text = (
        "Parametre ! mine\n102 0.0 1.d-3 % of 2024\nhugecut 50.\n  105 - 2.0D-4 -1.\nConstraint 0\n102 1.\nend\n1 2 3\n"
    )
    assert parse_parameters(text, "mine.txt") == {102: (0.0, 0.001), 105: (-0.0002, -1.0)}


@pytest.mark.parametrize(
    ("line", "backend", "words"),
    [
        ("hugcut 50", "builtin", ""),
        ("! comment", "builtin", ""),
        ("  102 0.5", "builtin", ""),
        ("chisqcut 30. 6.", "pede", ""),
        ("frobnicate 3", "pede", "not a keyword of pede"),
        ("method full MINRES 3 % of 2 names", "pede", ""),
        ("\thugecut 50\tx", "builtin", ""),
        ("method\tinversion 3", "pede", "put blanks instead of tabs"),
        ("end", "pede", "after which nothing is read"),
        ("method guessing 3", "pede", "pede's methods are"),
        ("weightedcons 1", "builtin", "the built-in solver does not support"),
        ("weightedcons 1", "pede", ""),
    ],
)
def test_own_lines_are_looked_at(line: str, backend: Any, words: str) -> None:
    """A line that would end the run is refused before the submission."""
    if not words:
        check_lines([line], "extra_lines", backend)
        return
    with pytest.raises(UserError, match=words):
        check_lines([line], "extra_lines", backend)
