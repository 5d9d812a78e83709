"""Define the schema of a campaign's state database as numbered migrations (sqlite-utils).

Each migration runs in one transaction together with the row that records it. Submission and ``repair`` apply them,
never a hook. A released migration is never changed.
"""

import contextlib
import sqlite3

import sqlite_utils
from sqlite_utils.migrations import Migrations

from faser_align.state import database, views

SET = "faser_align"
BUSY_S_MAX = 20.0
migrations = Migrations(SET)

_INITIAL = """
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    folder TEXT NOT NULL,           -- control files
    data TEXT NOT NULL,             -- root of the iterations' large files
    run TEXT NOT NULL,              -- six digits
    state TEXT NOT NULL,            -- fsm.table.STATES
    stage INTEGER NOT NULL,         -- where the campaign is, from 1; 0 before its first iteration
    iteration INTEGER NOT NULL,
    stages INTEGER NOT NULL,        -- number of stages
    stages_done INTEGER NOT NULL,   -- stages whose remaining nodes are passed over
    lost_max INTEGER NOT NULL,      -- files that may be lost for good
    lost INTEGER NOT NULL,          -- files that are
    dag_id TEXT NOT NULL,           -- CONDOR_ID of the latest DAGMan, '' before the first
    targets TEXT NOT NULL,          -- JSON: names of who is told
    messages TEXT NOT NULL,         -- JSON: kinds of messages that are wanted
    created_utc TEXT NOT NULL,
    updated_utc TEXT NOT NULL
);
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    kind TEXT NOT NULL,             -- reco, mille
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    file INTEGER NOT NULL,          -- raw file number, -1 for mille
    state TEXT NOT NULL,            -- fsm.table.NODE_STATES
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL            -- why it is held, failed or lost; else ''
) WITHOUT ROWID;
CREATE TABLE attempts (
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,       -- counts over all DAGMans of the campaign, from 1
    dag_id TEXT NOT NULL,
    opened_utc TEXT NOT NULL,
    closed_utc TEXT NOT NULL,       -- '' while it is open
    job_id TEXT NOT NULL,
    outcome TEXT NOT NULL,          -- '' while open, then the node event that closed it, or abandoned
    return_value INTEGER,           -- DAGMan's $RETURN
    exit_status INTEGER,            -- what the POST script answered
    host TEXT NOT NULL,
    PRIMARY KEY (node, attempt)
) WITHOUT ROWID;
CREATE TABLE events (               -- what was taken in already: a repeat finds its row and its answer
    dag_id TEXT NOT NULL,
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    phase TEXT NOT NULL,
    job_id TEXT NOT NULL,
    hold_time TEXT NOT NULL,
    exit_status INTEGER NOT NULL,
    PRIMARY KEY (dag_id, node, attempt, phase, job_id, hold_time)
) WITHOUT ROWID;
CREATE TABLE history (              -- append-only
    id INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    subject TEXT NOT NULL,          -- 'campaign' or the node
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    destination TEXT NOT NULL,      -- equal to source where the event was ignored
    ignored TEXT NOT NULL,          -- why, '' where the table allowed the event
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    host TEXT NOT NULL,
    facts TEXT NOT NULL             -- JSON object
);
CREATE TABLE iterations (
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    started_utc TEXT NOT NULL,
    ended_utc TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    criteria TEXT NOT NULL,         -- JSON list
    metrics TEXT NOT NULL,          -- JSON object, as the Millepede job wrote it
    PRIMARY KEY (stage, iteration)
) WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    history_id INTEGER NOT NULL REFERENCES history (id),
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,            -- pending, claimed, sent, failed, unwanted
    tries INTEGER NOT NULL,
    next_utc TEXT NOT NULL,         -- not before
    claimed_utc TEXT NOT NULL,
    sent_utc TEXT NOT NULL,
    error TEXT NOT NULL,
    UNIQUE (history_id, target)
);
CREATE INDEX outbox_open ON outbox (state) WHERE state IN ('pending', 'claimed');
"""


@migrations(name="0001_initial")
def _initial(db: sqlite_utils.Database) -> None:
    # executescript() would commit the transaction that the migration runs in.
    for statement in _INITIAL.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations(name="0002_views")
def _views(db: sqlite_utils.Database) -> None:
    for text in views.VIEWS.values():
        db.execute(text.strip())
    # Older databases have 0 here; hooks read this number, because sqlite-utils is slow to import.
    db.execute("PRAGMA user_version = 2")


def version_of(applied: int) -> int:
    """Return ``PRAGMA user_version`` for this number of migrations; it counts from the second on."""
    return applied if applied > 1 else 0


def applied(db: sqlite3.Connection) -> list[str]:
    """Return the names of the migrations recorded in the database, in order."""
    sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [name for (name,) in db.execute(sql, (SET,))]


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
