"""Solve an iteration: read the Mille records of all raw files, write constants and metrics.

``python -I -m faser_align.jobs.solve CAMPAIGN STAGE ITERATION``, on an execute node.
"""

import json
import math
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import faser_align
from faser_align.alignment.parameters.constants import (
    Constants,
    add_constants,
    correction_from_parameters,
    parse_constants,
    read_constants,
    write_constants,
)
from faser_align.alignment.pede.results import LOG
from faser_align.alignment.pede.runner import VERSION
from faser_align.alignment.pede.steering_text import labels_freed
from faser_align.alignment.quality.between_files import agreement, read_duplicates
from faser_align.alignment.quality.metrics import Data, iteration_metrics
from faser_align.alignment.quality.momenta import TrackArray, compare, read_momenta
from faser_align.alignment.quality.notes import notes
from faser_align.alignment.solver.normal_equations import Normal, write_normal
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.metrics import Metrics, Momentum
from faser_align.fsm.rules import Rules, limits_of
from faser_align.jobs.checksums import constants_facts
from faser_align.jobs.cost import reconstruction_cost
from faser_align.jobs.equations import first_constants
from faser_align.jobs.figures import keep_solution, plot
from faser_align.jobs.grading import grade, read_history
from faser_align.jobs.program import Iteration, failing, lost_files, main, open_iteration, reading_constants
from faser_align.jobs.steps import run_steps
from faser_align.pages.figures import style
from faser_align.state.database import utc
from faser_align.system.atomic import temporary, write_text

CORRECTION = "correction.txt"


def solve(folder: str, stage: int, number: int) -> None:
    """Write the iteration's correction, its constants and ``metrics.json``, and pass the constants on.

    ``metrics.json`` is written last: if it exists, everything else does. Raises NodeError with the exit status of the
    failure.
    """
    started = time.monotonic()
    iteration = open_iteration(folder, stage, number)
    metrics_file = layout.metrics_file(iteration.record["folder"], stage, number)
    with failing(exit_codes.COPY):
        os.makedirs(iteration.solution_folder(), exist_ok=True)
        for of in (layout.metrics_file, layout.plot_file, layout.normal_file):
            Path(of(iteration.record["folder"], stage, number)).unlink(missing_ok=True)
    lost = lost_files(iteration)
    used = [file for file in iteration.record["files"] if file not in lost]
    with reading_constants():
        start = Path(iteration.constants_file()).read_bytes()
        constants = parse_constants(start.decode(errors="replace"), iteration.constants_file())

    solved = run_steps(iteration, used, constants)
    steps = solved.steps
    correction = correction_from_parameters(steps[-1].solution.values)
    finite = all(math.isfinite(value) for six in correction.values() for value in six)
    result = _hand_on(iteration, correction, add_constants(constants, correction)) if finite else None
    normal = solved.normal
    simulated = iteration.config["reconstruction"]["backend"] == "simulation"
    metrics = iteration_metrics(
        stage=stage,
        iteration=number,
        data=Data(
            len(iteration.record["files"]),
            lost,
            solved.counts,
            solved.residual_max_mm,
            iteration.cuts_are_final,
            solved.converted_again,
            _momentum(iteration, used),
            agreement(solved.side_residuals, used),
            read_duplicates([iteration.momenta_file(file) for file in used], used),
            # The simulation writes uncompressed files to save time.
            0 if simulated else solved.counts.files_uncompressed,
        ),
        steps=steps,
        constants=constants,
        correction=correction,
        backend=iteration.config["solver"]["backend"],
        normal=normal,
        last=number >= iteration.record["stages"][stage - 1]["iterations"],
        freed_earlier=_freed_earlier(iteration),
        survey=iteration.config.get("survey"),  # none in a campaign of an older version
        first=first_constants(iteration),
        before=_constants_before(iteration),
        truth=_truth(iteration),
    )
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    metrics["wall_s"] = round(time.monotonic() - started, 3)
    metrics["cpu_s"] = round(sum(used.ru_utime + used.ru_stime for used in usage), 3)
    metrics["max_memory_mb"] = round(max(used.ru_maxrss for used in usage) / 1024, 1)
    metrics["constants"] = constants_facts(iteration, start, result)
    metrics["versions"] = _versions(solved.steering.parent)
    metrics["notes"] = notes(
        metrics,
        iteration.config["convergence"]["momentum_max"],
        Rules.from_config(convergence_of(iteration.record, stage)),
    )
    metrics["reconstruction"] = reconstruction_cost(iteration.folder, stage, number)
    history = [*read_history(iteration), metrics]
    quality = grade(iteration, history)
    if quality:
        metrics["quality"] = quality
    metrics["no_plot"] = _plot(iteration, history)
    keep_solution(iteration, solved, correction if finite else {}, metrics)
    _keep_normal(iteration, normal)
    with failing(exit_codes.COPY):
        write_text(metrics_file, json.dumps(metrics, allow_nan=False))
    _drop_tracks(iteration)
    _publish(iteration)


def _freed_earlier(iteration: Iteration) -> set[int]:
    """Return the labels that earlier stages freed, in the last stage; before it no stage decides about another's.

    Stages of the campaigns that it was forked from are earlier ones, too.
    """
    stages = iteration.record["stages"]
    if iteration.stage < len(stages):
        return set()
    inherited = iteration.record.get("parent", {}).get("stages", [])
    earlier = [stage for stage in (*inherited, *stages) if stage["steps"] != stages[-1]["steps"]]
    return labels_freed(earlier, iteration.stations)


def _constants_before(iteration: Iteration) -> Constants | None:
    """Return the constants with which the stage's previous iteration reconstructed; None if there is none, or no file."""
    if iteration.number < 2:
        return None
    return _read(layout.constants_file(iteration.folder, iteration.stage, iteration.number - 1))


def _truth(iteration: Iteration) -> Constants | None:
    """Return the constants of the simulated detector; None for real data, or if their file cannot be read."""
    if iteration.config["reconstruction"]["backend"] != "simulation":
        return None
    path = iteration.config["simulation"]["truth"]
    return _read(path) if path else {}


def _read(path: str) -> Constants | None:
    try:
        return read_constants(path)
    except CampaignError:
        return None


def _plot(iteration: Iteration, history: Sequence[Metrics]) -> str:
    """Draw the convergence beside the iteration's metrics; return why there is no picture, or nothing.

    Drawing takes as long as a small solution, and only e-mails show the picture.
    """
    if not iteration.config["notify"]["targets"]:
        return "notify.targets was empty when the iteration was solved"
    limits = limits_of(convergence_of(iteration.record, iteration.stage))
    path = layout.plot_file(iteration.folder, iteration.stage, iteration.number)
    return plot(path, history, limits, style.label(iteration.config))


def _publish(iteration: Iteration) -> None:
    """Update the published page; errors are only printed, because the solution does not depend on it."""
    where = iteration.config.get("report", {}).get("publish")
    if not where:
        return
    try:
        from faser_align.pages.bounded import publish

        publish(iteration.folder, where, written_utc=utc())
    except Exception as error:  # noqa: BLE001 -- the solution exists whatever happens here
        sys.stderr.write(f"the page in {where} is not up to date: {error}\n")


def _momentum(iteration: Iteration, used: list[int]) -> Momentum:
    """Compare the momenta with the previous iteration and the stage's first; empty if unknown."""

    def momenta(number: int) -> TrackArray | None:
        of = iteration._replace(number=number)
        return read_momenta([of.momenta_file(file) for file in used])

    now, drift = momenta(iteration.number), Momentum()
    if now is None or iteration.number < 2:
        return drift
    window = iteration.config["mille"]["pz_min"], iteration.config["mille"]["pz_max"]
    if (before := momenta(iteration.number - 1)) is not None:
        drift["since_before"] = compare(before, now, window)
    if (first := momenta(1)) is not None:
        drift["since_first"] = compare(first, now, window)
    return drift


def _keep_normal(iteration: Iteration, normal: Normal | None) -> None:
    """Write the normal equations for `replay`, in place of those of the stage's previous iteration.

    Errors are only printed, because no result depends on the file.
    """
    folder, stage, number = iteration.record["folder"], iteration.stage, iteration.number
    try:
        if normal is not None:
            write_normal(layout.normal_file(folder, stage, number), normal)
        Path(layout.normal_file(folder, stage, number - 1)).unlink(missing_ok=True)
    except OSError as error:
        sys.stderr.write(f"the normal equations are not stored: {error}\n")


def _hand_on(iteration: Iteration, correction: Constants, constants: Constants) -> str:
    """Write the correction and the constants, and copy the constants to all possible successors; return their path.

    Successors are the next iteration of the stage, the first iteration of the next stage, and the validation: the POST
    script decides only after this job whether the stage is over.
    """
    result = layout.result_file(iteration.record["folder"], iteration.stage, iteration.number)
    stages = iteration.record["stages"]
    following = []
    if iteration.stage == len(stages) and "validation" in iteration.record:
        following.append((layout.VALIDATION, layout.AFTER))
    if iteration.number < stages[iteration.stage - 1]["iterations"]:
        following.append((iteration.stage, iteration.number + 1))
    if iteration.stage < len(stages):
        following.append((iteration.stage + 1, 1))
    with failing(exit_codes.COPY):
        write_constants(os.path.join(iteration.solution_folder(), CORRECTION), correction)
        write_constants(result, constants)
        for stage, number in following:
            target = layout.constants_file(iteration.folder, stage, number)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with temporary(target) as name:
                shutil.copyfile(result, name)
    return result


def _drop_tracks(iteration: Iteration) -> None:
    """Remove the tracks of iterations before the latest ones to keep; ``iteration`` has just been solved.

    DAGMan started this iteration after earlier ones were judged. Its own tracks stay for a second solution with a wider
    cut. A file that cannot be removed is reported on stderr, because the solution does not depend on it.
    """
    config: Mapping[str, Any] = iteration.config
    if (storage := config.get("storage")) is None:  # a campaign of an older version
        kept = 0 if config["reconstruction"].get("keep_root", True) else 1
    else:
        kept = int(storage["keep_iterations"]) if storage["keep_intermediate_root_files"] else 1
    for old in [*iteration.before(), iteration][:-kept] if kept else ():
        for file in old.files:
            try:
                Path(old.kfalignment_file(file)).unlink(missing_ok=True)
            except OSError as error:
                sys.stderr.write(f"{error.filename} stays: {error.strerror}\n")


def _versions(folder: Path) -> dict[str, str]:
    """Return versions by name: faser-align, Python and its packages, and pede if its log is in ``folder``."""
    by_name = {"faser-align": faser_align.__version__, "Python": platform.python_version()}
    for package in ("numpy", "uproot"):
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        with open(folder / LOG, "rb") as log:
            match = VERSION.search(log.read(400).decode(errors="replace"))
    except OSError:
        match = None
    return by_name | ({"pede": match[0]} if match else {})


if __name__ == "__main__":
    main(solve, "CAMPAIGN STAGE ITERATION", exit_codes.SOLVER)
