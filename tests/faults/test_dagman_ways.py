"""Test DAGMan's and its jobs' faults on a separate pool: each leads to the documented state."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import hook, make_campaign
from poolcampaigns import PoolCampaign, kill, making
from properties import SOAK
from receivers import notify, subjects, text_of
from stored import seen
from trials import folder_with_pool

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool import processes
from faser_align.state import database, queries

ON_POOL = pytest.mark.pool
NODE, MILLE = layout.reco_node(1, 1, 400), layout.mille_node(1, 1)
Make = Callable[..., PoolCampaign]


@pytest.fixture(scope="module")
def ground(session_folder: Path) -> Iterator[Path]:
    """Provide a folder with a running pool whose daemons may be killed."""
    # By default 20: many PREs wait only in a large campaign.
    with folder_with_pool(session_folder, "ways", more="DAGMAN_MAX_PRE_SCRIPTS = 1\n") as root:
        yield root


@pytest.fixture
def mailbox(ground: Path, request: pytest.FixtureRequest) -> Iterator[Mailbox]:
    """Provide the mailbox for a test's campaigns."""
    with Mailbox(ground / f"mail {request.node.name}") as box:
        yield box


@pytest.fixture
def make(ground: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Provide a function that makes campaigns of one file and one iteration.

    In a test that uses ``mailbox`` they send messages about holds, dropped files and the end.
    """
    told = "mailbox" in request.fixturenames
    config = {"notify": notify(ground, request.getfixturevalue("mailbox"), "held", "lost", "end")} if told else {}
    with making(ground, request.node.name, files=1, iterations=1, config=config) as function:
        yield function


def runs(campaign: PoolCampaign, node: str) -> Callable[[], str]:
    """Return the id of a node's job once it runs."""

    def running() -> str:
        jobs = [job for job in campaign.jobs(status=2) if job["FaserNode"] == node]
        return "{ClusterId}.{ProcId}".format(**jobs[0]) if jobs else ""

    return running


def events(campaign: PoolCampaign, subject: str) -> list[str]:
    return [row["event"] for row in campaign.history() if row["subject"] == subject and not row["ignored"]]


@ON_POOL
def test_dagman_killed_while_final_runs(make: Make, mailbox: Mailbox) -> None:
    """If FINAL's script is killed with DAGMan it runs again: the end is notified once, and DAGMan leaves."""
    campaign = make()
    campaign.submit()
    # The Millepede node records the end; this lock makes FINAL wait in the middle.
    campaign.wait(lambda: campaign.state() == "exhausted")
    lock = database.QueueLock(f"{campaign.folder}/{layout.STATE_LOCK}", 5)
    try:
        campaign.wait(lambda: b"final" in b"".join(_arguments(pid) for pid in campaign.hook_pids()))
        kill(*campaign.dagman_pids())
    finally:
        lock.close()
    campaign.ends("exhausted")
    assert [subject for subject in subjects(mailbox) if "exhausted" in subject] == subjects(mailbox)
    assert len(subjects(mailbox)) == 1


@ON_POOL
def test_dagman_killed_while_a_removed_campaign_ends(make: Make, mailbox: Mailbox) -> None:
    """If DAGMan dies while FINAL sends the message of a `stop`, it does not return, and `stop` sends the message."""
    campaign = make(wait_s=600)
    campaign.submit()
    campaign.wait(lambda: campaign.jobs(status=2))
    lock = database.QueueLock(f"{campaign.folder}/{layout.OUTBOX_LOCK}", 5)
    try:
        with ThreadPoolExecutor(1) as other:
            stopping = other.submit(campaign.command, "stop", "--yes")
            campaign.wait(lambda: campaign.state() == "removed")
            kill(*campaign.dagman_pids())
            campaign.wait(lambda: not campaign.processes())
            lock.close()
            said = stopping.result()
    finally:
        with suppress(OSError):
            lock.close()
    assert (said.returncode, campaign.wait_end()) == (0, "removed"), said.stderr
    assert campaign.unsound() == []
    assert len(subjects(mailbox)) == 1
    assert "removed" in subjects(mailbox)[0]


@ON_POOL
@pytest.mark.parametrize("end", ["exhausted", "converged"])
def test_dagman_killed_after_final_has_run(make: Make, mailbox: Mailbox, end: str) -> None:
    """A DAGMan killed after FINAL and before its own end is soon removed, and the end is notified once."""
    # DAGMan ends one scan of its log after this line: five seconds leave time to kill it on a busy machine.
    campaign = make(quiet_from=1 if end == "converged" else 99, config={"htcondor": {"scan_interval_s": 5}})
    campaign.submit()
    log = campaign.folder / layout.JOBSTATE_LOG
    campaign.wait(lambda: log.exists() and f"{layout.FINAL_NODE} SUBMIT" in log.read_text())
    kill(*campaign.dagman_pids())
    campaign.ends(end)
    assert len(subjects(mailbox)) == 1


@ON_POOL
def test_nodes_are_passed_over_after_a_restart(make: Make, mailbox: Mailbox) -> None:
    """A DAGMan restarted after it skipped a node skips it again and ends, without an assertion on its own numbers."""
    lost = {layout.reco_node(1, i, 401): 61 for i in (1, 2, 3)}
    campaign = make(files=2, iterations=3, fails=lost, config={"reconstruction": {"min_files": 0.5}})
    campaign.submit()
    for i in (2, 3):
        campaign.wait(lambda i=i: (campaign.nodes()[layout.reco_node(1, i, 401)]["state"]) == "skipped")
        kill(*campaign.dagman_pids())
    campaign.ends("exhausted")
    assert [row["file"] for row in seen(campaign.folder, queries.lost_files)] == [401]
    assert campaign.nodes()[layout.reco_node(1, 3, 401)]["attempts"] == 0
    assert sum("dropped a file" in subject for subject in subjects(mailbox)) == 1


@ON_POOL
def test_a_job_held_twice_and_dagman_restarted(make: Make, mailbox: Mailbox) -> None:
    """Two holds of a job are recorded and notified once each, also by a recovering DAGMan; a release clears the reason."""
    campaign = make(wait_s=600)
    campaign.submit()
    for count in (1, 2):
        job = campaign.wait(runs(campaign, NODE))
        campaign.hold(job, f"reason {count}")
        campaign.wait(lambda count=count: events(campaign, NODE).count("held") == count)
        assert campaign.nodes()[NODE]["reason"].startswith(f"reason {count}")
        said = campaign.command("status").stdout
        assert "1 job on hold" in said
        assert "condor_release" in said
        if count == 2:
            kill(*campaign.dagman_pids())
            campaign.wait(lambda: campaign.dagman_pids())
            (campaign.orders / "wait_s").write_text("0.1")
        campaign.wait(lambda job=job: campaign.act(htcondor2.JobAction.Release, job))
    assert campaign.wait_end() == "exhausted"
    node = campaign.nodes()[NODE]
    assert (node["state"], node["reason"], node["attempts"]) == ("done", "", 1)
    assert events(campaign, NODE).count("held") == 2
    held = {one["X-Faser-Align-Key"]: one for one in mailbox.messages() if "has a held job" in one["Subject"]}
    told = [text_of(one) for one in held.values()]  # two holds within seconds are one message
    assert [sum(f"reason {count}" in text for text in told) for count in (1, 2)] == [1, 1]
    assert campaign.unsound() == []


@ON_POOL
def test_what_befalls_a_job(make: Make) -> None:
    """An evicted job runs again in its attempt; a removed or killed one costs an attempt, with its reason."""
    campaign = make(files=3, wait_s=600)
    campaign.submit()
    evicted, removed, killed = (layout.reco_node(1, 1, file) for file in (400, 401, 402))
    campaign.wait(lambda: len(campaign.jobs(status=2)) == 3)
    campaign.act(htcondor2.JobAction.Vacate, runs(campaign, evicted)())
    campaign.act(htcondor2.JobAction.Remove, runs(campaign, removed)())
    pid = campaign.wait(lambda: next((p for p in campaign.job_pids() if killed.encode() in _arguments(p)), 0))
    os.kill(pid, signal.SIGKILL)
    (campaign.orders / "wait_s").write_text("0.1")
    assert campaign.wait_end() == "exhausted"
    assert [campaign.nodes()[node]["attempts"] for node in (evicted, removed, killed)] == [1, 2, 2]
    said = {row["subject"]: row["facts"]["reason"] for row in campaign.history() if row["event"] == "failed"}
    assert said == {removed: "the job was removed", killed: "the job was killed by signal 9"}


@ON_POOL
@pytest.mark.parametrize("restarted", [True, False] if SOAK else [True])  # a stop takes 2 min
def test_a_job_that_vanished(make: Make, restarted: bool) -> None:
    """A job that vanishes leaves its node running until a stop and resume, also after a restarted DAGMan gave up."""
    campaign = make(wait_s=100)
    campaign.submit()
    job = campaign.wait(runs(campaign, NODE))
    log = f'"{campaign.folder}/elsewhere.log"'
    subprocess.run(["condor_qedit", job, "DAGManNodesLog", log], check=True, capture_output=True)
    campaign.act(htcondor2.JobAction.Remove, job)
    campaign.wait(lambda: not campaign.jobs())
    assert campaign.nodes()[NODE]["state"] == "running"
    (campaign.orders / "wait_s").write_text("0.1")
    if restarted:
        kill(*campaign.dagman_pids())
        assert campaign.wait_end() == "failed"
        assert "the DAG ended: DAGMan met an error" in campaign.command("status").stdout
    else:
        campaign.command("stop", "--yes", status=0)
    campaign.command("resume", status=0)
    campaign.ends("exhausted")


@ON_POOL
def test_the_schedd_is_killed(make: Make, ground: Path, mailbox: Mailbox) -> None:
    """A restarted schedd restarts DAGMan, which continues without repeating completed jobs."""
    campaign = make(wait_s=1, iterations=2)
    campaign.submit()
    campaign.wait(lambda: campaign.nodes()[NODE]["state"] == "done")
    for daemon in processes.daemons(ground / "pool" / "condor_config"):
        if daemon.name == "condor_schedd":
            os.kill(daemon.pid, signal.SIGKILL)
    assert campaign.wait_end() == "exhausted"
    assert campaign.nodes()[NODE]["attempts"] == 1
    assert campaign.unsound() == []
    assert len(subjects(mailbox)) == 1


# Times of the end: number of files, which node is slow, and what to wait for first.
PHASES: dict[str, tuple[int, str, Callable[[PoolCampaign], Any]]] = {
    "before a hook": (1, NODE, lambda c: True),
    "many PREs wait": (10, NODE, lambda c: events(c, NODE)),
    "jobs run": (1, NODE, lambda c: runs(c, NODE)()),
    "a job is held": (1, NODE, lambda c: _held(c)),
    "the solution runs": (1, MILLE, lambda c: runs(c, MILLE)()),
}
RESUMED = ("before a hook", "jobs run", "the solution runs")  # wait until the end; others only have this choice


def _held(campaign: PoolCampaign) -> bool:
    if job := runs(campaign, NODE)():
        campaign.act(htcondor2.JobAction.Hold, job)
    return bool(campaign.nodes()[NODE]["state"] == "held")


@ON_POOL
def test_a_campaign_is_ended_in_every_phase(make: Make) -> None:
    """A campaign stopped or removed at any time is removed, or reported as stuck; resumed, it reaches its end."""

    def end(way: str, phase: str) -> None:
        campaign, ready = made[way, phase], PHASES[phase][2]
        cluster = campaign.submit()
        campaign.wait(lambda: ready(campaign))
        if way == "stop":
            campaign.command("stop", "--yes", status=0)
        else:
            campaign.act(htcondor2.JobAction.Remove, f"{cluster}.0")
        campaign.wait(lambda: campaign.dagmans() == [])

    made = {}
    for way in ("stop", "condor_rm"):
        for phase, (files, slow, _) in PHASES.items():
            made[way, phase] = make(files=files)
            (made[way, phase].orders / f"{slow}.wait_s").write_text("2000")
    with ThreadPoolExecutor(len(made)) as threads:
        list(threads.map(lambda which: end(*which), made))
    for (way, phase), campaign in made.items():
        # A DAGMan removed before its first script leaves no event; then the schedd is asked, and knows none.
        silent = way == "condor_rm" and campaign.state() != "removed"
        assert campaign.state() == "removed" or (
            silent
            and "next:\n  faser-align repair" in campaign.command("status").stdout.replace(str(campaign.folder), "")
        ), (
            way,
            phase,
        )
        assert campaign.unsound() == [], (way, phase)
    resumed = [campaign for (_, phase), campaign in made.items() if phase in RESUMED][:: 1 if SOAK else 2]
    for campaign in resumed:
        for slow in campaign.orders.glob("*.wait_s"):
            slow.unlink()
        campaign.command("resume", status=0)
    for campaign in resumed:
        campaign.ends("exhausted")
        assert {node["state"] for node in campaign.nodes().values()} == {"done"}, campaign.name
    said = resumed[0].command("stop", "--yes")
    assert (said.returncode, "is already exhausted; there is nothing to stop" in said.stderr) == (2, True)


@pytest.mark.parametrize("order", ["before", "after", "without"])
def test_posts_of_removed_jobs_around_final(tmp_path: Path, order: str) -> None:
    """A removed DAGMan runs the POSTs of its jobs before FINAL, after it, or never: the result is the same."""
    folder = make_campaign(tmp_path / "c", files=1)["folder"]
    hook("pre", folder, NODE, 0, 2)
    post = ("post", folder, NODE, 0, 2, -1002, "13.0", 0)
    if order == "before":
        assert hook(*post).returncode == 1
    assert hook("final", folder, "final", 4, 0).returncode == 4
    if order == "after":
        assert hook(*post).returncode == 1
    assert hook("pre", folder, NODE, 0, 2, dag_id="99.0").returncode == 0
    with queries.published(folder) as db:
        moved = [row["event"] for row in queries.history(db, nodes=False) if not row["ignored"]]
        node = queries.nodes(db, "running")[0]
    assert moved == [
        *("created", "submitted", "reconstruction_started", "final_removed", "resumed", "reconstruction_started")
    ]
    assert (node["node"], node["attempts"], node["reason"]) == (NODE, 2, "")


def _arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
