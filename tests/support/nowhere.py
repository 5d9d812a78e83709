"""Campaigns on the pool whose jobs wait in the queue, since no machine will do, or for a moment."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import htcondor2
from commandline import Command

from faser_align.pool import personal, processes


def until(what: Callable[[], Any], wait_s: float = 240) -> Any:
    """Wait until something is true; returns it."""
    deadline = time.monotonic() + wait_s
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def no_dagman() -> bool:
    """Whether no DAGMan is in the queue, so that its hooks have done and told all; a schedd that is busy does not know."""
    try:
        return not htcondor2.Schedd().query("JobUniverse == 7", ["ClusterId"])
    except htcondor2.HTCondorException:
        return False


@contextmanager
def no_job_begins() -> Iterator[None]:
    """While the context is open jobs wait in the queue of the pool: what is done to their files is done before any begins."""
    daemons = processes.daemons(personal.default_folder() / "condor_config")
    (negotiator,) = (daemon.pid for daemon in daemons if daemon.name.startswith("condor_negotia"))
    os.kill(negotiator, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(negotiator, signal.SIGCONT)


@contextmanager
def waiting(command: Command, name: str, files: str, jobs: int) -> Iterator[Path]:
    """A campaign in the current folder, whose jobs wait; its folder. It is stopped at the end.

    Args:
        command: the command line.
        name: the campaign.
        files: its raw files, as they are typed.
        jobs: how many there are.
    """
    assert command("init").status == 0
    config = Path("faser-align.toml")
    nowhere = '[htcondor.reco]\nrequirements = "false"\n'
    config.write_text(config.read_text().replace("[htcondor.reco]\n", nowhere))
    done = command("submit", "-y", "2023", "-r", "11705", "-f", files, "-i", "2", "--name", name)
    assert done.status == 0, done.err
    until(lambda: f"{jobs} waiting in the queue" in command("status", name).out)
    yield Path(name).absolute()
    command("stop", name, "--yes")
