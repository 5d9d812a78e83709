"""Define the schema of a campaign's state database as numbered migrations (sqlite-utils).

Each migration runs in one transaction together with the row that records it. Submission and ``repair`` apply them,
never a script. A released migration, such as ``schema.sql``, is never changed.
"""

import contextlib
import sqlite3
from pathlib import Path

from faser_align.fsm.errors import StoreError
from faser_align.state import database, views
from faser_align.system import libraries

with libraries.without("numpy", "pandas"):  # half a second, for types that no migration uses
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

SET = "faser_align"
BUSY_S_MAX = 20.0
migrations = Migrations(SET)


@migrations(name="0001_initial")
def _initial(db: sqlite_utils.Database) -> None:
    # executescript() would commit the transaction that the migration runs in.
    for statement in Path(__file__).with_name("schema.sql").read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations(name="0002_views")
def _views(db: sqlite_utils.Database) -> None:
    for text in views.VIEWS.values():
        db.execute(text.strip())
    # Older databases have 0 here; scripts read this number, because sqlite-utils is slow to import.
    db.execute("PRAGMA user_version = 2")


def version_of(applied: int) -> int:
    """Return ``PRAGMA user_version`` for this number of migrations; it counts from the second on."""
    return applied if applied > 1 else 0


def applied(db: sqlite3.Connection) -> list[str]:
    """Return the names of the migrations recorded in the database, in order."""
    sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [name for (name,) in db.execute(sql, (SET,))]


def refuse_newer(db: sqlite3.Connection, path: str) -> None:
    """Raise StoreError if a newer program has migrated the database of the file ``path``.

    Such a program has recorded a migration that this one does not know; without one the number is damage.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > database.SCHEMA and not set(applied(db)) <= set(names()):
        raise StoreError(database.newer(path, version))


def names() -> list[str]:
    """Return the names of all known migrations, in order."""
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        return [migration.name for migration in migrations.pending(sqlite_utils.Database(empty, execute_plugins=False))]


def migrate(path: str) -> None:
    """Migrate the database at ``path`` to the newest schema in one transaction; create it if missing.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S_MAX)) as db:
        database.close_to_others(path)
        db.execute("PRAGMA synchronous = EXTRA")
        upgrade(db)


def upgrade(db: sqlite3.Connection) -> None:
    """Migrate the database of a connection, which must be closed after an error."""
    # sqlite-utils begins deferred transactions, which fail at once beside another writer, so begin one here.
    db.execute("BEGIN IMMEDIATE")
    migrations.apply(sqlite_utils.Database(db, execute_plugins=False))
    db.execute("COMMIT")
