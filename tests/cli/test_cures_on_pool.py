"""What status says to type does what it says, on a real pool."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from commandline import Command

from faser_align.cli.work import snapshot
from faser_align.config import layout
from faser_align.config.record import read_record
from faser_align.pool.personal import Pool


def until(what: Callable[[], Any], wait_s: float = 90) -> Any:
    """Wait until something is true; returns it."""
    deadline = time.monotonic() + wait_s
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


@pytest.fixture
def waiting(workdir: Path, plain_command: Command, monkeypatch: pytest.MonkeyPatch, pool: Pool) -> Iterator[Path]:
    """A campaign whose two jobs wait in the queue, since no machine will do; its folder."""
    assert pool.master_pid
    monkeypatch.chdir(workdir)
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    assert plain_command("init").status == 0
    text = Path("faser-align.toml").read_text()
    nowhere = '[htcondor.reco]\nrequirements = "false"\n'
    Path("faser-align.toml").write_text(text.replace("[htcondor.reco]\n", nowhere))
    done = plain_command("submit", "-y", "2023", "-r", "11705", "-f", "400-401", "-i", "2", "--name", "two")
    assert done.status == 0, done.err
    until(lambda: "2 waiting in the queue" in plain_command("status", "two").out)
    yield workdir / "two"
    plain_command("stop", "two", "--yes")


def jobs(chosen: str) -> list[Any]:
    """Status of the jobs that a constraint chooses."""
    return [int(ad["JobStatus"]) for ad in htcondor2.Schedd().query(constraint=chosen, projection=["JobStatus"])]


def typed(command: str) -> str:
    """Type a command line into a shell that knows nothing of the pool."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cures_of_held_and_slow_nodes(waiting: Path, plain_command: Command) -> None:
    """Jobs on hold for one reason are told together and released by the command that is shown; that of a slow one moves it."""
    seen = json.loads(plain_command("status", "two", "--json").out)
    cluster = seen["dag_id"].partition(".")[0]
    ours = f"DAGManJobId == {cluster}"
    htcondor2.Schedd().act(htcondor2.JobAction.Hold, ours, "full disk")
    shown = until(lambda: _line(plain_command("status", "two").out, "for all jobs on hold: "))
    assert jobs(ours) == [5, 5]
    typed(shown)
    assert 5 not in jobs(ours)

    prefix = snapshot.to_pool(read_record(str(waiting)))
    chosen = f'{ours} && FaserNode == "reco_s1_i01_00401"'
    assert len(jobs(chosen)) == 1
    # It may run now, and does so for long.
    for key, value in (("Cmd", '"/bin/sleep"'), ("Arguments", '"600"'), ("Requirements", "true")):
        htcondor2.Schedd().edit(chosen, key, value)
    until(lambda: jobs(chosen) == [2])
    assert "slot1" in typed(f"{prefix}condor_q -run {as_shown(chosen)}")
    typed(f"{prefix}condor_vacate_job {as_shown(chosen)}")
    log = waiting / layout.JOB_LOG
    until(lambda: "\n004 (" in log.read_text() and jobs(chosen) != [])


def as_shown(chosen: str) -> str:
    """A constraint as the screen has it."""
    return f"-constraint '{chosen}'"


def _line(out: str, before: str) -> str:
    return next((line.partition(before)[2] for line in out.splitlines() if before in line), "")
