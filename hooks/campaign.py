"""The rarer hooks: a Millepede node's PRE and POST, HOLD of any job, FINAL.

They move the campaign as a whole and deliver messages, because they delay nobody's reconstruction.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.hooks import delivery, node, stopping
from faser_align.state import database, holds, judging, outbox, publish, queries, writer
from faser_align.state.holds import Hold
from faser_align.system.atomic import write_text
from faser_align.system.libraries import site_packages

Event = dict[str, Any]
SETTLE_S, SETTLE_S_MAX = 3.0, 15.0  # without a hold; how long that is waited for
PAUSE_S_MAX = 60.0  # of a pause that a HOLD script waits for
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
    found = holds.read(folder)
    if phase == "pre":
        event["retry"] = int(macros[0])
        status = writer.record(folder, event, _take(event, found))
        if status == 0:
            _name_lost_files(folder, event["node"])
    elif phase == "post":
        status = _solved(folder, event, macros, found)
    elif phase == "hold":
        event["job_id"] = macros[0]
        status = _held(folder, event, found)
    elif phase == "final":
        event["dag_status"] = int(macros[0])
        event["failed_count"] = int(macros[1])
        if event["dag_status"] == DAG_HALTED:
            event["reason"] = stopping.reason(folder)
        status = writer.record(folder, event, _take(event, found))
        stopping.forget(folder)
    elif phase in ("deliver", "take"):  # asked for by hand, when no DAGMan is there any more
        status = writer.take(folder, None)
    else:
        raise ValueError(f"{phase!r} is no phase of a hook")
    if phase == "hold" and not event.get("spooled"):
        _deliver_holds(folder, event, found)
    elif phase != "take" and not event.get("spooled"):
        delivery.deliver(folder, final=phase in ("final", "deliver"))
    return status


def _solved(folder: str, event: Event, macros: list[str], found: list[Hold]) -> int:
    """POST of a Millepede node or of the validation's last: judge its metrics, whatever state the store is in."""
    node.after_job(event, macros)
    record = read_record(folder)
    if event["ret"] != 0:
        node.explain(event, folder, event["node"])
        return writer.record(folder, event, _take(event, found))
    judging.judge(record, event)
    answer = writer.record(folder, event, _take(event, found))
    stopping.halt_if_asked(folder, event.get("moves", ""))
    return answer


def _held(folder: str, event: Event, found: list[Hold]) -> int:
    """Record every hold of the job until now, and those of all other jobs.

    DAGMan runs one HOLD script at a time, and the job may have been held again before its turn.
    """
    own = [hold for hold in found if hold.job_id == event["job_id"]] or [Hold(event["node"], event["job_id"], "", "")]
    status = 0
    for hold in own:
        event.pop("spooled", None)
        event.update(hold_time=hold.time, reason=hold.reason)
        status = writer.record(folder, event, _take(event, found))
    return status


def _take(event: Event, found: list[Hold]) -> Callable[[sqlite3.Connection], None]:
    return lambda db: holds.take(db, event, found)


def _deliver_holds(folder: str, event: Event, found: list[Hold]) -> None:
    """Deliver what waits once the log is quiet, and again at the end of a short pause if a message waits for that.

    One cause holds many jobs within seconds, and DAGMan starts the first HOLD script in the midst of it. Both waits are
    bounded, and DAGMan does not wait for a HOLD script before it runs FINAL.
    """
    try:
        publish.publish(folder)  # readers do not wait as long
        deadline = time.monotonic() + SETTLE_S_MAX
        while (wait_s := min(SETTLE_S - holds.age_s(found), deadline - time.monotonic())) > 0 and outbox.due(folder):
            time.sleep(wait_s)
            found = _take_again(folder, event)
        delivery.deliver(folder)
        if 0 < (wait_s := outbox.pause_s(folder)) <= PAUSE_S_MAX:
            time.sleep(wait_s)
            _take_again(folder, event)
            delivery.deliver(folder)
    except (sqlite3.Error, OSError) as problem:
        print(f"faser-align: messages of {folder} wait for the next script: {problem}", file=sys.stderr)


def _take_again(folder: str, event: Event) -> list[Hold]:
    found = holds.read(folder)
    writer.take(folder, None, _take(event, found))
    return found


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
