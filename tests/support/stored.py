"""Read state databases, and change them as no script does."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from faser_align.state import redolog, verify


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
