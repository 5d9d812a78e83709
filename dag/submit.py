"""Submitting, finding, stopping and resuming a campaign's DAGMan job.

Functions take the schedd to talk to, so that this part need not know how a pool is found.
"""

import contextlib
import ctypes
import os
import pwd
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import htcondor2

from faser_align.config import layout
from faser_align.fsm.errors import CampaignError, UserError

HELD = 5  # JobStatus of a held job
HALTED = "DAG is halted"
HALT_WAIT_S, LEAVE_WAIT_S = 30.0, 120.0
ENDS_WAIT_S = 90.0  # scripts that run, then FINAL with its messages
POLL_S = 0.5
PATH = "/usr/local/bin:/usr/bin:/bin"


class DagmanJob(NamedTuple):
    """A DAGMan job in the queue: its cluster, HTCondor's JobStatus, and why it is held."""

    cluster: int
    status: int
    hold_reason: str


class Stopped(NamedTuple):
    """How stopping went: whether DAGMan said that it had halted, and whether it has left the queue."""

    halted: bool
    gone: bool


def submit_dag(schedd: htcondor2.Schedd, folder: str) -> int:
    """Submit the DAG of the campaign in ``folder``; returns the cluster of its DAGMan job.

    What DAGMan and its scripts find in their environment does not depend on that of the caller.
    Raises UserError if the campaign has a DAGMan job already, CampaignError if HTCondor refuses.
    """
    refuse_second(schedd, folder)
    return _submit(schedd, folder)


def resume_dag(schedd: htcondor2.Schedd, folder: str) -> int:
    """Go on with a campaign that failed or was removed; returns the cluster of the new DAGMan job.

    DAGMan itself finds the latest rescue file. Raises UserError if there is none or a DAGMan job is in the queue.
    """
    refuse_second(schedd, folder)
    if not rescue_file(folder) and os.path.exists(os.path.join(folder, layout.DAGMAN_OUT)):
        raise UserError(f"{folder} has no rescue DAG, so there is nothing to resume; submit a new campaign")
    return _submit(schedd, folder)


def rescue_file(folder: str) -> str:
    """Path of the latest rescue file of the campaign, empty if there is none."""
    names = [name for name in os.listdir(folder) if re.fullmatch(re.escape(layout.DAG) + r"\.rescue[0-9]{3}", name)]
    return os.path.join(folder, max(names)) if names else ""


def dagman_jobs(schedd: htcondor2.Schedd, folder: str) -> list[DagmanJob]:
    """DAGMan jobs of the campaign in ``folder`` that the schedd has in its queue, the one that ends included."""
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    try:
        ads = schedd.query(
            constraint=f'JobUniverse == 7 && FaserFolder =?= "{quoted}"',
            projection=["ClusterId", "JobStatus", "HoldReason"],
        )
    except htcondor2.HTCondorException as error:
        raise CampaignError(f"the schedd does not answer ({_first_line(error)}); try again later") from error
    return [DagmanJob(int(ad["ClusterId"]), int(ad["JobStatus"]), str(ad.get("HoldReason", ""))) for ad in ads]


def stop_dag(schedd: htcondor2.Schedd, folder: str, cluster: int) -> Stopped:
    """Remove the campaign's DAGMan job and all its nodes, in the order that lets the FINAL node run.

    DAGMan is halted first: PRE scripts that wait are not cancelled by a removal and would all run before FINAL.
    A DAGMan that is held or does not react within half a minute is removed without. One that has no job in the queue
    when it has halted ends by itself, and a removal would kill its FINAL script half-way. Takes at most 4 min.
    """
    halt = os.path.join(folder, layout.HALT)
    read_from = _size(os.path.join(folder, layout.DAGMAN_OUT))
    running = [job for job in dagman_jobs(schedd, folder) if job.cluster == cluster]
    if not running:
        return Stopped(halted=False, gone=True)

    def has_left() -> bool:
        return all(job.cluster != cluster for job in dagman_jobs(schedd, folder))

    with open(halt, "w", encoding="utf-8") as file:
        file.write("faser-align stop\n")
    try:
        halted = running[0].status != HELD and _wait(lambda: _has_halted(folder, read_from), HALT_WAIT_S)
        gone = halted and not _has_jobs(schedd, cluster) and _wait(has_left, ENDS_WAIT_S)
        if not gone:
            _remove(schedd, cluster)
            gone = _wait(has_left, LEAVE_WAIT_S)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(halt)
    return Stopped(halted, gone)


def _has_jobs(schedd: htcondor2.Schedd, cluster: int) -> bool:
    """Whether jobs of DAGMan's nodes are in the queue; if the schedd does not say, assume so."""
    try:
        return bool(schedd.query(constraint=f"DAGManJobId == {cluster}", projection=["ClusterId"], limit=1))
    except htcondor2.HTCondorException:
        return True


def _remove(schedd: htcondor2.Schedd, cluster: int) -> None:
    try:
        schedd.act(htcondor2.JobAction.Remove, f"{cluster}.0", reason="faser-align stop")
    except htcondor2.HTCondorException as error:
        raise CampaignError(f"job {cluster}.0 could not be removed: {_first_line(error)}") from error


def _submit(schedd: htcondor2.Schedd, folder: str) -> int:
    try:
        result = schedd.submit(describe_dagman(folder))
    except htcondor2.HTCondorException as error:
        raise CampaignError(f"HTCondor did not take {folder}/{layout.DAG}: {_first_line(error)}") from error
    return int(result.cluster())


def describe_dagman(folder: str) -> htcondor2.Submit:
    """The submit description of the campaign's DAGMan job (without force: a rescue file is used, nothing redone)."""
    binary = os.path.join(str(htcondor2.param.get("BIN", "/usr/bin")), "condor_dagman")
    options: dict[str, Any] = {"DagmanPath": binary} if os.path.exists(binary) else {}
    with _silent():
        description = htcondor2.Submit.from_dag(os.path.join(folder, layout.DAG), options)
    description["initialdir"] = folder
    description["getenv"] = "false"
    description["environment"] = _extend(description["environment"], _environment(os.path.dirname(binary)))
    # If DAGMan itself dies for good no hook runs; then HTCondor's own mail is the second way.
    description["notification"] = "Error"
    return description


def _environment(bin_folder: str) -> dict[str, str]:
    user = pwd.getpwuid(os.getuid())
    path = PATH if bin_folder in PATH.split(":") else f"{PATH}:{bin_folder}"
    environment = {"HOME": user.pw_dir, "USER": user.pw_name, "PATH": path, "LANG": "C.UTF-8"}
    if "CONDOR_CONFIG" in os.environ:  # which pool, not whose shell
        environment["CONDOR_CONFIG"] = os.environ["CONDOR_CONFIG"]
    return environment


def _extend(environment: str, more: dict[str, str]) -> str:
    """Add variables to a submit description's environment, written in its quoting: ``"A=1 B='with space'"``."""
    words = [
        f"{name}='{value.replace(chr(39), 2 * chr(39)).replace(chr(34), 2 * chr(34))}'" for name, value in more.items()
    ]
    return f'"{" ".join([environment.strip().removeprefix(chr(34)).removesuffix(chr(34)), *words])}"'


def refuse_second(schedd: htcondor2.Schedd, folder: str) -> None:
    """Raise UserError if a DAGMan of the campaign is in the queue."""
    jobs = dagman_jobs(schedd, folder)
    if jobs:
        raise UserError(
            f"the campaign {folder} runs already as job {jobs[0].cluster}.0, and a second DAGMan would ruin both; "
            "stop it first, or wait for its end"
        )


def _has_halted(folder: str, read_from: int) -> bool:
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, layout.DAGMAN_OUT), "rb") as file:
        file.seek(read_from)
        return HALTED.encode() in file.read()
    return False


def _size(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(path)
    return 0


def _wait(condition: Any, wait_s: float) -> bool:
    end = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the bindings print, from C++ and past Python's streams, off the terminal."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 1)
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C's own buffer would come out at the end of the program
        os.dup2(kept, 1)
        os.close(kept)
