"""Test repairing a state database: its sources, what is kept, and that nothing is notified twice."""

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import soaked
from campaigns import hook, make_campaign, run_iteration, write_output
from properties import SOAK
from recorded import CASES, TEXTS, jobstate_of, picture, unpack
from stored import LATER, change, change_by_hand, dump, findings, rows
from taking import BASE, DONE, FAILED, FINAL, HOLD, PRE

from faser_align.campaign import changes, layout, submissions
from faser_align.campaign.manifest import read_record, read_submitted
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import StoreError, UserError
from faser_align.state import control_requests, create, database, publish, spool
from faser_align.state.create import record_submitted
from faser_align.state.repair import copies, replay
from faser_align.state.repair import events as of_logs
from faser_align.state.repair import rebuild as repair
from faser_align.state.repair.events import UNDECIDED, UNSURE, Replayable
from faser_align.state.repair.report import report, sentences
from faser_align.system import account

Record = dict[str, Any]


def rebuilt(record: Record, scratch: Path) -> repair.Rebuilt:
    """Return what a repair of the campaign would make."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return repair.rebuild(record["folder"], record, str(scratch))


def unpacked(case: str, tmp_path: Path) -> tuple[Record, str, Path]:
    """Return a recorded campaign's manifest, folder and state database."""
    record = unpack(case, tmp_path / "c")
    return record, record["folder"], Path(record["folder"], layout.STATE)


class Repaired(NamedTuple):
    """The result of a repair, and its report."""

    made: repair.Rebuilt
    said: list[str]


def repaired(record: Record) -> Repaired:
    """Repair the campaign as the command does after its questions."""
    folder = record["folder"]
    with repair.locked(folder):
        scratch = repair.scratch_of(folder)
        made = repair.rebuild(folder, record, scratch)
        said = sentences(report(record["name"], made))
        if made.path:
            repair.install(folder, made)
        shutil.rmtree(scratch)
    publish.publish(folder)
    return Repaired(made, said)


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any], *, but: Collection[str] = ()) -> None:
    """Assert that two pictures of a campaign agree, part by part, except for some."""
    assert found.keys() == expected.keys()
    for part in expected.keys() - but:
        assert found[part] == expected[part], part


STRIDE = 1 if SOAK else 17  # of the lines at which logs are cut and repairs are killed
BREAK = "UPDATE nodes SET state = 'running' WHERE node = 'mille_s1_i01'"  # this contradicts the history


def leave_the_logs_of_dagman(folder: str) -> None:
    """Delete the state database, its snapshot and its redo log."""
    for name in (layout.STATE, layout.PUBLISHED, layout.REDO):
        Path(folder, name).unlink()


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("gone")])
def test_a_store_made_from_logs_equals_the_original(case: str, tmp_path: Path) -> None:
    """Nodes, attempts, iterations, history and messages are restored, except columns that only scripts know."""
    record, _, store = unpacked(case, tmp_path)
    original = picture(store)
    store.unlink()
    made, _ = repaired(record)
    assert made.made_from == repair.LOGS
    assert findings(store) == []
    assert_same(picture(store), original)


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("gone")])
def test_a_sound_store_is_left_as_it_is(case: str, tmp_path: Path) -> None:
    """If the database has everything in the logs a repair changes nothing, also the second time."""
    record = unpack(case, tmp_path / "c")
    found = rebuilt(record, tmp_path / "s")
    assert (found.path, found.made_from, found.taken, found.left_out) == ("", "the store", 0, 0)
    assert sentences(report(case, found)) == [
        f"{case}: nothing to repair; it is {picture(found.copies[0].path)['campaign'][0]['state']}"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("back", ["the store", "the published copy"])
def test_an_older_copy_is_brought_up_to_date(case: str, back: str, tmp_path: Path) -> None:
    """The logs complete a copy of any age, and its times in milliseconds stay."""
    record, _, store = unpacked(case, tmp_path)
    original = picture(store)
    events = _events(record)
    for number in range(1, len(events)) if SOAK else [random.Random(case + back).randrange(1, len(events))]:
        known = _store_after(record, events[:number], tmp_path / f"{number}.db")
        store.unlink(missing_ok=True)
        shutil.copy(known, Path(record["folder"], layout.STATE if back == "the store" else layout.PUBLISHED))
        made = rebuilt(record, tmp_path / "s")
        assert made.made_from == back
        if not case.endswith("gone"):
            assert findings(made.path or store) == []
            assert_same(picture(made.path or store), original)
        Path(record["folder"], layout.PUBLISHED).unlink(missing_ok=True)


def _events(record: Record) -> list[Any]:
    return of_logs.events_of(repair.read_logs(record["folder"]), record)


def _events_with_failure(record: Record) -> tuple[list[Any], int]:
    """Return the events of a campaign, and the place of the first POST of a job that failed."""
    events = _events(record)
    posts = (i for i, one in enumerate(events) if one.event["phase"] == "post" and one.event["outcome"] == "failed")
    return events, next(posts)


def _store_after(record: Record, events: list[Any], path: Path) -> Path:
    """Return the database of a campaign that recorded only these events."""
    replay.begin(str(path), record)
    replay.replay(str(path), record["folder"], events)
    return path


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty", "no database", "a row that is wrong"])
def test_a_damaged_store_is_made_from_its_copy(damage: str, tmp_path: Path) -> None:
    """A valid snapshot restores everything exactly, and the damaged database is kept."""
    record, folder, store = unpacked("failed", tmp_path)
    publish.publish(folder)
    whole = store.read_bytes()
    original = dump(store)
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "overwritten": whole[:8192] + b"\xff" * 16384 + whole[24576:],
        "empty": b"",
        "no database": b"no database at all\n" * 100,
    }
    if damage in damaged:
        store.write_bytes(damaged[damage])
    else:
        change(store, BREAK)
    broken = store.read_bytes()
    made, _ = repaired(record)
    assert made.made_from == "the published copy"
    assert made.copies[0].damage
    assert dump(store) == original
    assert findings(store) == []
    (aside,) = Path(folder).glob(f"*.{repair.ASIDE}")
    assert aside.read_bytes() == broken
    assert not rebuilt(record, tmp_path / "s").path


def test_a_campaign_without_its_dagman_is_closed(tmp_path: Path) -> None:
    """Without a last script the campaign ends as removed, with DAGMan's logged reason, notifies, and can be resumed."""
    record, _, store = unpacked("gone", tmp_path)
    made, said = repaired(record)
    assert "was removed at " in made.closed
    assert "while it was on hold (" in made.closed
    assert findings(store) == []
    assert rows(store, "SELECT state FROM campaign") == [("removed",)]
    assert rows(store, "SELECT kind, state FROM outbox") == [("removed", "pending")]
    assert "state: reconstructing -> removed" in said
    assert "1 message waits to be sent" in said
    assert not rebuilt(record, tmp_path / "s").path
    record_submitted(record["folder"], 99, resumed=True)
    assert hook("pre", record["folder"], layout.reco_node(1, 1, 401), 0, 1, dag_id="99.0").returncode == 0
    assert rows(store, "SELECT state FROM campaign") == [("reconstructing",)]
    assert findings(store) == []


def test_a_campaign_whose_machine_was_lost_has_failed(tmp_path: Path) -> None:
    """If DAGMan's own log lacks its end the campaign has failed, and the log's end is named."""
    record = unpack("gone", tmp_path / "c")
    log = Path(record["folder"], layout.DAG + layout.ENDING_DAGMAN_LOG)
    log.write_text(log.read_text().partition("004 (")[0])
    made, _ = repaired(record)
    assert "is in HTCondor's queue no more, and its last script did not run; its log ends at 20" in made.closed
    assert rows(Path(record["folder"], layout.STATE), "SELECT state FROM campaign") == [("failed",)]


def test_a_campaign_that_was_never_submitted_is_left(tmp_path: Path) -> None:
    """A campaign for which no DAGMan ever ran is not closed."""
    record = make_campaign(tmp_path / "c", files=1)
    made = rebuilt(record, tmp_path / "s")
    assert (made.path, made.closed, made.stale) == ("", "", False)
    Path(record["folder"], layout.PUBLISHED).unlink()
    assert rebuilt(record, tmp_path / "s").stale


@pytest.fixture
def told(tmp_path: Path) -> Record:
    """Provide a campaign with a recipient, in its second iteration."""
    notify = {"targets": ["me"], "events": ["iteration", "end"], "file": str(tmp_path / "none.toml")}
    record = make_campaign(tmp_path / "told", files=1, config={"notify": notify, "campaign": {"iterations": 2}})
    record_submitted(record["folder"], 12)
    run_iteration(record, 1)
    return record


def test_what_waits_in_the_spool_is_taken_in_and_told(told: Record, tmp_path: Path) -> None:
    """Events that scripts queued after the database was deleted are ingested unchanged, and the end is notified."""
    folder, store = told["folder"], Path(told["folder"], layout.STATE)
    change_by_hand(store, "UPDATE outbox SET state = 'sent', sent_utc = '2026-11-25T10:00:00.000Z'")
    publish.publish(folder)
    store.unlink()
    assert run_iteration(told, 2) == 0
    assert hook("final", folder, "final", 0, 0).returncode == 0
    assert len(spool.waiting(folder)) == 5
    last = int(spool.waiting(folder)[-1][: spool.DIGITS])
    Path(folder, layout.SPOOL, f"{last + 1:0{spool.DIGITS}d}.json").write_text("half an ev")
    made, _ = repaired(told)
    assert made.made_from == "the published copy"
    assert findings(store) == []
    assert rows(store, "SELECT state FROM campaign") == [("exhausted",)]
    assert rows(store, "SELECT kind, state FROM outbox ORDER BY id") == [
        ("iteration", "sent"),
        ("exhausted", "pending"),
    ]
    assert spool.waiting(folder) == []
    assert len(list(Path(folder, layout.SPOOL, spool.ASIDE).iterdir())) == 1
    host, utc = rows(store, "SELECT host, utc FROM history WHERE event = 'limit'")[0]
    assert host == os.uname().nodename
    assert not utc.endswith(".000Z")
    assert not rebuilt(told, tmp_path / "s").path


def test_the_spool_of_a_sound_store_is_replayed(told: Record) -> None:
    """An event that a script queued because of a lock is ingested, even if no script followed."""
    folder, store = told["folder"], Path(told["folder"], layout.STATE)
    spool.put(folder, {**FINAL, "utc": "2026-11-25T10:00:00.000Z"})
    made, _ = repaired(told)
    assert (made.made_from, made.taken, made.closed) == ("the store", 1, "")
    assert rows(store, "SELECT state FROM campaign") == [("failed",)]
    assert rows(store, "SELECT kind, state FROM outbox WHERE kind = 'failed'") == [("failed", "pending")]
    assert spool.waiting(folder) == []


def test_messages_that_were_sent_are_not_sent_again(tmp_path: Path) -> None:
    """A message's state comes from the damaged database; unknown messages are not sent, and the report says so."""
    record, _, store = unpacked("failed", tmp_path)
    was = rows(store, "SELECT kind, state, sent_utc FROM outbox ORDER BY id")
    assert {state for _, state, _ in was} == {"sent"}
    change(store, BREAK)
    made, said = repaired(record)
    assert made.made_from == repair.LOGS
    assert rows(store, "SELECT kind, state, sent_utc FROM outbox ORDER BY id") == was

    leave_the_logs_of_dagman(record["folder"])
    made, said = repaired(record)
    states = rows(store, "SELECT state, tries, sent_utc FROM outbox")
    assert states == [("failed", 0, "")] * len(was)
    retry = "`faser-align notify retry failed` sends them"
    assert f"not sent: {len(was)}, because it is unknown whether they were sent before; {retry}" in said


@pytest.mark.parametrize(
    ("held", "spooled", "states"),
    [(False, False, ["pending"]), (True, False, ["failed", "failed"]), (True, True, ["pending", "failed"])],
)
def test_who_sends_has_sent_what_waited(held: bool, spooled: bool, states: list[str], tmp_path: Path) -> None:
    """Messages from the logs are pending until a sending script; those from the event queue always are."""
    config = {"reconstruction": {"min_files": 0.5}, "notify": {"targets": ["me"], "events": ["lost", "held"]}}
    record = make_campaign(tmp_path / "c", files=2, config=config)
    post = {**FAILED, "ret": 61, "fatal": True, "exit": exit_codes.FATAL}
    other = {"node": layout.reco_node(1, 1, 401)}
    hold = {**HOLD, **other, "job_id": "14.0"}
    story = [Replayable(event) for event in (PRE, post, {**PRE, **other}, *([hold] if held else []))]
    if spooled:
        story[1] = Replayable(post, spooled=spool.put(record["folder"], post))
    made = _store_after(record, story, tmp_path / "made.db")
    assert rows(made, "SELECT kind FROM outbox ORDER BY id") == [("lost",), ("held",)][: len(states)]
    assert [state for (state,) in rows(made, "SELECT state FROM outbox ORDER BY id")] == states


def _half_done(store: Path, host: str) -> tuple[bytes, bytes]:
    """Return the database and its journal in the middle of a change of each row of the history, which is rolled back."""
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"UPDATE history SET host = {host}")
        found = store.read_bytes(), Path(f"{store}-journal").read_bytes()
        db.execute("ROLLBACK")
    return found


def test_a_journal_of_the_old_store_is_not_played_into_the_new(tmp_path: Path) -> None:
    """The journal of a killed writer is kept with the unreadable database."""
    record, folder, store = unpacked("failed", tmp_path)
    publish.publish(folder)
    original = dump(store)
    journal = Path(f"{store}-journal")
    _, hot = _half_done(store, "'another'")
    store.write_bytes(b"no database at all\n" * 100)
    journal.write_bytes(hot)
    repaired(record)
    assert not journal.exists()
    assert dump(store) == original
    (kept,) = Path(folder).glob(f"*.{repair.ASIDE}-journal")
    assert kept.read_bytes() == hot


def test_what_a_killed_writer_left_half_done_is_not_copied(tmp_path: Path) -> None:
    """A database is read with its journal, which rolls back the transaction of a killed writer."""
    record, folder, store = unpacked("failed", tmp_path)
    original = dump(store)
    half, hot = _half_done(store, "hex(zeroblob(20000))")
    assert half != store.read_bytes()
    store.write_bytes(half)
    Path(f"{store}-journal").write_bytes(hot)
    copy = copies.examine(folder, record, str(tmp_path), copies.STORE, layout.STATE)
    assert copy.damage == ()
    assert dump(Path(copy.path)) == original


def test_a_copy_that_is_damaged_knows_what_was_sent(tmp_path: Path) -> None:
    """A database older than a delivery does not repeat it, if any damaged copy still has it."""
    record, folder, store = unpacked("failed", tmp_path)
    publish.publish(folder)
    was = rows(store, "SELECT kind, state, sent_utc FROM outbox ORDER BY id")
    for path, sql in (
        (store, "UPDATE outbox SET state = 'pending', sent_utc = ''"),
        (Path(folder, layout.PUBLISHED), BREAK),
    ):
        change(path, sql)
    made, _ = repaired(record)
    assert made.made_from == "the store"
    assert rows(store, "SELECT kind, state, sent_utc FROM outbox ORDER BY id") == was


def test_a_message_that_no_hook_can_have_sent_is_sent(tmp_path: Path) -> None:
    """If DAGMan died before any sending script, both messages about a dropped file are sent."""
    record, folder, store = unpacked("lost", tmp_path)
    store.unlink()
    for name in TEXTS:
        Path(folder, name).write_text(Path(folder, name).read_text().partition(layout.mille_node(1, 1))[0])
    made, said = repaired(record)
    assert made.closed
    assert rows(store, "SELECT kind, state FROM outbox ORDER BY id") == [("lost", "pending"), ("failed", "pending")]
    assert "2 messages wait to be sent" in said


def test_events_that_were_lost_in_the_middle_come_back(tmp_path: Path) -> None:
    """Events of a script that could write neither database nor event queue are restored from the logs."""
    record, _, store = unpacked("failed", tmp_path)
    original = picture(store)
    events, first = _events_with_failure(record)
    gap = _store_after(record, events[:first] + events[first + 2 :], tmp_path / "gap.db")
    assert findings(gap) == []
    assert picture(gap)["attempts"] != original["attempts"]
    shutil.copy(gap, store)
    made, _ = repaired(record)
    assert made.made_from == repair.LOGS
    assert_same(picture(store), original)


def test_holds_that_came_late_come_back(tmp_path: Path) -> None:
    """Holds whose scripts ran after the snapshot are restored from the logs with their messages, once."""
    record, _, store = unpacked("held", tmp_path)
    original = picture(store)
    events = [one for one in _events(record) if one.event["phase"] != "hold"]
    shutil.copy(_store_after(record, events, tmp_path / "without.db"), store)
    assert len(original["messages"]) - len(picture(store)["messages"]) == 2  # two nodes, one of them twice
    made, _ = repaired(record)
    assert (made.made_from, made.taken, made.left_out) == ("the store", 3, 0)
    assert findings(store) == []
    assert_same(picture(store), original, but={"paths"})
    assert rows(
        store,
        "SELECT count(*), count(DISTINCT h.facts) FROM outbox JOIN history AS h ON h.id = history_id WHERE kind = 'held'",
    ) == [(3, 3)]
    assert not rebuilt(record, tmp_path / "s").path


def test_what_a_copy_lacks_is_counted(tmp_path: Path) -> None:
    """A second hold and a FINAL after another attempt are new events; a repeated PRE or FINAL is the same event."""
    record = make_campaign(tmp_path / "c", files=2)
    story = [PRE, PRE, {**HOLD, "hold_time": "1"}, {**HOLD, "hold_time": "2"}, FINAL, FINAL]
    story += [{**PRE, "node": layout.reco_node(1, 1, 401)}, FINAL]
    events = [Replayable(event) for event in story]
    for count in range(len(events) + 1):
        known = _store_after(record, events[:count], tmp_path / f"{count}.db")
        tail, middle = replay.missing(str(known), events)
        lacking = [one for place, one in enumerate(events) if {1: 0, 5: 4}.get(place, place) >= count]
        assert (tail, middle) == (lacking, [])
    # A queued event counts from when a script applies it, so it precedes nothing.
    late, last = ({**FAILED, "job_id": job} for job in ("13.0", "14.0"))
    known = _store_after(record, [Replayable(PRE), Replayable(last)], tmp_path / "post.db")
    events = [Replayable(PRE), Replayable(late, spooled="1.json"), Replayable(last)]
    assert replay.missing(str(known), events) == ([events[1]], [])
    assert replay.missing(str(known), [one._replace(spooled="") for one in events]) == ([], [Replayable(late)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12 if SOAK else 2))
def test_killed_scripts_add_nothing_to_a_complete_history(seed: int, tmp_path: Path) -> None:
    """Whichever killed scripts committed, the logs complete a copy of any moment in order, and add nothing to the last one."""
    record = make_campaign(tmp_path / "c", files=1)
    story = list(_story(random.Random(seed)))
    logs = [Replayable(event, mark) for event, mark, _ in story]
    ends = {event["job_id"] for event, mark, _ in story if event["phase"] == "post" and not mark}
    for count in range(1, len(story) + 1):
        committed = [Replayable(event) for event, _, committed in story[:count] if committed]
        copy = _store_after(record, committed, tmp_path / f"{count}.db")
        tail, middle = replay.missing(str(copy), logs)
        assert middle == []
        applied = replay.replay(str(copy), record["folder"], tail)
        assert ends <= {job_id for (job_id,) in rows(copy, "SELECT job_id FROM attempts")}
    assert applied == replay.Replayed([], 0, [])


def _story(numbers: random.Random) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Yield the events of a node under three DAGMans, as repair marks those of killed scripts, and whether each was committed."""
    job = 12
    for dag in (12, 20, 28):
        about = {"dag_id": f"{dag}.0"}
        yield {**BASE, **about, "phase": "control", "event": "submitted" if dag == 12 else "resumed"}, "", True
        for retry in range(3):
            pre = {**PRE, **about, "retry": retry}
            while numbers.random() < 0.3:
                yield pre, UNSURE, numbers.random() < 0.5
            yield pre, "", True
            job += 1
            post = {**numbers.choice((DONE, FAILED)), **about, "job_id": f"{job}.0", "retry": retry}
            while numbers.random() < 0.3:
                yield post, UNSURE if post["ret"] else UNDECIDED, numbers.random() < 0.5
            if numbers.random() < 0.7:  # else DAGMan took a killed POST for a failure, or was killed itself
                yield post, "", True
        for _ in range(numbers.randrange(3)):
            yield {**FINAL, **about}, "", True


def test_what_waits_stands_in_its_place(tmp_path: Path) -> None:
    """A queued event replaces the same event of the logs, identified by time for a PRE and by job for a POST."""
    folder = make_campaign(tmp_path / "c", files=1)["folder"]
    pre, post = {**BASE, "phase": "pre", "retry": 0}, {**BASE, "phase": "post", "job_id": "13.0"}
    again = {**pre, "utc": "2026-11-25T11:00:00.500Z", "retry": 1, "host": "ap"}
    spool.put(folder, again)
    assert [one.event for one in replay.with_spool(folder, [Replayable(pre), Replayable(post)])] == [pre, post, again]
    logged = {**again, "utc": "2026-11-25T11:00:02.000Z", "host": ""}
    all_three = [Replayable(pre), Replayable(post), Replayable(logged)]
    assert [one.event for one in replay.with_spool(folder, all_three)] == [pre, post, again]
    spool.put(folder, {**post, "utc": "2026-11-25T12:00:00.000Z"})
    assert [one.event["utc"][11:13] for one in replay.with_spool(folder, all_three)] == ["08", "12", "11"]


def test_the_copy_that_knows_most_is_the_better_one(tmp_path: Path) -> None:
    """A valid older database is replaced by a snapshot with more history, and an older snapshot is made anew."""
    record, folder, store = unpacked("failed", tmp_path)
    publish.publish(folder)
    original = dump(store)
    events = _events(record)
    known = _store_after(record, events[: len(events) // 2], tmp_path / "older.db")
    shutil.copy(known, store)
    made, _ = repaired(record)
    assert made.made_from == "the published copy"
    assert dump(store) == original
    assert not rebuilt(record, tmp_path / "s").stale
    shutil.copy(known, Path(folder, layout.PUBLISHED))
    found = rebuilt(record, tmp_path / "s")
    assert (found.path, found.stale) == ("", True)


@pytest.mark.parametrize(
    "more",
    [
        "UPDATE attempts SET job_id = '99.0' WHERE node = 'mille_s1_i01'",
        "UPDATE events SET exit_status = 6 WHERE phase = 'final'",
        "UPDATE iterations SET verdict = 'stalled' WHERE iteration = 1",
        "INSERT INTO events SELECT dag_id, node, attempt, 'hold', job_id, '9', 0 FROM events WHERE phase = 'hold' LIMIT 1",
    ],
)
def test_which_store_covers_which(more: str, tmp_path: Path) -> None:
    """A database covers another only if it has each of its holds and ends of attempts, DAGMans and iterations."""
    store = str(Path(unpack("held", tmp_path / "c")["folder"], layout.STATE))
    other = str(shutil.copy(store, tmp_path / "other.db"))
    assert copies.covers(store, other)
    change(other, more)
    assert dump(other) != dump(store)
    assert not copies.covers(store, other)
    assert copies.covers(other, store) is more.startswith("INSERT")


def test_a_hold_that_only_the_store_knows_is_kept(tmp_path: Path) -> None:
    """A database is not replaced by logs that lack one of its holds, even if they have additional events."""
    record, _, store = unpacked("failed", tmp_path)
    events, first = _events_with_failure(record)
    about = {key: events[first].event[key] for key in ("dag_id", "node", "job_id", "utc", "host", "exit")}
    hold = {**about, "phase": "hold", "hold_time": "2026-11-25 10:00:00", "reason": "quota"}
    gap = [*events[:first], *events[first + 2 :], events[first]._replace(event=hold)]
    shutil.copy(_store_after(record, gap, tmp_path / "gap.db"), store)
    made, _ = repaired(record)
    assert made.left_out > 0
    assert rows(store, "SELECT count(*) FROM history WHERE event = 'held'") == [(1,)]


def test_a_gap_that_the_logs_cannot_fill_is_said(tmp_path: Path) -> None:
    """If the logs lack events of the database it stays, and events that do not fit are counted."""
    record, folder, store = unpacked("failed", tmp_path)
    events, first = _events_with_failure(record)
    shutil.copy(_store_after(record, events[:first] + events[first + 2 :], tmp_path / "gap.db"), store)
    for name in TEXTS:  # the logs of the first day are missing
        path = Path(folder, name)
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if layout.reco_node(1, 1, 400) not in line))
    made = rebuilt(record, tmp_path / "s")
    assert (made.path, made.made_from, made.left_out) == ("", "the store", 2)
    assert "2 events of DAGMan's logs not applied: the database has later ones that the logs lack" in sentences(
        report("failed", made)
    )


def test_nothing_is_left_to_repair_from(tmp_path: Path) -> None:
    """Without a sound copy and without logs of DAGMan a submitted campaign is not made from nothing."""
    record = make_campaign(tmp_path / "c", files=1)
    folder = record["folder"]
    Path(folder, layout.STATE).unlink()
    Path(folder, layout.PUBLISHED).unlink()
    Path(folder, layout.REDO).unlink()
    assert rebuilt(record, tmp_path / "s").made_from == repair.LOGS  # it was never submitted: nothing is lost
    submissions.note(folder, "", layout.DAG)
    with pytest.raises(UserError, match=r"no.* log of DAGMan is left .* restore state.db"):
        rebuilt(record, tmp_path / "s")
    Path(folder, layout.DAG + layout.ENDING_DAGMAN_LOG).write_text("000 (012.000.000) Job submitted\n...\n")
    assert rebuilt(record, tmp_path / "s").made_from == repair.LOGS


def test_metrics_that_are_gone(tmp_path: Path) -> None:
    """Without an iteration's metrics the recorded status for DAGMan decides: it continues, or has converged."""
    record, folder, store = unpacked("converged", tmp_path)
    for number in (2, 4):
        Path(layout.metrics_file(folder, 1, number)).unlink()
    store.unlink()
    repaired(record)
    gone = layout.metrics_file(folder, 1, 2)  # later decisions need it as well
    assert findings(store) == [f"the decision on iteration 2 of stage 1 cannot be checked: {gone} is gone"]
    verdicts = rows(
        store,
        "SELECT verdict, reason LIKE 'as DAGMan was told; the metrics cannot be read%' FROM iterations ORDER BY 1, iteration",
    )
    assert verdicts == [("converged", 1), ("go_on", 0), ("go_on", 1), ("go_on", 1)]
    assert rows(store, "SELECT state FROM campaign") == [("converged",)]


def test_the_metrics_of_another_configuration(tmp_path: Path) -> None:
    """Metrics that would be judged differently today do not change past decisions."""
    record, _, store = unpacked("converged", tmp_path)
    original = picture(store)
    record["config"]["convergence"]["patience"] = 1
    store.unlink()
    repaired(record)
    again, before = ([row["verdict"] for row in found["iterations"]] for found in (picture(store), original))
    assert again == before


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """A newer program's database is not changed."""
    record = unpack("converged", tmp_path / "c")
    store = Path(record["folder"], layout.STATE)
    change(store, LATER)
    change(store, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="has schema 99, and this faser-align knows schemas up to"):
        rebuilt(record, tmp_path / "s")


def test_an_older_store_is_migrated(tmp_path: Path) -> None:
    """A valid database of an older version is migrated to the newest schema."""
    record, _, store = unpacked("converged", tmp_path)
    old = Path(__file__).parents[1] / "data" / "stores" / "0001" / layout.STATE
    shutil.copy(old, store)
    name, folder = rows(store, "SELECT name, folder FROM campaign")[0]
    scratch = tmp_path / "s"
    scratch.mkdir()
    made = repair.rebuild(record["folder"], {**record, "name": name, "folder": folder}, str(scratch))
    assert made.copies[0].migrated
    assert not made.copies[0].damage
    assert made.made_from == "the store"
    assert rows(made.path, "PRAGMA user_version") != [(0,)]


def test_the_store_of_another_campaign_is_none_of_ours(tmp_path: Path) -> None:
    """A database copied from another campaign is not used."""
    record = unpack("converged", tmp_path / "c")
    other = unpack("failed", tmp_path / "d")
    shutil.copy(Path(other["folder"], layout.STATE), Path(record["folder"], layout.STATE))
    made = rebuilt(record, tmp_path / "s")
    assert made.made_from == repair.LOGS
    assert made.copies[0].damage == (f"it is the state database of failed in {other['folder']}",)


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """A dry run only reads the campaign's folder, even with a hot journal."""
    record = unpack("gone", tmp_path / "c")
    folder = Path(record["folder"])
    (folder / f"{layout.STATE}-journal").write_bytes(b"left by a hook that was killed")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert rebuilt(record, tmp_path / "s").path
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.slow
def test_killed_at_any_line_it_leaves_the_old_store_or_the_new(tmp_path: Path, record_property: soaked.Record) -> None:
    """A repair killed at any line leaves the old or the new database, and the next one removes its remains."""
    record, folder, store = unpacked("gone", tmp_path)
    spool.put(
        folder,
        {"phase": "control", "event": "submitted", "dag_id": "7.0", "utc": "2026-11-25T12:00:00.000Z", "host": "ap"},
    )
    old = store.read_bytes()
    outcomes = set()
    for line in itertools.count(1, STRIDE):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "copy")
        if not _killed_at(line, {**record, "folder": folder}, str(tmp_path / "copy")):
            break
        now = (tmp_path / "copy" / layout.STATE).read_bytes()
        outcomes.add(now == old)
        assert now == old or rows(tmp_path / "copy" / layout.STATE, "SELECT state FROM campaign") == [("failed",)]
        assert findings(tmp_path / "copy" / layout.STATE) == []
    assert line > 20
    record_property("kills", line // STRIDE)
    assert outcomes == {True, False}
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(folder, tmp_path / "copy")
    assert _killed_at(3, record, str(tmp_path / "copy"))
    assert list((tmp_path / "copy").glob(".repair.*"))
    with repair.locked(str(tmp_path / "copy")):
        assert not list((tmp_path / "copy").glob(".repair.*"))


def _killed_at(line: int, record: Record, folder: str) -> bool:
    """Repair in a process that is killed at its n-th line of ``install`` and its callees; return whether it was."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        with repair.locked(folder):
            made = repair.rebuild(folder, record, repair.scratch_of(folder))
            seen = 0

            def trace(frame: FrameType, event: str, argument: Any) -> Any:
                nonlocal seen
                if "/state/" not in frame.f_code.co_filename:
                    return None
                seen += event == "line"
                if seen == line:
                    os.kill(os.getpid(), signal.SIGKILL)
                return trace

            sys.settrace(trace)
            repair.install(folder, made)
            sys.settrace(None)
    finally:
        os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_logs_cut_anywhere(case: str, tmp_path: Path) -> None:
    """A repair from truncated logs does not fail, and makes a valid database."""
    record = unpack(case, tmp_path / "c")
    folder = record["folder"]
    Path(folder, layout.STATE).unlink()
    texts = {name: Path(folder, name).read_text().splitlines(keepends=True) for name in TEXTS}
    draw = random.Random(case)
    for number in range(200 if SOAK else 4):
        for name, lines in texts.items():
            begin, end = sorted(draw.randrange(len(lines) + 1) for _ in range(2))
            kept = [lines[:end], lines[begin:], lines[:begin] + lines[end:], []][draw.randrange(4)]
            # A line may be cut, too.
            Path(folder, name).write_text(
                "".join(kept)[: -draw.randrange(1, 40)] if kept and number % 2 else "".join(kept)
            )
        made = rebuilt(record, tmp_path / "s")
        assert made.made_from == repair.LOGS
        assert findings(made.path) == [], number


def test_a_cut_at_every_line_of_the_main_log(tmp_path: Path) -> None:
    """A valid database follows from any beginning of JOBSTATE_LOG alone; a longer log never gives fewer attempts."""
    record = unpack("failed", tmp_path / "c")
    folder = record["folder"]
    Path(folder, layout.STATE).unlink()
    for name in TEXTS[1:]:
        Path(folder, name).unlink()
    log = Path(folder, layout.JOBSTATE_LOG)
    lines = log.read_text().splitlines(keepends=True)
    attempts = []
    for end in range(0, len(lines) + 1, STRIDE):
        log.write_text("".join(lines[:end]))
        made = rebuilt(record, tmp_path / "s")
        assert findings(made.path) == [], end
        attempts.append(rows(made.path, "SELECT count(*) FROM attempts")[0][0])
    assert attempts == sorted(attempts)
    assert attempts[-1] > 10


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith(("gone", "removed"))])
def test_how_a_dag_ended_follows_from_its_nodes(case: str, tmp_path: Path) -> None:
    """From JOBSTATE_LOG alone, FINAL's outcome follows from the nodes that failed and did not succeed later."""
    record, _, store = unpacked(case, tmp_path)
    finals = "SELECT dag_id, attempt, exit_status FROM events WHERE phase = 'final' ORDER BY dag_id"
    told = rows(store, finals)
    store.unlink()
    for name in TEXTS[1:]:
        Path(record["folder"], name).unlink()
    assert rows(rebuilt(record, tmp_path / "s").path, finals) == told


def test_a_node_that_failed_without_output(told: Record, tmp_path: Path) -> None:
    """A job that succeeded without its output has failed, as its script decided."""
    folder = told["folder"]
    node = layout.reco_node(1, 2, 400)
    hook("pre", folder, node, 0, 2)
    write_output(told, 1, 2, 400, damage=3)
    assert hook("post", folder, node, 0, 2, 0, "55.0", 0).returncode == 1
    Path(folder, layout.JOBSTATE_LOG).write_text(
        "1795604944 INTERNAL *** DAGMAN_STARTED 12.0 ***\n"
        f"1795604944 {node} PRE_SCRIPT_SUCCESS - - - 1\n1795604944 {node} SUBMIT 55.0 - - 1\n"
        f"1795604945 {node} JOB_SUCCESS 0 - - 1\n1795604945 {node} POST_SCRIPT_FAILURE 55.0 - - 1\n"
    )
    leave_the_logs_of_dagman(folder)
    repaired(told)
    found = rows(Path(folder, layout.STATE), f"SELECT state, reason FROM nodes WHERE node = '{node}'")
    assert found == [("failed", "no output")]


@pytest.mark.slow
def test_what_was_changed_on_the_way(tmp_path: Path) -> None:
    """An extension's nodes are restored, and each iteration is judged with the limits of its time."""
    record = make_campaign(tmp_path / "c", files=1, config={"campaign": {"iterations": 2}})
    folder, store = record["folder"], Path(record["folder"], layout.STATE)
    record_submitted(folder, 12)
    assert [run_iteration(record, i, dag_id="12.0") for i in (1, 2)] == [0, 0]
    assert hook("final", folder, "final", 0, 0, dag_id="12.0").returncode == 0
    told = [
        _change(folder, "stages.1.iterations", 2, 4),
        _change(folder, "convergence.patience", 2, 1),
        _change(folder, "notify.targets", [], ["me"]),
        _change(folder, "stages.1.convergence.residual_shift_um_max", 0.5, 0.4),
    ]
    changes.write(folder, told)
    for iteration in (3, 4):
        for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
            Path(layout.iteration_folder(folder, 1, iteration), part, "logs").mkdir(parents=True)
    control_requests.put(folder, "extended", {"stage": 1, "before": 2, "after": 4}, told[0]["id"])
    columns = create.columns(read_record(folder))
    for one in told[1:]:
        control_requests.put(folder, "changed", {**control_requests.of_change(one), "columns": columns})
    time.sleep(1.1)  # logs have whole seconds
    record_submitted(folder, 14, resumed=True)
    assert run_iteration(record, 3, dag_id="14.0") == exit_codes.CONVERGED
    assert hook("final", folder, "final", 0, 0, dag_id="14.0").returncode == 0
    assert findings(store) == []
    original = picture(store) | {"judged": _judged(store)}
    Path(folder, layout.JOBSTATE_LOG).write_text(jobstate_of(store))
    assert not rebuilt(read_submitted(folder), tmp_path / "s").path
    leave_the_logs_of_dagman(folder)
    made, _ = repaired(read_submitted(folder))
    assert made.made_from == repair.LOGS
    assert findings(store) == []
    assert_same(picture(store) | {"judged": _judged(store)}, original)


def _judged(store: Path) -> list[Any]:
    """Return each iteration's criteria, with their limits at the time and results.

    Without the sentences, which depend on the program's version: scripts are separate processes, and use the checkout's
    current sentences.
    """
    found = rows(store, "SELECT stage, iteration, criteria FROM iterations ORDER BY stage, iteration")
    return [(*at, [c | {"text": ""} for c in json.loads(criteria)]) for *at, criteria in found]


@pytest.mark.parametrize("gone", [False, True])
def test_a_campaign_that_was_validated(gone: bool, tmp_path: Path) -> None:
    """The nodes and the decision of a validation are restored, from its metrics or from the status for DAGMan."""
    config = {"campaign": {"iterations": 1}, "convergence": {"patience": 1}, "validation": {"used_files": True}}
    record = make_campaign(tmp_path / "c", files=1, config=config)
    folder, store = record["folder"], Path(record["folder"], layout.STATE)
    record_submitted(folder, 12)
    assert run_iteration(record, 1, significance=0.001, residual_max_final=True, chi2_per_ndf=1.003) == 0
    for half in (layout.BEFORE, layout.AFTER):
        for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
            Path(layout.iteration_folder(folder, layout.VALIDATION, half), part).mkdir(parents=True, exist_ok=True)
        node = layout.reco_node(layout.VALIDATION, half, 400)
        assert hook("pre", folder, node, 0, 2).returncode == 0
        write_output(record, layout.VALIDATION, half, 400)
        assert hook("post", folder, node, 0, 2, 0, f"8{half}.0", 0).returncode == 0
    assert hook("pre", folder, layout.VALIDATE_NODE, 0, 2).returncode == 0
    group = {when: {"chi2_per_ndf": 1.2, "tracks": 1, "modules": {}} for when in ("before", "after")}
    value = {"format": 1, "stage": layout.VALIDATION, "iteration": layout.AFTER, "groups": {"all": group}}
    metrics = Path(layout.metrics_file(folder, layout.VALIDATION, layout.AFTER))
    metrics.write_text(json.dumps(value))
    assert hook("post", folder, layout.VALIDATE_NODE, 0, 2, 0, "83.0", 0).returncode == 0
    assert hook("final", folder, "final", 0, 0).returncode == 0
    original = picture(store)
    Path(folder, layout.JOBSTATE_LOG).write_text(jobstate_of(store))
    assert not rebuilt(record, tmp_path / "s").path
    leave_the_logs_of_dagman(folder)
    if gone:
        metrics.unlink()
    repaired(record)
    assert len(findings(store)) == gone  # the metrics are missing
    assert_same(picture(store), original, but={"iterations", "paths"} if gone else ())


def _change(folder: str, key: str, before: Any, after: Any) -> Any:
    who = {"id": control_requests.identity(), "utc": database.utc(), "who": account.user(), "host": "ap"}
    return {**who, "key": key, "before": before, "after": after}
