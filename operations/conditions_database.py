"""Export constants as a conditions database (``constants export --sqlite``), made as reconstruction jobs make it."""

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import faser_align
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.load import load_config
from faser_align.dag.create import under_construction
from faser_align.fsm.errors import UserError
from faser_align.operations import outputs
from faser_align.operations.one_iteration import run_program
from faser_align.system.atomic import write_bytes, write_text

DESCRIPTION = "export.json"
FORMAT = 1
FAILED = "Calypso's scripts did not write the database"


def export(
    constants: Path, output: Path, *, config: str, year: int, runs: str, tag: str, force: bool
) -> dict[str, Any]:
    """Write the folder ``output``: the text, database, POOL files, and ``export.json`` about them; return its content.

    Args:
        constants: file with the constants; if it is in a campaign, that one's Calypso, year and runs are used.
        output: the folder, which is renamed with ``force`` if it exists.
        config, year, runs, tag: configuration, year, run range and tag, each possibly empty.

    Raises:
        UserError: no Calypso is configured, or the run range or year is missing or wrong, or the folder exists.
        CampaignError: one of Calypso's programs failed; the sentence says which.
    """
    outputs.refuse_standard_output(output)
    constants = constants.absolute()
    campaign = next((str(folder) for folder in constants.parents if (folder / layout.RECORD).is_file()), "")
    record = _record(constants, campaign, config, year)
    validity = _runs(runs, campaign)
    place = output.absolute()
    if os.path.lexists(place) and not force:
        raise UserError(f"{output} already exists; name another folder with -o, or rename it with --force")
    with under_construction(str(place)) as name, outputs.writing(output):
        new = Path(name)
        described = _fill(new, constants, record, tag, validity, os.path.basename(campaign))
        write_text(new / DESCRIPTION, json.dumps(described, indent=1) + "\n")
        if os.path.lexists(place):
            os.rename(place, f"{place}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        os.rename(new, place)
    return described


def _fill(new: Path, constants: Path, record: Manifest, tag: str, runs: list[int], campaign: str) -> dict[str, Any]:
    """Write everything except the description into the folder ``new``, and return the description."""
    from faser_align.dag.wrapper import conditions, render_wrapper

    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / layout.WRAPPER
        write_text(script, render_wrapper(record))
        command = ["/bin/bash", str(script), "--database", str(constants), str(new)]
        try:
            run_program(command, FAILED, {**os.environ, "_CONDOR_SCRATCH_DIR": scratch})
        finally:
            Path(f"{new}.log").unlink(missing_ok=True)
    text = constants.read_bytes()
    write_bytes(new / layout.CONSTANTS, text)
    calypso = record["config"]["reconstruction"]["calypso"]
    geometry, conditions_tag = conditions(record["config"]["reconstruction"], record["year"])
    return {
        "format": FORMAT,
        "constants": layout.CONSTANTS,
        "sha256": hashlib.sha256(text).hexdigest(),
        "database": "data/sqlite200/ALLP200.db",
        "catalog": "data/poolcond/PoolFileCatalog.xml",
        "pool": sorted(str(path.relative_to(new)) for path in (new / "data" / "poolcond").glob("*.pool.root")),
        "tag": tag or conditions_tag,
        "folder_tag": calypso["folder_tag"],
        "written": calypso["written"],
        "geometry": geometry,
        "instance": calypso["instance"],
        "source": str(constants),
        "version": faser_align.__version__,
        "runs": runs,
        "campaign": campaign,
    }


def _record(constants: Path, campaign: str, path: str, given_year: int) -> Manifest:
    """Return the wrapper's input: the campaign's manifest, or a configuration with the given year."""
    if campaign and not path:
        record = read_record(campaign)
        if record["config"].get("reconstruction", {}).get("backend") == "calypso":
            return {**record, "year": given_year or record["year"]}
        raise UserError(
            f"{record['name']} was not reconstructed with Calypso; name a configuration with the paths of Calypso with --config"
        )
    config = load_config(path or "faser-align.toml")
    if config.reconstruction.backend != "calypso":
        raise UserError(
            f'reconstruction.backend = "{config.reconstruction.backend}", but only Calypso\'s scripts write the database; '
            "name a configuration with the paths of Calypso with --config"
        )
    year = given_year or (read_record(campaign)["year"] if campaign else 0)
    if not year:
        raise UserError("--year is missing: geometry and tag depend on the year")
    needed: Any = {
        "name": os.path.basename(campaign) or str(constants),
        "version": faser_align.__version__,
        "year": year,
        "python": sys.executable,
        "job_python": config.python.jobs or sys.executable,
        "config": config.model_dump(mode="json"),
    }
    return cast(Manifest, needed)


def _runs(text: str, campaign: str) -> list[int]:
    """Return the first and last run of the constants' validity: as given, else the campaign's own."""
    if not text and campaign:
        own = [int(run) for run in re.findall(r"\d+", str(read_record(campaign)["run"]))]
        if own:
            return [min(own), max(own)]
    found = re.fullmatch(r"(\d{1,6})(?:[-:](\d{1,6}))?", text)
    if found is None:
        raise UserError(f"--runs {text or 'is missing'}: write the first and the last run, for example 11705-11800")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UserError(f"--runs {text}: the first run is larger than the last; write {last}-{first}")
    return [first, last]
