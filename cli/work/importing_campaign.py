"""A finished campaign of faser-alignment-script becomes one of ours that can be read: record, store, history, metrics.

Its events are taken in as hooks would have done it, so that the history is a path in the table of states. What is not
known stays blank.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.alignment.constants import (
    Constants,
    add_constants,
    correction_from_parameters,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.counts import Counts
from faser_align.alignment.labels import PARAMETERS
from faser_align.alignment.metrics import Data, Resources, Step, corrections, iteration_metrics, relative_size
from faser_align.cli.work.importing_folder import Campaign, Past, Run, read_folder
from faser_align.config import layout
from faser_align.config.atomic import write_text
from faser_align.config.record import make_record, write_record
from faser_align.config.schema import Config
from faser_align.fsm import table
from faser_align.fsm.errors import StoreError, UserError

DAGMAN = "imported"  # stands where the id of the DAGMan job would
JUDGED = "imported: faser-alignment-script judged nothing"
DIGITS = 1e-4  # relative; pede prints five digits


class Made(NamedTuple):
    """The campaign that was made: its name and folder, the number of its iterations, and what is odd."""

    name: str
    folder: str
    iterations: int
    notes: list[str]


class Place(NamedTuple):
    """Where an iteration of theirs stands in our campaign."""

    stage: int
    number: int
    past: Past


def import_campaign(source: str, output: str) -> Made:
    """Make a campaign of a folder of faser-alignment-script; the folder itself is not changed.

    Args:
        source: the folder with its iterations.
        output: the campaign's folder, which must not exist; empty: the source's name and ``-imported``, here.

    Raises:
        UserError: there is nothing to import, or the output stands in the way or cannot be written.
    """
    campaign = read_folder(source)
    folder = os.path.abspath(output or f"{campaign.folder.name}-imported")
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already; name another folder with --output")
    if os.path.commonpath([folder, str(campaign.folder)]) == str(campaign.folder):
        raise UserError(
            f"{folder} lies in the folder that is imported, which is not changed; name another with --output"
        )
    name = os.path.basename(folder)
    stages, places = _stages(campaign)
    record = _record(campaign, name, folder, stages)
    notes = [*campaign.notes, *(note for place in places for note in place.past.notes)]
    new = os.path.join(os.path.dirname(folder), f".{name}.{os.getpid()}.new")
    try:
        os.mkdir(new)
    except OSError as error:
        raise UserError(
            f"{os.path.dirname(folder)} cannot be written: {error.strerror}; name another with --output"
        ) from None
    try:
        _fill(new, record, places, notes)
        os.rename(new, folder)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{folder} cannot be made: {error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    from faser_align.state import registry

    registry.add(name, folder)
    return Made(name, folder, len(places), notes)


def _stages(campaign: Campaign) -> tuple[list[dict[str, Any]], list[Place]]:
    """Our stages, as their configuration names them or else a single one, and each iteration's place."""
    workflow = campaign.config.get("workflow") or {}
    planned = [
        (workflow[name].get("comment") or name, int(workflow[name]["iters"]), workflow[name].get("pede") or {})
        for name in sorted(workflow)
        if name.startswith("set") and workflow[name].get("iters")
    ]
    if sum(count for _, count, _ in planned) < len(campaign.past):
        planned = [("imported", len(campaign.past), {})]
    stages, places, rest = [], [], list(campaign.past)
    for title, count, pede in planned:
        mine, rest = rest[:count], rest[count:]
        if not mine:
            break
        steps = [{"name": step, "fix": list(pede[step])} for step in sorted(pede)]
        stages.append({"name": title, "iterations": len(mine), "steps": steps})
        places += [Place(len(stages), number, past) for number, past in enumerate(mine, start=1)]
    return stages, places


def _record(campaign: Campaign, name: str, folder: str, stages: list[dict[str, Any]]) -> dict[str, Any]:
    first = campaign.past[0]
    files = sorted({file for past in campaign.past for file in past.tracks})
    record = make_record(
        Config(),
        name=name,
        year=0,
        run=campaign.run,
        files=files,
        folder=folder,
        constants=str(first.start_file or ""),
        sha256=hashlib.sha256(first.start_file.read_bytes()).hexdigest() if first.start_file else "",
        created_utc=_utc(first.began)[:19] + "Z",
    )
    return {
        **record,
        "year": campaign.year or "",
        "stations": campaign.stations or "",
        "stages": stages,
        "imported": {"from": str(campaign.folder), "config": campaign.config, "times": "those of its files"},
    }


# What readers need of a configuration that there was not; the rest of ours says nothing about their campaign.
_KEPT = {"notify": None, "htcondor": ("pool",)}


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        name: {key: value for key, value in config[name].items() if keys is None or key in keys}
        for name, keys in _KEPT.items()
    }
    return {**kept, "htcondor": {"pool": "system"}, "solver": {"backend": "pede"}}


def _fill(new: str, record: dict[str, Any], places: Sequence[Place], notes: list[str]) -> None:
    """Write all that a reader of the campaign looks for into the folder ``new``."""
    from faser_align.state import database, publish
    from faser_align.state.create import create_store

    metrics = []
    for place in places:
        _copy(new, place, len(record["stages"][place.stage - 1]["steps"]))
        metrics.append(_metrics(new, place, len(record["files"]), notes))
    config = {"notify": {"targets": [], "events": []}, "reconstruction": {"min_files": 1.0}}
    create_store(new, {**record, "config": {**record["config"], **config}})
    database.transact(new, lambda db: _replay(db, places, metrics, record))
    publish.publish(new)
    write_record(os.path.join(new, layout.RECORD), {**record, "config": _known({**record["config"], **config})})
    if record["imported"]["config"]:
        write_text(os.path.join(new, "config.json"), json.dumps(record["imported"]["config"], indent=1) + "\n")


def _step_folder(from_end: int, steps: int) -> str:
    """Where the run of pede that is the last (-1), the last but one (-2), ... belongs, as our iterations have it."""
    if steps > 1 and steps + from_end >= 0:
        return f"step{steps + 1 + from_end}"
    return "" if from_end == -1 else f"earlier{-from_end - 1}"


def _copy(new: str, place: Place, steps: int) -> None:
    """Copy an iteration's small files: constants and what pede wrote; no tracks."""
    past = place.past
    top = Path(layout.iteration_folder(new, place.stage, place.number))
    for part in (layout.RECO, layout.MILLEPEDE):
        (top / part / layout.LOGS).mkdir(parents=True)
    if past.start_file is not None and past.start is not None:
        target = layout.constants_file(new, place.stage, place.number)
        if past.start_file.read_text(encoding="utf-8").strip():
            shutil.copy2(past.start_file, target)
        else:
            write_constants(target, past.start)
    if past.result_file is not None and past.result is not None:
        shutil.copy2(past.result_file, layout.result_file(new, place.stage, place.number))
    for at, run in enumerate(past.runs):
        folder = top / layout.MILLEPEDE / _step_folder(at - len(past.runs), steps)
        folder.mkdir(exist_ok=True)
        for name in run.files:
            shutil.copy2(run.folder / name, folder / name)


def _metrics(new: str, place: Place, files: int, notes: list[str]) -> dict[str, Any]:
    """The iteration's metrics as far as its files say, written beside its result; blank is None or left out."""
    past = place.past
    solved = [run for run in past.runs if run.solution.result]
    said = correction_from_parameters(solved[-1].solution.values) if solved else None
    if past.start is not None and past.result is None and said is not None:
        notes.append(f"{past.name}: its constants are those it started from plus pede's result; none were handed on")
        write_constants(layout.result_file(new, place.stage, place.number), add_constants(past.start, said))
    applied = (
        subtract_constants(past.result, past.start) if past.start is not None and past.result is not None else said
    )
    found = _of_runs(place, solved, past.start or {}, applied or {}, files) if solved else _of_constants(place, applied)
    found |= {
        "files": {"expected": files, "used": len(past.tracks), "lost": []} if past.tracks else {},
        "relative": relative_size(applied, past.start) if applied is not None and past.start else None,
        "imported": past.name,
    }
    if applied is not None and said is not None and not _agree(applied, said, past.start or {}):
        odd = f"{past.name}: the constants that it handed on are not those it started from plus pede's result"
        notes.append(odd)
        found["notes"] = [*found.get("notes", []), odd]
    if past.runs and not solved:
        found["solver"] = {"backend": "pede", **_end(past.runs[-1])}
    write_text(layout.metrics_file(new, place.stage, place.number), json.dumps(found, allow_nan=False))
    return found


def _of_runs(place: Place, runs: Sequence[Run], start: Constants, applied: Constants, files: int) -> dict[str, Any]:
    """Metrics of pede's runs; what only the tracks could say is taken out again."""
    steps: list[Step] = []
    for run in runs:
        result = run.solution.result
        fixed = frozenset(label for label, row in result.items() if row.presigma < 0 or row.difference is None)
        before = steps[-1].solution.values if steps else {}
        steps.append(Step(run.name, fixed | (frozenset(PARAMETERS) - result.keys()), run.solution, before))
    found = iteration_metrics(
        stage=place.stage,
        iteration=place.number,
        data=Data(files, [], Counts(), 0.0, False),
        steps=steps,
        constants=start,
        correction=applied,
        backend="pede",
        resources=Resources(0.0, 0.0, 0.0),
        last=False,
    )
    log = runs[-1].solution
    for key in ("residual_max_mm", "residual_max_final", "converted_again", "wall_s", "cpu_s", "max_memory_mb"):
        found[key] = None
    found |= {"hits": {}, "momentum": {}, "residuals": {}, "tracks": {"used": log.records or None}}
    found["solver"] |= _end(runs[-1])
    if not log.records:
        found["solver"] |= {"records": None, "rejects": None}
    for step, run in zip(found["steps"], runs, strict=True):
        step |= _end(run)
        if not run.solution.n_variable:
            step |= {"free_parameters": None, "variable": None}
        step["measurements"] = None
    return found


def _end(run: Run) -> dict[str, Any]:
    """Pede's end code and text; blank where it left none."""
    known = run.solution.end_code >= 0
    return {
        "end_code": run.solution.end_code if known else "",
        "end_text": run.solution.end_text if known else "",
    }


def _of_constants(place: Place, applied: Constants | None) -> dict[str, Any]:
    """Metrics of an iteration without a result of pede: by how much its constants changed, if they did."""
    moved = [label for label, parameter in PARAMETERS.items() if any((applied or {}).get(parameter.key, ()))]
    return {
        "format": 1,
        "stage": place.stage,
        "iteration": place.number,
        "steps": [],
        "corrections": corrections(applied or {}, moved),
    }


def _agree(applied: Constants, said: Constants, start: Constants) -> bool:
    """Whether two corrections are the same to the digits that pede and the constants have."""
    zero = (0.0,) * 6
    for key in applied.keys() | said.keys():
        for a, b, c in zip(applied.get(key, zero), said.get(key, zero), start.get(key, zero), strict=True):
            if abs(a - b) > DIGITS * abs(b) + 2e-5 * abs(c) + 1e-9:
                return False
    return True


def _replay(
    db: sqlite3.Connection, places: Sequence[Place], metrics: Sequence[dict[str, Any]], record: Mapping[str, Any]
) -> int:
    """Take all events in, as the hooks of those days would have."""
    from faser_align.state import advance, apply, history

    for place, numbers in zip(places, metrics, strict=True):
        began = _event("pre", "", place.past.began)
        if not place.past.tracks:
            campaign = history.Campaign(db, began)
            if campaign.dag_id != DAGMAN:
                advance.new_dagman(campaign)
            history.campaign_event(campaign, "reconstruction_started", place.stage, place.number)
        for event in _events(place, numbers, last=place is places[-1], record=record):
            apply.apply(db, event)
        if not _is_solved(place):
            db.execute(
                "UPDATE iterations SET metrics = json(?) WHERE stage = ? AND iteration = ?",
                (json.dumps(numbers), place.stage, place.number),
            )
    if not _is_solved(places[-1]):
        apply.apply(
            db,
            {**_event("final", layout.FINAL_NODE, places[-1].past.ended), "dag_status": 2, "failed_count": 1},
        )
    _mark(db, places, record)
    # Of files whose tracks are not there any more it is not known what became of them.
    db.execute("DELETE FROM nodes WHERE state = 'waiting'")
    return 0


def _mark(db: sqlite3.Connection, places: Sequence[Place], record: Mapping[str, Any]) -> None:
    """Say where the history comes from, and let it begin when theirs did."""
    began, last = _utc(places[0].past.began), places[-1]
    source = record["imported"]["from"]
    db.execute("UPDATE campaign SET created_utc = ?", (began,))
    db.execute(
        "UPDATE history SET utc = ?, host = '', facts = json_set(facts, '$.imported', ?) WHERE event = 'created'",
        (began, source),
    )
    # What an event must have and nobody knows: jobs' exit statuses, and which try it was.
    db.execute("UPDATE attempts SET return_value = NULL, exit_status = NULL, host = ''")
    db.execute("UPDATE history SET facts = json_remove(facts, '$.return', '$.retry') WHERE subject != 'campaign'")
    if not _is_solved(last):
        reason = f"imported: {last.past.name} has no result ({_why(last.past)})"
        db.execute("UPDATE history SET facts = json_set(facts, '$.reason', ?) WHERE event = 'final_failed'", (reason,))


def _why(past: Past) -> str:
    return (past.runs[-1].solution.end_text if past.runs else "") or "pede left none"


def _events(
    place: Place, metrics: dict[str, Any], *, last: bool, record: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    past = place.past
    for file in past.tracks:
        yield _event("pre", layout.reco_node(place.stage, place.number, file), past.began)
    for file, at in past.tracks.items():
        yield _ended("succeeded", layout.reco_node(place.stage, place.number, file), max(at, past.began))
    node = layout.mille_node(place.stage, place.number)
    yield _event("pre", node, max([past.began, *past.tracks.values()]))
    if not _is_solved(place):
        yield _ended("failed", node, past.ended) | {"reason": f"no solution: {_why(past)}"}
        return
    name = "limit" if place.number == record["stages"][place.stage - 1]["iterations"] else "go_on"
    yield _ended("succeeded", node, past.ended) | {
        "verdict": name,
        "verdict_reason": JUDGED,
        "criteria": "[]",
        "metrics": json.dumps(metrics),
        "moves": table.after_verdict(
            name, last=place.stage == len(record["stages"]), validated=False, at_limit="continue"
        ),
    }


def _is_solved(place: Place) -> bool:
    past = place.past
    return past.result is not None or (past.start is not None and any(run.solution.result for run in past.runs))


def _event(phase: str, node: str, at: float) -> dict[str, Any]:
    return {"phase": phase, "dag_id": DAGMAN, "node": node, "utc": _utc(at), "host": "", "exit": 0, "retry": 0}


def _ended(outcome: str, node: str, at: float) -> dict[str, Any]:
    failed = outcome == "failed"
    about = {"max_retries": 0, "ret": int(failed), "job_id": "", "outcome": outcome, "reason": "", "fatal": failed}
    return {**_event("post", node, at), **about, "exit": int(failed)}


def _utc(at: float) -> str:
    from faser_align.state import database

    return database.utc(at)
