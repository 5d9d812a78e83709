"""Examine the copies of a campaign's state database: the file, its snapshot and its redo log."""

import contextlib
import os
import shutil
import sqlite3
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.state import database, redolog, schema, verify

STORE, PUBLISHED, REDO = "the store", "the published copy", "the redo log"
FILES = ((STORE, layout.STATE), (PUBLISHED, layout.PUBLISHED))


class Copy(NamedTuple):
    """A source of the state database: its name, a copy of its file, the damage, and how much history it has."""

    name: str
    path: str
    damage: tuple[str, ...]
    rows: int = 0
    migrated: bool = False
    transactions: int = 0  # that the copy has (database.append_redo)


def examine(folder: str, record: Manifest, scratch: str, name: str, file: str) -> Copy:
    """Copy ``file`` with its journal, migrate the copy, and look for damage."""
    path = f"{scratch}/{file}"
    try:
        shutil.copyfile(f"{folder}/{file}", path)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{folder}/{file}-journal", f"{path}-journal")
    except FileNotFoundError:
        return Copy(name, path, (f"{file} is not there",))
    except OSError as problem:
        return Copy(name, path, (f"{file} cannot be read: {problem.strerror}",))
    try:
        with opened(path) as db:
            schema.refuse_newer(db, f"{folder}/{file}")  # only a newer program can repair its database
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if os.path.getsize(path) == 0:
            return Copy(name, path, (f"{file} is empty",))
        schema.migrate(path)
        with opened(path) as db:
            damage = verify.findings(db, folder, files=False) or _of_another(db, record)
            if not damage and version == database.SCHEMA:
                damage = redolog.compare(db, folder).differences
            rows, count = (0, 0) if damage else _size(db)
    except sqlite3.Error as problem:
        return Copy(name, path, (f"{file}: {problem}",))
    return Copy(name, path, tuple(damage), rows, version < database.SCHEMA, count)


def _size(db: sqlite3.Connection) -> tuple[int, int]:
    """Return the numbers of rows of the history and of transactions."""
    return (db.execute("SELECT max(id) FROM history").fetchone()[0], db.execute("PRAGMA application_id").fetchone()[0])


def replayed(folder: str, record: Manifest, scratch: str) -> Copy | None:
    """Return a database made from the redo log; None for a campaign without one."""
    path = f"{scratch}/redo.db"
    try:
        redolog.rebuild(folder, path)
        with opened(path) as db:
            damage = verify.findings(db, folder, files=False) or _of_another(db, record)
            rows, count = (0, 0) if damage else _size(db)
    except FileNotFoundError:
        return None
    except (ValueError, sqlite3.DatabaseError) as problem:
        return Copy(REDO, path, (f"{layout.REDO}: {problem}",))
    return Copy(REDO, path, tuple(damage), rows, transactions=count)


def _of_another(db: sqlite3.Connection, record: Manifest) -> list[str]:
    name, folder = db.execute("SELECT name, folder FROM campaign").fetchone()
    if (name, folder) == (record["name"], record["folder"]):
        return []
    return [f"it is the state database of {name} in {folder}"]


def opened(path: str) -> contextlib.closing[sqlite3.Connection]:
    """Open a database, for a ``with`` block, without the transactions of Python's own."""
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


# Numbered, since the logs may lack the time of a hold.
_HOLDS = "SELECT node, job_id, 'held', row_number() OVER (PARTITION BY node, job_id) FROM events WHERE phase = 'hold'"


def covers(fresh: str, base: str) -> bool:
    """Return whether ``fresh`` has every end of an attempt, a DAGMan and an iteration, and every hold, of ``base``."""
    found = []
    for path in (fresh, base):
        with opened(path) as db:
            found.append(
                {*db.execute("SELECT node, job_id, outcome FROM attempts WHERE job_id != ''")}
                | {*db.execute("SELECT dag_id, exit_status FROM events WHERE phase = 'final'")}
                | {*db.execute("SELECT stage, iteration, verdict FROM iterations WHERE ended_utc != ''")}
                | {*db.execute(_HOLDS)}
            )
    return found[1] <= found[0]


_MESSAGE = (
    "SELECT o.target, h.subject, h.event, h.dag_id, h.node, h.job_id, h.stage, h.iteration, "
    "coalesce(json_extract(h.facts, '$.held_at'), ''), o.state, o.tries, o.next_utc, o.claimed_utc, o.sent_utc, o.error, o.id "
    "FROM outbox AS o JOIN history AS h ON h.id = o.history_id"
)
_KEY = 9  # columns that identify a message
DELIVERY_UNKNOWN = "whether it was sent is not known: its event was taken from DAGMan's logs"
_SETTLED = {"sent": 0, "unwanted": 1, "failed": 2, "": 3}  # final states of a message in a copy, the most certain first


def restore_message_states(path: str, copies: tuple[Copy, ...]) -> int:
    """Copy the final states of messages from all copies, the damaged included; return how many changed."""
    ends: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for copy in copies:
        for row in _read(copy.path, _MESSAGE):
            key, told = row[:_KEY], row[_KEY:-1]
            if told[0] in _SETTLED and _SETTLED[told[0]] < _SETTLED[ends.get(key, ("",))[0]]:
                ends[key] = told
    changed = 0
    with opened(path) as db:
        for row in db.execute(_MESSAGE).fetchall():
            now = row[_KEY:-1]
            end = ends.get(row[:_KEY], now)
            if end != now and (now[-1] == DELIVERY_UNKNOWN or (end[0] == "sent" and now[0] != "sent")):
                db.execute(
                    "UPDATE outbox SET state = ?, tries = ?, next_utc = ?, claimed_utc = ?, sent_utc = ?, error = ? "
                    "WHERE id = ?",
                    (*end, row[-1]),
                )
                changed += 1
    return changed


def _read(path: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, as far as the file can be read."""
    found: list[tuple[Any, ...]] = []
    if os.path.exists(path):
        with contextlib.suppress(sqlite3.Error), opened(path) as db:
            for row in db.execute(sql):
                found.append(row)  # noqa: PERF402 - what was read before the damage is kept
    return found
