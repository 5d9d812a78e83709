"""Solve an iteration: Millepede's data of all raw files in, better constants and the iteration's metrics out.

``python -I -m faser_align.jobs.solve CAMPAIGN STAGE ITERATION``, on an execute node.
"""

import json
import math
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from faser_align.alignment.constants import (
    Constants,
    add_constants,
    correction_from_parameters,
    read_constants,
    write_constants,
)
from faser_align.alignment.counts import Counts, read_counts
from faser_align.alignment.metrics import Data, Resources, Step, iteration_metrics
from faser_align.alignment.pede import run_pede
from faser_align.alignment.solution import Solution
from faser_align.alignment.solver import solve as run_builtin
from faser_align.alignment.steering import SolverOptions, fix_rules, write_steering
from faser_align.config import layout
from faser_align.fsm import statuses
from faser_align.fsm.errors import NodeError
from faser_align.jobs.program import Iteration, failing, open_iteration, run, temporary

CORRECTION = "correction.txt"


def solve(folder: str, stage: int, number: int) -> None:
    """Write the iteration's correction, its constants and ``metrics.json``, and hand the constants on.

    ``metrics.json`` comes last: where it is, everything else is. Raises NodeError with the exit status that says what
    was wrong.
    """
    started = time.monotonic()
    iteration = open_iteration(folder, stage, number)
    metrics_file = layout.metrics_file(iteration.record["folder"], stage, number)
    with failing(statuses.COPY):
        os.makedirs(iteration.solution_folder(), exist_ok=True)
        Path(metrics_file).unlink(missing_ok=True)
    lost = _lost_files(iteration)
    used = [file for file in iteration.record["files"] if file not in lost]
    counts = _counts(iteration, used)
    with failing(statuses.CONSTANTS):
        constants = read_constants(iteration.constants_file())

    steps = _run_steps(iteration, used)
    correction = correction_from_parameters(steps[-1].solution.values)
    if all(math.isfinite(value) for six in correction.values() for value in six):
        _hand_on(iteration, correction, add_constants(constants, correction))
    metrics = iteration_metrics(
        stage=stage,
        iteration=number,
        data=Data(len(iteration.record["files"]), lost, counts, iteration.residual_max_mm, iteration.cuts_are_final),
        steps=steps,
        constants=constants,
        correction=correction,
        backend=iteration.config["solver"]["backend"],
        resources=_resources(started),
    )
    with failing(statuses.COPY), temporary(metrics_file) as name:
        Path(name).write_text(json.dumps(metrics, allow_nan=False), encoding="utf-8")


def _lost_files(iteration: Iteration) -> list[int]:
    """Raw files that were lost for good and are left out; the hook before this job lists them."""
    path = Path(layout.lost_file(iteration.record["folder"], iteration.stage, iteration.number))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return sorted(int(file) for file in json.loads(text))
    except (ValueError, TypeError) as error:
        raise NodeError(f"{path} is no JSON list of raw files ({error})", statuses.INPUT_MISSING) from error


def _counts(iteration: Iteration, used: list[int]) -> Counts:
    """Sum of the conversions' counts; every file must have its Mille binary and its counts."""
    binaries = [iteration.mille_file(file) for file in used]
    missing = [path for binary in binaries for path in (binary, f"{binary}.json") if not os.path.isfile(path)]
    if missing or not used:
        shown = ", ".join(os.path.basename(path) for path in missing[:5]) or "all raw files are lost"
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        folder = os.path.dirname(iteration.mille_file(0))
        raise NodeError(f"missing in {folder}: {shown}{more}", statuses.INPUT_MISSING)
    with failing(statuses.INPUT_MISSING):
        return sum((read_counts(f"{binary}.json") for binary in binaries), Counts())


def _run_steps(iteration: Iteration, used: list[int]) -> list[Step]:
    """Run the stage's steps; each starts from what the one before found and fixes its own labels there."""
    settings = iteration.config["solver"]
    options = SolverOptions(
        **{key: settings[key] for key in ("method", "hugecut", "entries", "presigma_mm", "presigma_rad", "threads")},
        options=tuple(settings["options"]),
    )
    planned = iteration.record["stages"][iteration.stage - 1]["steps"]
    folder = Path(iteration.solution_folder())
    steps: list[Step] = []
    for number, step in enumerate(planned, start=1):
        with failing(statuses.CONFIG):
            fixed = fix_rules(step["fix"], iteration.record["stations"])
        start = steps[-1].solution.values if steps else {}
        with failing(statuses.SOLVER):
            place = folder if len(planned) == 1 else folder / f"step{number}"
            place.mkdir(exist_ok=True)
            steering = write_steering(place, [iteration.mille_file(file) for file in used], fixed, start, options)
            solution = _solution(steering, settings)
        if not solution.solved or not solution.values:
            raise NodeError(f"step {number} ({step['name']}): {solution.message}", statuses.SOLVER)
        steps.append(Step(step["name"], fixed, solution))
    return steps


def _solution(steering: Path, settings: dict[str, Any]) -> Solution:
    return run_builtin(steering) if settings["backend"] == "builtin" else run_pede(steering, settings["pede"])


def _hand_on(iteration: Iteration, correction: Constants, constants: Constants) -> None:
    """Write the correction and the constants, and give the constants to whatever may come next.

    That is the next iteration of the stage and the first one of the next stage, since only the hook behind this job
    decides whether the stage is over.
    """
    result = layout.result_file(iteration.record["folder"], iteration.stage, iteration.number)
    stages = iteration.record["stages"]
    following = []
    if iteration.number < stages[iteration.stage - 1]["iterations"]:
        following.append((iteration.stage, iteration.number + 1))
    if iteration.stage < len(stages):
        following.append((iteration.stage + 1, 1))
    with failing(statuses.COPY):
        write_constants(os.path.join(iteration.solution_folder(), CORRECTION), correction)
        write_constants(result, constants)
        for stage, number in following:
            target = layout.constants_file(iteration.folder, stage, number)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with temporary(target) as name:
                shutil.copyfile(result, name)


def _resources(started: float) -> Resources:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Resources(
        wall_s=round(time.monotonic() - started, 3),
        cpu_s=round(sum(one.ru_utime + one.ru_stime for one in usage), 3),
        max_memory_mb=round(max(one.ru_maxrss for one in usage) / 1024, 1),
    )


if __name__ == "__main__":
    sys.exit(run(solve, "CAMPAIGN STAGE ITERATION", statuses.SOLVER))
