"""Test schema, event queue, snapshot, outbox and registry."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from campaigns import NAME, hook, make_campaign, run_iteration
from stored import rows
from taking import claimed, make_due

from faser_align.campaign import layout
from faser_align.fsm.errors import StoreError, UserError
from faser_align.fsm.next_message import PASSED_AT
from faser_align.state import (
    control_requests,
    database,
    facts,
    outbox,
    publish,
    queries,
    registry,
    schema,
    spool,
    writer,
)
from faser_align.state.create import record_submitted


def test_migrations_can_be_applied_again(record: dict[str, Any]) -> None:
    """Migrations do not change a current database."""
    path = Path(record["folder"], layout.STATE)
    before = path.read_bytes()
    schema.migrate(str(path))
    assert path.read_bytes() == before


def test_a_new_store_knows_all_nodes(record: dict[str, Any]) -> None:
    """A new database has every node waiting and the campaign created, and is published at once."""
    with queries.published(record["folder"]) as db:
        assert queries.node_counts(queries.all_counts(db)) == {"waiting": 4 * 3 + 4}
        assert queries.campaign(db)["state"] == "created"
        assert queries.campaign(db)["messages"][-1] == "held"
        assert queries.iterations(db) == []
        assert queries.latest_constants(db, record["folder"]) is None
    assert queries.age_s(record["folder"]) < 60


def test_a_store_is_never_made_by_a_writer(tmp_path: Path) -> None:
    """Opening a missing database fails and leaves no file."""
    with pytest.raises(sqlite3.OperationalError):
        database.connect(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_no_published_copy_is_one_sentence(tmp_path: Path) -> None:
    """A reader without a snapshot gets an error that names the file."""
    with pytest.raises(StoreError, match=r"published\.db is missing"), queries.published(str(tmp_path)):
        pass


def test_spooled_events_keep_their_order_and_their_names(record: dict[str, Any]) -> None:
    """Simultaneous writers get different numbers, and no event is lost."""
    folder = record["folder"]
    with concurrent.futures.ThreadPoolExecutor(8) as crowd:
        names = list(crowd.map(lambda i: spool.put(folder, {"phase": "control", "i": i}), range(40)))
    assert sorted(names) == spool.waiting(folder)
    assert len(set(names)) == 40
    assert sorted(spool.read(folder, name)["i"] for name in names) == list(range(40))
    assert all(not name.startswith(".") for name in os.listdir(f"{folder}/{layout.SPOOL}"))


def test_a_name_of_the_spool_is_never_used_again(record: dict[str, Any]) -> None:
    """A slow script that removes its ingested events cannot remove a later one."""
    folder = record["folder"]
    first = spool.put(folder, {"phase": "control"})
    spool.remove(folder, [first])
    second = spool.put(folder, {"phase": "control"})
    spool.remove(folder, [first])
    assert first < second
    assert spool.waiting(folder) == [second]


def test_an_event_that_another_hook_took_in_meanwhile_is_no_failure(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event file that another script removes after its commit is not an error."""
    folder = record["folder"]
    monkeypatch.setattr(spool, "waiting", lambda _: ["00000001.json"])
    event = {"phase": "control", "event": "submitted", "dag_id": "12.0", "host": "ap"}
    assert writer.take(folder, {**event, "utc": "2026-11-24T07:31:00.000Z"}) == 0
    publish.publish(folder)
    with queries.published(folder) as db:
        assert queries.campaign(db)["state"] == "submitted"


def test_the_command_line_speaks_through_the_spool(record: dict[str, Any]) -> None:
    """Readers see a queued submission at once, and the next script records it once, in either order."""
    folder = record["folder"]
    record_submitted(folder, 12)
    with queries.published(folder) as db:
        row = queries.campaign_now(db, folder)
    assert (row["state"], row["dag_id"], row["pending"]) == ("submitted", "12.0", ["submitted"])
    hook("pre", folder, layout.reco_node(1, 1, 400), 0, 2)
    record_submitted(folder, 12)
    hook("pre", folder, layout.reco_node(1, 1, 401), 0, 2)
    with queries.published(folder) as db:
        events = [r["event"] for r in queries.history(db, nodes=False)]
        assert queries.campaign_now(db, folder)["pending"] == []
    assert events == ["created", "submitted", "reconstruction_started"]


def test_publishing_leaves_to_who_comes_later(record: dict[str, Any]) -> None:
    """A script that waits to publish leaves when a later one comes; the last one publishes."""
    folder = record["folder"]
    with concurrent.futures.ThreadPoolExecutor(3) as crowd:
        with open(f"{folder}/{layout.PUBLISHED}.now", "r+") as taken:
            fcntl.flock(taken, fcntl.LOCK_EX)
            made = [_come(crowd, folder) for _ in range(3)]
            assert [made[0].result(), made[1].result(), made[2].done()] == [False, False, False]
        assert made[2].result() is True


def test_nobody_writes_while_a_copy_is_made(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's bytes are read under SQLite's shared lock, which excludes other writers, too."""
    folder, copied = record["folder"], []
    sendfile = os.sendfile

    def looked_at(out: int, source: int, offset: int, count: int) -> int:
        stranger = sqlite3.connect(f"{folder}/{layout.STATE}", timeout=0)
        with contextlib.closing(stranger), pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("BEGIN EXCLUSIVE")
        copied.append(count)
        return sendfile(out, source, offset, count)

    monkeypatch.setattr(os, "sendfile", looked_at)
    assert publish.publish(folder)
    assert sum(copied) == Path(folder, layout.STATE).stat().st_size


def test_half_a_copy_keeps_no_disk_full(record: dict[str, Any]) -> None:
    """A copy without space keeps the previous snapshot and frees its own space."""
    folder = record["folder"]
    before = Path(folder, layout.PUBLISHED).read_bytes()
    program = (
        "import resource, sys\nfrom faser_align.state import publish\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\npublish.publish(sys.argv[1])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert "File too large" in found.stderr
    assert Path(folder, f"{layout.PUBLISHED}.new").stat().st_size == 0
    assert Path(folder, layout.PUBLISHED).read_bytes() == before
    # A new database may be smaller than the remains of a script killed while copying.
    Path(folder, f"{layout.PUBLISHED}.new").write_bytes(b"x" * 2_000_000)
    publish.publish(folder)
    assert Path(folder, layout.PUBLISHED).read_bytes() == Path(folder, layout.STATE).read_bytes()


def test_the_last_copy_is_left_to_nobody(record: dict[str, Any]) -> None:
    """FINAL, after which DAGMan kills all other scripts, publishes itself, even if a later script waits."""
    folder = record["folder"]
    with concurrent.futures.ThreadPoolExecutor(1) as crowd:
        with open(f"{folder}/{layout.PUBLISHED}.now", "r+") as taken:
            fcntl.flock(taken, fcntl.LOCK_EX)
            made = _come(crowd, folder, last=True)
            Path(folder, f"{layout.PUBLISHED}.next").write_text(f"{time.time_ns():020d} {0:011d}")  # and dies
        assert made.result() is True


def _come(crowd: concurrent.futures.Executor, folder: str, *, last: bool = False) -> concurrent.futures.Future[bool]:
    """Start a script that publishes; return it once it has taken its number."""
    number = Path(folder, f"{layout.PUBLISHED}.next")
    before = number.read_text()
    made = crowd.submit(publish.publish, folder, last=last)
    while number.read_text() == before:
        time.sleep(0.01)
    return made


@pytest.mark.slow
def test_copies_take_a_twentieth_of_the_time(record: dict[str, Any]) -> None:
    """The interval between snapshots is at least nineteen times the copy's duration, but at most 4.3 s, with any clock."""
    folder = record["folder"]
    for ended, took, waited in ((0.0, 0.02, 0.38), (-1.0, 100.0, 3.0), (0.0, 0.0, 0.0), (3600.0, 0.02, 0.0)):
        for _ in range(5):  # the machine may have stalled, but not each time
            started = time.monotonic()
            Path(folder, f"{layout.PUBLISHED}.now").write_text(f"{time.time() + ended:.6f} {took}".ljust(64))
            assert publish.publish(folder) is True
            took_s = time.monotonic() - started
            assert took_s >= waited
            if took_s < waited + 2:
                break
        else:
            raise AssertionError(f"{took_s:.1f} s where {waited} s were to be waited")


def test_a_wait_that_ends_too_late_leaves_no_lock(record: dict[str, Any]) -> None:
    """A process that stopped waiting releases the lock when it gets it, in any thread, and the next one gets it in order."""
    path = f"{record['folder']}/{layout.STATE_LOCK}"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with contextlib.closing(database.QueueLock(path, 0.0)) as holder:
            assert holder.acquired
            with contextlib.closing(database.QueueLock(path, 0.1)) as late:
                assert not late.acquired
            waiting = pool.submit(database.QueueLock, path, 60.0)
            time.sleep(0.1)
            assert not waiting.done()
        with contextlib.closing(waiting.result()) as lock:
            assert lock.acquired


def test_who_has_waited_in_vain_waits_at_no_second_lock(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that did not get the FIFO lock in time goes to SQLite's own lock at once."""
    waits: list[float] = []

    class Noted(database.QueueLock):
        def __init__(self, path: str, wait_s: float) -> None:
            waits.append(wait_s)
            super().__init__(path, wait_s)

    monkeypatch.setattr(database, "QueueLock", Noted)
    monkeypatch.setattr(database, "QUEUE_S_MAX", 0.1)
    assert database.transact(record["folder"], lambda db: 3) == 3
    with open(f"{record['folder']}/{layout.STATE_LOCK}", "w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        assert database.transact(record["folder"], lambda db: 3) == 3
    assert waits == [0.1, 0.1, 0.1, 0.0]


def test_who_is_done_releases_every_lock(record: dict[str, Any]) -> None:
    """Readers and writers release all locks when they finish or fail."""
    folder = record["folder"]

    def failing(db: sqlite3.Connection) -> int:
        raise KeyError("ours")

    for go in (database.read, database.transact):
        assert go(folder, lambda db: 3) == 3
        with pytest.raises(KeyError):
            go(folder, failing)
        for place in (layout.STATE_LOCK, layout.COMMIT_LOCK):
            with contextlib.closing(database.QueueLock(f"{folder}/{place}", 0.0)) as lock:
                assert lock.acquired


def test_a_transaction_that_failed_is_over(record: dict[str, Any]) -> None:
    """A failed query rolls its transaction back and releases the lock while its error is kept."""

    def failing(db: sqlite3.Connection) -> int:
        db.execute("UPDATE campaign SET state = 'converged'")
        begun = db.execute("SELECT node FROM nodes")
        raise KeyError(next(begun), begun)

    with pytest.raises(KeyError) as kept:
        database.transact(record["folder"], failing)
    stranger = sqlite3.connect(f"{record['folder']}/{layout.STATE}", timeout=0, isolation_level=None)
    with contextlib.closing(stranger):
        stranger.execute("BEGIN IMMEDIATE")
        assert stranger.execute("SELECT state FROM campaign").fetchone() == ("created",)
        stranger.execute("ROLLBACK")
    assert len(kept.value.args) == 2


def test_a_store_is_found_whatever_its_folder_is_called(tmp_path: Path) -> None:
    """Characters with a meaning in a file URI work in a folder's name."""
    folder = make_campaign(tmp_path / "what? 100%41 #1&mode=ro", files=1)["folder"]
    database.transact(folder, lambda db: db.execute("UPDATE campaign SET stage = 7").rowcount)
    assert database.read(folder, lambda db: db.execute("SELECT stage FROM campaign").fetchone()) == (7,)
    assert publish.publish(folder)
    with queries.published(folder) as copy:
        assert queries.campaign(copy)["stage"] == 7


@pytest.mark.slow
def test_an_end_puts_one_message_per_target_into_the_outbox(record: dict[str, Any]) -> None:
    """The end of a campaign is one message per target, with the data of its iterations."""
    folder = record["folder"]
    for i in (1, 2, 3, 4):
        run_iteration(record, i)
    with queries.published(folder) as db:
        rows = queries.outbox(db)
    assert [(row["target"], row["kind"]) for row in rows] == [("me", "converged"), ("group", "converged")]
    letter = claimed(folder, final=True, seen=frozenset({rows[1]["id"]}))
    assert letter.target == "me"
    about = database.read(folder, lambda db: facts.facts(db, letter))
    assert about["event"] == about["state"] == "converged"
    assert (about["iteration"], about["iterations"]) == (4, 4)
    assert [row["iteration"] for row in about["rows"]] == [1, 2, 3, 4]
    largest = {"dof": "module.y", "rms": 30.0, "largest": -120.5, "where": "003", "unit": "um", "value": -120.5}
    largest["error"] = None  # these metrics have no errors
    assert about["rows"][0]["largest"] == largest
    assert about["constants"] == layout.result_file(folder, 1, 4)
    assert about["key"] == f"{NAME}/{letter.history_ids[0]}"


@pytest.mark.slow
def test_a_late_message_has_the_numbers_of_its_time(workdir: Path) -> None:
    """A late message about an iteration has the numbers and constants of its time."""
    notify = {"targets": ["me"], "events": ["iteration"]}
    record = make_campaign(workdir / "campaign", files=1, config={"notify": notify})
    folder = record["folder"]
    for number in (1, 2, 3):
        run_iteration(record, number)
    make_due(folder)
    first = claimed(folder)
    about = database.read(folder, lambda db: facts.facts(db, first))
    assert (about["iteration"], [row["iteration"] for row in about["rows"]]) == (1, [1])
    assert about["constants"] == layout.result_file(folder, 1, 1)
    assert about["plot"] == layout.plot_file(folder, 1, 1)


def test_a_claim_is_nobody_elses(record: dict[str, Any]) -> None:
    """Each message is leased once at a time; sent it stays sent; refused it waits longer each time, and is given up."""
    folder = record["folder"]
    hook("final", folder, "final", 2, 0)
    make_due(folder)
    first = claimed(folder)
    second = claimed(folder, seen=frozenset(first.ids))
    assert (first.target, second.target) == ("me", "group")
    assert outbox.claim(folder, seen=frozenset(first.ids + second.ids)) is None
    assert outbox.due(folder)  # by the next holder of the lock, whose predecessor is gone
    outbox.mark(folder, first, None)
    outbox.mark(folder, second, "refused")
    assert not outbox.due(folder)
    assert outbox.due(folder, final=True)
    waits_s: list[float] = []
    for _ in range(outbox.TRIES_MAX - 1):
        again = claimed(folder, final=True)
        assert outbox.due(folder)  # whatever the retry interval: its holder may have been killed
        before_s = time.time()
        outbox.mark(folder, again, "refused again")
        ((later,),) = rows(f"{folder}/{layout.STATE}", f"SELECT next_utc FROM outbox WHERE id = {again.ids[0]}")
        waits_s.append(queries.seconds(later) - before_s)
    assert [round(wait_s, -1) for wait_s in waits_s[:-1]] == [120, 240, 480, 960]
    assert not outbox.due(folder, final=True)
    publish.publish(folder)
    with queries.published(folder) as db:
        assert [row["state"] for row in queries.outbox(db)] == ["sent", "failed"]
        refused = [row["facts"] for row in queries.history(db) if row["event"] == "delivery_failed"]
    assert refused[-1] == {"target": "group", "message": "failed", "try": 6, "reason": "refused again"}


def test_a_message_that_kills_its_hooks_is_given_up(record: dict[str, Any]) -> None:
    """A message whose scripts are killed comes last after two, and rests after six, until `notify retry`."""
    folder = record["folder"]
    hook("final", folder, "final", 2, 1)
    make_due(folder)
    with contextlib.closing(database.connect(folder)) as db:
        for number in range(outbox.TRIES_MAX):
            if number == PASSED_AT:
                other = claimed(folder)
                assert other.target == "group"
                outbox.mark(folder, other, None)
            deadly = claimed(folder)
            assert (deadly.target, deadly.tries) == ("me", number + 1)
        assert outbox.claim(folder, final=True) is None
        assert not outbox.due(folder, final=True)
        told = dict(db.execute("SELECT target, state || ', ' || tries || ', ' || error FROM outbox"))
        assert told == {"me": f"failed, {outbox.TRIES_MAX}, {outbox.DEADLY}", "group": "sent, 1, "}
        refused = db.execute("SELECT facts FROM history WHERE event = 'delivery_failed' ORDER BY id DESC").fetchone()
        assert json.loads(refused[0])["reason"] == outbox.DEADLY
        control_requests.put(folder, "notify_retried", {"target": ""})
        assert writer.take(folder, None) == 0
        again = claimed(folder)
        assert (again.target, again.tries) == ("me", 1)


@pytest.mark.slow
def test_many_holds_are_one_message_and_the_end_comes_after_it(record: dict[str, Any]) -> None:
    """Consecutive holds are one message before the campaign's end, with the state of their time."""
    folder = record["folder"]
    for file in record["files"]:
        node = layout.reco_node(1, 1, file)
        hook("pre", folder, node, 0, 2)
        hook("hold", folder, node, f"{file}.0", 0)
    hook("post", folder, layout.reco_node(1, 1, 400), 0, 2, 0, "400.0", 0)
    hook("final", folder, "final", 4, 0)
    make_due(folder)
    db = database.connect(folder)
    held = claimed(folder, unresponsive={"group"})
    assert (held.kind, held.target, len(held.ids), held.shares) == ("held", "me", 3, 3)  # each has an end
    about = facts.facts(db, held)
    assert [row["node"] for row in about["held"]] == [layout.reco_node(1, 1, file) for file in record["files"]]
    assert (about["count"], about["state"], about["failed"]) == (3, "reconstructing", [])
    assert about["reason"].startswith("reco_s1_i01_00400 and 2 more: ")
    outbox.mark(folder, held, None)
    end = claimed(folder, unresponsive={"group"})
    assert (end.kind, end.target) == ("removed", "me")
    about = facts.facts(db, end)
    assert [row["node"] for row in about["held"]] == [layout.reco_node(1, 1, file) for file in record["files"][1:]]
    outbox.mark(folder, end, None)
    assert db.execute("SELECT count(*) FROM outbox WHERE target = 'me' AND state != 'sent'").fetchone() == (0,)
    db.close()


def test_the_registry_finds_by_name_and_by_folder(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign is found by its name or its folder; a wrong name is answered with the most similar."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert registry.entries() == []
    with pytest.raises(UserError, match="none is known"):
        registry.find("anything")
    registry.add(NAME, record["folder"])
    registry.add(NAME, record["folder"])
    registry.add("gone", str(tmp_path / "gone"))
    (registry.home() / "broken.json").write_text("{")
    assert registry.entries() == [registry.Entry(NAME, record["folder"])]
    assert registry.find(NAME) == registry.find(record["folder"]) == record["folder"]
    with pytest.raises(UserError, match=f"nearest is '{NAME}'"):
        registry.find(NAME[:-1])
    with pytest.raises(UserError, match=f"name one of {NAME}"):
        registry.find("xyz")
    other = make_campaign(tmp_path / "second")
    registry.add(NAME, other["folder"])
    with pytest.raises(UserError, match="several campaigns"):
        registry.find(NAME)
    registry.remove(other["folder"])
    assert registry.find(NAME) == record["folder"]
