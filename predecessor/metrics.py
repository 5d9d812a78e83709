"""Compute an imported iteration's metrics, as far as its constants and pede's files allow."""

import json
from collections.abc import Sequence

from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.parameters.constants import (
    ZERO,
    Constants,
    add_constants,
    correction_from_parameters,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.quality.metrics import Data, Step, corrections, iteration_metrics, relative_size
from faser_align.campaign import layout
from faser_align.fsm.metrics import Metrics
from faser_align.predecessor.folder import Place, Run
from faser_align.system.atomic import write_text

DIGITS = 1e-4  # relative; pede prints five digits


def write_metrics(new: str, place: Place, files: Sequence[int], notes: list[str]) -> Metrics:
    """Write the metrics of an iteration of the campaign's raw ``files``; unknown values are None or left out."""
    past = place.past
    solved = [run for run in past.runs if run.solution.result]
    computed = correction_from_parameters(solved[-1].solution.values) if solved else None
    if past.start is not None and past.result is None and computed is not None:
        notes.append(f"{past.name}: its constants are the initial ones plus pede's result; it passed on none")
        write_constants(layout.result_file(new, place.stage, place.number), add_constants(past.start, computed))
    applied = (
        subtract_constants(past.result, past.start) if past.start is not None and past.result is not None else computed
    )
    metrics = (
        _of_runs(place, solved, past.start or {}, applied or {}, len(files))
        if solved
        else _of_constants(place, applied)
    )
    lost = [file for file in files if file not in past.tracks]
    metrics |= {
        "files": {"expected": len(files), "used": len(past.tracks), "lost": lost} if past.tracks else {},
        "relative": relative_size(applied, past.start) if applied is not None and past.start else None,
        "imported": past.name,
    }
    if applied is not None and computed is not None and not _agree(applied, computed, past.start or {}):
        odd = f"{past.name}: the constants that it passed on are not the initial ones plus pede's result"
        notes.append(odd)
        metrics["notes"] = [*metrics.get("notes", []), odd]
    if past.runs and not solved:
        code, text = _end(past.runs[-1])
        metrics["solver"] = {"backend": "pede", "end_code": code, "end_text": text}
    write_text(layout.metrics_file(new, place.stage, place.number), json.dumps(metrics, allow_nan=False))
    return metrics


def _of_runs(place: Place, runs: Sequence[Run], start: Constants, applied: Constants, files: int) -> Metrics:
    """Return metrics from pede's runs, without those that need the tracks."""
    steps: list[Step] = []
    for run in runs:
        result = run.solution.result
        fixed = frozenset(label for label, row in result.items() if row.presigma < 0 or row.difference is None)
        before = steps[-1].solution.values if steps else {}
        steps.append(Step(run.name, fixed | (frozenset(PARAMETERS) - result.keys()), run.solution, before))
    metrics = iteration_metrics(
        stage=place.stage,
        iteration=place.number,
        data=Data(files, [], Counts(), 0.0, False),
        steps=steps,
        constants=start,
        correction=applied,
        backend="pede",
        last=False,
    )
    log = runs[-1].solution
    metrics |= {"residual_max_mm": None, "residual_max_final": None, "converted_again": None}
    metrics |= {"wall_s": None, "cpu_s": None, "max_memory_mb": None}
    metrics |= {"hits": {}, "momentum": {}, "residuals": {}, "tracks": {"used": log.records or None}}
    metrics["solver"]["end_code"], metrics["solver"]["end_text"] = _end(runs[-1])
    if not log.records:
        metrics["solver"] |= {"records": None, "rejects": None}
    for step, run in zip(metrics["steps"], runs, strict=True):
        step["end_code"], step["end_text"] = _end(run)
        if not run.solution.n_variable:
            step |= {"free_parameters": None, "variable": None}
        step["measurements"] = None
    return metrics


def _end(run: Run) -> tuple[int | str, str]:
    """Return pede's end code and text; empty if it left none."""
    return (run.solution.end_code, run.solution.end_text) if run.solution.end_code >= 0 else ("", "")


def _of_constants(place: Place, applied: Constants | None) -> Metrics:
    """Return metrics of an iteration without a pede result: the change of its constants, if any."""
    moved = [label for label, parameter in PARAMETERS.items() if any((applied or {}).get(parameter.key, ()))]
    return {
        "format": 1,
        "stage": place.stage,
        "iteration": place.number,
        "steps": [],
        "corrections": corrections(applied or {}, moved),
    }


def _agree(applied: Constants, computed: Constants, start: Constants) -> bool:
    """Return whether two corrections agree within the digits of pede and the constants."""
    return all(
        abs(a - b) <= DIGITS * abs(b) + 2e-5 * abs(c) + 1e-9
        for key in applied.keys() | computed.keys()
        for a, b, c in zip(applied.get(key, ZERO), computed.get(key, ZERO), start.get(key, ZERO), strict=True)
    )
