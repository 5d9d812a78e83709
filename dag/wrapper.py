"""The job wrapper of a campaign: a bash script, made from its record, that reconstructs one raw file on an execute node.

Its values stand in it, so that an expert can read and run it; what depends on the node it asks ``jobs.inputs``.
"""

import shlex
import string
from typing import Any

from faser_align.dag.texttemplates import environment
from faser_align.fsm import statuses

TEMPLATE = "reconstruct.sh.j2"
# Geometry and conditions tag, by the first year in which they hold.
CONDITIONS = ((2023, "FASERNU-04", "OFLCOND-FASER-05"), (0, "FASERNU-03", "OFLCOND-FASER-04"))


def has_wrapper(record: dict[str, Any]) -> bool:
    """Whether the campaign reconstructs by the wrapper; the simulation is a job of its own."""
    return bool(record["config"]["reconstruction"]["backend"] != "simulation")


def render_wrapper(record: dict[str, Any]) -> str:
    """The text of the wrapper; of ``record`` it needs name, version, year, job_python and config."""
    settings = record["config"]["reconstruction"]
    calypso = settings["calypso"]
    geometry, tag = conditions(settings, record["year"])
    # bash has its own meaning for {#
    templates = environment(comment_start_string="<#", comment_end_string="#>")
    templates.filters["sh"] = shlex.quote
    return templates.get_template(TEMPLATE).render(
        campaign=record,
        python=record.get("job_python", record["python"]),
        backend=settings["backend"],
        settings=settings,
        cleans_up=record["config"].get("storage", {}).get("cleanup_reco_temp_files", True),
        calypso=calypso,
        own=settings["environment"],
        geometry=geometry,
        tag=tag,
        write_options=_options(calypso["write_options"], geometry, tag),
        reconstruct_options=_options(calypso["reconstruct_options"], geometry, tag),
        command=_command(settings["command"]),
        statuses=statuses,
        first=min(statuses.JOB_FAILURES),
        last=max(statuses.JOB_FAILURES),
    )


def conditions(settings: dict[str, Any], year: int) -> tuple[str, str]:
    """Geometry and conditions tag: those of ``[reconstruction.calypso]``, else the year's."""
    told = settings["calypso"]
    geometry, tag = next((geometry, tag) for since, geometry, tag in CONDITIONS if year >= since)
    return told["geometry"] or geometry, told["tag"] or tag


def _options(options: list[str], geometry: str, tag: str) -> str:
    return "".join(f" {shlex.quote(option.format(geometry=geometry, tag=tag))}" for option in options)


def _command(command: str) -> str:
    """The user's line with each field as a variable that bash takes for one word, whatever is in it."""
    parts = []
    for text, field, _, _ in string.Formatter().parse(command):
        parts += [text, f'"$FASER_{field.upper()}"' if field else ""]
    return "".join(parts)
