"""Convert a finished campaign of faser-alignment-script to a readable campaign: manifest, state database, metrics.

Its events are replayed as if scripts had recorded them, so that the history is a path in the transition table. Unknown
values stay empty.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from faser_align.alignment.parameters.constants import write_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.schema import Config
from faser_align.dag.create import under_construction
from faser_align.fsm.errors import StoreError, UserError
from faser_align.predecessor.folder import Campaign, Place, read_folder
from faser_align.predecessor.history import replay
from faser_align.predecessor.metrics import write_metrics
from faser_align.predecessor.stages import sets_of
from faser_align.state import database, publish, registry
from faser_align.state.create import create_store
from faser_align.system.atomic import write_text


class Made(NamedTuple):
    """The new campaign: name, folder, number of iterations, and oddities."""

    name: str
    folder: str
    iterations: int
    notes: list[str]


def import_campaign(source: str, output: str) -> Made:
    """Make a campaign from a folder of faser-alignment-script, which is not changed.

    Args:
        source: the folder with its iterations.
        output: the campaign's folder, which must not exist; empty: the source's name and ``-imported`` in the current
            folder.

    Raises:
        UserError: there is nothing to import, or the output exists or cannot be written.
    """
    campaign = read_folder(source)
    folder = os.path.abspath(output or f"{campaign.folder.name}-imported")
    if os.path.lexists(folder):
        raise UserError(f"{folder} already exists; name another folder with --output")
    if os.path.commonpath([folder, str(campaign.folder)]) == str(campaign.folder):
        raise UserError(f"{folder} is inside the folder to import, which must not change; name another with --output")
    name = os.path.basename(folder)
    stages, places, unknown = _stages(campaign)
    record = _record(campaign, name, folder, stages)
    notes = [*campaign.notes, *unknown, *(note for place in places for note in place.past.notes)]
    with under_construction(folder) as new:
        try:
            _fill(new, record, places, notes)
            registry.add(name, folder)
            os.rename(new, folder)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{folder}: cannot create: {error}") from error
    return Made(name, folder, len(places), notes)


def _stages(campaign: Campaign) -> tuple[list[dict[str, Any]], list[Place], list[str]]:
    """Return our stages, from their configuration or else a single one, each iteration's place, and notes."""
    sets, problems, _ = sets_of(campaign.config)
    counts = [one.iterations for one in sets]
    planned = [(one.name, one.iterations, one.steps) for one in sets]
    if problems or min(counts, default=0) < 1 or sum(counts) < len(campaign.past):
        planned = [("imported", len(campaign.past), [])]
    notes = [f"its stages are unknown: {problem.key} {problem.what}" for problem in problems]
    stages, places, rest = [], [], list(campaign.past)
    for title, count, runs in planned:
        mine, rest = rest[:count], rest[count:]
        if not mine:
            break
        steps = [{"name": run.name, "fix": run.fix} for run in runs]
        stages.append({"name": title, "iterations": len(mine), "steps": steps})
        places += [Place(len(stages), number, past) for number, past in enumerate(mine, start=1)]
    return stages, places, notes


def _record(campaign: Campaign, name: str, folder: str, stages: list[dict[str, Any]]) -> Manifest:
    first = campaign.past[0]
    record = make_record(
        Config(),
        name=name,
        year=0,
        run=campaign.run,
        files=list(campaign.files),
        folder=folder,
        constants=str(first.start_file or ""),
        sha256=hashlib.sha256(first.start_file.read_bytes()).hexdigest() if first.start_file else "",
        created_utc=database.utc(first.began)[:19] + "Z",
    )
    known: Any = {  # what is not known is empty or left out
        **record,
        "year": campaign.year or "",
        "stations": campaign.stations or "",
        "stages": stages,
        "imported": {"from": str(campaign.folder), "config": campaign.config, "times": "those of its files"},
    }
    return cast(Manifest, known)


def _fill(new: str, record: Manifest, places: Sequence[Place], notes: list[str]) -> None:
    """Write everything that readers of a campaign need into the folder ``new``."""
    metrics = []
    for place in places:
        _copy(new, place, len(record["stages"][place.stage - 1]["steps"]))
        metrics.append(write_metrics(new, place, record["files"], notes))
    nobody: Any = {"notify": {"targets": [], "events": []}}
    config: Any = {**record["config"], **nobody, "reconstruction": {"min_files": 1.0}}
    create_store(new, {**record, "config": config})
    database.transact(new, lambda db: replay(db, places, metrics, record))
    publish.publish(new)
    # Readers need these keys of our configuration; the others do not apply to an imported campaign.
    known: Any = {**nobody, "htcondor": {"pool": "system"}, "solver": {"backend": "pede"}}
    write_record(os.path.join(new, layout.RECORD), {**record, "config": known})
    if record["imported"]["config"]:
        write_text(os.path.join(new, "config.json"), json.dumps(record["imported"]["config"], indent=1) + "\n")


def _step_folder(from_end: int, steps: int) -> str:
    """Return our step folder for the last (-1), the last but one (-2), ... run of pede."""
    if steps > 1 and steps + from_end >= 0:
        return f"step{steps + 1 + from_end}"
    return "" if from_end == -1 else f"earlier{-from_end - 1}"


def _copy(new: str, place: Place, steps: int) -> None:
    """Copy an iteration's small files: constants and pede's output, no tracks."""
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
