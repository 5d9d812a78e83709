"""Test versions: released schemas continue to work, and a newer one is not changed."""

import concurrent.futures
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, metrics, run_iteration, write_metrics, write_output
from commandline import faser_align
from stored import LATER, change, change_by_hand, dump, rows

from faser_align.campaign import layout
from faser_align.fsm.errors import StoreError
from faser_align.state import create, database, publish, queries, schema, spool, verify, views

STORES = Path(__file__).parents[1] / "data" / "stores"
RELEASED = sorted(folder.name for folder in STORES.iterdir() if folder.is_dir())
DAG = "14.0"  # of the stored campaign, which is in its third iteration
FUTURE = database.SCHEMA + 1


def restore(version: str, folder: Path) -> dict[str, Any]:
    """Restore a version's stored campaign in ``folder``, with files for its iterations; return its manifest."""
    folder.mkdir()
    shutil.copy(STORES / version / layout.STATE, folder)
    record: dict[str, Any] = json.loads((STORES / version / layout.RECORD).read_text())
    record |= {"folder": str(folder), "data": str(folder)}
    (folder / layout.RECORD).write_text(json.dumps(record))
    db = sqlite3.connect(folder / layout.STATE, isolation_level=None)
    db.execute("UPDATE campaign SET folder = ?, data = ?", (str(folder), str(folder)))
    for iteration, text in db.execute("SELECT iteration, metrics FROM iterations WHERE ended_utc != ''"):
        path = Path(layout.metrics_file(str(folder), 1, iteration))
        path.parent.mkdir(parents=True)
        path.write_text(text)
    db.close()
    for iteration in range(1, record["stages"][0]["iterations"] + 1):
        for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
            Path(layout.iteration_folder(str(folder), 1, iteration), part, "logs").mkdir(parents=True, exist_ok=True)
    (folder / layout.SPOOL).mkdir()
    publish.publish(str(folder))
    return record


def go_on(record: dict[str, Any]) -> None:
    """Run the scripts of the third iteration, whose first job runs, and of the fourth."""
    node = layout.reco_node(1, 3, 400)
    write_output(record, 1, 3, 400)
    assert hook("post", record["folder"], node, 0, 2, 0, "33.0", 0, dag_id=DAG).returncode == 0
    others = record | {"files": record["files"][1:]}
    assert run_iteration(others, 3, dag_id=DAG) == 0
    assert run_iteration(record, 4, dag_id=DAG) == 42
    assert hook("final", record["folder"], "final", 0, 0, dag_id=DAG).returncode == 0


def version(folder: str, name: str = layout.STATE) -> int:
    """Return ``PRAGMA user_version`` of a database."""
    return int(rows(f"{folder}/{name}", "PRAGMA user_version")[0][0])


def contents(path: Path) -> list[str]:
    """Return schema and rows of a database, except the times of migrations."""
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    change(path, "UPDATE _sqlite_migrations SET applied_at = ''")
    return [str(version(str(path.parent), path.name)), *dump(path)]


def test_every_schema_is_kept_but_the_newest() -> None:
    """Each released schema before the newest has a database in the test data, with the right number."""
    names = schema.names()
    assert [name[:4] for name in names[:-1]] == RELEASED
    assert schema.version_of(len(names)) == database.SCHEMA


@pytest.mark.parametrize("kept", RELEASED)
def test_an_old_campaign_goes_on_without_migration(kept: str, tmp_path: Path) -> None:
    """Current scripts record events in an older program's campaign, and keep its schema."""
    record = restore(kept, tmp_path / "campaign")
    folder = record["folder"]
    before = version(folder)
    go_on(record)
    assert version(folder) == before < database.SCHEMA
    with queries.published(folder) as db:
        assert verify.findings(db) == []
        assert queries.campaign(db)["state"] == "converged"
    assert not (tmp_path / "campaign" / layout.HOOKS_LOG).exists()


@pytest.mark.parametrize("kept", RELEASED)
def test_an_old_store_is_migrated_and_sound(kept: str, tmp_path: Path) -> None:
    """A migrated database of every older schema is valid, keeps its rows, and its campaign continues."""
    record = restore(kept, tmp_path / "campaign")
    folder = record["folder"]
    with queries.published(folder) as db:
        rows = {name: queries.rows(db, f"SELECT * FROM {name}") for name in ("history", "nodes", "outbox", "events")}
    assert create.bring_up_to_date(folder)
    assert not create.bring_up_to_date(folder)
    with queries.published(folder) as db:
        assert verify.findings(db) == []
        assert {name: queries.rows(db, f"SELECT * FROM {name}") for name in rows} == rows
        assert schema.applied(db) == schema.names()
    assert version(folder) == version(folder, layout.PUBLISHED) == database.SCHEMA
    go_on(record)
    with queries.published(folder) as db:
        assert verify.findings(db) == []


# Migrates copies of the database, each in a child killed at another statement; prints the number of statements.
KILLED = """
import os, shutil, signal, sqlite3, sys
from faser_align.state import schema
source, connect = sys.argv[1], sqlite3.connect

def migrate(path, last):
    seen = 0
    def count(statement):
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def traced(*words, **more):
        db = connect(*words, **more)
        db.set_trace_callback(count)
        return db
    sqlite3.connect = traced
    schema.migrate(path)
    return seen

last = 1
while True:
    path = f"{source}.{last}"
    shutil.copy(source, path) if os.path.getsize(source) else None
    child = os.fork()
    if not child:
        migrate(path, last)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    last += 1
print(last - 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["nothing", *RELEASED])
def test_a_migration_that_is_killed_rolls_back(begin: str, tmp_path: Path) -> None:
    """A migration killed at any statement leaves the database unchanged, and a second run completes it."""
    source = tmp_path / "store"
    if begin == "nothing":
        source.touch()
    else:
        shutil.copy(STORES / begin / layout.STATE, source)
    done = subprocess.run([sys.executable, "-c", KILLED, str(source)], capture_output=True, text=True, check=True)
    statements = int(done.stdout)
    assert statements >= len(views.VIEWS) + 5
    whole = tmp_path / "whole"
    shutil.copy(source, whole)
    schema.migrate(str(whole))
    expected = contents(whole)
    for last in range(1, statements + 1):
        path = tmp_path / f"store.{last}"
        db = sqlite3.connect(path)
        applied = [] if begin == "nothing" else schema.names()[: int(begin)]
        assert not applied or schema.applied(db) == applied
        assert len(db.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()) == 0
        assert db.execute("PRAGMA user_version").fetchone()[0] == schema.version_of(len(applied))
        db.close()
        schema.migrate(str(path))
        assert contents(path) == expected


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, Any]:
    """Provide a campaign whose database a newer program has changed."""
    record = make_campaign(tmp_path / "campaign", files=2)
    change(Path(record["folder"], layout.STATE), LATER)
    change_by_hand(Path(record["folder"], layout.STATE), f"PRAGMA user_version = {FUTURE}")
    publish.publish(record["folder"])
    return record


def test_a_hook_leaves_a_newer_store_alone(newer: dict[str, Any]) -> None:
    """With a newer database an event is queued, the job's own outcome is returned, and nothing is written."""
    folder, node = newer["folder"], layout.reco_node(1, 1, 400)
    before = Path(folder, layout.STATE).read_bytes()
    assert hook("pre", folder, node, 0, 2).returncode == 0
    done = hook("post", folder, node, 0, 2, 61, "13.0", 0)
    assert done.returncode == 43
    assert f"schema {FUTURE}" in done.stderr
    assert Path(folder, layout.STATE).read_bytes() == before
    assert [spool.read(folder, name)["phase"] for name in spool.waiting(folder)] == ["pre", "post"]
    # The program that knows the schema ingests the queued event.
    change(Path(folder, layout.STATE), "DELETE FROM _sqlite_migrations WHERE id = 99")
    change(Path(folder, layout.STATE), f"PRAGMA user_version = {database.SCHEMA}")
    assert hook("final", folder, "final", 2, 1).returncode == 2
    assert spool.waiting(folder) == []
    with queries.published(folder) as published:
        assert verify.findings(published) == []
        assert queries.nodes(published, "failed")[0]["node"] == node


def test_a_verdict_is_given_beside_a_newer_store(newer: dict[str, Any]) -> None:
    """The scripts of a Millepede node decide as usual, because a decision needs only configuration and metrics."""
    folder = newer["folder"]
    for iteration in (3, 4):
        for earlier in range(1, iteration):
            write_metrics(newer, metrics(earlier, files=2))
        node = layout.mille_node(1, iteration)
        assert hook("pre", folder, node, 0, 2).returncode == 0
        write_metrics(newer, metrics(iteration, files=2))
        assert hook("post", folder, node, 0, 2, 0, f"9{iteration}.0", 0).returncode == (0 if iteration == 3 else 42)
    assert len(spool.waiting(folder)) == 4


def test_a_migration_waits_for_a_writer(tmp_path: Path) -> None:
    """A migration waits for a late script, whose changes are in the new schema."""
    folder = restore(RELEASED[0], tmp_path / "campaign")["folder"]
    db = sqlite3.connect(f"{folder}/{layout.STATE}", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE campaign SET updated_utc = 'late'")
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        migrated = other.submit(create.bring_up_to_date, folder)
        time.sleep(0.3)
        assert not migrated.done()
        db.execute("COMMIT")
        assert migrated.result(timeout=120)
    assert db.execute("SELECT updated_utc FROM campaign").fetchone() == ("late",)
    db.close()
    assert version(folder) == database.SCHEMA


@pytest.mark.parametrize("words", [("status",), ("history",), ("metrics",), ("verify",), ("report",)])
def test_a_command_refuses_a_newer_store(newer: dict[str, Any], words: tuple[str, ...]) -> None:
    """A command that finds a newer database says so in one sentence that names the fix."""
    done = faser_align(*words, newer["folder"])
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert f"has schema {FUTURE}" in done.err
    assert "use the newer version" in done.err


def test_a_newer_store_is_not_migrated(newer: dict[str, Any]) -> None:
    """resume, extend and repair refuse a newer database, and a missing one, in one sentence."""
    with pytest.raises(StoreError, match=f"has schema {FUTURE}.*use the newer version"):
        create.bring_up_to_date(newer["folder"])
    Path(newer["folder"], layout.STATE).unlink()
    with pytest.raises(StoreError, match="cannot be migrated: unable to open database file"):
        create.bring_up_to_date(newer["folder"])


@pytest.mark.parametrize(
    "damage", ["PRAGMA user_version = 1", "PRAGMA user_version = 0", "DELETE FROM _sqlite_migrations WHERE id = 2"]
)
def test_a_store_whose_versions_disagree_is_found(tmp_path: Path, damage: str) -> None:
    """verify reports a table of migrations that disagrees with the database's number."""
    record = make_campaign(tmp_path / "campaign", files=1)
    with queries.published(record["folder"]) as published:
        db = sqlite3.connect(":memory:", isolation_level=None)
        published.backup(db)
    assert verify.findings(db) == []
    db.execute(damage)
    assert any("migrations" in sentence for sentence in verify.findings(db))
    db.close()
