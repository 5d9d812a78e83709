"""Read the holds of jobs from the nodes log, and record them in the state database.

Every script that is not startup-critical records all of them, so that one cause becomes one message, however many jobs it
holds, and a hold whose own HOLD script was killed is not lost.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.fsm import events
from faser_align.state import joblogs, judging, writer

_HELD = b"012 ("


class Hold(NamedTuple):
    """A hold: node ('' if the log does not name it), job, time as it is in the log, reason in one line."""

    node: str
    job_id: str
    time: str
    reason: str


def read(folder: str) -> list[Hold]:
    """Return all holds that the nodes log of the campaign's newest DAG has, in order."""
    try:
        log = Path(layout.newest_dag(folder) + layout.ENDING_NODES_LOG).read_bytes()
    except OSError:
        return []
    if _HELD not in log:
        return []
    nodes: dict[str, str] = {}
    held = []
    for event in joblogs.job_events(log.decode("utf-8", "replace").split("\n"), (joblogs.SUBMITTED, joblogs.HELD)):
        job_id = event.job_id
        if event.code == joblogs.SUBMITTED:
            nodes[job_id] = event.node
        else:
            held.append(Hold(nodes.get(job_id, ""), job_id, event.time, event.why_held[: judging.REASON_CHARS_MAX]))
    return held


def take(db: sqlite3.Connection, event: "events.ScriptEvent", held: Sequence[Hold]) -> None:
    """Record the holds that are not recorded yet, as events of the DAGMan whose script recorded ``event``.

    Nothing is recorded if another DAGMan has begun since: the log then belongs to it, and its own scripts record the
    holds.
    """
    dag_id = event["dag_id"]
    if not held or db.execute("SELECT dag_id FROM campaign").fetchone()[0] != dag_id:
        return
    known = set(db.execute("SELECT job_id, hold_time FROM events WHERE dag_id = ? AND phase = 'hold'", (dag_id,)))
    source: events.Source = {"dag_id": dag_id, "utc": event["utc"], "host": event["host"]}
    for hold in held:
        # A hold without a time was recorded while the log could not be read.
        if known & {(hold.job_id, hold.time), (hold.job_id, "")}:
            continue
        if not db.execute("SELECT 1 FROM nodes WHERE node = ?", (hold.node,)).fetchone():
            continue
        writer.apply(db, events.hold(source, *hold))


def age_s(held: Sequence[Hold]) -> float:
    """Return how long ago the newest hold was (s), infinity without any: log and reader share the access point's clock."""
    times = [at_s for hold in held[-1:] if (at_s := joblogs.local_s(hold.time)) is not None]
    return max(0.0, time.time() - times[0]) if times else float("inf")
