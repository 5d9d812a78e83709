"""Test the outbox: leases, recipients, attempts and records."""

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import NAME, make_campaign
from taking import FAILED, FINAL, HOLD, PRE, claimed, rows, take

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import database, facts, outbox, writer


def _hold_all(record: dict[str, Any]) -> None:
    """Hold the job of each file of the first iteration, which notifies both targets."""
    for file in record["files"]:
        node = {"node": layout.reco_node(1, 1, file)}
        take(record["folder"], {**PRE, **node}, {**HOLD, **node, "job_id": f"{file}.0"})


def test_a_claim_is_of_one_target(record: dict[str, Any]) -> None:
    """A lease has messages of one target only, so that a working target gets no repetition because of a failing one."""
    folder = record["folder"]
    _hold_all(record)
    first = claimed(folder)
    assert (first.target, first.shares, len(first.ids), len(set(first.history_ids))) == ("me", 2, 3, 3)
    second = claimed(folder, seen=frozenset(first.ids))
    assert (second.target, second.shares, second.history_ids) == ("group", 1, first.history_ids)
    assert not {*first.ids} & {*second.ids}
    keys = database.read(folder, lambda db: [facts.facts(db, one)["key"] for one in (first, second)])
    assert keys == [f"{NAME}/{first.history_ids[-1]}"] * 2  # the latest of its messages


def test_a_lease_has_one_time(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a script was killed, its messages are leased again together, however long the first lease took."""
    folder = record["folder"]
    _hold_all(record)
    ticks = itertools.count(1)
    monkeypatch.setattr(database, "utc", lambda at_s=None: f"2026-11-24T08:00:00.{next(ticks):03d}Z")
    first = claimed(folder)
    assert claimed(folder).ids == first.ids


def test_what_a_delivery_notes_it_notes_whole(record: dict[str, Any]) -> None:
    """A lease of several rows, and its result, are recorded for all of them or none."""
    folder = record["folder"]
    _hold_all(record)
    with contextlib.closing(database.connect(folder)) as db:
        now = "SELECT DISTINCT state, tries, error FROM outbox WHERE target = 'me'"
        last = "(SELECT max(id) FROM outbox WHERE target = 'me')"

        def unkept(work: Callable[[], object], before: tuple[str, int, str]) -> None:
            """Check that nothing of ``work`` is recorded, whose last row finds no space."""
            full = "BEGIN SELECT RAISE(ABORT, 'full'); END"
            db.execute(f"CREATE TRIGGER full BEFORE UPDATE ON outbox WHEN new.id = {last} {full}")
            with pytest.raises(sqlite3.IntegrityError, match="full"):
                work()
            db.execute("DROP TRIGGER full")
            assert db.execute(now).fetchall() == [before]

        unkept(lambda: outbox.claim(folder), ("pending", 0, ""))
        first = claimed(folder)
        unkept(lambda: outbox.mark(folder, first, "refused"), ("claimed", 1, ""))
        unkept(lambda: outbox.mark(folder, first, None), ("claimed", 1, ""))
        unkept(lambda: outbox.decline(folder, first), ("claimed", 1, ""))
        # What a lease gives up, and why a message did not arrive, is in the history too.
        db.execute("CREATE TRIGGER full BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(sqlite3.IntegrityError, match="full"):
            outbox.mark(folder, first, "refused")
        assert db.execute(now).fetchall() == [("claimed", 1, "")]
        db.execute("UPDATE outbox SET tries = ? WHERE target = 'me'", (outbox.TRIES_MAX,))
        with pytest.raises(sqlite3.IntegrityError, match="full"):
            outbox.claim(folder)
        assert db.execute(now).fetchall() == [("claimed", outbox.TRIES_MAX, "")]


def test_a_message_waits_for_its_time(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused message waits for its time, except in the last script; the lease of a killed script is retried at once."""
    folder = record["folder"]
    monkeypatch.setattr(outbox, "BACKOFF_S", 1e6)
    _hold_all(record)
    first = claimed(folder)
    outbox.mark(folder, first, "refused")
    assert claimed(folder).target == "group"
    assert outbox.claim(folder, unresponsive={"group"}) is None
    again = claimed(folder, final=True, unresponsive={"group"})
    assert (again.ids, again.tries) == (first.ids, 2)
    assert claimed(folder, unresponsive={"group"}).tries == 3  # its script was killed
    outbox.mark(folder, again, None)
    assert rows(folder, "SELECT DISTINCT state, error FROM outbox WHERE target = 'me'") == [("sent", "")]
    ((told,),) = rows(folder, "SELECT facts FROM history WHERE event = 'delivery_failed'")
    assert json.loads(told) == {"target": "me", "message": "held", "try": 1, "reason": "refused"}


def test_tries_are_counted_by_message(record: dict[str, Any]) -> None:
    """A combined message counts as many attempts as its most tried part, which decides when all are given up."""
    folder = record["folder"]
    _hold_all(record)
    with contextlib.closing(database.connect(folder)) as db:
        db.execute("UPDATE outbox SET tries = ? WHERE id = 3", (outbox.TRIES_MAX - 2,))
        for state in ("pending", "failed"):
            letter = claimed(folder, final=True, unresponsive={"group"})
            assert 3 in letter.ids
            outbox.mark(folder, letter, "refused")
            (states,) = db.execute("SELECT group_concat(DISTINCT state) FROM outbox WHERE target = 'me'").fetchone()
            assert states == state
        tries = db.execute("SELECT tries FROM outbox WHERE id IN (1, 3) ORDER BY id").fetchall()
    assert tries == [(2,), (outbox.TRIES_MAX,)]


def test_who_has_it_is_known_by_its_last_try(record: dict[str, Any]) -> None:
    """Of several attempts with partial success the last one records the recipients, for each target separately.

    Later holds go to all recipients, as another message.
    """
    folder = record["folder"]
    _hold_all(record)
    for names in (["early"], ["early", "late"]):
        outbox.mark(folder, claimed(folder, final=True, unresponsive={"group"}), "refused", names)
    outbox.mark(folder, claimed(folder, unresponsive={"me"}), "refused", ["other"])
    outbox.mark(folder, claimed(folder, final=True, unresponsive={"me"}), "refused", ["other", "another"])
    take(folder, {**HOLD, "job_id": "14.0"})
    again = claimed(folder, final=True, unresponsive={"group"})
    assert (len(again.ids), again.reached, again.behind) == (3, ("early", "late"), True)
    since = claimed(folder, final=True, seen=again.ids, unresponsive={"group"})
    assert (len(since.ids), since.reached) == (1, ())
    assert claimed(folder, final=True, unresponsive={"me"}).reached == ("other", "another")


def test_a_retry_that_is_asked_for_counts_anew(record: dict[str, Any]) -> None:
    """A requested retry makes messages of the target due with all attempts again, but not those sent."""
    folder = record["folder"]
    _hold_all(record)
    with contextlib.closing(database.connect(folder)) as db:
        failed = "UPDATE outbox SET state = ?, tries = ?, next_utc = '2999', error = 'refused' WHERE id = ?"
        kept = [("failed", 6), ("pending", 3), ("sent", 2), ("unwanted", 1), ("failed", 5), ("pending", 4)]
        ids = [row for (row,) in db.execute("SELECT id FROM outbox ORDER BY target DESC, id")]
        db.executemany(failed, [(*about, row) for about, row in zip(kept, ids, strict=True)])
        asked = {"id": "a" * 16, "phase": "control", "event": "notify_retried", "target": "me", "who": "me"}
        wish = {**asked, "utc": "2026-11-24T09:00:00.000Z", "host": "ap"}
        assert [writer.take(folder, dict(wish)), writer.take(folder, dict(wish))] == [0, 0]
        now = "SELECT state, tries, next_utc FROM outbox ORDER BY target DESC, id"
        anew = ("pending", 0, "")
        assert db.execute(now).fetchall() == [anew, anew, *((*about, "2999") for about in kept[2:])]
        told = db.execute("SELECT facts FROM history WHERE event = 'notify_retried'").fetchall()
        assert [json.loads(told_of) for (told_of,) in told] == [{"target": "me", "messages": 2, "who": "me"}]
        writer.take(folder, {**wish, "id": "b" * 16, "target": ""})
        assert db.execute(now).fetchall() == [anew, anew, ("sent", 2, "2999"), ("unwanted", 1, "2999"), anew, anew]


def test_a_file_that_is_lost_is_told_once(tmp_path: Path) -> None:
    """A dropped file is one message per target, also if a target is named twice."""
    config = {"reconstruction": {"min_files": 0.6}, "notify": {"targets": ["me", "group", "me"], "events": ["lost"]}}
    folder = str(make_campaign(tmp_path / "campaign", files=3, config=config)["folder"])
    gone = {**FAILED, "fatal": True, "ret": exit_codes.RAW_MISSING, "exit": exit_codes.FATAL}
    other = {"node": layout.reco_node(1, 1, 401)}
    assert take(folder, PRE, gone, gone, {**PRE, **other}, {**gone, **other, "job_id": "14.0"}, FINAL)[:3] == [0, 0, 0]
    assert rows(folder, "SELECT target, kind FROM outbox ORDER BY id") == [("me", "lost"), ("group", "lost")]


def test_a_message_is_about_its_own_event(record: dict[str, Any]) -> None:
    """An event of the same time is not mistaken for a message's reason."""
    folder = record["folder"]
    take(folder, PRE, FAILED, FINAL)
    with contextlib.closing(database.connect(folder)) as db:
        assert len(db.execute("SELECT id FROM history WHERE utc = ?", (FINAL["utc"],)).fetchall()) > 2
        about = facts.facts(db, claimed(folder))
    assert (about["event"], about["state"]) == ("failed", "failed")
    assert about["reason"] == f"the DAG ended: 1 node failed ({PRE['node']})"
