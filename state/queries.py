"""Read plain values from a campaign's state database, for reading commands and messages.

Readers open the snapshot, which nobody changes, and never the database itself.
"""

import json
import os
import shlex
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.campaign import layout
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
    """Open the snapshot of the campaign in ``folder``.

    Raises:
        StoreError: there is none, it cannot be read, or a newer program made it.
    """
    path = Path(folder, layout.PUBLISHED)
    fix = f"`faser-align repair {shlex.quote(folder)}` makes it again"
    try:
        os.stat(path)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; {fix}") from None
    except OSError as problem:
        raise StoreError(f"{path}: cannot read: {problem.strerror}; correct its permissions") from problem
    try:
        with closing(sqlite3.connect(database.uri(str(path.absolute()), "mode=ro&immutable=1"), uri=True)) as db:
            database.refuse_newer(db)
            db.execute("SELECT 1 FROM campaign").fetchone()
            yield db
    except sqlite3.Error as problem:
        raise StoreError(f"{path} cannot be read: {problem}; {fix}") from problem


def age_s(folder: str) -> float:
    """Return the seconds since the snapshot was published."""
    return max(0.0, time.time() - os.stat(f"{folder}/{layout.PUBLISHED}").st_mtime)


def rows(db: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> list[Row]:
    """Return the rows of a query as dictionaries, in the query's order."""
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def campaign(db: sqlite3.Connection) -> Row:
    """Return the campaign's own row with decoded lists."""
    row = rows(db, "SELECT * FROM campaign")[0]
    # An imported campaign has no nodes at all, and was solved.
    has_solution = "SELECT EXISTS (SELECT 1 FROM nodes WHERE kind = 'mille') OR NOT EXISTS (SELECT 1 FROM nodes)"
    if row["state"] == "exhausted" and not db.execute(has_solution).fetchone()[0]:
        row["state"] = "reconstructed"  # earlier versions ended a `reco` as exhausted
    return {**row, "targets": json.loads(row["targets"]), "messages": json.loads(row["messages"])}


def campaign_now(db: sqlite3.Connection, folder: str) -> Row:
    """Return ``campaign`` including a queued submission that no script has recorded yet."""
    row = campaign(db)
    pending = []
    for name in spool.waiting(folder):
        try:
            event = spool.read(folder, name)
        except (OSError, ValueError, TypeError):
            continue
        if event["phase"] == "control" and event["event"] in table.REOPENING:
            pending.append(event["event"])
            row["state"], row["dag_id"] = "submitted", event.get("dag_id", row["dag_id"])
    return {**row, "pending": pending}


def iterations(db: sqlite3.Connection) -> list[Row]:
    """Return all iterations that began, in order, with decoded metrics and criteria, and their wall time (s)."""
    return _iterations(db, "stage != ?")


def validation(db: sqlite3.Connection) -> Row:
    """Return the validation's row, like an iteration's, with its nodes' counts by state; {} before it begins."""
    # By name, which is the key: a large campaign's nodes are not all read.
    names = "(node BETWEEN 'after_' AND 'before_~' OR node = 'validate')"
    states = f"SELECT state, count(*) FROM nodes WHERE {names} AND stage = ? GROUP BY state ORDER BY state"
    nodes = dict(db.execute(states, (layout.VALIDATION,)))
    if set(nodes) <= {"skipped", "waiting"}:
        return {}
    judged = next(iter(_iterations(db, "stage = ?")), {})
    return {**judged, "nodes": {**nodes, "waiting": nodes.get("waiting", 0)}}


def decisions(db: sqlite3.Connection) -> list[Row]:
    """Return all decisions on metrics in order, of the validation (stage 0) first, with the metrics as JSON text."""
    sql = "SELECT stage, iteration, ended_utc, verdict, metrics FROM iterations WHERE verdict NOT IN ('', 'solved')"
    return rows(db, f"{sql} ORDER BY stage, iteration")


def _iterations(db: sqlite3.Connection, where: str) -> list[Row]:
    found = rows(db, f"SELECT * FROM iterations WHERE {where} ORDER BY stage, iteration", (layout.VALIDATION,))
    for row in found:
        row |= {"criteria": json.loads(row["criteria"]), "metrics": json.loads(row["metrics"])}
        row["wall_s"] = seconds(row["ended_utc"]) - seconds(row["started_utc"]) if row["ended_utc"] else None
    return found


def seconds(utc: str) -> float:
    """Return the Unix time of a stored time."""
    from datetime import datetime

    return datetime.fromisoformat(utc).timestamp()


def node_counts(counts: Iterable[Row]) -> Row:
    """Return the number of the campaign's nodes in each state, from the rows of ``all_counts``."""
    rows = list(counts)
    found = {state: sum(row.get(state, 0) for row in rows) for state in sorted(table.NODE_STATES)}
    return {state: count for state, count in found.items() if count}


def begun(counts: Iterable[Row]) -> list[Row]:
    """Return the rows of ``all_counts`` of iterations that have begun, without the validation."""
    return [row for row in counts if row["stage"] != layout.VALIDATION and set(row) - {"stage", "iteration", "waiting"}]


def all_counts(db: sqlite3.Connection) -> list[Row]:
    """Return the number of nodes in each occurring state, by stage and iteration.

    The names of an iteration's nodes are consecutive in the table's key, so that each is counted in one pass: grouping
    would sort all nodes of a large campaign first.
    """
    found: dict[tuple[int, int], Row] = {}
    last = ""
    while first := db.execute("SELECT min(node) FROM nodes WHERE node > ?", (last,)).fetchone()[0]:
        _, stage, iteration, file = layout.parse_node(first)
        last = first if file < 0 else f"{'_'.join(first.split('_')[: 3 if stage else 1])}_~"
        row = found.setdefault((stage, iteration), {"stage": stage, "iteration": iteration})
        for state, count in _counts(db, first, last):
            row[state] = row.get(state, 0) + count
    return [found[place] for place in sorted(found)]


def _counts(db: sqlite3.Connection, first: str, last: str) -> list[tuple[str, int]]:
    """Return the number of nodes in each state between two names; most iterations have only one state."""
    low, high, count = db.execute(
        "SELECT min(state), max(state), count(*) FROM nodes WHERE node BETWEEN ? AND ?", (first, last)
    ).fetchone()
    if low == high:
        return [(low, count)]
    sql = "SELECT state, count(*) FROM nodes WHERE node BETWEEN ? AND ? GROUP BY state ORDER BY state"
    return list(db.execute(sql, (first, last)))


def nodes(db: sqlite3.Connection, *states: str) -> list[Row]:
    """Return the nodes in the given states (all without any), with their latest attempt."""
    where = f"WHERE n.state IN ({', '.join('?' * len(states))})" if states else ""
    return rows(
        db,
        "SELECT n.*, a.opened_utc, a.closed_utc, a.job_id, a.outcome, a.return_value, a.host FROM nodes AS n "
        f"LEFT JOIN attempts AS a ON a.node = n.node AND a.attempt = n.attempts {where} "
        "ORDER BY n.stage, n.iteration, n.kind DESC, n.file",
        states,
    )


# Events of nodes that are unusual.
_UNUSUAL = "(subject = 'campaign' OR ignored != '' OR attempt > 1 OR destination IN ('held', 'failed', 'lost'))"


def history(
    db: sqlite3.Connection, *, node: str | None = None, since: str = "", after: int = 0, nodes: bool = True
) -> list[Row]:
    """Return the history in order, with decoded payloads.

    Args:
        db: a snapshot.
        node: only events of this node.
        since: only events at this UTC time or later.
        after: only events recorded after the row with this id.
        nodes: include the events of nodes.
    """
    where, values = _chosen(node, since, after, nodes)
    return _decoded(rows(db, f"SELECT * FROM history WHERE {where} ORDER BY id", values))


def history_in_brief(
    db: sqlite3.Connection, most: int, *, node: str | None = None, since: str = "", nodes: bool = True
) -> tuple[list[Row], int]:
    """Return ``history`` shortened to ``most`` events if there are more, and how many were omitted.

    Usual events of nodes are omitted first, then the earliest of the others.
    """
    where, values = _chosen(node, since, 0, nodes)
    # Event numbers are consecutive, so that without conditions nothing must be counted.
    what = "count(*)" if node or since or not nodes else "coalesce(max(id), 0)"
    count = int(db.execute(f"SELECT {what} FROM history WHERE {where}", values).fetchone()[0])
    if count > most:
        where = f"{where} AND {_UNUSUAL}"
    found = rows(db, f"SELECT * FROM history WHERE {where} ORDER BY id DESC LIMIT ?", (*values, most))[::-1]
    return _decoded(found), count - len(found)


def _chosen(node: str | None, since: str, after: int, nodes: bool) -> tuple[str, tuple[object, ...]]:
    """Return the condition of a history query, and its values."""
    conditions = {"utc >= ?": since, "id > ?": after, "node = ?": node or ""}
    wanted = {text: value for text, value in conditions.items() if value}
    return " AND ".join([*wanted, *([] if nodes else ["subject = 'campaign'"])]) or "true", tuple(wanted.values())


def _decoded(found: Iterable[Row]) -> list[Row]:
    return [{**row, "facts": json.loads(row["facts"])} for row in found]


def last_reason(db: sqlite3.Connection) -> str:
    """Return why the campaign entered its state, empty without a reason; this reads from the end."""
    row = db.execute(
        "SELECT id, event, json_extract(facts, '$.reason') FROM history WHERE subject = 'campaign' AND ignored = '' "
        "AND source != destination ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return whole_reason(db, row[0], row[1], str(row[2] or "")) if row else ""


def whole_reason(db: sqlite3.Connection, event_id: int, event: str, reason: str) -> str:
    """Return the reason of a campaign's event; a confirmed validation adds its own to that of *converged*."""
    if event != "confirmed":
        return reason
    row = db.execute(
        "SELECT json_extract(facts, '$.reason') FROM history WHERE subject = 'campaign' AND ignored = '' "
        "AND event = 'validation_asked' AND id < ? ORDER BY id DESC LIMIT 1",
        (event_id,),
    ).fetchone()
    return f"{row[0]}; validation: {reason}" if row and row[0] else reason


def view(db: sqlite3.Connection, name: str) -> Table:
    """Return all rows of a view of ``views.VIEWS``; for a database of the first schema it is created temporarily."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (name,)).fetchone():
        db.execute(views.VIEWS[name].strip().replace("CREATE VIEW", "CREATE TEMP VIEW IF NOT EXISTS", 1))
    cursor = db.execute(f"SELECT * FROM {name}")
    return Table(tuple(column[0] for column in cursor.description), cursor.fetchall())


def outbox(db: sqlite3.Connection) -> list[Row]:
    """Return all messages with their delivery states."""
    return rows(
        db, "SELECT o.*, h.utc, h.event, h.node FROM outbox AS o JOIN history AS h ON h.id = o.history_id ORDER BY o.id"
    )


def messages(folder: str) -> list[Row]:
    """Return ``outbox`` of the snapshot of the campaign in ``folder``."""
    with published(folder) as db:
        return outbox(db)


def held(db: sqlite3.Connection) -> list[Row]:
    """Return the nodes whose job is held, with job, time and reason.

    After the campaign's end no job is held: DAGMan has removed the jobs, and may not have run their POST scripts.
    """
    found = nodes(db, "held")
    if not found or campaign(db)["state"] in table.ENDS:
        return []
    # One query for all: the history has no index, and thousands may be held.
    recorded = {
        node: {"job_id": job_id, "utc": utc}
        for node, job_id, utc in db.execute(
            "SELECT node, job_id, utc FROM history WHERE event = 'held' AND subject = node AND ignored = '' ORDER BY id"
        )
    }
    return [row | recorded.get(row["node"], {"job_id": "", "utc": ""}) for row in found]


def lost_files(db: sqlite3.Connection) -> list[Row]:
    """Return the dropped files, with the node and reason of each."""
    return rows(db, "SELECT file, node, reason AS why FROM nodes WHERE state = 'lost' ORDER BY file")


def latest_constants(db: sqlite3.Connection, folder: str) -> str | None:
    """Return the path of the constants of the last solved iteration, or None before the first.

    ``folder`` is where the campaign is now: it may be a copy, or was moved aside for another one.
    """
    row = db.execute(
        "SELECT stage, iteration FROM iterations WHERE ended_utc != '' ORDER BY stage DESC, iteration DESC LIMIT 1"
    ).fetchone()
    return layout.result_file(folder, *row) if row else None
