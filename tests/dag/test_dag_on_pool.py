"""Test the rendered DAG on a real pool, with a stand-in for interpreter, script and jobs that follows a file."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import manifest

from faser_align.config.load import parse_config
from faser_align.dag.create import create_campaign
from faser_align.dag.plan import Plan
from faser_align.dag.render import render
from faser_align.dag.submit import dagman_jobs, rescue_file, resume_dag, stop_dag, submit_dag
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.pool.personal import Pool

END_WAIT_S = 240.0  # enough for a busy machine

# Called as `<stand-in> -I -S <script> PHASE CAMPAIGN NODE MACROS...` and as `<stand-in> -I -m faser_align.jobs.X . ...`.
STAND_IN = """#!/bin/sh
here={here}
echo "${{CONDOR_ID:--}} $*" >> "$here/calls"
[ "$1 $2" = "-I -m" ] && {{ env > "$here/job.env"; pwd > "$here/job.pwd"; }}
[ "$4" = final ] && {{ env > "$here/hook.env"; pwd > "$here/hook.pwd"; exit "$7"; }}
while read pattern status; do
    case "$*" in $pattern) exit "$status";; esac
done < "$here/orders"
[ "$4" = post ] && [ "$9" != 0 ] && exit 1
exit 0
"""


class Campaign:
    """A campaign whose scripts and jobs follow ``orders``: lines with a pattern of the call and its status."""

    def __init__(self, workdir: Path, text: str) -> None:
        self.folder = workdir / "my camp 100%"
        self._here = workdir
        self.orders("")
        program = workdir / "stand-in"
        program.write_text(STAND_IN.format(here=workdir))
        program.chmod(0o755)
        record = manifest(parse_config(text, str(workdir / "x.toml")), self.folder, name=self.folder.name)
        record |= {"python": str(program), "job_python": str(program), "hook": "/hook.py"}
        self.created = create_campaign(Plan(record, b"", text, render(record)), lambda folder, record: None)
        self.schedd = htcondor2.Schedd()

    def orders(self, text: str) -> None:
        (self._here / "orders").write_text(text)

    def calls(self, words: str) -> list[list[str]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self._here / "calls").read_text().splitlines()
            return [line.split() for line in lines if words in line]
        return []

    def text(self, name: str) -> str:
        return (self._here / name).read_text()

    def wait(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + END_WAIT_S
        while not what():
            assert time.monotonic() < end, (self.folder / "alignment.dag.dagman.out").read_text()[-3000:]
            time.sleep(0.2)

    def end(self, cluster: int) -> int:
        """Wait until the DAGMan job has left the queue; return its exit status."""
        self.wait(lambda: not dagman_jobs(self.schedd, str(self.folder)))
        ads: list[Any] = []
        self.wait(lambda: ads.extend(self.schedd.history(f"ClusterId == {cluster}", ["ExitCode"], match=1)) or ads)
        return int(ads[0].get("ExitCode", -1))


@pytest.fixture
def campaign(pool: Pool, workdir: Path) -> Iterator[Campaign]:
    """Provide three iterations of two files in a folder with spaces and a percent sign."""
    made = Campaign(workdir, "campaign.iterations = 3\nhtcondor.reco.memory_mb = 64\nhtcondor.mille.memory_mb = 64")
    yield made
    for job in dagman_jobs(made.schedd, str(made.folder)):
        made.schedd.act(htcondor2.JobAction.Remove, f"{job.cluster}.0")


def test_a_dag_that_converges_ends_early(
    campaign: Campaign, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 42 of the second Millepede POST ends the DAG with success, with nothing left to resume.

    Scripts and jobs do not depend on the caller's PATH, HOME, PYTHONPATH and current folder.
    """
    for name in ("HOME", "PATH", "PYTHONPATH", "LC_ALL"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.chdir("/")
    campaign.orders("*post*mille_s1_i02* 42\n")
    cluster = submit_dag(campaign.schedd, str(campaign.folder))
    assert capfd.readouterr().out == ""
    assert campaign.end(cluster) == 0
    assert campaign.calls("_i03") == []
    jobs = sorted(call[3:] for call in campaign.calls("-I -m"))
    assert jobs == [
        *([f"faser_align.jobs.reconstruct . 1 {i} {file}".split() for i in (1, 2) for file in (400, 401)]),
        *([f"faser_align.jobs.solve . 1 {i}".split() for i in (1, 2)]),
    ]
    folder = "my%20camp%20100%25"
    first = campaign.calls("post")[0]
    assert first[0] == f"{cluster}.0"
    assert first[5].endswith(folder)
    assert first[7:10] == ["0", "2", "0"]
    assert campaign.calls(" final ")[-1][6:] == ["final", "0", "1"]
    with pytest.raises(UserError, match="no rescue DAG to resume from"):
        resume_dag(campaign.schedd, str(campaign.folder))
    assert campaign.text("job.pwd").strip() == campaign.text("hook.pwd").strip() == str(campaign.folder)
    for name in ("jobs.log", "jobstate.log", "scripts.log", "iter02/1reco/logs/reco_s1_i02_00401.err"):
        assert (campaign.folder / name).exists()
    for found in (campaign.text("hook.env"), campaign.text("job.env")):
        assert "nowhere" not in found
    assert f"HOME={pwd.getpwuid(os.getuid()).pw_dir}" in campaign.text("hook.env").splitlines()


class Refusing:
    """A schedd that answers queries and refuses submissions, as one that is dying."""

    def __init__(self, schedd: Any) -> None:
        self.query = schedd.query

    def submit(self, description: Any) -> None:
        raise htcondor2.HTCondorException("Failed to connect to schedd")


def test_a_failure_leaves_a_rescue_and_resume_finishes(campaign: Campaign) -> None:
    """A fatal failure is not retried, any other is retried twice; resume continues from there with a new job id.

    Files that HTCondor's library wrote before the schedd refused do not prevent the next submission.
    """
    campaign.orders("*reconstruct*1?1?401* 61\n*post*i01_00401* 43\n*solve* 1\n")
    folder = str(campaign.folder)
    with pytest.raises(CampaignError, match="HTCondor did not accept"):
        submit_dag(Refusing(campaign.schedd), folder)  # type: ignore[arg-type]
    first = submit_dag(campaign.schedd, folder)
    with pytest.raises(UserError, match=f"is already running as job {first}.0"):
        submit_dag(campaign.schedd, folder)
    assert campaign.end(first) == 1
    assert len(campaign.calls("reconstruct . 1 1 401")) == 1
    assert campaign.calls(" final ")[-1][7] == "2"
    assert rescue_file(folder).endswith("alignment.dag.rescue001")

    campaign.orders("*solve* 1\n")
    halt = campaign.folder / "alignment.dag.halt"
    halt.touch()  # as `stop --after iteration` leaves it
    second = resume_dag(campaign.schedd, folder)
    assert not halt.exists()
    assert campaign.end(second) == 1
    assert len(campaign.calls("reconstruct . 1 1 401")) == 2
    assert len(campaign.calls("reconstruct . 1 1 400")) == 1
    assert len(campaign.calls("solve . 1 1")) == 3
    assert rescue_file(folder).endswith("alignment.dag.rescue002")

    campaign.orders("*post*mille_s1_i01* 42\n")
    assert campaign.end(resume_dag(campaign.schedd, folder)) == 0
    assert len({call[0] for call in campaign.calls(" final ")}) == 3


def test_stop_lets_final_run(campaign: Campaign) -> None:
    """A stopped DAG halts, leaves the queue, runs FINAL with the status of a removal, and can be resumed."""
    (campaign.folder.parent / "stand-in").write_text(
        STAND_IN.format(here=campaign.folder.parent).replace("exit 0", '[ "$2" = -m ] && exec sleep 600; exit 0')
    )
    folder = str(campaign.folder)
    cluster = submit_dag(campaign.schedd, folder)
    campaign.wait(lambda: campaign.calls("-I -m"))
    assert stop_dag(campaign.schedd, folder, cluster) == (True, True)
    assert campaign.calls(" final ")[-1][7] == "4"
    assert not (campaign.folder / "alignment.dag.halt").exists()
    assert rescue_file(folder)
    assert stop_dag(campaign.schedd, folder, cluster) == (False, True)


def test_an_interrupted_stop_keeps_dagman_halted(campaign: Campaign) -> None:
    """DAGMan does not continue after Ctrl-C in `stop`, when FINAL may run already; the next `stop` ends it."""
    (campaign.folder.parent / "stand-in").write_text(
        STAND_IN.format(here=campaign.folder.parent).replace("exit 0", '[ "$2" = -m ] && exec sleep 600; exit 0')
    )
    folder, halt = str(campaign.folder), campaign.folder / "alignment.dag.halt"
    cluster = submit_dag(campaign.schedd, folder)
    campaign.wait(lambda: campaign.calls("-I -m"))
    program = f"import htcondor2; from faser_align.dag import submit; submit.stop_dag(htcondor2.Schedd(), {folder!r}, {cluster})"
    with subprocess.Popen((sys.executable, "-c", program), stderr=subprocess.DEVNULL) as stopping:
        campaign.wait(halt.exists)
        stopping.send_signal(signal.SIGINT)
    assert stopping.returncode == -signal.SIGINT
    assert halt.exists()
    assert stop_dag(campaign.schedd, folder, cluster).gone
    assert campaign.calls(" final ")
    assert not halt.exists()


def test_stop_waits_for_a_dag_that_ends_by_itself(campaign: Campaign) -> None:
    """Without jobs in the queue a halted DAGMan ends by itself, and its FINAL script is not killed."""
    here = campaign.folder.parent
    text = STAND_IN.format(here=here)
    text = text.replace("exit 0", '[ "$4" = pre ] && sleep 100; exit 0')  # a halted DAGMan that ends would kill it
    text = text.replace('exit "$7"', 'sleep 2; echo "- status $7" >> "$here/calls"; exit "$7"')
    (here / "stand-in").write_text(text)
    folder = str(campaign.folder)
    cluster = submit_dag(campaign.schedd, folder)
    campaign.wait(lambda: campaign.calls(" pre "))
    assert stop_dag(campaign.schedd, folder, cluster) == (True, True)
    assert [call[2] for call in campaign.calls("status")] == ["6"]
    assert not (campaign.folder / "alignment.dag.halt").exists()
    assert rescue_file(folder)


def test_a_refused_submission_can_be_typed_again(pool: Pool, workdir: Path) -> None:
    """Files that HTCondor's library wrote before the schedd refused do not prevent the next attempt."""
    campaign = Campaign(workdir, "campaign.iterations = 1\nhtcondor.scan_interval_s = 1")
    with pytest.raises(CampaignError, match="HTCondor did not accept"):
        submit_dag(Refusing(campaign.schedd), str(campaign.folder))  # type: ignore[arg-type]
    cluster = submit_dag(campaign.schedd, str(campaign.folder))
    campaign.wait(lambda: not dagman_jobs(campaign.schedd, str(campaign.folder)))
    assert cluster > 0
