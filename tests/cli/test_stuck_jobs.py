"""Test jobs that run according to the state database but not in HTCondor's queue."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import hook, make_campaign
from commandline import Command
from nowhere import until
from poolcampaigns import PoolCampaign, kill, making
from trials import folder_with_pool

from faser_align.campaign import layout
from faser_align.dag import queue, submit
from faser_align.operations import queued, snapshot, waiting
from faser_align.pool import personal, processes

ON_POOL = pytest.mark.pool

FIRST = layout.reco_node(1, 1, 400)
Make = Callable[..., PoolCampaign]


@pytest.fixture(scope="module")
def ground(session_folder: Path) -> Iterator[Path]:
    """Provide a folder with a running pool whose daemons may be killed."""
    lease = "JOB_DEFAULT_LEASE_DURATION = 60\n"  # as in a personal pool
    with folder_with_pool(session_folder, "stuck", 8, lease) as root:
        yield root


@pytest.fixture
def make(ground: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Provide a function that submits a campaign of two files and one iteration, and waits until its jobs run."""
    monkeypatch.setattr(queued, "UNSEEN_S", 5)
    with making(ground, request.node.name, files=2, iterations=1, wait_s=600) as function:

        def one(*change: Callable[[str], str], **how: Any) -> PoolCampaign:
            campaign = function(*change, **how)
            campaign.submit()
            campaign.wait(lambda: len(campaign.jobs(status=2)) == 2)
            return campaign

        yield one


def job_of(campaign: PoolCampaign, node: str) -> str:
    (job,) = (f"{ad['ClusterId']}.{ad['ProcId']}" for ad in campaign.jobs() if ad["FaserNode"] == node)
    return job


def end_unseen(campaign: PoolCampaign, node: str) -> None:
    """End the node's job, and truncate its event in DAGMan's log as a full disk does."""
    dagman = campaign.dagman_pids()
    jobs = len(campaign.jobs())
    kill(*dagman, by=signal.SIGSTOP)
    (campaign.orders / f"{node}.wait_s").write_text("0.1")
    campaign.wait(lambda: len(campaign.jobs()) == jobs - 1)
    log = campaign.folder / layout.NODES_LOG
    os.truncate(log, log.read_bytes().rindex(b"\n005 ") + 40)
    kill(*dagman, by=signal.SIGCONT)


@ON_POOL
def test_a_torn_log(make: Make, plain_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose end is truncated in DAGMan's log has vanished; the campaign is stuck once nothing else runs."""
    monkeypatch.setattr(submit, "ENDS_WAIT_S", 3.0)  # this DAGMan never ends by itself
    campaign = make()
    name, job = campaign.name, job_of(campaign, FIRST)
    end_unseen(campaign, FIRST)
    time.sleep(queued.UNSEEN_S)  # before that a command would be in vain
    status = until(lambda: "vanished" in (out := plain_command("status", name).out) and out)
    assert "iteration 1: 0 of 3 nodes done, 1 running, 1 without a job" in status
    assert "1 job vanished from HTCondor's queue: DAGMan waits in vain\n" in status
    assert f"{FIRST} (job {job})" in status
    assert f"run the remaining nodes again: faser-align stop {name}, then faser-align resume {name}" in status
    assert f"{name}: 1 job vanished from HTCondor's queue; see `faser-align status {name}`" in plain_command("list").out
    seen = json.loads(plain_command("status", name, "--json").out)
    assert (seen["vanished"], seen["dagman_stuck"]) == ([{"node": FIRST, "job_id": job}], False)
    assert [row["vanished"] for row in json.loads(plain_command("list", "--json").out) if row["name"] == name] == [
        seen["vanished"]
    ]

    (campaign.orders / "wait_s").write_text("0.1")
    campaign.wait(lambda: not campaign.jobs())
    time.sleep(queued.UNSEEN_S)
    until(lambda: plain_command("wait", name, "--timeout", "0").status == waiting.STUCK)
    waits = "its DAGMan waits for 2 jobs that left HTCondor's queue without an event in its log: no script will run any more"
    status = plain_command("status", name).out
    assert waits in status
    assert f"next:\n  faser-align stop {name}\nthen:\n  faser-align resume {name}\n" in status
    assert f"{name} is reconstructing, but {waits}" in plain_command("list").out

    plain_command("stop", name, "--yes", status=0)
    assert plain_command("resume", name).status == 0
    campaign.ends("exhausted")


@ON_POOL
def test_a_hold_that_no_script_recorded(make: Make, plain_command: Command) -> None:
    """A job that the schedd has on hold is shown with its reason, although its HOLD script never ran."""
    campaign = make(lambda dag: re.sub(r"^SCRIPT .*ALL HOLD .*\n", "", dag, flags=re.MULTILINE))
    job = job_of(campaign, FIRST)
    campaign.hold(job, "no inode was left")
    campaign.wait(lambda: len(campaign.jobs(status=queue.HELD)) == 1)
    assert campaign.nodes()[FIRST]["state"] == "running"
    status = plain_command("status", campaign.name).out
    assert "iteration 1: 0 of 3 nodes done, 1 running, 1 held" in status
    assert "1 job on hold" in status
    assert f"{FIRST}: no inode was left" in status
    assert f"condor_release {job}" in status
    told = f"{campaign.name}: 1 job on hold that no script recorded; see `faser-align status {campaign.name}`"
    assert told in plain_command("list").out
    (campaign.orders / "wait_s").write_text("0.1")
    assert campaign.act(htcondor2.JobAction.Release, job)
    assert campaign.wait_end() == "exhausted"


@ON_POOL
def test_the_whole_pool_is_killed(make: Make, plain_command: Command, ground: Path) -> None:
    """Jobs of a killed pool are shown as disconnected, and HTCondor reruns them when their leases end."""
    campaign = make()
    assert "disconnected" not in plain_command("status", campaign.name).out
    job, began = job_of(campaign, FIRST), time.time()
    kill(*(daemon.pid for daemon in processes.daemons(ground / "pool" / "condor_config")))
    kill(*campaign.job_pids(), *campaign.dagman_pids())
    personal.start(ground / "pool", cpus=8)
    htcondor2.reload_config()
    status = until(lambda: "nodes done, 2 disconnected" in (out := plain_command("status", campaign.name).out) and out)
    assert "2 jobs disconnected from the execute machine" in status
    assert f"{FIRST} (job {job}): HTCondor runs it again within 1 min 00 s, or reconnects\n" in status
    assert "condor_hold" not in status  # takes effect only when the lease ends
    assert f"{campaign.name}: 2 jobs disconnected from the execute machine; see" in plain_command("list").out
    (campaign.orders / "wait_s").write_text("0.1")
    assert campaign.wait_end() == "exhausted"
    assert {node["attempts"] for node in campaign.nodes().values()} == {1}
    assert time.time() - began < 400


NOW_S = 1_800_000_000.0
DAGMAN = queue.DagmanJob(12, queue.RUNNING, "", started_s=int(NOW_S) - 3600)
LOG = (
    f"{{start}} INTERNAL *** DAGMAN_STARTED 12.0 ***\n{{start}} {FIRST} PRE_SCRIPT_SUCCESS - - - 1\n"
    f"{{start}} {FIRST} SUBMIT 13.0 - - 1\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide a campaign whose first node runs in a job that DAGMan submitted an hour ago."""
    record = make_campaign(tmp_path / "c", files=2)
    assert hook("pre", record["folder"], FIRST, 0, 2).returncode == 0
    (tmp_path / "c" / layout.JOBSTATE_LOG).write_text(LOG.format(start=int(NOW_S) - 3600))
    return tmp_path / "c"


def vanished(folder: Path, *jobs: queue.NodeJob, dagman: queue.DagmanJob = DAGMAN) -> list[Any]:
    return [row["node"] for row in queued.look(str(folder), dagman, jobs, NOW_S).vanished]


def test_a_job_that_dagman_waits_for_has_vanished(folder: Path) -> None:
    """A job without an end in DAGMan's log has vanished if it is not in the queue."""
    assert vanished(folder) == [FIRST]
    assert queued.look(str(folder), DAGMAN, (), NOW_S).all_vanished
    assert vanished(folder, queue.NodeJob(FIRST, "13.0", 12, queue.IDLE)) == []
    assert vanished(folder, queue.NodeJob(FIRST, "13.0", 11, queue.IDLE)) == [FIRST]  # of an earlier DAGMan


@pytest.mark.parametrize(("age_s", "found"), [(queued.UNSEEN_S + 1, [FIRST]), (queued.UNSEEN_S - 1, []), (-3, [])])
def test_a_job_that_has_just_ended_has_not_vanished(folder: Path, age_s: int, found: list[str]) -> None:
    """DAGMan has a minute to notice the end of a job that is in its log."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW_S - age_s))
    (folder / layout.NODES_LOG).write_text(f"005 (013.000.000) {when} Job terminated.\n")
    assert vanished(folder) == found
    (folder / layout.NODES_LOG).write_text(f"009 (013.000.000) {when} Jo")
    assert vanished(folder) == found


def test_what_has_no_job_yet_has_not_vanished(folder: Path) -> None:
    """A node before its submission, just submitted, or seen to end by DAGMan has not vanished."""
    log = folder / layout.JOBSTATE_LOG
    text = log.read_text()
    for more in (
        f"{int(NOW_S) - 3000} {FIRST} JOB_TERMINATED 13.0 - - 1\n",
        f"{int(NOW_S) - 3000} {FIRST} PRE_SCRIPT_STARTED - - - 1\n",
        f"{int(NOW_S) - 10} {FIRST} SUBMIT 14.0 - - 1\n",
        f"{int(NOW_S) - 3000} INTERNAL *** DAGMAN_STARTED 22.0 ***\n",
    ):
        log.write_text(text + more)
        assert vanished(folder) == [], more
    log.write_text(f"{text}{int(NOW_S) - 3000} INTERNAL *** DAGMAN_STARTED 12.0 ***\n")  # it recovered
    assert vanished(folder) == [FIRST]
    log.write_text(text.replace("SUBMIT", "SUB"))
    assert vanished(folder) == []
    log.unlink()
    assert vanished(folder) == []


def test_a_dagman_that_does_not_read_has_lost_no_job(folder: Path) -> None:
    """While DAGMan is held, idle, or has just started, no job counts as vanished."""
    for change in ({"status": queue.HELD}, {"status": queue.IDLE}, {"started_s": int(NOW_S) - 10}):
        assert vanished(folder, dagman=DAGMAN._replace(**change)) == []


def test_attributes_of_a_job() -> None:
    """A running job whose shadow counts reconnection attempts is disconnected; a held or idle one is not."""
    ad = {"JobUniverse": 5, "ClusterId": 13, "ProcId": 0, "DAGManJobId": 12, "FaserNode": FIRST, "JobStatus": 2}
    ad |= {"JobCurrentReconnectAttempt": 3, "JobLeaseDuration": 2400, "HoldReason": "an earlier one"}
    (job,) = queue.read([ad], "s", NOW_S).nodes
    assert job == queue.NodeJob(FIRST, "13.0", 12, 2, reconnects_s=2400)
    for status in (queue.HELD, queue.IDLE):
        assert queue.read([ad | {"JobStatus": status}], "s", NOW_S).nodes[0].reconnects_s == 0
    del ad["JobCurrentReconnectAttempt"]
    assert queue.read([ad], "s", NOW_S).nodes[0].reconnects_s == 0


def test_a_released_job_is_no_longer_on_hold(folder: Path) -> None:
    """A held node whose job waits or runs again counts as that, and is not listed with a command to release it."""
    (folder / layout.NODES_LOG).write_text(
        "012 (013.000.000) 2026-11-24 07:31:00 Job was held.\n\tvia condor_hold\n\tCode 1 Subcode 0\n...\n"
    )
    assert hook("hold", folder, FIRST, "13.0", 0).returncode == 0
    seen = snapshot.take(str(folder))
    assert [row["node"] for row in seen["held"]] == [FIRST]
    for status, state in ((queue.HELD, "held"), (queue.RUNNING, "running"), (queue.IDLE, "queued")):
        answer = queue.Queue(nodes=(queue.NodeJob(FIRST, "13.0", 12, status),))
        found = queued.look(str(folder), DAGMAN, answer.nodes, NOW_S)
        now = snapshot.with_queue(seen, answer.waiting, found)
        counts = now["iterations"][0]["nodes"]
        assert [counts.get(name, 0) for name in ("held", "running", "queued")] == [
            name == state for name in ("held", "running", "queued")
        ]
        assert bool(now["held"]) == bool(now["release"]) == (state == "held")
