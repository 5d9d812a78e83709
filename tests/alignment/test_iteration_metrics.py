"""Test the metrics of an iteration."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest

from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.parameters.constants import Constants, correction_from_parameters
from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import PARAMETERS, module_rz_label, module_x_label
from faser_align.alignment.pede.results import Row as ResultRow
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.quality import describe
from faser_align.alignment.quality.metrics import (
    Data,
    Step,
    corrections,
    delta_chi2_per_parameter,
    iteration_metrics,
    relative_size,
    residual_shift_um,
)
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.normal_equations import Normal, normal_equations
from faser_align.fsm.metrics import Metrics

NO_DATA = Data(1, [], Counts(), 0.05, True)


def solution(decrease: float | None, n_variable: int = 12, n_fit: int = 10) -> Solution:
    """Return a solution with the expected decrease ``decrease``."""
    return Solution(0, "", "", {}, n_variable=n_variable, n_fit=n_fit, expected_decrease=decrease)


def metrics_of(steps: list[Step], correction: Constants, data: Data = NO_DATA, normal: Normal | None = None) -> Metrics:
    """Return the metrics of an iteration without constants."""
    return iteration_metrics(
        stage=1,
        iteration=3,
        data=data,
        steps=steps,
        constants={},
        correction=correction,
        backend="builtin",
        normal=normal,
    )


def paths(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all values of a type, ``*`` for any key."""
    inner = [part for part in get_args(kind) if part is not type(None)]
    if is_typeddict(kind):
        for key, of in get_type_hints(kind).items():
            yield from paths(of, (*path, key))
    elif isinstance(kind, UnionType):
        yield from paths(inner[0], path)
    elif get_origin(kind) is dict:
        yield from paths(inner[1], (*path, "*"))
    elif get_origin(kind) is list and (is_typeddict(inner[0]) or get_origin(inner[0]) is dict):
        yield from paths(inner[0], (*path, "[]"))
    else:
        yield path


def test_types_are_those_of_the_descriptions() -> None:
    """Each value of the type of metrics has a description, and each description a value."""
    names = {*describe.METRICS, *describe.OF_VALIDATION, *(metric.name for metric in describe.VALIDATION)}
    described = {name: tuple(name.replace("[]", ".[]").split(".")) for name in names}
    typed = set(paths(Metrics))

    def same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(a == b or a == "*" or (b.isupper() and b != "[]") for a, b in pairs)

    assert [name for name, of in described.items() if not any(same(path, of) for path in typed)] == []
    assert [path for path in typed if not any(same(path, of) for of in described.values())] == []


def test_delta_chi2_per_parameter_is_decrease_per_fit_parameter() -> None:
    """The expected decrease is divided by the fit parameters, reduced by constraints of either handling."""
    assert delta_chi2_per_parameter(solution(5.0)) == 0.5
    assert delta_chi2_per_parameter(solution(5.0, n_fit=14)) == 0.5
    assert delta_chi2_per_parameter(solution(None)) is None
    assert delta_chi2_per_parameter(solution(5.0, 2, 0)) is None


def test_effect_is_the_rms_move_of_residuals() -> None:
    """The expected decreases of steps add up; without a measurement or a solution the shift is None."""
    assert residual_shift_um([solution(9.0), solution(16.0)], 100) == pytest.approx(23.1 * 0.5)
    assert residual_shift_um([solution(-1e-9)], 100) == 0.0
    assert residual_shift_um([solution(9.0)], 0) is None
    assert residual_shift_um([solution(None)], 100) is None


def test_corrections_are_those_of_free_parameters() -> None:
    """Rms and largest correction cover free parameters only, in um and urad, with place and sign of the largest."""
    correction = correction_from_parameters({10001: 0.02, 10011: 0.02, 20002: 1.0, 10102: -3e-6, 102: 5.0})
    free = [label for label in PARAMETERS if label not in fix_rules(["layer", "3ST"])]
    found = corrections(correction, free)
    assert set(found) == {"module.x", "module.y", "module.rz"}
    assert found["module.x"] == {"rms": pytest.approx(20 / 24**0.5), "largest": 20.0, "where": "000", "unit": "um"}
    assert found["module.rz"] == {"rms": pytest.approx(3 / 24**0.5), "largest": -3.0, "where": "001", "unit": "urad"}


def test_relative_size_needs_constants() -> None:
    """The correction is relative to the norm of the constants; it is undefined for zero constants."""
    assert relative_size({"00": (3, 4, 0, 0, 0, 0)}, {"01": (0, 0, 0, 0, 0, 50)}) == pytest.approx(0.1)
    assert relative_size({"00": (3, 4, 0, 0, 0, 0)}, {}) is None


def test_metrics_of_a_real_step(data: Path, tmp_path: Path) -> None:
    """Conversion, solution and metrics of the reference tracks agree, as JSON without NaN."""
    counts = convert([data / "mille" / "kfalignment_4st.root"], tmp_path / "m.bin", Cuts(residual_max=0.5))
    fixed = fix_rules(["layer", "3ST"])
    steering = write_steering(tmp_path, [tmp_path / "m.bin"], fixed, {}, SolverOptions())
    solved = solve(steering)
    step = Step("IFT fix layer", fixed, solved)
    correction = correction_from_parameters(solved.values)
    metrics = metrics_of([step], correction, Data(6, [417], counts, 0.5, False), normal_equations(steering))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    files = {"expected": 6, "used": 5, "lost": [417], "agreement": {}, "duplicates": {}, "uncompressed": 0}
    assert metrics["files"] == files
    assert metrics["tracks"]["used"] == solved.records == 400
    assert metrics["steps"][0]["variable"] == 72 - len(solved.entries_fixed)
    assert metrics["steps"][0]["entries_fixed"] == list(solved.entries_fixed)
    of_step = metrics["steps"][0]["delta_chi2_per_parameter"]
    assert metrics["delta_chi2_per_parameter"] == metrics["significance"] == of_step
    assert solved.expected_decrease is not None
    assert metrics["effect_um"] == pytest.approx(23.1 * (solved.expected_decrease / counts.measurements) ** 0.5)
    assert metrics["solver"]["end_code"] == 1
    assert metrics["relative"] is None
    assert metrics["nan"] is False
    assert set(metrics["residuals"]) == {f"{station}{layer}" for station in range(4) for layer in range(3)}
    assert set(metrics["errors"]) == {"module.x", "module.rz"}
    assert set(metrics["free_modules"]) <= {f"0{layer}{module}" for layer in range(3) for module in range(8)}


def test_errors_are_right_whatever_the_solver_prints() -> None:
    """Errors and pulls follow from the normal equations: pede's own may be wrong, and a presigma makes them smaller."""
    sides = (module_x_label(0, 0, 3, 0), module_x_label(0, 0, 3, 1))
    printed = {label: ResultRow(0.01, 0.05, 0.01, 28.0) for label in sides}
    solved = replace(solution(1.0), result=printed)
    normal = Normal(sides, np.diag([0.25, 0.04]), np.zeros(2), np.zeros((0, 2)))
    metrics = metrics_of([Step("a", fix_rules(["layer", "3ST"]), solved)], {}, normal=normal)
    assert metrics["errors"] == {"module.x": pytest.approx(((2.0**2 + 5.0**2) / 2) ** 0.5)}
    assert metrics["module_pulls"] == {"003": pytest.approx(10.0 / 2.0)}
    assert metrics_of([Step("a", fix_rules(["layer", "3ST"]), solved)], {})["errors"] == {}


def test_a_constant_has_the_error_of_the_last_step_that_freed_it() -> None:
    """Steps that free different constants of a module keep each other's errors."""
    labels = tuple(sorted((module_x_label(0, 0, 3, 0), module_x_label(0, 0, 3, 1), module_rz_label(0, 0, 3))))
    normal = Normal(labels, np.diag([0.25] * 3), np.zeros(3), np.zeros((0, 3)))
    every = frozenset(PARAMETERS)
    steps = [Step("x", every - set(labels[::2]), solution(1.0)), Step("rz", every - {labels[1]}, solution(1.0))]
    found = metrics_of(steps, {}, normal=normal)["constant_errors"]["003"]
    assert [found[place] is not None and found[place] > 0 for place in (0, 1, 5)] == [True] * 3  # type: ignore[operator]


def test_metrics_of_a_failure_have_no_numbers() -> None:
    """Without a solution the numbers are None; the solver's metrics are from the step with the worst end code."""
    failed = Solution(26, "Aborted, too many rejects", "...", {})
    steps = [Step("a", fix_rules([]), solution(1.0)), Step("b", fix_rules(["IFT"]), failed)]
    metrics = metrics_of(steps, {"00": (float("nan"), 0, 0, 0, 0, 0)})
    json.dumps(metrics, allow_nan=False)
    assert metrics["effect_um"] is None
    assert metrics["significance"] is None
    assert metrics["nan"] is True
    assert metrics["solver"]["end_text"] == "Aborted, too many rejects"


def test_nothing_is_free_that_the_entries_cut_fixed(pede_case: Callable[[str], Path]) -> None:
    """A parameter that the entries cut fixed is named and has no expected correction."""
    solved = solve(pede_case("case2_presigma_outliers") / "str.txt")
    step = Step("a", fix_rules(["layer", "3ST"]), solved)
    metrics = metrics_of([step], correction_from_parameters(solved.values))
    assert metrics["steps"][0]["entries_fixed"] == [11001, 11011]
    assert metrics["steps"][0]["measurements"] == 18038
