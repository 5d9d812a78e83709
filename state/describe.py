"""Describe the tables, views and columns of the state database.

``docs/schema.md`` is generated from ``describe.toml`` and the comments of the schema.
"""

import contextlib
import re
import sqlite3
import tomllib
from pathlib import Path
from typing import NamedTuple

from faser_align.state import database, schema, views

_TEXTS = tomllib.loads(Path(__file__).with_name("describe.toml").read_text(encoding="utf-8"))
MEANING: dict[str, str] = _TEXTS["meaning"]
_COMMENT = re.compile(r"^\s*(.+?),?\s*-- (.+)$")


class Column(NamedTuple):
    """A column: its name, its SQLite type (empty in views), and its meaning (empty if undocumented)."""

    name: str
    kind: str
    meaning: str


class Relation(NamedTuple):
    """A table or a view: its name, its content, and its columns."""

    name: str
    meaning: str
    columns: list[Column]


def relations() -> list[Relation]:
    """Return all views, then all tables of a current database, without those that record migrations."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        schema.upgrade(db)
        found = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE '\\_%' ESCAPE '\\' "
            "AND name NOT LIKE 'sqlite%' ORDER BY type DESC, rowid"
        ).fetchall()
        return [Relation(name, MEANING.get(name, ""), _columns(db, name, sql)) for name, sql in found]


def _columns(db: sqlite3.Connection, relation: str, sql: str) -> list[Column]:
    comments = {}
    for line in sql.splitlines():
        match = _COMMENT.match(line)
        if match:
            words = re.findall(r"\w+", match[1])
            comments[words[-1] if relation in views.VIEWS else words[0]] = match[2]
    return [
        Column(name, kind, MEANING.get(f"{relation}.{name}") or comments.get(name) or MEANING.get(name, ""))
        for _, name, kind, *_ in db.execute(f"PRAGMA table_info({relation})")
    ]


def schema_page() -> str:
    """Return the text of ``docs/schema.md``."""
    lines = [_TEXTS["page"].replace("SCHEMA", str(database.SCHEMA)).rstrip()]
    for relation in relations():
        lines += ["", f"## `{relation.name}`", "", f"{relation.meaning[:1].upper()}{relation.meaning[1:]}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{column.name}` | {column.kind.lower()} | {column.meaning} |" for column in relation.columns]
    return "\n".join(lines) + "\n"
