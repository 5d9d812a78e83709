"""What a campaign's store says, as plain values: for the commands that read, and for messages.

Readers open the published copy, which nobody writes any more: they never touch the database.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.config import layout
from faser_align.fsm import table
from faser_align.fsm.errors import StoreError
from faser_align.state import database, spool, views

Row = dict[str, Any]


class Table(NamedTuple):
    """The names of a table's columns, and its rows in the same order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@contextmanager
def published(folder: str) -> Iterator[sqlite3.Connection]:
    """The published copy of the campaign in ``folder``.

    Raises:
        StoreError: there is none, it cannot be read, or a newer program made it.
    """
    path = Path(folder, layout.PUBLISHED)
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as problem:
        raise StoreError(f"{path} cannot be read: {problem}") from problem
    try:
        database.refuse_newer(db)
        db.execute("SELECT 1 FROM campaign").fetchone()
        yield db
    except sqlite3.DatabaseError as problem:
        raise StoreError(f"{path} cannot be read: {problem}") from problem
    finally:
        db.close()


def age_s(folder: str) -> float:
    """Seconds since the copy was published."""
    return max(0.0, time.time() - os.stat(f"{folder}/{layout.PUBLISHED}").st_mtime)


def rows(db: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> list[Row]:
    """The rows of a query as dictionaries, in the query's order."""
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def campaign(db: sqlite3.Connection) -> Row:
    """The campaign's own row, its lists decoded."""
    row = rows(db, "SELECT * FROM campaign")[0]
    return {**row, "targets": json.loads(row["targets"]), "messages": json.loads(row["messages"])}


def campaign_now(db: sqlite3.Connection, folder: str) -> Row:
    """``campaign``, and what waits in the spool for the next hook: a submission that no hook has seen yet."""
    row = campaign(db)
    pending = []
    for name in spool.waiting(folder):
        try:
            event = spool.read(folder, name)
        except (OSError, ValueError, TypeError):
            continue
        if event["phase"] == "control" and event["event"] in table.GOES_ON:
            pending.append(event["event"])
            row["state"], row["dag_id"] = "submitted", event.get("dag_id", row["dag_id"])
    return {**row, "pending": pending}


def iterations(db: sqlite3.Connection) -> list[Row]:
    """All iterations that began, in order, with their metrics and criteria decoded and their wall time (s)."""
    return _iterations(db, "stage != ?")


def validation(db: sqlite3.Connection) -> Row:
    """The validation's row, of the form of an iteration's, with the number of its nodes in each state; {} before it begins."""
    states = "SELECT state, count(*) FROM nodes WHERE stage = ? AND state != 'waiting' GROUP BY state ORDER BY state"
    nodes = dict(db.execute(states, (layout.VALIDATION,)))
    if set(nodes) <= {"skipped"}:
        return {}
    judged = next(iter(_iterations(db, "stage = ?")), {})
    waiting = db.execute("SELECT count(*) FROM nodes WHERE stage = ? AND state = 'waiting'", (layout.VALIDATION,))
    return {**judged, "nodes": {**nodes, "waiting": waiting.fetchone()[0]}}


def _iterations(db: sqlite3.Connection, where: str) -> list[Row]:
    found = rows(db, f"SELECT * FROM iterations WHERE {where} ORDER BY stage, iteration", (layout.VALIDATION,))
    return [
        {**row, "criteria": json.loads(row["criteria"]), "metrics": json.loads(row["metrics"]), "wall_s": _span_s(row)}
        for row in found
    ]


def _span_s(row: Mapping[str, Any]) -> float | None:
    if not row["ended_utc"]:
        return None
    return seconds(row["ended_utc"]) - seconds(row["started_utc"])


def seconds(utc: str) -> float:
    """Unix time of a time of the store."""
    from datetime import datetime

    return datetime.fromisoformat(utc).timestamp()


def node_counts(db: sqlite3.Connection) -> Row:
    """Number of nodes in each state."""
    return dict(db.execute("SELECT state, count(*) FROM nodes GROUP BY state ORDER BY state"))


def iteration_counts(db: sqlite3.Connection) -> list[Row]:
    """Number of nodes in each state, by stage and iteration, for the iterations that anything happened in.

    Those of the validation are not among them.
    """
    found: dict[tuple[int, int], Row] = {}
    for stage, iteration, state, count in db.execute(
        "SELECT stage, iteration, state, count(*) FROM nodes WHERE stage != ? "
        "GROUP BY stage, iteration, state ORDER BY stage, iteration",
        (layout.VALIDATION,),
    ):
        found.setdefault((stage, iteration), {"stage": stage, "iteration": iteration})[state] = count
    return [row for row in found.values() if set(row) - {"stage", "iteration", "waiting"}]


def nodes(db: sqlite3.Connection, *states: str) -> list[Row]:
    """Nodes in the given states (all without any), with their latest attempt."""
    where = f"WHERE n.state IN ({', '.join('?' * len(states))})" if states else ""
    return rows(
        db,
        "SELECT n.*, a.opened_utc, a.closed_utc, a.job_id, a.outcome, a.return_value, a.host FROM nodes AS n "
        f"LEFT JOIN attempts AS a ON a.node = n.node AND a.attempt = n.attempts {where} "
        "ORDER BY n.stage, n.iteration, n.kind DESC, n.file",
        states,
    )


def history(
    db: sqlite3.Connection, *, node: str | None = None, since: str = "", after: int = 0, nodes: bool = True
) -> list[Row]:
    """The history in order, its facts decoded.

    Args:
        node: only what concerns this node.
        since: only what came at this UTC time or later.
        after: only what was recorded after the row with this id.
        nodes: also the events of nodes, not only those of the campaign.
    """
    sql = "SELECT * FROM history WHERE utc >= ? AND id > ?"
    values: tuple[object, ...] = (since, after)
    if node is not None:
        sql, values = f"{sql} AND node = ?", (*values, node)
    if not nodes:
        sql += " AND subject = 'campaign'"
    return [{**row, "facts": json.loads(row["facts"])} for row in rows(db, f"{sql} ORDER BY id", values)]


def view(db: sqlite3.Connection, name: str) -> Table:
    """All of a view of ``views.VIEWS``; for a store of the first schema, which has none, it is made beside it."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (name,)).fetchone():
        db.execute(views.VIEWS[name].strip().replace("CREATE VIEW", "CREATE TEMP VIEW IF NOT EXISTS", 1))
    cursor = db.execute(f"SELECT * FROM {name}")
    return Table(tuple(column[0] for column in cursor.description), cursor.fetchall())


def outbox(db: sqlite3.Connection) -> list[Row]:
    """All messages with what became of them."""
    return rows(
        db,
        "SELECT o.*, h.utc, h.event, h.node FROM outbox AS o JOIN history AS h ON h.id = o.history_id ORDER BY o.id",
    )


def lost_files(db: sqlite3.Connection) -> list[Row]:
    """Files that are lost for good, with the node that lost each and why."""
    return rows(db, "SELECT file, node, reason AS why FROM nodes WHERE state = 'lost' ORDER BY file")


def latest_constants(db: sqlite3.Connection) -> str | None:
    """Path of the constants of the last iteration that was solved, or None before the first."""
    row = db.execute(
        "SELECT i.stage, i.iteration, c.folder FROM iterations AS i, campaign AS c WHERE i.ended_utc != '' "
        "ORDER BY i.stage DESC, i.iteration DESC LIMIT 1"
    ).fetchone()
    return layout.result_file(row[2], row[0], row[1]) if row else None
