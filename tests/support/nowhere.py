"""Make campaigns on the pool whose jobs stay in the queue, for good or for a moment."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import htcondor2
from commandline import Command, configure

from faser_align.pool import personal
from faser_align.system.atomic import replacing


def until(what: Callable[[], Any], wait_s: float = 240) -> Any:
    """Wait until a condition is true; return its value. The longer it takes, the less often it is checked, because a
    check may run a command."""
    began = time.monotonic()
    while not (found := what()):
        waited_s = time.monotonic() - began
        assert waited_s < wait_s
        time.sleep(min(1.0, 0.2 + waited_s / 20))
    return found


def no_dagman(constraint: str = "JobUniverse == 7") -> bool:
    """Return whether no such DAGMan is in the queue, so that its scripts have finished; a busy schedd counts as no."""
    try:
        return not htcondor2.Schedd().query(constraint, ["ClusterId"])
    except (htcondor2.HTCondorException, KeyError):
        return False


def leave_queue(folder: Path, wait_s: float = 15) -> None:
    """Wait until the DAGMans of campaigns below ``folder`` have left the queue, and remove the others.

    A DAGMan whose folder is deleted can neither end nor start again, and stays: later tests would wait for it.
    """
    constraint = f'JobUniverse == 7 && regexp("^{folder}/", FaserFolder)'
    deadline = time.monotonic() + wait_s
    while not no_dagman(constraint):
        if time.monotonic() > deadline:
            for action in (htcondor2.JobAction.Remove, htcondor2.JobAction.RemoveX):
                with suppress(htcondor2.HTCondorException):
                    htcondor2.Schedd().act(action, constraint, "its test is over")
            return
        time.sleep(0.2)


@contextmanager
def no_job_begins() -> Iterator[None]:
    """Start no jobs on the pool's machine within the context, so that their files can be changed before."""
    with _configured("START = False", "startd"):
        until(lambda: (slots := _slots()) and not any(slot.eval("Start") for slot in slots))
        yield


def cool_down(duration_s: int) -> AbstractContextManager[None]:
    """Set how long the schedd waits before it restarts a failed DAGMan, within the context (since HTCondor 25.10)."""
    return _configured(f"SCHEDULER_UNIVERSE_COOL_DOWN_DURATION = {duration_s}", "schedd")


@contextmanager
def _configured(line: str, daemon: str) -> Iterator[None]:
    config = personal.default_folder() / "condor_config"
    before = config.read_text()
    try:
        _configure(config, f"{before}\n{line}\n", daemon)
        yield
    finally:
        _configure(config, before, daemon)


def _configure(config: Path, text: str, daemon: str) -> None:
    """Replace a daemon's configuration atomically, because a DAGMan or a tool may be starting."""
    with replacing(config) as stream:
        stream.write(text.encode())
    subprocess.run(["condor_reconfig", f"-{daemon}"], check=True, capture_output=True)


def _slots() -> list[Any]:
    """Return the collector's ads of the machine; none while it is busy."""
    try:
        return list(htcondor2.Collector().query(htcondor2.AdType.Startd, projection=["Start"]))
    except htcondor2.HTCondorException:
        return []


def _idle(name: str) -> int:
    """Return how many jobs of a campaign wait for a machine; none while the schedd is busy."""
    try:
        constraint = f'FaserCampaign == "{name}" && JobUniverse == 5 && JobStatus == 1'
        return len(htcondor2.Schedd().query(constraint, ["ClusterId"]))
    except (htcondor2.HTCondorException, KeyError):
        return 0


@contextmanager
def waiting(command: Command, name: str, files: str, jobs: int) -> Iterator[Path]:
    """Provide the folder of a campaign in the current folder whose jobs wait; it is stopped at the end.

    Args:
        command: the command line.
        name: the campaign.
        files: its raw files as typed.
        jobs: number of jobs.
    """
    assert command("init").status == 0
    configure("[htcondor.reco]\n", '[htcondor.reco]\nrequirements = "false"\n')
    command("submit", "-y", "2023", "-r", "11705", "-f", files, "-i", "2", "--name", name, status=0)
    until(lambda: _idle(name) == jobs)  # cheaper than a command
    until(lambda: f"{jobs} waiting in the queue" in command("status", name).out)
    yield Path(name).absolute()
    command("stop", name, "--yes")
