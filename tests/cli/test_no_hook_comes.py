"""Test commands for a campaign whose scripts cannot run any more, on a real pool."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command
from nowhere import cool_down, until
from nowhere import waiting as waiting_campaign
from poolcampaigns import processes_in

from faser_align.campaign import layout, submissions
from faser_align.dag import queue
from faser_align.dag.submit import HALT_WAIT_S
from faser_align.operations import dagman as dagman_queue
from faser_align.operations import waiting
from faser_align.pool import processes
from faser_align.pool.personal import Pool


@pytest.fixture
def stuck(here: Path, plain_command: Command, pool: Pool) -> Iterator[Path]:
    """Provide the folder of a campaign whose only job waits in the queue, because no machine matches."""
    with waiting_campaign(plain_command, "stuck", "400", 1) as folder:
        yield folder


def dagman(folder: Path) -> list[queue.DagmanJob]:
    """Return the campaign's DAGMan jobs in the queue, once the schedd answers."""

    def ads() -> list[list[Any]]:
        try:
            return [list(htcondor2.Schedd().query(queue.of_campaign(str(folder)), list(queue.ATTRIBUTES)))]
        except (htcondor2.HTCondorException, KeyError):  # it is busy
            return []

    (found,) = until(ads)
    return list(queue.read(found, "", time.time()).jobs)


def act(folder: Path, action: htcondor2.JobAction) -> None:
    """Hold, release or remove the campaign's DAGMan."""
    htcondor2.Schedd().act(action, f"{dagman(folder)[0].cluster}.0")


def test_a_dagman_on_hold_that_is_removed(stuck: Path, plain_command: Command) -> None:
    """Commands report a held DAGMan with the fix; after its removal resume works without a rescue file."""
    seen = json.loads(plain_command("status", "stuck", "--json").out)
    assert (seen["dagman"], seen["dagman_stuck"]) == ("", False)
    assert seen["iterations"][0]["nodes"] == {"running": 0, "queued": 1, "waiting": 1}
    assert "iteration 1: 0 of 2 nodes done, 1 waiting in the queue" in plain_command("status", "stuck").out

    act(stuck, htcondor2.JobAction.Hold)
    until(lambda: dagman(stuck)[0].status == queue.HELD)
    status = plain_command("status", "stuck").out
    assert "its DAGMan is on hold (" in status
    assert "no script runs until it is released" in status
    assert f"condor_release {dagman(stuck)[0].cluster}.0\n" in status
    wait = plain_command("wait", "stuck")
    assert wait.status == waiting.STUCK == 18
    assert "its DAGMan is on hold" in wait.out
    listed = plain_command("list")
    assert "reconstructing, stuck" in listed.out
    assert "stuck is reconstructing, but its DAGMan is on hold" in listed.out
    act(stuck, htcondor2.JobAction.Release)
    until(lambda: dagman(stuck)[0].status != queue.HELD)
    assert plain_command("wait", "stuck", "--timeout", "0").status == waiting.TIMEOUT

    act(stuck, htcondor2.JobAction.Hold)
    until(lambda: not processes_in(stuck))  # a running one would handle its removal, and call FINAL
    act(stuck, htcondor2.JobAction.Remove)
    until(lambda: not dagman(stuck))
    assert not list(stuck.glob("*.rescue*"))
    assert "stuck is reconstructing, but its DAGMan left" in plain_command("list").out
    assert plain_command("wait", "stuck").status == 18
    plain_command("resume", "stuck", status=0)
    until(lambda: "waiting in the queue" in plain_command("status", "stuck").out)


def test_a_dagman_that_cannot_run(stuck: Path, plain_command: Command) -> None:
    """`status` and `wait` name a DAGMan that ends at once whenever HTCondor starts it."""
    with cool_down(0):
        resume_in_vain(stuck, plain_command)
        until(lambda: dagman(stuck)[0].crashes)
        status = plain_command("status", "stuck").out
        assert re.search(r"was started (1 time|\d+ times) and exits immediately each time", status)
        assert f"see {stuck / layout.DAGMAN_OUT}" in status
        assert "next:\n  faser-align stop stuck\nthen:\n  faser-align resume stuck\n" in status
        assert plain_command("wait", "stuck").status == 18


def test_a_halted_dagman_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupted stop the status says that DAGMan is halted, and estimates no end."""
    record = make_campaign(tmp_path / "campaign", files=1)
    folder = record["folder"]
    assert run_iteration(record, 1) == 0
    monkeypatch.setattr(dagman_queue, "ask", lambda *_: queue.Queue(jobs=(queue.DagmanJob(12, queue.RUNNING, ""),)))
    before = dagman_queue.look(folder)
    assert (before.trouble, bool(before.seen["estimate"])) == ("", True)
    Path(layout.newest_dag(folder) + layout.ENDING_HALT).touch()
    halted = dagman_queue.look(folder)
    assert halted.trouble.startswith(
        "its DAGMan is halted: it starts no new nodes and ends after its running jobs; end"
    )
    assert (halted.stuck, halted.seen["estimate"]) == (False, {})


@pytest.mark.parametrize(("starts", "said"), [(1, "started 1 time and"), (3, "started 3 times and")])
def test_starts_of_a_dagman_are_counted(
    starts: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence about a DAGMan that ends at once writes the number of its starts in the singular or the plural."""
    record = make_campaign(tmp_path / "campaign")
    job = queue.DagmanJob(12, 2, "", crashes=starts)
    monkeypatch.setattr(dagman_queue, "ask", lambda *_: queue.Queue(jobs=(job,)))
    assert said in dagman_queue.look(record["folder"]).trouble


def test_a_dagman_that_cools_down(pool: Pool, plain_command: Command, request: pytest.FixtureRequest) -> None:
    """`status` reports HTCondor 25.10's wait before it restarts a failed DAGMan; `stop` and `resume` do not wait."""
    if daemons_version() < (25, 10):
        pytest.skip("this HTCondor starts a failed DAGMan again at once")
    stuck = request.getfixturevalue("stuck")
    with cool_down(300):  # HTCondor's default
        resume_in_vain(stuck, plain_command)
        until(lambda: dagman(stuck)[0].starts_again_s)
    assert "its DAGMan exited; HTCondor restarts it in about 5 min" in plain_command("status", "stuck").out
    assert plain_command("wait", "stuck", "--timeout", "0").status == waiting.TIMEOUT  # the command may then succeed
    assert "is already running as job" in plain_command("resume", "stuck").err
    began = time.monotonic()
    plain_command("stop", "stuck", "--yes")
    assert time.monotonic() - began < HALT_WAIT_S
    assert dagman(stuck) == []
    (stuck / layout.NODES_LOG).rmdir()
    plain_command("resume", "stuck", status=0)
    until(lambda: "waiting in the queue" in plain_command("status", "stuck").out)


def resume_in_vain(folder: Path, plain_command: Command) -> None:
    """Stop the campaign, prevent DAGMan from writing its nodes log, and resume: DAGMan ends with exit status 4."""
    plain_command("stop", "stuck", "--yes")
    log = folder / layout.NODES_LOG
    log.unlink()
    log.mkdir()
    assert plain_command("resume", "stuck").status == 0


def daemons_version() -> tuple[int, ...]:
    """Return the version of the running HTCondor daemons."""
    said = subprocess.run(["condor_version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in said.split()[1].split("."))


def test_a_schedd_that_does_not_answer(pool: Pool, stuck: Path, plain_command: Command) -> None:
    """A schedd that is silent or another machine's is reported within seconds; resume refuses."""
    # A schedd that answers a query has children of the same name.
    (schedd,) = until(lambda: len(found := _schedds(pool.folder)) == 1 and found)
    os.kill(schedd, signal.SIGSTOP)
    try:
        started = time.monotonic()
        status = plain_command("status", "stuck")
        assert time.monotonic() - started < 20  # HTCondor's bindings would wait this long
        assert status.status == 0
        assert "cannot tell whether its DAGMan runs: the schedd did not answer within 8 s" in status.out
        assert "in HTCondor" in status.out
        resume = plain_command("resume", "stuck", status=2)
        assert "cannot tell whether" in resume.err
        assert "two DAGMans would corrupt the campaign; resume was refused" in resume.err
    finally:
        os.kill(schedd, signal.SIGCONT)
    assert len(until(lambda: dagman(stuck))) == 1

    known = json.loads((stuck / layout.SUBMITTED).read_text())
    assert known["host"] == os.uname().nodename
    (stuck / layout.SUBMITTED).write_text(json.dumps({**known, "host": "elsewhere", "schedd": "me@elsewhere"}))
    out = plain_command("status", "stuck").out
    assert "cannot tell whether its DAGMan runs: it belongs to the personal pool of elsewhere" in out
    assert "stuck" not in plain_command("list").out.replace("stuck ", "")
    assert "cannot tell whether a DAGMan" in plain_command("resume", "stuck").err
    (stuck / layout.SUBMITTED).write_text(json.dumps(known))


def _schedds(pool: Path) -> list[int]:
    return [daemon.pid for daemon in processes.daemons(pool / "condor_config") if "schedd" in daemon.name]


def test_the_personal_pool_has_a_short_lease(pool: Pool) -> None:
    """A job on a personal pool restarts a minute after its machine was lost, instead of 40."""
    done = subprocess.run(
        ["condor_config_val", "JOB_DEFAULT_LEASE_DURATION"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "60"


def test_a_schedd_of_another_name_is_not_asked_in_its_place(pool: Pool) -> None:
    """A campaign of another schedd is looked up there, or not at all."""
    answer = queue.ask(queue.of_all(), os.environ, "schedd-of-nobody")
    assert answer.jobs == ()
    assert answer.problem == "this machine knows no schedd schedd-of-nobody"


def test_a_question_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """If HTCondor's tool cannot be started, the answer names the problem, and no error is raised."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    answer = queue.ask(queue.of_all(), os.environ)
    assert answer.problem == "HTCondor could not be asked: No such file or directory"


def test_silence_makes_wait_ask_again(tmp_path: Path) -> None:
    """After a while without events, `wait` asks HTCondor whether any can follow; a negative answer ends it."""
    record = make_campaign(tmp_path / "c", files=1)
    hook("pre", record["folder"], layout.reco_node(1, 1, 400), 0, 2)
    asked: list[str] = []

    def stuck(folder: str) -> str:
        asked.append(folder)
        return "it is stuck" if len(asked) == 2 else ""

    found = waiting.wait(record["folder"], interval_s=0.05, stuck=stuck, silence_s=0.2)
    assert found == (None, "it is stuck")
    assert waiting.exit_status(found) == 18


def test_what_makes_a_crash_loop() -> None:
    """Four short starts with a DAGMan failure are a crash loop; a kill by hand is not."""
    ad = {"JobUniverse": 7, "ClusterId": 3, "JobStatus": 1, "NumJobStarts": 4, "JobLastStartDate": 100}
    ad |= {"JobCurrentStartDate": 102, "ExitCode": 4}
    assert queue.read([ad], "s", 110.0).jobs[0].crashes == 4
    for change in ({"NumJobStarts": 3}, {"JobLastStartDate": 1}, {"ExitCode": 1}):
        assert queue.read([ad | change], "s", 110.0).jobs[0].crashes == 0
    assert queue.read([ad], "s", 1000.0).jobs[0].crashes == 0
    killed = {key: value for key, value in ad.items() if key != "ExitCode"} | {"ExitSignal": 9}
    assert queue.read([killed], "s", 110.0).jobs[0].crashes == 0
    assert queue.read([killed | {"ExitSignal": 6}], "s", 110.0).jobs[0].crashes == 4


def test_what_makes_a_crash_loop_with_a_cool_down() -> None:
    """If HTCondor waits between starts, the second short run of a DAGMan is a crash loop."""
    ad = {"JobUniverse": 7, "ClusterId": 3, "JobStatus": 1, "NumJobStarts": 1, "JobCurrentStartDate": 1000}
    ad |= {"ExitCode": 4, "EnteredCurrentStatus": 1002, "JobCoolDownExpiration": 1302}
    first = queue.read([ad], "s", 1010.0).jobs[0]
    assert (first.crashes, first.starts_again_s, first.works) == (0, 1302, False)
    second = {"NumJobStarts": 2, "JobLastStartDate": 700}
    assert queue.read([ad | second], "s", 1300.0).jobs[0].crashes == 2
    assert queue.read([ad | second | {"JobLastStartDate": 100}], "s", 1300.0).jobs[0].crashes == 0
    assert queue.read([ad], "s", 1303.0).jobs[0].works
    assert queue.read([ad | {"JobStatus": 2}], "s", 1010.0).jobs[0].works
    short = ad | second | {"JobCoolDownExpiration": 1012, "JobLastStartDate": 988}  # of a personal pool
    assert queue.read([short], "s", 1010.0).jobs[0].crashes == 0
    assert queue.read([short | {"NumJobStarts": 4}], "s", 1010.0).jobs[0].crashes == 4


def test_where_it_was_submitted_may_be_unknown(tmp_path: Path) -> None:
    """A campaign of an older version has no submission file, and a damaged one is ignored."""
    assert submissions.latest(str(tmp_path)) == ("", "", "")
    (tmp_path / layout.SUBMITTED).write_text("{")
    assert submissions.latest(str(tmp_path)) == ("", "", "")
    submissions.note(str(tmp_path), "s", layout.DAG)
    assert submissions.latest(str(tmp_path)) == ("s", os.uname().nodename, layout.DAG)
