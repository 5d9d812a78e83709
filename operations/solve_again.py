"""Repeat a Millepede step with other cuts, weights or steps on existing tracks: ``solve --from``."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.manifest import data_of, write_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.load import parse_config, read_text
from faser_align.config.stages import stages_of
from faser_align.fsm.errors import UserError
from faser_align.fsm.metrics import Metrics
from faser_align.fsm.plural import count
from faser_align.operations import one_iteration
from faser_align.operations.forking import Parent
from faser_align.system import atomic

TAKEN = ("mille", "solver", "convergence")  # tables of another configuration that affect a solution
MISSING_NAMED = 3


def solve_again(parent: Parent, output: Path, config: str) -> Metrics:
    """Solve an iteration of a campaign again in the new folder ``output``; the campaign is only read.

    Args:
        parent: the campaign and the iteration.
        output: folder to make; the constants and metrics are in its ``iterNN/3millepede``.
        config: configuration file whose cuts, solver and steps are used; empty: the campaign's.

    Returns:
        The metrics of the solution.

    Raises:
        UserError: tracks are missing, the folder exists, or the configuration cannot be used.
        CampaignError: there is no solution, or tracks could not be converted.
    """
    if parent.iteration == 0:
        raise UserError(
            f"{parent.record['name']} has no solved iteration of stage {parent.stage} yet; wait for the first"
        )
    if "imported" in parent.record:
        raise UserError(
            f"{parent.record['name']} was imported without tracks; reconstruct them with `faser-align reco`"
        )
    record = _record(parent, os.path.abspath(output), config)
    lost_file = Path(layout.lost_file(parent.folder, parent.stage, parent.iteration))
    lost = json.loads(lost_file.read_text(encoding="utf-8")) if lost_file.exists() else []
    same = record["config"]["mille"] == parent.record["config"]["mille"]
    tracks = _tracks(parent, [file for file in layout.files_of(record, parent.stage) if file not in lost], same=same)
    _lay_out(parent, record, tracks)
    if not same:
        for file in tracks:
            words = ("convert", record["folder"], parent.stage, parent.iteration, str(file))
            one_iteration.run_job(*words, failed="convert failed")
    return one_iteration.solve(record["folder"], parent.iteration, parent.stage)


def _record(parent: Parent, folder: str, config: str) -> Manifest:
    """Return the manifest of a campaign that ends with this iteration, in a folder of its own."""
    record = parent.record
    stages = record["stages"][: parent.stage]
    values: Any = dict(record["config"])
    if config:
        told = parse_config(read_text(config), config)
        described = stages_of(told)
        if len(described) < parent.stage:
            raise UserError(
                f"{config} has {count(len(described), 'stage')}, but stage {parent.stage} is to be solved; add it there"
            )
        stages = [*stages[:-1], {**stages[-1], "steps": described[parent.stage - 1]["steps"]}]
        dumped = told.model_dump(mode="json")
        values |= {table: dumped[table] for table in TAKEN}
    stages = [*stages[:-1], {**stages[-1], "iterations": parent.iteration}]
    values["report"] = {**values.get("report", {}), "publish": ""}  # the campaign's page does not include this
    solved: Manifest = {
        **record,
        "folder": folder,
        "data": folder,
        "python": sys.executable,
        "job_python": sys.executable,
        "stages": stages,
        "config": values,
        "parent": parent.facts(),
    }
    solved.pop("validation", None)
    return solved


def _tracks(parent: Parent, files: list[int], *, same: bool) -> dict[int, list[str]]:
    """Return the campaign's tracks and Mille data by raw file; raise UserError if needed ones are missing."""
    found, missing = {}, []
    record = parent.record
    data = data_of(parent.folder, record)
    for file in files:
        where = (data, parent.stage, parent.iteration, record["run"], file)
        root, mille = layout.kfalignment_file(*where), layout.mille_file(*where)
        stem = os.path.splitext(mille)[0]  # momenta and sums are missing in campaigns of older versions
        beside = (f"{mille}.json", layout.histograms_file(mille), f"{stem}.momenta.npy", f"{stem}.sums")
        wanted = [mille, *beside] if same else [root]
        there = [path for path in dict.fromkeys((root, *wanted)) if os.path.exists(path)]
        missing += [path for path in wanted[:1] if path not in there]
        found[file] = there if same else [root]
    if missing:
        named = ", ".join(missing[:MISSING_NAMED]) + (", ..." if len(missing) > MISSING_NAMED else "")
        cure = (
            "" if same else "; with the campaign's own [mille] they are not needed (storage.keep_iterations keeps more)"
        )
        raise UserError(f"{len(missing)} of {len(files)} files of tracks are gone: {named}{cure}")
    return found


def _lay_out(parent: Parent, record: Manifest, tracks: dict[int, list[str]]) -> None:
    """Make the folder: the manifest, the constants of the iteration, and links to the campaign's files."""
    folder, stage, iteration = record["folder"], parent.stage, parent.iteration
    place = layout.iteration_folder(folder, stage, iteration)
    try:
        os.mkdir(folder)
    except FileExistsError:
        raise UserError(f"{folder} already exists; name a new folder with -o") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot create: {error.strerror}; name another folder with -o") from None
    try:
        for part in (layout.RECO, layout.KFALIGNMENT, f"{layout.MILLEPEDE}/{layout.LOGS}"):
            os.makedirs(f"{place}/{part}")
        for path in (found for files in tracks.values() for found in files):
            os.symlink(path, f"{place}/{layout.KFALIGNMENT}/{os.path.basename(path)}")
        for at in dict.fromkeys([(1, 1), (stage, iteration)]):  # the drift along weak modes counts from the first
            text = Path(layout.constants_file(parent.folder, *at)).read_text(encoding="utf-8")
            os.makedirs(os.path.dirname(layout.constants_file(folder, *at)), exist_ok=True)
            atomic.write_text(layout.constants_file(folder, *at), text)
        lost = Path(layout.lost_file(parent.folder, stage, iteration))
        if lost.exists():
            atomic.write_text(layout.lost_file(folder, stage, iteration), lost.read_text(encoding="utf-8"))
        write_record(f"{folder}/{layout.RECORD}", record)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        where = f": {error.filename}" if error.filename else ""
        raise UserError(f"{folder}: cannot create: {error.strerror}{where}; name another folder with -o") from None
