"""Render the job wrapper of a campaign: a bash script that reconstructs one raw file on an execute node.

It contains its values, so that an expert can read and run it; ``jobs.inputs`` provides those that depend on the node.
"""

import shlex
import string

from faser_align.campaign.manifest_types import Manifest
from faser_align.config.stored_types import Reconstruction
from faser_align.fsm import exit_codes
from faser_align.system import jinja

TEMPLATE = "reconstruct.sh.j2"
# Geometry and conditions tag, by the first year in which they apply.
CONDITIONS = ((2023, "FASERNU-04", "OFLCOND-FASER-05"), (0, "FASERNU-03", "OFLCOND-FASER-04"))


def has_wrapper(record: Manifest) -> bool:
    """Return whether the campaign uses the wrapper; the simulation has a job of its own."""
    return bool(record["config"]["reconstruction"]["backend"] != "simulation")


def render_wrapper(record: Manifest) -> str:
    """Return the text of the wrapper; ``record`` needs name, version, year, job_python and config."""
    settings = record["config"]["reconstruction"]
    calypso = settings["calypso"]
    geometry, tag = conditions(settings, record["year"])
    # {# has a meaning in bash
    templates = jinja.environment(comment_start_string="<#", comment_end_string="#>")
    templates.filters |= {"sh": shlex.quote, "words": shlex.join}
    return templates.get_template(TEMPLATE).render(
        campaign=record,
        python=record["job_python"],
        backend=settings["backend"],
        settings=settings,
        cleans_up=record["config"].get("storage", {}).get("cleanup_reco_temp_files", True),
        calypso=calypso,
        own=settings["environment"],
        direction=direction_of(settings),
        geometry=geometry,
        tag=tag,
        pool=calypso.get("pool") or "*_Align.pool.root",
        write_options=[option.format(geometry=geometry, tag=tag) for option in calypso["write_options"]],
        options={stations: reconstruct_options(settings, record["year"], stations) for stations in (3, 4)},
        command=_command(settings["command"]),
        statuses=exit_codes,
        first=min(exit_codes.JOB_FAILURES),
        last=max(exit_codes.JOB_FAILURES),
    )


def conditions(settings: Reconstruction, year: int) -> tuple[str, str]:
    """Return geometry and conditions tag of ``[reconstruction.calypso]``, else of the year."""
    told = settings["calypso"]
    geometry, tag = next((geometry, tag) for since, geometry, tag in CONDITIONS if year >= since)
    return told["geometry"] or geometry, told["tag"] or tag


def direction_of(settings: Reconstruction) -> str:
    """Return the direction of tracking; campaigns from before this setting use forward."""
    return str(settings.get("direction", "forward"))


def reconstruct_options(settings: Reconstruction, year: int, stations: int) -> list[str]:
    """Return the options of Calypso's reconstruction script, which follow the raw file, for 3 or 4 ``stations``."""
    calypso = settings["calypso"]
    without = calypso.get("reconstruct_without", [])
    standard = [
        ["--alignment"],
        ["--noForward" if direction_of(settings) == "backward" else "--noBackward"],
        ["--noIFT"] if stations == 3 else [],
        ["--output_level", settings["verbosity"]],
    ]
    kept = [word for option in standard if option and option[0] not in without for word in option]
    geometry, tag = conditions(settings, year)
    return kept + [option.format(geometry=geometry, tag=tag) for option in calypso["reconstruct_options"]]


def _command(command: str) -> str:
    """Return the user's command with each field as a quoted variable, one word in bash whatever its value."""
    parts = []
    for text, field, _, _ in string.Formatter().parse(command):
        parts += [text, f'"$FASER_{field.upper()}"' if field else ""]
    return "".join(parts)
