"""Start, use and stop the personal pool: HTCondor on one machine, for the user who started it.

A pool is a folder. One process starts it, others use it and a third stops it, so nothing is kept in memory: the kernel
knows the processes (``faser_align.pool.processes``), and a lock in the folder serialises starts and stops. Files that a
power cut leaves are harmless.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.fsm.errors import CampaignError, UserError
from faser_align.pool import launch, machine, processes
from faser_align.system.account import state_folder
from faser_align.system.attempt import wait_until

LOCK, CONFIG = "start.lock", "condor_config"  # files of a pool's folder
_START_S = 150.0  # PersonalPool gives up after 120 s
_SCHEDULER = 7  # HTCondor's JobUniverse of jobs that the schedd itself runs, such as DAGMan
_JOB_STATES = {1: "idle", 2: "running", 5: "held"}  # HTCondor's JobStatus; other states last only seconds


class Pool(NamedTuple):
    """A running pool: its folder, the process id of its master, and whether this call started it."""

    folder: Path
    master_pid: int
    started: bool


class Status(NamedTuple):
    """Status of a pool."""

    folder: Path
    running: bool
    master_pid: int | None
    processors: int
    processors_busy: int
    jobs: dict[str, int]  # by state: ``idle``, ``running``, ``held``, ``other``
    campaigns: int  # DAGMan jobs, which use no processor of the pool and are not among ``jobs``


def default_folder() -> Path:
    """Return the folder of the user's pool: $FASER_ALIGN_POOL, else faser-align/pool below the XDG state home."""
    chosen = os.environ.get("FASER_ALIGN_POOL")
    return Path(os.path.expanduser(chosen)).resolve() if chosen else state_folder() / "pool"


def start(folder: Path | None = None, *, cpus: int | None = None, credentials: bool = False) -> Pool:
    """Start the pool in ``folder`` and wait until it accepts jobs; a running pool stays as it is.

    ``cpus`` is the number of processors for its jobs (by default all that this process may use); ``credentials`` adds
    Kerberos credentials (``faser_align.pool.credentials``). Raises UserError for root, without HTCondor, for a folder
    that cannot be written, or for a pool that runs without credentials; CampaignError if the daemons do not start.
    """
    folder = _absolute(folder)
    machine.refuse_root()
    program = machine.condor_master()
    with _locked(folder):
        running = processes.master(_config(folder))
        if running is not None and not processes.launchers(_config(folder)):
            if credentials and "SEC_CREDENTIAL_PRODUCER" not in _config(folder).read_text(errors="replace"):
                raise UserError(
                    f"the pool in {folder} runs without credentials; stop it first with `faser-align pool stop`"
                )
            return Pool(folder, running, started=False)
        # Remains of a killed start, or of a pool whose master was killed, would block the new daemons.
        processes.end(_config(folder))
        _launch(folder, cpus or machine.processors(), program, launch.CREDENTIALS if credentials else "")
        started = processes.master(_config(folder))
        if started is None:
            raise CampaignError(f"the pool in {folder} exited right after its start; read {folder}/log/MasterLog")
        return Pool(folder, started, started=True)


def stop(folder: Path | None = None) -> bool:
    """Stop the pool in ``folder`` and wait until its last process has ended; return whether it was running.

    Its queue stays on disk: jobs continue when the pool starts again.
    """
    folder = _absolute(folder)
    if not folder.is_dir():
        return False
    with _locked(folder):
        ran = bool(processes.daemons(_config(folder)))
        try:
            processes.end(_config(folder))
        except TimeoutError as left:
            raise CampaignError(f"the pool in {folder} does not stop: {left} survived SIGKILL") from left
        return ran


def status(folder: Path | None = None) -> Status:
    """Return the status of the pool in ``folder``; one that was never started is not running.

    Raises CampaignError if its daemons run but do not answer.
    """
    folder = _absolute(folder)
    running = processes.master(_config(folder))
    if running is None:
        return Status(folder, False, None, 0, 0, _count([]), 0)
    with _configured(folder):
        import htcondor2

        try:
            slots = htcondor2.Collector().query(
                htcondor2.AdType.Startd, projection=["TotalSlotCpus", "Cpus", "SlotType"]
            )
            jobs = htcondor2.Schedd().query(projection=["JobStatus", "JobUniverse"])
        except htcondor2.HTCondorException as error:
            raise CampaignError(
                f"the pool in {folder} runs but does not answer ({error}); restart it with `faser-align pool stop` and `faser-align pool start`"
            ) from error
    whole = [slot for slot in slots if slot.get("SlotType") == "Partitionable"]
    total, free = (sum(int(slot.get(key, 0)) for slot in whole) for key in ("TotalSlotCpus", "Cpus"))
    work = [job for job in jobs if job.get("JobUniverse") != _SCHEDULER]
    return Status(folder, True, running, total, total - free, _count(work), len(jobs) - len(work))


def environment(folder: Path | None = None) -> dict[str, str]:
    """Return the environment variables with which HTCondor's tools, and child processes, find the pool."""
    return {"CONDOR_CONFIG": str(_config(_absolute(folder))), "PATH": machine.search_path()}


def use(folder: Path | None = None) -> None:
    """Make this process use the pool in ``folder``, whether or not htcondor2 is already imported.

    Raises UserError if no pool was ever started there.
    """
    folder = _absolute(folder)
    if not _config(folder).is_file():
        raise UserError(f"no pool in {folder}; start one with `faser-align pool start`")
    os.environ.update(environment(folder))
    _reload()


def _absolute(folder: Path | None) -> Path:
    return default_folder() if folder is None else Path(os.path.expanduser(folder)).resolve()


def _config(folder: Path) -> Path:
    return folder / CONFIG


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, making the folder if necessary; the kernel releases it when the holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the pool's folder ({error.strerror}); choose another with --folder"
        ) from error
    try:
        if not wait_until(lambda: _acquired(lock), _START_S, 0.1):
            raise CampaignError(
                f"another process has been starting or stopping the pool in {folder} for {_START_S:.0f} s"
            )
        yield
    finally:
        os.close(lock)


def _acquired(lock: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _launch(folder: Path, cpus: int, program: Path, option: str) -> None:
    """Start the daemons in a session of their own; a failure leaves nothing running."""
    variables = {**os.environ, "PATH": os.pathsep.join((machine.search_path(), str(program.parent)))}
    # HTCondor's paths come from the machine's configuration, not from that of another personal pool.
    if not os.path.isfile(variables.get("CONDOR_CONFIG", "")) or variables["CONDOR_CONFIG"] == str(_config(folder)):
        variables.pop("CONDOR_CONFIG", None)
    command = [sys.executable, "-I", "-m", "faser_align.pool.launch", str(folder), str(cpus), *filter(None, [option])]
    try:
        with open(folder / "start.log", "wb") as log:
            subprocess.run(
                command,
                check=True,
                cwd="/",
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=_START_S,
            )
    except BaseException as error:
        processes.end(_config(folder))
        if isinstance(error, subprocess.SubprocessError):
            raise CampaignError(
                f"the pool in {folder} did not start; read {folder}/start.log and {folder}/log/MasterLog"
            ) from error
        raise


@contextlib.contextmanager
def _configured(folder: Path) -> Iterator[None]:
    """Use the pool in ``folder`` within the block, then the previous one."""
    before = {name: os.environ.get(name) for name in environment(folder)}
    os.environ.update(environment(folder))
    _reload()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reload()


def _reload() -> None:
    """Make htcondor2 read CONDOR_CONFIG again, if it is imported; a variable that names no file makes it write errors."""
    if "htcondor2" in sys.modules and os.path.exists(os.environ.get("CONDOR_CONFIG", os.sep)):
        sys.modules["htcondor2"].reload_config()


def _count(jobs: list[Any]) -> dict[str, int]:
    counts = Counter(_JOB_STATES.get(job.get("JobStatus"), "other") for job in jobs)
    return {"idle": 0, "running": 0, "held": 0, "other": 0, **counts}
