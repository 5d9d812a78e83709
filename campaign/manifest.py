"""Make, write and read the manifest ``campaign.json``, which describes what was submitted.

It is written once and read by jobs and scripts. Reading needs only json, because the Millepede node's script reads it.
"""

import json
import os
import sys
from typing import TYPE_CHECKING, Any, cast

import faser_align
from faser_align.campaign import changes, layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import renamed
from faser_align.fsm.errors import StoreError, UserError
from faser_align.system.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faser_align.config.schema import Config

ASIDE = ".old-"  # and the time: ending of folders that `submit --force` moved aside
FORMAT = 1
REQUIRED = (
    *("name", "year", "run", "files", "stations", "folder", "data"),
    *("python", "hook", "constants", "stages", "config"),
)


def make_record(
    config: "Config",
    *,
    name: str,
    year: int,
    run: str,
    files: list[int],
    folder: str,
    constants: str,
    sha256: str,
    created_utc: str,
    held_back: "Sequence[int]" = (),
) -> Manifest:
    """Return the manifest of a new campaign; for most arguments see ``dag.plan.plan``.

    Args:
        files: the raw files that the alignment uses.
        folder: absolute path of the campaign's folder.
        constants, sha256: absolute path and checksum of the constants to start from.
        held_back: raw files left to the validation.
    """
    from faser_align.config.files import parse_files
    from faser_align.config.stages import stages_of

    stations = config.campaign.stations
    stored: Any = config.model_dump(mode="json")
    record: Manifest = {
        "format": FORMAT,
        "name": name,
        "version": faser_align.__version__,
        "created_utc": created_utc,
        "year": year,
        "run": run,
        "files": list(files),
        "stations": stations,
        "folder": folder,
        "data": os.path.join(config.storage.folder, name) if config.storage.folder else folder,
        # Not resolved: Python finds a virtual environment through the link that is its interpreter.
        "python": config.python.hooks or sys.executable,
        "job_python": config.python.jobs or sys.executable,
        "hook": os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "run.py"),
        # How the submitting user calls the program: scripts have another environment and print this command.
        "command": os.environ.get("FASER_ALIGN_COMMAND", "faser-align"),
        "targets_file": config.notify.file,
        "constants": {"source": constants, "sha256": sha256},
        "stages": stages_of(config),
        "config": stored,
    }
    if config.validation.enabled:
        given = parse_files(config.validation.files) if config.validation.files else []
        unused = {*given, *held_back} - set(files)
        validated = sorted(unused | (set(files) if config.validation.used_files else set()))
        if validated:
            record["validation"] = {"files": validated, "unused": sorted(unused)}
            if held_back:
                record["validation"]["held_back"] = sorted(held_back)
    return record


def write_record(path: str, record: Manifest) -> None:
    """Write the manifest to ``path`` atomically."""
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_record(folder: str) -> Manifest:
    """Return the manifest of the campaign in ``folder`` with the changes by `set`, `extend` and `move`.

    Raises UserError if there is no campaign, StoreError if the manifest cannot be read or is malformed.
    """
    return changes.apply(read_submitted(folder), changes.read(folder))


def moved_from(folder: str, record: Manifest) -> str:
    """Return where the campaign was submitted if ``folder`` is a copy, or was moved aside; else an empty string.

    Manifest, DAG and database contain the path of that folder, in which another campaign may be by now.
    """
    try:
        same = os.path.samefile(folder, record["folder"])
    except OSError:
        same = False
    return "" if same else record["folder"]


def data_of(folder: str, record: Manifest) -> str:
    """Return where the large files of the campaign in ``folder`` are, which may be a copy or one that was moved aside.

    `submit --force` gives the folder of the large files the same ending as the campaign's (``dag.create``).
    """
    if record["data"] == record["folder"]:
        return folder
    ending = os.path.basename(os.path.abspath(folder)).removeprefix(os.path.basename(record["folder"]))
    return record["data"] + ending if ending.startswith(ASIDE) else record["data"]


def convergence_of(record: Manifest, stage: int) -> dict[str, Any]:
    """Return ``[convergence]`` of a stage, counted from 1; empty for an imported campaign without one."""
    own = record["stages"][stage - 1].get("convergence", {})
    return renamed.convergence({**record["config"].get("convergence", {}), **own})


def read_submitted(folder: str) -> Manifest:
    """Return the manifest of the campaign in ``folder`` as submitted; raises as ``read_record`` does."""
    path = f"{folder}/{layout.RECORD}"
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is not a campaign: it has no {layout.RECORD}; name a folder that submit created"
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot read: {error.strerror}; correct its permissions") from error
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON ({error}); restore it from a copy") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StoreError(f"{path} is not a manifest of format {FORMAT}; use the version of faser-align that wrote it")
    missing = [key for key in REQUIRED if key not in record]
    if not missing:  # so that no reader of one campaign, or of all, fails for lack of them
        needed = {"config.htcondor": "htcondor" in (record["config"] or ()), "stages": bool(record["stages"])}
        missing = [name for name, there in needed.items() if not there]
    if missing:
        raise StoreError(f"{path} lacks {', '.join(missing)}; restore it from a copy")
    older = {"job_python": record["python"], "command": "faser-align", "targets_file": ""}  # manifests lack these
    record |= {key: value for key, value in older.items() if key not in record}
    for table in (record["config"], *record["stages"]):
        if "convergence" in table:
            table["convergence"] = renamed.convergence(table["convergence"])
    return cast(Manifest, record)
