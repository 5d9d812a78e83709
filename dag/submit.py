"""Submit, find, stop and resume a campaign's DAGMan job.

Functions take the schedd as an argument, so that this module does not depend on how a pool is found.
"""

import contextlib
import ctypes
import os
import pwd
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import htcondor2

from faser_align.campaign import layout, submissions
from faser_align.dag import credentials, queue
from faser_align.dag.queue import DagmanJob
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.system import atomic, credential, interrupts
from faser_align.system.attempt import first_line, wait_until

HALTED = "DAG is halted"  # in dagman.out up to HTCondor 24.7; since 24.8 it is in DAGMan's job ad
DAG_STATUS_HALTED = 6  # in the ad
HALT_WAIT_S, LEAVE_WAIT_S = 60.0, 120.0  # a DAGMan that is removed while it starts runs no FINAL
ENDS_WAIT_S = 90.0  # for running scripts, then FINAL with its messages
ENDING_DESCRIPTION = ".condor.sub"  # of DAGMan's submit description, beside its DAG
POLL_S = 0.5
# A DAGMan that is killed after FINAL and before its exit never leaves (23.9, 25.14): it waits for a FINAL that is done,
# or restarts forever with a failed assertion. Everything has been recorded and sent by then. A waiting DAGMan updates
# its ad; a failing one has always just started, or waits for its restart (since 25.10).
STUCK = (
    "(NumJobStarts > 1 && DAG_NodesDone + DAG_NodesFailed + (DAG_NodesFutile ?: 0) =?= DAG_NodesTotal"
    " && DAG_InRecovery =?= 0 && time() - min({DAG_AdUpdateTime, JobCurrentStartDate}) > 30)"
    " || NumJobStarts > 100 || (NumJobCoolDowns ?: 0) > 10"
)
RESCUE_DIGITS = 3  # in a rescue file's number
PATH = "/usr/local/bin:/usr/bin:/bin"


class Stopped(NamedTuple):
    """Result of stopping: whether DAGMan reported the halt, and whether it has left the queue."""

    halted: bool
    gone: bool


def submit_dag(schedd: htcondor2.Schedd, folder: str) -> int:
    """Submit the DAG of the campaign in ``folder``; return the cluster of its DAGMan job.

    The environment of DAGMan and its scripts does not depend on that of the caller. Raises UserError if the campaign
    has a DAGMan job already, CampaignError if HTCondor refuses.
    """
    refuse_second(schedd, folder)
    return _submit(schedd, folder)


def resume_dag(schedd: htcondor2.Schedd, folder: str, done: Sequence[str] | None = None) -> int:
    """Continue a campaign that failed, was removed or lost its DAGMan; return the cluster of the new DAGMan job.

    DAGMan itself finds the latest rescue file of the newest DAG. A DAGMan that was removed on hold, could not run, or
    lost its machine left none, and perhaps its lock file: then a rescue file with the nodes in ``done`` is written.
    With the lock file the next DAGMan would start in recovery mode, and wait for jobs or fail nodes of the previous
    one.

    ``done`` are the nodes that must not run again if DAGMan left no rescue file; None: without such a file, raise an
    error.

    Raises:
        UserError: there is nothing to resume from, or a DAGMan job is in the queue.
        CampaignError: HTCondor refuses.
    """
    refuse_second(schedd, folder)
    dag = layout.newest_dag(folder)
    latest, lock = rescue_file(folder), dag + layout.ENDING_LOCK
    # A DAGMan that was removed before it began left only its submit description.
    began = any(os.path.exists(dag + ending) for ending in (layout.ENDING_DAGMAN_OUT, ENDING_DESCRIPTION))
    if os.path.exists(lock) or (not latest and began):
        if done is None:
            raise UserError(f"{folder} has no rescue DAG to resume from; submit a new campaign")
        nodes = set(re.findall(r"^JOB (\S+)", _text(dag), re.MULTILINE))
        lines = "".join(f"DONE {node}\n" for node in done if node in nodes)
        number = int(latest[-RESCUE_DIGITS:] or 0) + 1
        content = f"# The DAGMan before this left no rescue DAG.\n{lines}"
        atomic.write_text(f"{dag}.rescue{number:0{RESCUE_DIGITS}d}", content)
        Path(lock).unlink(missing_ok=True)
    # DAGMan does so when it starts; until then it would count as halted.
    Path(dag + layout.ENDING_HALT).unlink(missing_ok=True)
    return _submit(schedd, folder)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}; restore it from a copy") from None


def rescue_file(folder: str) -> str:
    """Return the path of the latest rescue file of the campaign's newest DAG, empty if there is none."""
    dag = os.path.basename(layout.newest_dag(folder))
    names = [name for name in os.listdir(folder) if re.fullmatch(re.escape(dag) + r"\.rescue[0-9]{3}", name)]
    return os.path.join(folder, max(names)) if names else ""


@interrupts.delayed()
def dagman_jobs(schedd: htcondor2.Schedd, folder: str) -> list[DagmanJob]:
    """Return the DAGMan jobs of the campaign in ``folder`` in the schedd's queue, including one that is ending."""
    try:
        ads = schedd.query(constraint=queue.of_campaign(folder), projection=list(queue.ATTRIBUTES))
    except htcondor2.HTCondorException as error:
        raise CampaignError(f"the schedd does not answer ({first_line(error)}); try again later") from error
    return list(queue.read(ads, "", time.time()).jobs)


def stop_dag(schedd: htcondor2.Schedd, folder: str, cluster: int) -> Stopped:
    """Remove the campaign's DAGMan job and all its nodes, in the order that lets the FINAL node run.

    DAGMan is halted first: a removal does not cancel waiting PRE scripts, which would all run before FINAL. A DAGMan
    that is held, cannot run or does not react within a minute is removed without a halt. One without jobs in the
    queue after the halt ends by itself, and a removal would kill its FINAL script. Takes at most 5 min.
    """
    dag = layout.newest_dag(folder)
    halt, dagman_out = dag + layout.ENDING_HALT, dag + layout.ENDING_DAGMAN_OUT
    read_from = os.path.getsize(dagman_out) if os.path.exists(dagman_out) else 0
    running = [job for job in dagman_jobs(schedd, folder) if job.cluster == cluster]
    if not running:
        return Stopped(halted=False, gone=True)

    def has_left() -> bool:
        return all(job.cluster != cluster for job in dagman_jobs(schedd, folder))

    with atomic.closed_to_others(), open(halt, "w", encoding="utf-8") as file:
        file.write("faser-align stop\n")
    halted = running[0].works and wait_until(
        lambda: _log_says_halted(dagman_out, read_from) or _ad_says_halted(schedd, cluster), HALT_WAIT_S, POLL_S
    )
    gone = halted and not _has_jobs(schedd, cluster) and wait_until(has_left, ENDS_WAIT_S, POLL_S)
    if not gone:
        _remove(schedd, cluster)
        gone = wait_until(has_left, LEAVE_WAIT_S, POLL_S)
    if gone:  # not before: a DAGMan that continues while FINAL runs fails, and records no end
        Path(halt).unlink(missing_ok=True)
    return Stopped(halted, gone)


@interrupts.delayed()
def _has_jobs(schedd: htcondor2.Schedd, cluster: int) -> bool:
    """Return whether jobs of DAGMan's nodes are in the queue; true if the schedd does not answer."""
    try:
        return bool(schedd.query(constraint=f"DAGManJobId == {cluster}", projection=["ClusterId"], limit=1))
    except htcondor2.HTCondorException:
        return True


@interrupts.delayed()
def _remove(schedd: htcondor2.Schedd, cluster: int) -> None:
    try:
        schedd.act(htcondor2.JobAction.Remove, f"{cluster}.0", reason="faser-align stop")
    except htcondor2.HTCondorException as error:
        raise CampaignError(f"job {cluster}.0 could not be removed: {first_line(error)}; try again") from error


def _submit(schedd: htcondor2.Schedd, folder: str) -> int:
    dag = layout.newest_dag(folder)
    with _new_description(dag):
        try:
            description = describe_dagman(folder)
            credentials.issue(description)
            # Before the submission: otherwise nobody would find the campaign's DAGMan, and it may get a second one.
            submissions.note(folder, _name(), os.path.basename(dag))
            Path(dag + layout.ENDING_HALT).unlink(missing_ok=True)  # it was meant for the previous DAGMan
            result = schedd.submit(description)
        except htcondor2.HTCondorException as error:
            raise CampaignError(f"HTCondor did not accept {dag}: {first_line(error)}") from error
        except OSError as error:
            raise CampaignError(f"{folder}: cannot write: {error.strerror}; free space, then try again") from error
    return int(result.cluster())


@contextlib.contextmanager
def _new_description(dag: str) -> Iterator[None]:
    """Remove the description that HTCondor's library writes if the submission fails: it would prevent the next one."""
    path = dag + ENDING_DESCRIPTION
    existed = os.path.exists(path)
    try:
        yield
    except CampaignError:
        if not existed:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise


@interrupts.delayed()
def _name() -> str:
    """Return the name of the schedd that submissions go to."""
    try:
        return str(htcondor2.Collector().locate(htcondor2.DaemonType.Schedd).get("Name", ""))
    except htcondor2.HTCondorException:
        return ""


def describe_dagman(folder: str) -> htcondor2.Submit:
    """Return the submit description of the campaign's DAGMan job; without force, so that it uses a rescue file."""
    binary = os.path.join(str(htcondor2.param.get("BIN", "/usr/bin")), "condor_dagman")
    options: dict[str, Any] = {"DagmanPath": binary} if os.path.exists(binary) else {}
    with _silent():
        description = htcondor2.Submit.from_dag(layout.newest_dag(folder), options)
    description["initialdir"] = folder
    description["getenv"] = "false"
    description["environment"] = _extend(description["environment"], _environment(os.path.dirname(binary)))
    # If DAGMan itself dies no script runs; then HTCondor's own mail is the notification.
    description["notification"] = "Error"
    description["periodic_remove"] = STUCK
    return description


def _environment(bin_folder: str) -> dict[str, str]:
    user = pwd.getpwuid(os.getuid())
    path = PATH if bin_folder in PATH.split(":") else f"{PATH}:{bin_folder}"
    environment = {"HOME": user.pw_dir, "USER": user.pw_name, "PATH": path, "LANG": "C.UTF-8"}
    if "CONDOR_CONFIG" in os.environ:  # selects the pool
        environment["CONDOR_CONFIG"] = os.environ["CONDOR_CONFIG"]
    stored = credentials.path()
    if stored:
        environment[credential.VARIABLE] = stored
    return environment


def _extend(environment: str, more: dict[str, str]) -> str:
    """Add variables to a submit description's environment in its quoting: ``"A=1 B='with space'"``."""
    words = [
        f"{name}='{value.replace(chr(39), 2 * chr(39)).replace(chr(34), 2 * chr(34))}'" for name, value in more.items()
    ]
    return f'"{" ".join([environment.strip().removeprefix(chr(34)).removesuffix(chr(34)), *words])}"'


def refuse_second(schedd: htcondor2.Schedd, folder: str) -> None:
    """Raise UserError if a DAGMan of the campaign is in the queue."""
    jobs = dagman_jobs(schedd, folder)
    if jobs:
        raise UserError(
            f"the campaign {folder} is already running as job {jobs[0].cluster}.0, and two DAGMans would corrupt it; "
            "stop it first, or wait until it ends"
        )


@interrupts.delayed()
def _ad_says_halted(schedd: htcondor2.Schedd, cluster: int) -> bool:
    """Return whether the ad of the DAGMan job says that the DAG is halted; DAGMan updates it at intervals."""
    with contextlib.suppress(htcondor2.HTCondorException):
        return bool(schedd.query(f"ClusterId == {cluster} && DAG_Status =?= {DAG_STATUS_HALTED}", ["ClusterId"]))
    return False


def _log_says_halted(dagman_out: str, read_from: int) -> bool:
    with contextlib.suppress(FileNotFoundError), open(dagman_out, "rb") as file:
        file.seek(read_from)
        return HALTED.encode() in file.read()
    return False


_stdout = threading.Lock()  # of two threads at once, one would restore the other's sink


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard the bindings' output from C++, which bypasses Python's streams."""
    with _stdout:
        sys.stdout.flush()
        kept = os.dup(1)
        try:
            with tempfile.TemporaryFile() as sink:
                os.dup2(sink.fileno(), 1)
                yield
        finally:
            ctypes.CDLL(None).fflush(None)  # C's own buffer would otherwise be printed at exit
            os.dup2(kept, 1)
            os.close(kept)
