"""What a campaign that is planned would do, for who is about to submit it."""

from typing import Any

from faser_align.cli import console
from faser_align.cli.show import words
from faser_align.config.files import by_run, format_files
from faser_align.dag.plan import Plan
from faser_align.dag.texts import steering_texts


def summary(planned: Plan) -> dict[str, str]:
    """What will be done, as headings and values for a person."""
    record = planned.record
    config = record["config"]
    shown = {
        "campaign": record["name"],
        "data": f"{record['year']}, {_runs(record)}",
        "stages": "; ".join(_stage(stage) for stage in record["stages"]),
        "steps": "; ".join(f"{found.step}: {found.free}" for found in steering_texts(record)),
        "stations": f"{record['stations']} ({'with' if record['stations'] == 4 else 'without'} the IFT)",
        "tracks from": config["reconstruction"]["backend"],
        "solver": config["solver"]["backend"],
        "constants": f"{record['constants']['source']} (sha256 {record['constants']['sha256'][:12]})",
        "folder": record["folder"],
    }
    if "parent" in record:
        shown["forked from"] = words.origin(record["parent"])
    if record["data"] != record["folder"]:
        shown["large files"] = record["data"]
    shown["HTCondor"] = f"{config['htcondor']['pool']} pool, {_nodes(record)} nodes"
    shown["told"] = _told(config["notify"])
    return shown


def show_steering(planned: Plan) -> None:
    """Write the steering texts of every step as they will be used."""
    for described in steering_texts(planned.record):
        console.say(f"\n* stage {described.stage!r}, step {described.step!r}: {described.free}")
        for name, text in described.texts.items():
            console.say(f"* {name}\n{text}")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def _runs(record: dict[str, Any]) -> str:
    """The runs with their files: ``run 011705, 51 files (400-450)``."""
    by = by_run(record["run"], record["files"])
    return "; ".join(
        f"run {run}, {len(files)} {_plural('file', len(files))} ({format_files(files)})" for run, files in by.items()
    )


def _stage(stage: dict[str, Any]) -> str:
    steps = ", ".join(step["name"] for step in stage["steps"])
    return f"{stage['name']} ({steps}), at most {stage['iterations']} {_plural('iteration', stage['iterations'])}"


def _nodes(record: dict[str, Any]) -> int:
    return sum(int(stage["iterations"]) for stage in record["stages"]) * (len(record["files"]) + 1)


def _told(notify: dict[str, Any]) -> str:
    if not notify["targets"]:
        return "nobody"
    return f"{', '.join(notify['targets'])} when: {', '.join(notify['events'])}"
