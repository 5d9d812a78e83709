"""Run the steps of an iteration: steering texts, solver, and the retry after too tight a residual cut."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import IntArray
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.parameters.constants import Constants
from faser_align.alignment.pede.runner import NotStartedError, run_pede, sourced
from faser_align.alignment.pede.solution import DOUBTFUL_CODES, Solution, accept
from faser_align.alignment.pede.steering_text import Frozen, solver_options, step_fixed, write_steering
from faser_align.alignment.quality.figure_data import Files
from faser_align.alignment.quality.figure_rows import rows_of_files
from faser_align.alignment.quality.metrics import Step
from faser_align.alignment.solver.builtin import solve as run_builtin
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.alignment.solver.sums.total import Total
from faser_align.config.stored_types import Solver
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import NodeError
from faser_align.fsm.plural import first_of
from faser_align.jobs.convert import write_mille
from faser_align.jobs.equations import equations, frozen_directions, read_total
from faser_align.jobs.program import Iteration, failing

# End codes of pede.
NO_VARIABLES = (21, 22)
TOO_MANY_REJECTS = 26
WIDER = 10.0  # ratio of the residual cuts of the second and the first conversion

MilleFile = Callable[[int], str]


class Solved(NamedTuple):
    """Results of the steps and their input data."""

    steps: list[Step]
    counts: Counts
    residual_max_mm: float
    converted_again: bool
    steering: Path  # file of the first step
    side_residuals: IntArray  # of the counts of each file
    normal: Normal | None  # normal equations of all parameters, if known
    rows: list[Files]  # of the figures
    binaries: list[str]  # that were solved


def run_steps(iteration: Iteration, used: list[int], constants: Constants) -> Solved:
    """Solve an iteration with the Mille binaries of the raw files ``used``; each must exist with its counts.

    If the solver rejects more than a third of the records (end code 26), the residual cut removed too many hits. The
    tracks are then converted once more with ten times the cut, to separate binaries, and solved again from the first
    step. This happens at most once. ``constants`` are those with which the iteration reconstructed.

    Raises NodeError: INPUT_MISSING without a file, STATISTICS if no parameter has enough entries, SOLVER if there is no
    solution.
    """
    again = False
    while True:
        mille_file: MilleFile = iteration.wide_mille_file if again else iteration.mille_file
        residual_max_mm = iteration.residual_max_mm * (WIDER if again else 1.0)
        for file in used if again else ():
            write_mille(iteration, file, mille_file(file), residual_max_mm)
        counts, side_residuals, rows = _counts(mille_file, used)
        steps, steering, failed, normal = _attempt(iteration, used, mille_file, residual_max_mm, constants)
        if failed is None:
            binaries = [mille_file(file) for file in used]
            return Solved(steps, counts, residual_max_mm, again, steering, side_residuals, normal, rows, binaries)
        if again or failed.end_code != TOO_MANY_REJECTS:
            break
        again = True
    wider = f" (also with hits up to {residual_max_mm:g} mm)" if again else ""
    name = iteration.record["stages"][iteration.stage - 1]["steps"][len(steps)]["name"]
    step = f"step {len(steps) + 1} ({name})"
    if failed.end_code in NO_VARIABLES:
        least = iteration.config["solver"]["entries"]
        raise NodeError(
            f"{step}: of {counts.tracks_written:,} tracks no free parameter has the {least} measurements that solver.entries requires",
            exit_codes.STATISTICS,
        )
    raise NodeError(f"{step}: {failed.message}{wider}", exit_codes.SOLVER)


def _counts(mille_file: MilleFile, used: list[int]) -> tuple[Counts, IntArray, list[Files]]:
    """Return the sum of the conversions' counts, the residuals of each file's sides, and the rows of the files."""
    binaries = [mille_file(file) for file in used]
    missing = [path for binary in binaries for path in (binary, f"{binary}.json") if not os.path.isfile(path)]
    if missing or not used:
        shown = first_of([os.path.basename(path) for path in missing], 5) or "all raw files were dropped"
        raise NodeError(f"missing in {os.path.dirname(mille_file(0))}: {shown}", exit_codes.INPUT_MISSING)
    with failing(exit_codes.INPUT_MISSING):
        side_residuals: list[IntArray] = []
        total, rows = rows_of_files(mille_file, used, lambda counts: side_residuals.append(counts.side_residuals))
        return total, np.stack(side_residuals), rows


def _attempt(
    iteration: Iteration, used: list[int], mille_file: MilleFile, residual_max_mm: float, constants: Constants
) -> tuple[list[Step], Path, Solution | None, Normal | None]:
    """Run the stage's steps; each starts from the previous result and fixes its own labels there.

    Returns the solved steps, the first step's steering file, the solution of a failed step, and the normal equations.
    """
    settings = iteration.config["solver"]
    planned = iteration.record["stages"][iteration.stage - 1]["steps"]
    folder = Path(iteration.solution_folder())
    binaries, weights = [mille_file(file) for file in used], [iteration.weight(file) for file in used]
    steps: list[Step] = []
    first, normal, total = folder, None, None
    why = "" if mille_file == iteration.mille_file else "the tracks were converted again with a wider residual cut"
    for number, step in enumerate(planned, start=1):
        with failing(exit_codes.CONFIG):
            fixed = step_fixed(step, iteration.stations)
            options = solver_options(settings, step)
        start = steps[-1].solution.values if steps else {}
        frozen: tuple[Frozen, ...] = ()
        with failing(exit_codes.SOLVER):
            place = folder if len(planned) == 1 else folder / f"step{number}"
            place.mkdir(exist_ok=True)
            steering = write_steering(place, binaries, fixed, start, options, weights)
            if number == 1:
                first = steering
                total, why = (None, why) if why else read_total(steering)
            if above := step.get("freeze_sigma", 0.0):
                found = equations(
                    iteration, used, steering, residual_max_mm, constants, frame=options.frame, total=total
                )
                normal = found if number == 1 else normal
                frozen = frozen_directions(iteration, steering, found, fixed, constants, above, total) if found else ()
                names = "; ".join(one.name for one in frozen) or "nothing"
                print(f"step {number} ({step['name']}) freezes {names}", flush=True)
                steering = write_steering(
                    place, binaries, fixed, start, dataclasses.replace(options, frozen=frozen), weights
                )
            solution = _solution(steering, settings, total, why)
        if not solution.solved or not solution.values:
            return steps, first, solution, normal
        steps.append(Step(step["name"], fixed, solution, start, tuple(one.name for one in frozen)))
    if normal is None and not planned[0].get("freeze_sigma"):
        frame = solver_options(settings, planned[0]).frame
        normal = equations(iteration, used, first, residual_max_mm, constants, frame=frame, total=total)
    return steps, first, None, normal


def _solution(steering: Path, settings: Solver, total: Total | None, why_no_sums: str) -> Solution:
    if settings["backend"] == "builtin":
        solution = run_builtin(steering, total, why_no_sums=why_no_sums)
    else:
        with failing(exit_codes.ENVIRONMENT):
            environment = sourced(settings.get("environment", ""))
        try:
            solution = run_pede(steering, settings["pede"], settings["threads"], environment)
        except NotStartedError as problem:
            raise NodeError(str(problem), exit_codes.ENVIRONMENT) from problem
    return accept(solution, settings.get("warnings_ok", DOUBTFUL_CODES))
