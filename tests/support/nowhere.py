"""Campaigns on the pool whose jobs wait in the queue, since no machine will do, or for a moment."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import htcondor2
from commandline import Command

from faser_align.pool import personal
from faser_align.system.atomic import replacing


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
    except (htcondor2.HTCondorException, KeyError):
        return False


def leave_queue(folder: Path, wait_s: float = 15) -> None:
    """Wait until the DAGMans of campaigns below ``folder`` have left the queue, and remove those that have not.

    One whose folder is deleted can neither end nor start again, and stays: the tests after it would wait for it.
    """
    constraint = f'JobUniverse == 7 && regexp("^{folder}/", FaserFolder)'

    def gone() -> bool:
        try:
            return not htcondor2.Schedd().query(constraint, ["ClusterId"])
        except (htcondor2.HTCondorException, KeyError):
            return False

    deadline = time.monotonic() + wait_s
    while not gone():
        if time.monotonic() > deadline:
            for action in (htcondor2.JobAction.Remove, htcondor2.JobAction.RemoveX):
                with suppress(htcondor2.HTCondorException):
                    htcondor2.Schedd().act(action, constraint, "its test is over")
            return
        time.sleep(0.2)


@contextmanager
def no_job_begins() -> Iterator[None]:
    """While the context is open the pool's machine takes no job: what is done to the files of one is done before it begins."""
    config = personal.default_folder() / "condor_config"
    before = config.read_text()
    try:
        _configure(config, f"{before}\nSTART = False\n", "startd")
        until(lambda: (slots := _slots()) and not any(slot.eval("Start") for slot in slots))
        yield
    finally:
        _configure(config, before, "startd")


@contextmanager
def cool_down(duration_s: int) -> Iterator[None]:
    """While the context is open the schedd waits so long before it starts a DAGMan again that failed (from HTCondor 25.10)."""
    config = personal.default_folder() / "condor_config"
    before = config.read_text()
    try:
        _configure(config, f"{before}\nSCHEDULER_UNIVERSE_COOL_DOWN_DURATION = {duration_s}\n", "schedd")
        yield
    finally:
        _configure(config, before, "schedd")


def _configure(config: Path, text: str, daemon: str) -> None:
    """Give a daemon another configuration; a DAGMan or a tool that starts just now reads a whole file."""
    with replacing(config) as stream:
        stream.write(text.encode())
    subprocess.run(["condor_reconfig", f"-{daemon}"], check=True, capture_output=True)


def _slots() -> list[Any]:
    """What the collector says of the machine; nothing while it is busy."""
    try:
        return list(htcondor2.Collector().query(htcondor2.AdType.Startd, projection=["Start"]))
    except htcondor2.HTCondorException:
        return []


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
