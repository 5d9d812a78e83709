"""Show a planned campaign before its submission."""

import os
import shlex

from faser_align.alignment.quality.grades import unvalidated
from faser_align.campaign.data import by_run
from faser_align.campaign.manifest_types import Manifest
from faser_align.cli import console
from faser_align.config.files import format_files
from faser_align.config.stages import UsedStage
from faser_align.dag.plan import Plan
from faser_align.dag.texts import steering_texts
from faser_align.dag.wrapper import conditions, direction_of, reconstruct_options
from faser_align.system import formatting


def summary(planned: Plan) -> dict[str, str]:
    """Return the plan as headings and values."""
    record = planned.record
    config = record["config"]
    shown = {
        "campaign": record["name"],
        "data": f"{record['year']}, {_runs(record)}",
        "stages": "; ".join(_stage(stage) for stage in record["stages"]),
        "steps": "; ".join(f"{found.step}: {found.free}" for found in steering_texts(record)),
        "stations": f"{record['stations']} ({'with' if record['stations'] == 4 else 'without'} the IFT)",
        **_tracks(record),
        "solver": config["solver"]["backend"],
        "validation": _validation(record),
        "constants": f"{record['constants']['source']} (sha256 {record['constants']['sha256'][:12]})",
        "folder": record["folder"],
    }
    if "parent" in record:
        shown["forked from"] = formatting.origin(record["parent"])
    if record["data"] != record["folder"]:
        shown["large files"] = record["data"]
    shown["HTCondor"] = f"{config['htcondor']['pool']} pool, {formatting.count(_nodes(record), 'node')}"
    targets, events = config["notify"]["targets"], config["notify"]["events"]
    shown["recipients"] = f"{', '.join(targets)} ({', '.join(events)})" if targets else "none"
    return shown


def show_steering(planned: Plan) -> None:
    """Write the steering texts of every step as they will be used."""
    for described in steering_texts(planned.record):
        console.say(f"\n* stage {described.stage!r}, step {described.step!r}: {described.free}")
        for name, text in described.texts.items():
            console.say(f"* {name}\n{text}")


def _tracks(record: Manifest) -> dict[str, str]:
    """Return the reconstruction program; for Calypso script and options of the jobs, and their conditions database."""
    settings = record["config"]["reconstruction"]
    if settings["backend"] != "calypso":
        return {"tracks from": settings["backend"]}
    of_stages = sorted({stage.get("stations", record["stations"]) for stage in record["stages"]}, reverse=True)
    script = os.path.basename(settings["calypso"]["reconstruct"])
    lines = [
        shlex.join([script, "FILE", *reconstruct_options(settings, record["year"], stations)]) for stations in of_stages
    ]
    calypso = settings["calypso"]
    geometry, tag = conditions(settings, record["year"])
    return {
        "tracks from": f"calypso, {direction_of(settings)} tracking: {'; '.join(lines)}",
        "conditions": f"{calypso['written']} ({calypso['folder_tag']}) into a copy of {calypso['database']}; "
        f"scripts get FASER_GEOMETRY={geometry}, FASER_TAG={tag}",
    }


def _runs(record: Manifest) -> str:
    """Return the runs with their files: ``run 011705, 51 files (400-450)``."""
    by = by_run(record["run"], record["files"])
    return "; ".join(
        f"run {run}, {len(files)} {'file' if len(files) == 1 else 'files'} ({format_files(files)})"
        for run, files in by.items()
    )


def _validation(record: Manifest) -> str:
    """Return the files of the validation, or why there is none."""
    found = record.get("validation")
    if not found:
        return f"none: {unvalidated(record)}"
    unused = "; ".join(format_files(files) for files in by_run(record["run"], found["unused"]).values())
    used = len(found["files"]) - len(found["unused"])
    other = f"{formatting.count(len(found['unused']), 'file')} that the alignment does not use ({unused})"
    own = f"the {formatting.count(used, 'file')} that it uses"
    return " and ".join(part for part, there in ((other, unused), (own, used)) if there)


def _stage(stage: UsedStage) -> str:
    steps = ", ".join(step["name"] for step in stage["steps"])
    return f"{stage['name']} ({steps}), at most {formatting.count(stage['iterations'], 'iteration')}"


def _nodes(record: Manifest) -> int:
    if "only" in record:
        return len(record["files"])  # the user solves the iteration
    validation = 2 * len(record["validation"]["files"]) + 1 if "validation" in record else 0
    return sum(int(stage["iterations"]) for stage in record["stages"]) * (len(record["files"]) + 1) + validation
