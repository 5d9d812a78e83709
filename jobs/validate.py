"""Compare the tracks that a validation reconstructed with the first and the last constants.

``python -I -m faser_align.jobs.validate CAMPAIGN STAGE ITERATION``, on an execute node. The job only counts; its POST
script decides.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from faser_align.alignment.mille.counts import Counts, read_counts
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import labels_freed
from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.alignment.quality.momenta import compare, read_momenta
from faser_align.alignment.quality.notes import changed_by_hand
from faser_align.campaign import layout
from faser_align.fsm import exit_codes, validation
from faser_align.fsm.errors import NodeError
from faser_align.fsm.metrics import Group, Half, Metrics
from faser_align.jobs.checksums import validation_facts
from faser_align.jobs.figures import keep_half
from faser_align.jobs.grading import grade, read_history
from faser_align.jobs.program import Iteration, failing, lost_files, main, open_iteration, reading_constants
from faser_align.system.atomic import write_text

FORMAT = 1


def validate(folder: str, stage: int, number: int) -> None:
    """Write the validation's ``metrics.json``; raise NodeError with the exit status of the failure."""
    started = time.monotonic()
    after = open_iteration(folder, stage, number)
    path = layout.metrics_file(after.record["folder"], stage, number)
    with failing(exit_codes.COPY):
        Path(path).unlink(missing_ok=True)
    lost = lost_files(after)
    files = [file for file in after.files if file not in lost]
    unused = [file for file in files if file in after.record["validation"]["unused"]]
    groups = {name: chosen for name, chosen in (("all", files), ("unused", unused)) if chosen}
    # Older versions always reconstructed them again.
    if not after.record["config"]["validation"].get("used_files", True):
        groups.pop("all", None)
    with failing(exit_codes.CONFIG):
        free = labels_freed(after.record["stages"], after.record["stations"])
    with reading_constants():
        constants = validation_facts(after._replace(number=layout.BEFORE), after)
    metrics: Metrics = {
        "format": FORMAT,
        "stage": stage,
        "iteration": number,
        "files": {"expected": len(after.files), "used": len(files), "lost": lost, "unused": len(unused)},
        "groups": {name: _compare(after, chosen) for name, chosen in groups.items()},
        "aligned_sides": _aligned_sides(after),
        "free_parameters": len(free),
        "free_modules": sorted({PARAMETERS[label].key for label in free if PARAMETERS[label].module >= 0}),
        "constants": constants,
        "wall_s": round(time.monotonic() - started, 3),
    }
    limits = validation.Limits.from_config(after.record["config"]["validation"])
    quality = grade(after, read_history(after), metrics, validation.confirm(limits, metrics).name)
    if quality:
        metrics["quality"] = quality
    note = changed_by_hand(metrics)
    metrics["notes"] = [note] if note else []
    of = "unused" if unused else "all"
    for half in (after._replace(number=layout.BEFORE), after):
        keep_half(half, unused or files, of)
    with failing(exit_codes.COPY):
        write_text(path, json.dumps(metrics, allow_nan=False))


def _aligned_sides(after: Iteration) -> dict[str, int]:
    """Return the hits of each side in the files that the alignment used, from its last iteration; empty if unknown."""
    stage = len(after.record["stages"])
    for number in range(after.record["stages"][-1]["iterations"], 0, -1):
        path = layout.metrics_file(after.record["folder"], stage, number)
        if os.path.exists(path):
            try:
                sides = parse_metrics(Path(path).read_text(encoding="utf-8"), path).get("sides", {})
            except (OSError, ValueError) as problem:
                raise NodeError(f"{path} cannot be read: {problem}", exit_codes.INPUT_MISSING) from problem
            return {key: side["hits"] for key, side in sides.items()}
    return {}


def _compare(after: Iteration, files: Sequence[int]) -> Group:
    """Return the counts with each set of constants for these files, and the momentum changes of common tracks."""
    before = after._replace(number=layout.BEFORE)
    comparison: Group = {"before": _summary(_counts(before, files)), "after": _summary(_counts(after, files))}
    old, new = (read_momenta([half.momenta_file(file) for file in files]) for half in (before, after))
    if old is not None and new is not None:
        window = after.config["mille"]["pz_min"], after.config["mille"]["pz_max"]
        comparison["momentum"] = compare(old, new, window)
    return comparison


def _counts(half: Iteration, files: Sequence[int]) -> Counts:
    paths = [f"{half.mille_file(file)}.json" for file in files]
    missing = [os.path.basename(path) for path in paths if not os.path.isfile(path)]
    if missing or not paths:
        what = ", ".join(missing[:5]) or "all raw files were dropped"
        raise NodeError(f"missing for the validation: {what}", exit_codes.INPUT_MISSING)
    with failing(exit_codes.INPUT_MISSING):
        return sum((read_counts(path) for path in paths), Counts())


def _summary(counts: Counts) -> Half:
    return {
        "tracks": counts.tracks_written,
        "chi2_per_ndf": counts.chi2_per_ndf(),
        "residuals": counts.layer_residuals_um(),
        "modules": counts.module_residuals_um(),
        "sides": counts.side_residuals_um(),
    }


if __name__ == "__main__":
    main(validate, "CAMPAIGN STAGE ITERATION", exit_codes.SOLVER)
