"""Process events of a node as scripts do, in this process, and read a valid state database."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from faser_align.campaign import layout
from faser_align.state import database, outbox, redolog, verify, writer

RECO = layout.reco_node(1, 1, 400)
BASE = {"dag_id": "12.0", "node": RECO, "utc": "2026-11-24T08:00:00.000Z", "host": "ap", "exit": 0}
PRE = {**BASE, "phase": "pre", "retry": 0}
DONE = {**BASE, "phase": "post", "retry": 0, "max_retries": 2, "ret": 0, "job_id": "13.0", "outcome": "succeeded"}
DONE |= {"reason": "", "fatal": False}
FAILED = {**DONE, "ret": 1, "exit": 1, "outcome": "failed", "reason": "because"}
FINAL = {**BASE, "phase": "final", "node": layout.FINAL_NODE, "dag_status": 2, "failed_count": 1}
AGAIN = {"dag_id": "20.0"}
MILLE = layout.mille_node(1, 1)
HOLD = {**BASE, "phase": "hold", "job_id": "13.0", "hold_time": "2026-11-24 08:00:01", "reason": "quota"}


def verdict(name: str, moves: str = "", node: str = MILLE, **changes: Any) -> dict[str, Any]:
    """Return the POST of a Millepede job with this decision on its iteration, and the campaign's event that it becomes."""
    decision = {"verdict": name, "moves": moves or name, "verdict_reason": "so", "criteria": "[]", "metrics": "{}"}
    return {**DONE, "node": node, "job_id": f"14.{node[-1]}", **decision, **changes}


def stages(*iterations: int) -> list[dict[str, Any]]:
    """Return the configuration of stages with these numbers of iterations."""
    steps = [{"name": "IFT", "fix": []}]
    return [{"name": f"stage {i}", "iterations": n, "steps": steps} for i, n in enumerate(iterations, 1)]


def take(folder: str, *events: dict[str, Any]) -> list[int]:
    """Return the exit statuses for events, each in its own transaction."""
    return [writer.record(folder, dict(event))[0] for event in events]


def rows(folder: str, sql: str) -> list[Any]:
    """Return rows of the campaign's state database, which must be valid."""
    with closing(sqlite3.connect(Path(folder, layout.STATE))) as db:
        assert verify.findings(db, files=False) == []
        assert redolog.compare(db, folder) == redolog.Comparison([])
        return db.execute(sql).fetchall()


def claimed(folder: str, **more: Any) -> outbox.Claim:
    """Lease the next message, which there must be."""
    message = outbox.claim(folder, **more)
    assert message is not None
    return message


def make_due(folder: str) -> None:
    """Make every message due, as if no script had tried to send it."""
    again = "UPDATE outbox SET state = 'pending', tries = 0, next_utc = '', error = ''"
    database.transact(folder, lambda db: db.execute(again).rowcount)
