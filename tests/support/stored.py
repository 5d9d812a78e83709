"""Read state databases, and change them as no script does."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from faser_align.state import queries, redolog, verify

Answer = TypeVar("Answer")


def seen(folder: Path | str, query: Callable[..., Answer], *about: Any, **named: Any) -> Answer:
    """Return the answer of a query, such as those of ``state.queries``, to a campaign's snapshot."""
    with queries.published(str(folder)) as db:
        return query(db, *about, **named)


def history(folder: Path | str, *events: str) -> list[dict[str, Any]]:
    """Return the rows of the history with one of these events."""
    return [row for row in seen(folder, queries.history) if row["event"] in events]


def rows(path: Path | str, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def dump(path: Path | str) -> list[str]:
    """Return schema and rows as statements."""
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def findings(path: Path | str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return verify.findings(db)


def change(path: Path | str, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql, values)


LATER = "INSERT INTO _sqlite_migrations VALUES (99, 'faser_align', '0099_later', '')"  # what a newer program records


def change_by_hand(store: Path, sql: str) -> None:
    """Change a state database, and restart its redo log with the change."""
    change(store, sql)
    redolog.begin(str(store.parent))
