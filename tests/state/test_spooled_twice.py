"""Test that a queued event is ingested once, whatever happens to its file."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, write_output
from taking import AGAIN, DONE, FAILED, FINAL, HOLD, MILLE, PRE, claimed, rows, take, verdict

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import control_requests, database, facts, spool, writer

NODE = layout.reco_node(1, 1, 400)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Provide the folder of a campaign of one file."""
    record = make_campaign(tmp_path / "campaign", files=1)
    write_output(record, 1, 1, 400)
    return str(record["folder"])


def test_a_file_that_outlives_its_hook_is_not_taken_in_again(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script killed between commit and removal leaves the file; the next one does not ingest it again."""
    name = spool.put(folder, PRE)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "remove", lambda folder, names: None)
        assert take(folder, DONE) == [0]
    assert spool.waiting(folder) == [name]
    assert hook("final", folder, "final", 4, 0).returncode == 4
    assert spool.waiting(folder) == []
    assert rows(folder, "SELECT state, attempts FROM nodes WHERE attempts > 0") == [("done", 1)]


ODD: list[Any] = [
    *["", '{"phase": "pre", "no', "\udcff\udcfe", [1]],
    *[{"phase": "dance"}, {"phase": "pre", "node": 7, "dag_id": "12.0"}],
    *[{**PRE, "node": "reco_s9_i01_00400"}, {**PRE, "retry": 10**30}, {**PRE, "dag_id": {}}],
    *[verdict("go_on", criteria="[", metrics="{"), None],
]


@pytest.mark.parametrize("content", ODD)
def test_what_is_no_event_is_set_aside_and_told_once(folder: str, content: Any) -> None:
    """Truncated files, foreign ones and folders are quarantined with a reason, and other events are ingested."""
    odd = Path(folder, layout.SPOOL, "0000000000000001.json")
    if content is None:
        odd.mkdir()
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        odd.write_bytes(text.encode(errors="surrogateescape"))
    Path(folder, layout.SPOOL, ".12.half").write_bytes(b'{"phase')
    Path(folder, layout.SPOOL, "notes.txt").write_text("mine")
    spool.put(folder, PRE)
    assert hook("final", folder, "final", 4, 0).returncode == 4
    assert spool.waiting(folder) == []
    assert len(list(Path(folder, layout.SPOOL, spool.ASIDE).iterdir())) == 1
    assert rows(folder, "SELECT count(*) FROM history WHERE event = 'spooled'") == [(1,)]
    assert rows(folder, f"SELECT state, attempts FROM nodes WHERE node = '{NODE}'") == [("running", 1)]


def test_what_has_no_number_is_left_alone(folder: str) -> None:
    """Files with similar names are ignored, and do not affect order and numbers of events."""
    strangers = ["copy-of-an-event.json", f"{'9' * spool.DIGITS}.jsox", f"{'9' * (spool.DIGITS + 1)}.json", "notes"]
    assert len(strangers[0]) == spool.DIGITS + len(".json")
    for name in strangers:
        Path(folder, layout.SPOOL, name).write_text("{}")
    name = spool.put(folder, PRE)
    assert spool.waiting(folder) == [name]
    assert writer.take(folder, None) == 0
    assert sorted(path.name for path in Path(folder, layout.SPOOL).iterdir()) == sorted(strangers)


def test_what_is_set_aside_is_kept(folder: str) -> None:
    """A quarantined file does not replace an earlier one of the same name."""
    for text in ("one", "two"):
        Path(folder, layout.SPOOL, "0000000000000001.json").write_text(text)
        assert hook("final", folder, "final", 4, 0).returncode == 4
    aside = Path(folder, layout.SPOOL, spool.ASIDE).iterdir()
    assert sorted(path.read_text() for path in aside) == ["one", "two"]


def test_a_spool_that_cannot_be_cleared_harms_nobody(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If files cannot be removed after the commit, the script still answers, and nothing is ingested twice."""

    def refuse(*_: object) -> None:
        raise OSError("read-only")

    spool.put(folder, PRE)
    Path(folder, layout.SPOOL, "0000000000000001.json").write_text("odd")
    monkeypatch.setattr(spool, "set_aside", refuse)
    for _ in range(2):
        assert writer.take(folder, None) == 0
        spool.put(folder, PRE)
        monkeypatch.setattr(spool, "remove", refuse)
    assert writer.take(folder, None) == 0
    assert rows(folder, "SELECT count(*) FROM history WHERE event = 'spooled'") == [(1,)]
    assert rows(folder, f"SELECT state, attempts FROM nodes WHERE node = '{NODE}'") == [("running", 1)]


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("notify_retried", {"target": ""}),
        ("stop_asked", {"after": "iteration"}),
        ("stuck", {"reason": "its DAGMan is gone"}),
        ("changed", {"key": "convergence.patience", "before": 2, "after": 1}),
    ],
)
def test_a_verdict_that_came_too_early_counts_whatever_is_noted_since(
    name: str, about: dict[str, Any], folder: str
) -> None:
    """An early last decision ends the campaign, also if a request was recorded since."""
    assert take(folder, PRE, DONE, verdict("limit")) == [0, 0, 0]
    assert rows(folder, "SELECT state FROM campaign") == [("reconstructing",)]
    control_requests.put(folder, name, about)
    assert take(folder, {**FINAL, "dag_status": 0}) == [0]
    assert rows(folder, "SELECT state FROM campaign") == [("exhausted",)]


def test_a_hold_of_an_earlier_dagman_leaves_the_next_attempt_alone(tmp_path: Path) -> None:
    """A delayed HOLD script of an earlier DAGMan is recorded and notified, and changes nothing."""
    folder = make_campaign(tmp_path / "campaign", config={"notify": {"targets": ["me"], "events": ["held"]}})["folder"]
    assert take(folder, PRE, {**PRE, **AGAIN}, HOLD, HOLD) == [0] * 4
    assert rows(folder, "SELECT state, attempts, reason FROM nodes WHERE attempts > 0") == [("running", 2, "")]
    assert rows(folder, "SELECT attempt, ignored FROM history WHERE event = 'held'") == [
        (1, "attempt 1, whose job this was, is over")
    ]
    letters = "SELECT event, ignored != '' FROM outbox JOIN history ON history.id = history_id"
    assert rows(folder, letters) == [("held", 1)]
    assert take(folder, {**HOLD, **AGAIN, "job_id": "21.0"}) == [0]
    assert rows(folder, "SELECT state, reason FROM nodes WHERE attempts > 0") == [("held", "quota")]
    assert rows(folder, letters) == [("held", 1), ("held", 0)]
    with closing(sqlite3.connect(Path(folder, layout.STATE))) as db:  # twice, but one node
        assert facts.facts(db, claimed(folder))["reason"] == f"{NODE} and 1 more: quota"


def test_an_open_attempt_of_a_node_that_is_passed_over_is_abandoned(tmp_path: Path) -> None:
    """A node of a dropped file that was open when its DAGMan died is skipped by the next, without an open attempt."""
    folder = make_campaign(tmp_path / "campaign", files=2, config={"reconstruction": {"min_files": 0.5}})["folder"]
    node = layout.reco_node(1, 2, 400)
    assert take(folder, PRE, {**PRE, "node": node}, {**FAILED, "fatal": True, "ret": 61}) == [0, 0, 0]
    assert take(folder, {**PRE, **AGAIN, "node": node}) == [exit_codes.SKIP]
    assert rows(folder, f"SELECT outcome, closed_utc != '' FROM attempts WHERE node = '{node}'") == [("abandoned", 1)]


def test_a_store_that_is_full_makes_no_event_unfit(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that does not fit on the disk with the database stays queued and is not quarantined."""
    waiting = [spool.put(folder, event) for event in (PRE, {**FAILED, "reason": "x" * 100_000})]
    connect = database.connect

    def full(folder: str) -> sqlite3.Connection:
        db = connect(folder)
        db.execute("PRAGMA max_page_count = 1")  # no more pages than now
        return db

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", full)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            writer.take(folder, None)
    assert spool.waiting(folder) == waiting
    assert rows(folder, "SELECT count(*) FROM history") == [(1,)]
    assert writer.take(folder, None) == 0
    assert rows(folder, f"SELECT state FROM nodes WHERE node = '{NODE}'") == [("failed",)]


def test_a_hook_that_must_leave_its_event_does_no_more(folder: str) -> None:
    """With an invalid database or lock the event is queued, and nothing is published or sent."""
    copy = Path(folder, layout.PUBLISHED)
    before = copy.stat().st_mtime_ns
    for place in (layout.STATE, layout.STATE_LOCK):
        own = Path(folder, place)
        aside = own.rename(own.with_name("elsewhere")) if own.exists() else None
        own.mkdir()
        for phase, *macros in (("pre", 0, 2), ("hold", "13.0", 0)):
            found = hook(phase, folder, NODE, *macros)
            assert (found.returncode, found.stderr.count("\n")) == (0, 1), found.stderr
        own.rmdir()
        if aside:
            aside.rename(own)
    assert copy.stat().st_mtime_ns == before
    assert not Path(folder, layout.HOOKS_LOG).exists()
    assert [spool.read(folder, name)["phase"] for name in spool.waiting(folder)] == ["pre", "hold"] * 2
    assert writer.take(folder, None) == 0
    assert rows(folder, f"SELECT state, attempts FROM nodes WHERE node = '{NODE}'") == [("held", 1)]


def test_where_nothing_can_be_written_the_verdict_is_answered(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If database and event queue are unavailable DAGMan gets the job's outcome, and one line has the event."""
    store, spooled = Path(folder, layout.STATE), Path(folder, layout.SPOOL)
    failed = {**FAILED, "node": NODE}
    store.rename(f"{folder}/elsewhere")
    for answer in (0, 1, exit_codes.FATAL, exit_codes.CONVERGED):
        event: dict[str, Any] = {**failed, "exit": answer}
        assert writer.record(folder, event) == (answer, False)
        (said,) = capsys.readouterr().err.splitlines()
        assert f"post of {NODE} is in {spool.waiting(folder)[-1]}: " in said
    assert len(spool.waiting(folder)) == 4
    spooled.rename(f"{folder}/spooled")
    spooled.write_text("no folder")
    for answer in (0, 1, exit_codes.FATAL, exit_codes.CONVERGED):
        assert writer.record(folder, {**failed, "exit": answer})[0] == answer
        (said,) = capsys.readouterr().err.splitlines()
        assert f"post of {NODE} is lost: " in said


def test_a_spool_that_a_copy_left_out_is_made_again(folder: str) -> None:
    """A missing event queue is made again for an event, but not in a missing campaign folder."""
    Path(folder, layout.SPOOL).rmdir()
    assert writer.take(folder, None) == 0
    name = spool.put(folder, PRE)
    assert spool.waiting(folder) == [name]
    assert writer.take(folder, None) == 0
    assert rows(folder, f"SELECT state FROM nodes WHERE node = '{NODE}'") == [("running",)]
    with pytest.raises(FileNotFoundError):
        spool.put(f"{folder} away", PRE)
    assert not Path(f"{folder} away").exists()


def test_what_comes_later_waits_behind_what_waits(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events keep their order with any clock, and two simultaneous ones with the same number are both kept."""
    ahead = f"{10**15 * 9}.json"
    Path(folder, layout.SPOOL, ahead).write_text(json.dumps(PRE))
    behind = spool.put(folder, {**PRE, "retry": 1})
    assert spool.waiting(folder) == [ahead, behind]
    seen = iter([[ahead]])  # another script looked at the same time
    now = spool.waiting
    monkeypatch.setattr(spool, "waiting", lambda folder: next(seen, None) or now(folder))
    last = spool.put(folder, {**PRE, "retry": 2})
    assert now(folder) == [ahead, behind, last]
    assert [spool.read(folder, name)["retry"] for name in now(folder)] == [0, 1, 2]
    assert {path.name for path in Path(folder, layout.SPOOL).iterdir()} == {ahead, behind, last}


def test_a_file_that_is_gone_keeps_no_other_from_going(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another script has removed a file, later files are still removed or quarantined."""
    name = spool.put(folder, PRE)
    odd = Path(folder, layout.SPOOL, "0000000000000002.json")
    odd.write_text("odd")
    spool.remove(folder, ["0000000000000001.json", name])
    for gone in ("0000000000000001.json", odd.name):
        spool.set_aside(folder, gone)
    assert spool.waiting(folder) == []


def test_a_verdict_outlives_what_is_done_again(folder: str) -> None:
    """If another DAGMan repeats a judged iteration, the decision stays until the next one."""
    mille = {**PRE, "node": MILLE}
    assert take(folder, PRE, DONE, mille, verdict("go_on")) == [0] * 4
    judged = rows(folder, "SELECT * FROM iterations")
    assert [row[4:6] for row in judged] == [("go_on", "so")]
    assert take(folder, {**FINAL, "dag_status": 4}) == [4]
    for event in (PRE, {**DONE, "job_id": "21.0"}, mille):
        assert take(folder, {**event, **AGAIN}) == [0]
        assert rows(folder, "SELECT * FROM iterations") == judged
    begun = "SELECT event FROM history WHERE event LIKE '%\\_started' ESCAPE '\\' AND ignored = '' AND dag_id = '20.0'"
    assert rows(folder, begun) == [("reconstruction_started",), ("solving_started",)]
    assert take(folder, verdict("go_on", job_id="22.0", verdict_reason="so again", **AGAIN)) == [0]
    assert rows(folder, "SELECT verdict, reason FROM iterations") == [("go_on", "so again")]


def test_a_verdict_that_came_too_early_is_forgotten_once_the_campaign_moves(folder: str) -> None:
    """FINAL does not use an ignored decision if a solution began after it."""
    assert take(folder, PRE, DONE, verdict("limit"), {**PRE, **AGAIN, "node": MILLE}) == [0] * 4
    assert rows(folder, "SELECT state FROM campaign") == [("solving",)]
    assert take(folder, {**FINAL, **AGAIN, "dag_status": 0}) == [1]
    assert rows(folder, "SELECT state FROM campaign") == [("failed",)]
