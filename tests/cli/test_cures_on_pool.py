"""Test on a real pool that the commands shown by status work."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from commandline import Command
from nowhere import until, waiting

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.operations import snapshot
from faser_align.pool.personal import Pool


@pytest.fixture
def two(here: Path, plain_command: Command, pool: Pool) -> Iterator[Path]:
    """Provide the folder of a campaign whose two jobs wait in the queue, because no machine matches."""
    with waiting(plain_command, "two", "400-401", 2) as folder:
        yield folder


def jobs(chosen: str) -> list[Any]:
    """Return the status of the jobs that match a constraint."""
    return [int(ad["JobStatus"]) for ad in htcondor2.Schedd().query(constraint=chosen, projection=["JobStatus"])]


def typed(command: str) -> str:
    """Run a command line in a shell without the pool's environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cures_of_held_and_slow_nodes(two: Path, plain_command: Command) -> None:
    """Jobs held for one reason are listed together and released by the shown command; a slow job's command moves it."""
    seen = json.loads(plain_command("status", "two", "--json").out)
    cluster = seen["dag_id"].partition(".")[0]
    ours = f"DAGManJobId == {cluster}"
    htcondor2.Schedd().act(htcondor2.JobAction.Hold, ours, "full disk")
    hint = "then release all held jobs:\n"
    shown = until(lambda: plain_command("status", "two").out.partition(hint)[2].partition("\n")[0].strip())
    assert jobs(ours) == [5, 5]
    typed(shown)
    assert 5 not in jobs(ours)

    prefix = snapshot.to_pool(read_record(str(two)))
    chosen = f'{ours} && FaserNode == "reco_s1_i01_00401"'
    assert len(jobs(chosen)) == 1
    # It may run now, for a long time.
    for key, value in (("Cmd", '"/bin/sleep"'), ("Arguments", '"600"'), ("Requirements", "true")):
        htcondor2.Schedd().edit(chosen, key, value)
    until(lambda: jobs(chosen) == [2])
    assert "slot1" in typed(f"{prefix}condor_q -run -constraint '{chosen}'")
    typed(f"{prefix}condor_vacate_job -constraint '{chosen}'")
    log = two / layout.JOB_LOG
    until(lambda: "\n004 (" in log.read_text() and jobs(chosen) != [])
