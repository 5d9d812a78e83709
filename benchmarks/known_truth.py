"""Set up and run simulated campaigns with a known truth, and find where their tracks lead in the end.

For ``verdicts.py`` and ``convergence.py``: the jobs' own functions, in one process and without HTCondor.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one campaign per core; numpy reads it when it is imported

import numpy as np

from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.parameters.constants import (
    ZERO,
    Constants,
    add_constants,
    correction_from_parameters,
    parameters_from_correction,
    parse_constants,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import KEYS, PARAMETERS
from faser_align.alignment.solver.normal_equations import Normal, normal_equations
from faser_align.alignment.solver.steering import SolverOptions, write_steering
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.config.schema import Config
from faser_align.jobs.program import open_iteration
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve
from faser_align.jobs.steps import run_steps

ITERATIONS, MORE = 12, 15
STILL = 1e-6  # significance below which a fixed point is reached
_EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_TRUTH = _EXAMPLES / "align_2025.txt"
STEPS: dict[str, tuple[int, list[dict[str, Any]]]] = {
    "IFT modules": (4, [{"name": "IFT fix layer", "fix": ["layer", "3ST"]}]),
    "IFT layers": (4, [{"name": "IFT fix side", "fix": ["side", "3ST"]}]),
    "3ST two-step": (
        3,
        [
            {"name": "all but 21 and 41", "fix": ["IFT", 21, 41]},
            {"name": "21 and 41", "fix": ["IFT", 20, 22, 30, 31, 32, 40, 42]},
        ],
    ),
    "3ST two fixed": (3, [{"name": "all but 21 and 41", "fix": ["IFT", 21, 41]}]),
    "3ST three fixed": (3, [{"name": "all but 21, 31 and 41", "fix": ["IFT", 21, 31, 41]}]),
    "3ST one step": (3, [{"name": "all but the frame", "fix": ["frame", "rx", "ry"]}]),
}


@dataclass(frozen=True)
class Case:
    """One campaign: what is aligned, with how much data, and the initial misalignment."""

    seed: int
    steps: str
    tracks: int
    start_um: float
    pivot: str
    cuts: tuple[float, ...]
    outliers: float
    lost_in: int  # iteration in which a file is dropped; 0 for never

    @property
    def files(self) -> int:
        """Number of raw files: enough to drop one, or few, which is faster."""
        return 6 if self.lost_in else 2


def true_constants() -> Constants:
    """Return FASER's constants of 2025, which the simulated detector has."""
    return parse_constants(_TRUTH.read_text(encoding="utf-8"), str(_TRUTH))


def free_labels(case: Case) -> set[int]:
    """Return the labels that a step of the case frees."""
    stations, steps = STEPS[case.steps]
    return set().union(*(set(PARAMETERS) - fix_rules(step["fix"], stations) for step in steps))


def misplace(truth: Constants, case: Case) -> Constants:
    """Return constants that differ from the truth in what the case's steps free.

    ``start_um`` is the rms shift of modules across their strips if only these are free, else that of layers along y;
    the other degrees of freedom scale with it as in FASER. Each layer's mean module shift and rotation stay zero.
    """
    rng = np.random.default_rng([case.seed, 7])
    keys = {PARAMETERS[label].key for label in free_labels(case)}
    size, moved = case.start_um * 1e-3, dict(truth)
    within = 1.0 if case.steps == "IFT modules" else 0.25
    for layer in (key for key in KEYS if len(key) == 2):
        if layer in keys:
            x, y, rx, ry, rz = rng.standard_normal(5) * size * np.array([1.0, 1.0, 0.002, 0.002, 0.004])
            if case.steps != "IFT layers":
                x = 0.0  # the mean of the modules' shifts along their strips, which are free then
            moved[layer] = _sum(truth.get(layer, ZERO), (x, y, 0.0, rx, ry, rz))
        modules = [key for key in KEYS if len(key) == 3 and key[:2] == layer and key in keys]
        shifts = rng.standard_normal((8, 3)) * size * within * np.array([1.0, 5.0, 0.016])
        if case.steps != "IFT layers" and len(modules) == 8:
            shifts[:, [0, 2]] -= shifts[:, [0, 2]].mean(axis=0)
            for key, (u, v, rz) in zip(modules, shifts, strict=True):
                moved[key] = _sum(truth.get(key, ZERO), (u, v, 0.0, 0.0, 0.0, rz))
    return moved


def _sum(a: Sequence[float], b: Sequence[float]) -> Any:
    return tuple(float(x + y) for x, y in zip(a, b, strict=True))


def make(case: Case, folder: Path, start: Constants, **mille: Any) -> dict[str, Any]:
    """Make a campaign's folder and manifest as submit does; keywords change ``[mille]``."""
    stations, steps = STEPS[case.steps]
    loose = {"derivative_max": 1e6} if case.pivot == "layer" else {}
    tables = {
        "campaign": {"stations": stations},
        "simulation": {
            "truth": str(folder.parent / "truth.txt"),
            "tracks": max(1, case.tracks // case.files),
            "seed": case.seed,
            "outliers": case.outliers,
        },
        "mille": {"residual_max": list(case.cuts), "pivot": case.pivot} | loose | mille,
        "stages": [{"name": case.steps, "iterations": ITERATIONS, "steps": steps}],
    }
    record = make_record(
        Config.model_validate(tables),
        name=folder.name,
        year=2026,
        run="011705",
        files=list(range(case.files)),
        folder=str(folder),
        constants="",
        sha256="",
        created_utc="",
    )
    first = layout.constants_file(str(folder), 1, 1)
    os.makedirs(os.path.dirname(first))
    write_constants(first, start)
    write_record(f"{folder}/{layout.RECORD}", record)
    return record


def solve_iteration(campaign: dict[str, Any], iteration: int, lost: Sequence[int]) -> None:
    """Reconstruct and solve as the nodes of an iteration do."""
    for file in campaign["files"]:
        if file not in lost:
            reconstruct(campaign["folder"], 1, iteration, file)
    if lost:
        path = Path(layout.lost_file(campaign["folder"], 1, iteration))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(lost)), encoding="utf-8")
    solve(campaign["folder"], 1, iteration)


def forget(campaign: dict[str, Any], iteration: int) -> None:
    """Remove the large files of an iteration that is over."""
    if iteration > 0:
        for path in Path(layout.iteration_folder(campaign["folder"], 1, iteration), layout.KFALIGNMENT).iterdir():
            if path.suffix in (".root", ".bin"):
                path.unlink()


def fixed_point(case: Case, folder: Path, start: Constants, lost: Sequence[int]) -> tuple[Constants, Normal, int]:
    """Return where the same tracks lead in MORE iterations without residual cut, and their normal equations."""
    campaign = make(replace(case, outliers=0.0), folder / "settled", start, residual_max=[1000.0])
    used = [file for file in campaign["files"] if file not in lost]
    constants = start
    for number in range(1, MORE + 1):
        for file in used:
            reconstruct(campaign["folder"], 1, number, file)
        iteration = open_iteration(campaign["folder"], 1, number)
        os.makedirs(iteration.solution_folder(), exist_ok=True)
        solved = run_steps(iteration, used)
        constants = add_constants(constants, correction_from_parameters(solved.steps[-1].solution.values))
        following = layout.constants_file(campaign["folder"], 1, number + 1)
        os.makedirs(os.path.dirname(following), exist_ok=True)
        write_constants(following, constants)
        still = all(
            (step.solution.expected_decrease or 0.0) < STILL * max(step.solution.free_parameters, 1)
            for step in solved.steps
        )
        if still or number == MORE:
            return constants, _normal(campaign, number, used, folder), solved.counts.measurements
        forget(campaign, number)
    raise AssertionError("the loop returns")


def _normal(campaign: dict[str, Any], number: int, used: Sequence[int], folder: Path) -> Normal:
    """Return normal equations with derivatives about the layers' own z, whatever pivot the campaign has.

    Calypso's derivatives make some undetermined directions look determined: a layer that rotates about x or y shifts
    its modules, which are upstream and downstream of it.
    """
    iteration = open_iteration(campaign["folder"], 1, number)
    mille = campaign["config"]["mille"] | {
        "residual_max": 1000.0,
        "same_hits": campaign["config"]["mille"]["pivot"] == "calypso",
    }
    binaries = []
    for file in used:
        binaries.append(folder / f"normal{file}.bin")
        convert([iteration.kfalignment_file(file)], binaries[-1], Cuts(**mille | {"pivot": "layer"}))
    return normal_equations(write_steering(folder, binaries, frozenset(), {}, SolverOptions()))


def parameters(first: Constants, second: Constants) -> dict[int, float]:
    """Return a difference of constants as the solver's parameters (mm, rad), the inverse of making a correction."""
    return parameters_from_correction(subtract_constants(first, second))
