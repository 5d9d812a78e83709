"""Run FINAL, DAGMan's last script: close the campaign, deliver messages, publish the page, remove unused folders."""

import contextlib
import filecmp
import json
import os
import sqlite3

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm import events, table
from faser_align.hooks import delivery
from faser_align.state import database, holds, queries, writer
from faser_align.system.libraries import site_packages

DAG_HALTED = 6  # $DAG_STATUS (HTCondor manual, DAGMan: special script macros)


def run(folder: str, event: "events.Final") -> tuple[int, bool]:
    """Record the end of DAGMan and deliver messages; return exit status, and whether the database holds the event."""
    site_packages()
    held = holds.read(folder)
    if event["dag_status"] == DAG_HALTED:
        event = {**event, "reason": stop_reason(folder)}
    status, stored = writer.record(folder, event, lambda db: holds.take(db, event, held))
    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/{layout.STOP}")
    if not stored:
        # Many POST scripts may have kept the database busy, and none of them sends the message of the end.
        with contextlib.suppress(sqlite3.Error, OSError):
            writer.take(folder, None)
            stored = True
    if stored:
        delivery.deliver(folder, final=True)
    return status, stored


def stop_reason(folder: str) -> str:
    """Return who requested a stop after the iteration, for the history; empty if nobody did."""
    try:
        with open(f"{folder}/{layout.STOP}", encoding="utf-8") as file:
            who = json.load(file)["who"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return f"{who} asked to stop after the iteration"


def publish_page(folder: str) -> None:
    """Write the campaign's page into the folder that ``report.publish`` names.

    Raises:
        CampaignError: the page was not written.
    """
    where = read_record(folder)["config"].get("report", {}).get("publish")
    if where:
        from faser_align.pages.bounded import publish

        publish(folder, where, written_utc=database.utc())


def remove_unused(folder: str) -> None:
    """Remove the folders of iterations that no job has used, if a decision ended the campaign.

    A campaign that failed or was removed keeps them, because its DAGMan may continue by itself. Only empty folders are
    removed, and copies of the last constants; ``resume`` and ``extend`` make both again.

    Raises:
        CampaignError, OSError: the campaign's files cannot be read.
    """
    with queries.published(folder) as db:
        state, latest = queries.campaign(db)["state"], queries.latest_constants(db, folder)
    if state not in table.SETTLED:
        return
    record = read_record(folder)
    for stage, number in layout.iterations(record):
        place = layout.iteration_folder(folder, stage, number)
        for part in (layout.RECO, layout.MILLEPEDE):
            _remove_empty(f"{place}/{part}/{layout.LOGS}")
        # Keep the validation's first constants: only the submission writes them.
        first = (stage, number) == (layout.VALIDATION, layout.BEFORE)
        if not first and not os.path.exists(f"{place}/{layout.RECO}/{layout.LOGS}"):
            copy = layout.constants_file(folder, stage, number)
            with contextlib.suppress(OSError):
                if latest and filecmp.cmp(copy, latest, shallow=False):
                    os.unlink(copy)
        for root in (folder, record["data"]):
            unused = layout.iteration_folder(root, stage, number)
            for part in (layout.RECO, layout.MILLEPEDE, layout.KFALIGNMENT):
                _remove_empty(f"{unused}/{part}")
            _remove_empty(unused)
            if os.path.dirname(unused) != root:
                _remove_empty(os.path.dirname(unused))  # of a later stage, or of the validation


# The exit status does not depend on anything that the script does after the snapshot.
FINISHES = (publish_page, remove_unused)


def _remove_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
