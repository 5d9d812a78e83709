"""Test the contents of messages: fixes, remarks, logs without secrets, and one message per hold."""

from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from stored import history
from taking import FAILED, PRE, claimed, make_due, take

from faser_align.campaign import layout
from faser_align.cli.show import history_view, incidents
from faser_align.cli.show.draw import Line
from faser_align.fsm import exit_codes
from faser_align.hooks.message import message_facts
from faser_align.operations import failures, snapshot
from faser_align.state import database, judging

NODE = layout.reco_node(1, 1, 400)


def due(folder: str) -> Any:
    """Return the payload of the due message."""
    make_due(folder)
    return message_facts(folder, claimed(folder, final=True))


def record(folder: Path, *events: str, files: int = 1) -> dict[str, Any]:
    """Make a campaign that notifies of these events; a half of its files may be dropped if it notifies of that."""
    config = {"notify": {"targets": ["me"], "events": list(events)}}
    more = {"reconstruction": {"min_files": 0.5}} if "lost" in events else {}
    return make_campaign(folder, files=files, config=config | more)


def test_a_lost_file_has_its_cure(tmp_path: Path) -> None:
    """The message about a dropped file says how to get it back, and that a resume does not include it."""
    folder = record(tmp_path / "campaign", "lost", "held", files=2)["folder"]
    hook("pre", folder, NODE, 0, 2)
    Path(layout.job_log(folder, NODE, "err")).write_text("inputs: raw file /r/400 cannot be read\n")
    assert hook("post", folder, NODE, 0, 2, exit_codes.RAW_MISSING, "13.0", 0).returncode == 0
    (lost,) = due(folder)["files_lost"]
    assert lost["why"] == "raw file missing or unreadable: inputs: raw file /r/400 cannot be read"
    assert lost["cure"] == "put the raw file in place; a new campaign uses it again"


def test_a_cure_that_resumes_nothing_is_told_as_it_is(tmp_path: Path) -> None:
    """If only a new campaign can fix a failure, the message says so."""
    folder = record(tmp_path / "campaign", "lost", "held", files=2)["folder"]
    why = "conversion to Mille failed: no track is left"
    take(folder, PRE, {**FAILED, "fatal": True, "ret": exit_codes.CONVERSION, "exit": exit_codes.FATAL, "reason": why})
    (lost,) = due(folder)["files_lost"]
    assert lost["cure"] == "compare the cuts of [mille] with the counts in the reason, then submit a new campaign"


@pytest.mark.slow
def test_each_kind_of_failure_has_its_log(tmp_path: Path) -> None:
    """Of nodes with the same failure the first one's log is shown, and that of a different failure, however late."""
    folder = record(tmp_path / "campaign", "end", files=9)["folder"]
    for file in range(400, 409):
        node, status = layout.reco_node(1, 1, file), exit_codes.CRASHED if file < 408 else exit_codes.RAW_MISSING
        hook("pre", folder, node, 2, 2)
        Path(layout.job_log(folder, node, "err")).write_text(f"reading\n/r/{file} is no good\n")
        hook("post", folder, node, 2, 2, status, f"{file}.0", 0)
    hook("final", folder, "final", 2, 9)
    failed = due(folder)["failed"]
    assert [(row["node"], row["log"]) for row in failed if "log" in row] == [
        (layout.reco_node(1, 1, file), ["reading"]) for file in (400, 408)
    ]
    assert len(failed) == 9


def test_a_held_job_has_its_cure_and_each_hold_is_told_once(tmp_path: Path) -> None:
    """The message about a job held for its memory says how to give it more; a second hold gives a second message."""
    folder = record(tmp_path / "campaign", "lost", "held", files=2)["folder"]
    hook("pre", folder, NODE, 0, 2)
    log = Path(folder, layout.NODES_LOG)
    for minute in (10, 20):
        with log.open("a") as nodes:
            nodes.write(f"012 (013.000.000) 2026-11-24 08:{minute}:00 Job was held.\n")
            nodes.write("\tError from slot1: memory usage exceeded request_memory\n\tCode 34 Subcode 0\n...\n")
        for _ in range(2):
            assert hook("hold", folder, NODE, "13.0", 0).returncode == 0
    told = due(folder)
    assert told["count"] == 1
    (held,) = told["held"]
    assert held["job"] == "13.0"
    assert "memory usage exceeded" in held["reason"]
    memory, release = told["steps"]
    assert memory.command.startswith("CONDOR_CONFIG=")  # as for `status`
    assert memory.command.endswith("/condor_config condor_qedit 13.0 RequestMemory 2000")
    assert release.command.endswith("/condor_config condor_release 13.0")
    counts = "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM history WHERE event = 'held')"
    assert database.read(folder, lambda db: db.execute(counts).fetchone()) == (2, 2)


def test_why_a_job_failed(tmp_path: Path) -> None:
    """A reason names DAGMan's own value, a signal, or a status with the job's last line; an unknown status is a number."""
    folder = record(tmp_path / "campaign", "lost", "held", files=2)["folder"]
    assert judging.why(-1002, folder, NODE) == "the job was removed"
    assert judging.why(-1001, folder, NODE) == "the job could not be submitted"
    assert judging.why(-1003, folder, NODE) == "DAGMan could not read the job's event log"
    assert judging.why(-1004, folder, NODE) == "the PRE script failed or was skipped"
    assert judging.why(-9, folder, NODE) == "the job was killed by signal 9"
    assert judging.why(exit_codes.NO_SPACE, folder, NODE) == "disk full"
    Path(layout.job_log(folder, NODE, "err")).write_text("first\nquota exceeded  \n\n")
    assert judging.why(exit_codes.NO_SPACE, folder, NODE) == "disk full: quota exceeded"
    assert judging.why(99, folder, NODE) == "exit status 99: quota exceeded"
    Path(layout.job_log(folder, NODE, "err")).write_text("Traceback\nreconstruction crashed: KeyError: 'x'\n")
    assert judging.why(exit_codes.CRASHED, folder, NODE) == "reconstruction crashed: KeyError: 'x'"


@pytest.mark.slow
def test_each_value_of_dagman_has_its_fix(tmp_path: Path) -> None:
    """Each return value of DAGMan has a sentence and a fix in message, `status` and `analyze`."""
    values = sorted(exit_codes.DAGMAN_FAILURES)
    folder = record(tmp_path / "campaign", "end", files=len(values))["folder"]
    fixes = {}
    for file, ret in enumerate(values, start=400):
        node = layout.reco_node(1, 1, file)
        name, _, cure = exit_codes.DAGMAN_FAILURES[ret]
        fixes[node] = (name, cure)
        hook("pre", folder, node, 2, 2)
        assert hook("post", folder, node, 2, 2, ret, f"{file}.0", 0).returncode == 1
    hook("final", folder, "final", 2, len(values))
    assert {row["node"]: (row["why"], row["cure"]) for row in due(folder)["failed"]} == fixes
    assert {row["node"]: (row["why"], row["cure"]) for row in snapshot.take(folder)["failed"]} == fixes
    assert {row["node"]: (row["name"], row["cure"]) for row in failures.attempts(folder, ())} == fixes


@pytest.mark.slow
def test_constants_that_were_changed_by_hand_are_told(tmp_path: Path) -> None:
    """History, status and every later message name the iteration whose constants somebody changed."""
    made = record(tmp_path / "campaign", "end")
    by_hand, as_found = ({"start_sha256": "1", "result_sha256": "1", "changed_by_hand": who} for who in (True, False))
    sentence = "the constants of iteration 2 were changed by hand"
    for iteration in (1, 2, 3, 4):
        changes = {"constants": by_hand, "notes": [sentence]} if iteration == 2 else {"constants": as_found}
        run_iteration(made, iteration, **changes)
    decided = history(made["folder"], "go_on", "converged")
    assert [sentence in history_view.facts(row) for row in decided] == [False, True, False, False]
    assert Line(sentence, "yellow", symbol="!") in incidents.blocks(snapshot.take(made["folder"]))
    assert due(made["folder"])["notes"] == [sentence]
