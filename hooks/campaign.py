"""The rarer hooks: a Millepede node's PRE and POST, HOLD of any job, FINAL.

They move the campaign as a whole and deliver messages, because they delay nobody's reconstruction.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

from faser_align.config import layout
from faser_align.config.atomic import write_text
from faser_align.config.libraries import site_packages
from faser_align.config.record import read_record
from faser_align.hooks import delivery, node, stopping
from faser_align.state import database, judging, queries, writer

Event = dict[str, Any]
DAG_HALTED = 6  # $DAG_STATUS (HTCondor manual, DAGMan: special script macros)


def run(folder: str, event: Event, macros: list[str]) -> int:
    """Take in an event of a Millepede node, of a held job, or of FINAL; then deliver what waits.

    Args:
        folder: the campaign.
        event: phase, node, and what ``node.run`` has filled in.
        macros: DAGMan's macros behind the node's name.

    Returns:
        The exit status for DAGMan.
    """
    site_packages()
    phase = event["phase"]
    if phase == "pre":
        event["retry"] = int(macros[0])
        status = writer.record(folder, event)
        if status == 0:
            _name_lost_files(folder, event["node"])
    elif phase == "post":
        status = _solved(folder, event, macros)
    elif phase == "hold":
        event["job_id"] = macros[0]
        status = _held(folder, event)
    elif phase == "final":
        event["dag_status"] = int(macros[0])
        event["failed_count"] = int(macros[1])
        if event["dag_status"] == DAG_HALTED:
            event["reason"] = stopping.reason(folder)
        status = writer.record(folder, event)
        stopping.forget(folder)
    elif phase in ("deliver", "take"):  # asked for by hand, when no DAGMan is there any more
        status = writer.take(folder, None)
    else:
        raise ValueError(f"{phase!r} is no phase of a hook")
    if phase != "take" and not event.get("spooled"):
        delivery.deliver(folder, final=phase in ("final", "deliver"))
    return status


def _solved(folder: str, event: Event, macros: list[str]) -> int:
    """POST of a Millepede node or of the validation's last: judge its metrics, whatever state the store is in."""
    node.after_job(event, macros)
    record = read_record(folder)
    if event["ret"] != 0:
        node.explain(event, folder, event["node"])
        return writer.record(folder, event)
    judging.judge(record, event)
    answer = writer.record(folder, event)
    stopping.halt_if_asked(folder, event.get("moves", ""))
    return answer


def _held(folder: str, event: Event) -> int:
    """Every hold of the job until now: DAGMan runs one HOLD at a time, and the job may have been held again by its turn."""
    status = 0
    for when, why in holds(folder, event["job_id"]):
        event.pop("spooled", None)
        event.update(hold_time=when, reason=why)
        status = writer.record(folder, event)
    return status


def _name_lost_files(folder: str, name: str) -> None:
    """Tell the Millepede job which raw files it must not wait for; the published copy knows it where the store does not."""

    def work(db: sqlite3.Connection) -> list[int]:
        return [row[0] for row in db.execute("SELECT DISTINCT file FROM nodes WHERE state = 'lost' ORDER BY file")]

    try:
        lost = database.read(folder, work)
    except (sqlite3.Error, OSError):
        with queries.published(folder) as copy:
            lost = work(copy)
    if lost:
        _, stage, iteration, _ = layout.parse_node(name)
        path = layout.lost_file(folder, stage, iteration)
        write_text(path, json.dumps(lost))


def holds(folder: str, job_id: str) -> list[tuple[str, str]]:
    """When and why a job went on hold, from its events 012 in the nodes log.

    Returns:
        (time as it stands in the log, reason in one line) of each hold, in order; one, both empty, if the log does not say.
    """
    cluster, _, proc = job_id.partition(".")
    try:
        nodes_log = Path(layout.newest_dag(folder) + layout.ENDING_NODES_LOG)
        lines = nodes_log.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        lines = []
    found = []
    head = f"012 ({int(cluster):03d}.{int(proc or 0):03d}."
    for at, event in enumerate(lines):
        if event.startswith(head):
            when = event.partition(") ")[2].split(" Job ")[0].strip()
            why_lines = []
            for line in lines[at + 1 :]:
                if not line.startswith("\t") or line.startswith("\tCode "):
                    break
                why_lines.append(line.strip())
            found.append((when, " ".join(why_lines)[: judging.REASON_CHARS_MAX]))
    return found or [("", "")]
