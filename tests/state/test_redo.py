"""Test the redo log: it restores the state database exactly, and detects changes."""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from stored import change, dump
from taking import DONE, PRE, take

from faser_align.campaign import layout
from faser_align.state import create, database, publish, redolog, verify
from faser_align.state.repair import rebuild as repair

Record = dict[str, Any]
FLIPS = 7
SEEDS = range(2000 if os.environ.get("FASER_ALIGN_SOAK") else 20)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Provide a campaign of two files with a hold, convergence, and undelivered messages."""
    notify = {"targets": ["me"], "events": ["end", "held"], "file": "/nowhere.toml"}
    record = make_campaign(tmp_path_factory.mktemp("redo") / "campaign", files=2, config={"notify": notify})
    folder, node = record["folder"], layout.reco_node(1, 1, 400)
    hook("pre", folder, node, 0, 2)
    hook("hold", folder, node, "13.0", 0)
    for number in (1, 2, 3, 4):
        run_iteration(record, number)
    hook("final", folder, "final", 0, 0)
    publish.publish(folder, last=True)
    return record


def differences(folder: str) -> redolog.Comparison:
    with closing(sqlite3.connect(f"{folder}/{layout.STATE}")) as db:
        return redolog.compare(db, folder)


def copied(record: Record, tmp_path: Path) -> str:
    """Copy the campaign's folder, with its manifest and database referring to the original."""
    return str(shutil.copytree(record["folder"], tmp_path / "copy"))


def test_a_lost_database_comes_back_as_it_was(ended: Record, tmp_path: Path) -> None:
    """Without database and snapshot the redo log alone restores every row exactly, including messages."""
    folder = copied(ended, tmp_path)
    original = dump(f"{folder}/{layout.STATE}")
    for name in (layout.STATE, layout.PUBLISHED):
        Path(folder, name).unlink()
    with repair.locked(folder):
        made = repair.rebuild(folder, ended, repair.scratch_of(folder))
        repair.install(folder, made)
    assert (made.made_from, made.taken, made.left_out, made.closed) == ("the redo log", 0, 0, "")
    assert dump(f"{folder}/{layout.STATE}") == original
    assert differences(folder) == redolog.Comparison([])
    assert take(folder, {**PRE, "node": layout.reco_node(1, 2, 401)}) == [0]
    assert differences(folder) == redolog.Comparison([])  # its new redo log continues


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_flipped_bytes_are_found(seed: int, ended: Record, tmp_path: Path) -> None:
    """Seven flipped bytes in one page of the database are found, unless schema and rows are unaffected."""
    numbers = random.Random(seed)
    folder = copied(ended, tmp_path)
    store = Path(folder, layout.STATE)
    content = bytearray(store.read_bytes())
    before = dump(store)
    page = numbers.randrange(len(content) // 4096) * 4096
    start = page + numbers.randrange(4096 - FLIPS)
    spread = range(start, start + FLIPS) if seed % 2 else numbers.sample(range(page, page + 4096), FLIPS)
    for place in spread:
        content[place] ^= numbers.randrange(1, 256)
    store.write_bytes(content)
    try:
        changed = dump(store) != before
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        changed = True
    found = verify.check(folder).findings
    assert found or not changed


def test_a_damaged_schema_number_is_no_newer_program(ended: Record, tmp_path: Path) -> None:
    """A schema number that no migration explains is damage, and not a reason to ask for a newer program."""
    folder = copied(ended, tmp_path)
    change(f"{folder}/{layout.STATE}", "PRAGMA user_version = 162")
    assert verify.check(folder).findings[0] == "its schema is 162, and 2 migrations were applied"


def test_a_changed_value_is_named(ended: Record, tmp_path: Path) -> None:
    """A changed value that no other check covers is named by table, row and column."""
    folder = copied(ended, tmp_path)
    change(f"{folder}/{layout.STATE}", "UPDATE attempts SET host = 'elsewhere' WHERE node = 'mille_s1_i02'")
    change(f"{folder}/{layout.STATE}", "UPDATE outbox SET error = 'another'")
    assert verify.check(folder).findings == [
        "attempts differs from the redo log: host of node 'mille_s1_i02', attempt 1",
        "outbox differs from the redo log: error of id 1 (and 1 more rows)",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Provide a campaign of two files whose first node has begun."""
    made = str(make_campaign(tmp_path / "c", files=2)["folder"])
    take(made, PRE)
    return made


def test_a_transaction_that_was_rolled_back_does_not_count(folder: str, tmp_path: Path) -> None:
    """The line of a script killed before its COMMIT is replaced by the next transaction's."""
    with closing(database.connect(folder)) as db:
        db.execute("BEGIN IMMEDIATE")
        database.append_redo(folder, db, ["UPDATE campaign SET state = 'never'"])
        db.execute("ROLLBACK")
    assert differences(folder) == redolog.Comparison([])
    take(folder, DONE)
    assert differences(folder) == redolog.Comparison([])
    redolog.rebuild(folder, str(tmp_path / "made.db"))
    assert dump(tmp_path / "made.db") == dump(f"{folder}/{layout.STATE}")


def test_a_line_that_was_cut_does_not_count(folder: str) -> None:
    """A line truncated by a full disk belongs to no transaction, and the next line is separate."""
    with open(f"{folder}/{layout.REDO}", "a") as log:
        log.write("\n3 ['UPDATE campa")
    take(folder, DONE)
    assert differences(folder) == redolog.Comparison([])


def test_a_full_disk_rolls_the_transaction_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event whose line does not fit is not committed and goes to the fallback event queue."""
    folder = make_campaign(tmp_path / "c", files=2)["folder"]
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:5]) if os.readlink(f"/proc/self/fd/{descriptor}").endswith(layout.REDO) else 0

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        take(folder, PRE)
    assert len(os.listdir(f"{folder}/{layout.SPOOL}")) == 1
    take(folder, DONE)
    assert differences(folder) == redolog.Comparison([])


def test_a_gap_is_named(folder: str, tmp_path: Path) -> None:
    """A log that lacks transactions rebuilds nothing; verify names the gap, and repair restarts the log."""
    log = Path(folder, layout.REDO)
    whole = log.read_text()
    log.write_text(whole[: whole.rindex("\n")])
    take(folder, DONE)
    problem = f"{log} is not complete: it lacks 1 transaction after the first 0"
    assert differences(folder) == redolog.Comparison([], problem)
    publish.publish(folder)
    assert problem in verify.check(folder).findings
    with pytest.raises(ValueError, match="not complete"):
        redolog.rebuild(folder, str(tmp_path / "made.db"))
    for text, words in ((whole[:20], "it has no complete line"), ("", "it is empty")):
        log.write_text(text)
        assert differences(folder) == redolog.Comparison([], f"{log} is not complete: {words}")


def test_an_older_campaign_gets_a_redo_log(tmp_path: Path) -> None:
    """An older program's campaign has no redo log until it is resumed."""
    folder = make_campaign(tmp_path / "c", files=2)["folder"]
    Path(folder, layout.REDO).unlink()
    take(folder, PRE)
    assert not Path(folder, layout.REDO).exists()
    assert differences(folder) == redolog.Comparison([])
    assert create.bring_up_to_date(folder)
    take(folder, DONE)
    assert differences(folder) == redolog.Comparison([])
    assert not create.bring_up_to_date(folder)
