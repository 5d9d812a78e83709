"""Test the personal pool: start, find, query, stop; and the errors of finding a schedd."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import htcondor2
import pytest
from nowhere import until

from faser_align.cli import main
from faser_align.fsm.errors import UserError
from faser_align.pool import machine, personal, processes, schedd, tidy

_START = "import sys; from pathlib import Path; from faser_align.pool import personal; print(personal.start(Path(sys.argv[1]), cpus=1).started)"


@pytest.fixture
def own(pool: personal.Pool, workdir: Path) -> Iterator[Path]:
    """Provide the folder (with a space in its name) of a pool that a test may change; it is stopped afterwards."""
    folder = workdir / "my pool"
    yield folder
    personal.stop(folder)


def run(schedd_of: object, folder: Path, script: str) -> str:
    """Submit a shell script to a schedd, wait for its end and return its output."""
    log = folder / "job.log"
    job = {
        "executable": "/bin/sh",
        "arguments": f"\"-c '{script}'\"",
        "transfer_executable": "false",
        "output": str(folder / "out"),
        "log": str(log),
    }
    schedd_of.submit(htcondor2.Submit(job))  # type: ignore[attr-defined]
    until(lambda: log.exists() and "Job terminated" in log.read_text())
    return (folder / "out").read_text()


def kill(*pids: int) -> None:
    """Kill processes that are not our children and wait until they have ended (zombies count as ended)."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # daemons have children that end by themselves
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(_has_memory, pids)))


def _has_memory(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return False


def test_a_job_runs(pool: personal.Pool, workdir: Path) -> None:
    """A job submitted through htcondor2 runs on the pool of this test run."""
    assert run(schedd.schedd(), workdir, "echo hello") == "hello\n"


def test_a_pool_starts_again_whatever_was_killed(own: Path, workdir: Path) -> None:
    """Of two simultaneous starts one starts the pool; a later start changes nothing unless daemons were killed."""
    config = own / "condor_config"
    assert personal.status(own).running is False
    command = [sys.executable, "-I", "-c", _START, str(own)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(start.communicate(timeout=300)[0] for start in starts) == ["False\n", "True\n"]
    asked = until(lambda: (seen := personal.status(own)).processors and seen)  # the collector hears of them later
    assert (asked.running, asked.processors, asked.processors_busy) == (True, 1, 0)
    assert asked.jobs == {"idle": 0, "running": 0, "held": 0, "other": 0}
    assert asked.campaigns == 0
    masters = [personal.start(own, cpus=1).master_pid for _ in range(2)]
    assert masters[0] == masters[1]
    kill(*(daemon.pid for daemon in processes.daemons(config)))
    with pytest.raises(UserError, match="pool start"):
        schedd.schedd(folder=own)
    again = personal.start(own, cpus=1)
    assert again.started
    try:
        assert run(schedd.schedd(folder=own), workdir, "echo again") == "again\n"
    finally:
        personal.use()
    kill(again.master_pid)
    third = personal.start(own, cpus=1)
    assert third.started
    kill(third.master_pid)
    assert personal.stop(own) is True
    assert processes.daemons(config) == []
    assert personal.stop(own) is False


def test_two_pools_do_not_meet(pool: personal.Pool, workdir: Path) -> None:
    """A second pool runs its own jobs; querying it does not change this process's pool, and a stop spares the first.

    The pool's folder may have a path longer than a socket's name.
    """
    folder = workdir / ("x" * 100) / "pool"
    try:
        personal.start(folder, cpus=1)
        before = os.environ["CONDOR_CONFIG"]
        personal.status(folder)
        assert os.environ["CONDOR_CONFIG"] == before
        said = run(schedd.schedd(folder=folder), workdir, "echo $_CONDOR_SCRATCH_DIR")
        assert said.startswith(str(folder / "execute"))
    finally:
        personal.use(pool.folder)
        personal.stop(folder)
    assert personal.status(pool.folder).running


def test_stop_ends_a_start_whose_parent_was_killed(own: Path) -> None:
    """stop also ends a start that was killed half-way, so that it cannot start the pool later."""
    starting = subprocess.Popen([sys.executable, "-I", "-c", _START, str(own)])
    while not processes.launchers(own / "condor_config"):
        assert starting.poll() is None
        time.sleep(0.01)
    starting.kill()
    starting.wait()
    personal.stop(own)
    assert processes.launchers(own / "condor_config") == []
    time.sleep(1)
    assert processes.daemons(own / "condor_config") == []


def test_the_pool_outlives_its_terminal(pool: personal.Pool) -> None:
    """The daemons have their own session, which neither Ctrl-C nor a closed terminal reaches."""
    assert os.getsid(pool.master_pid) != os.getsid(0)


def test_nothing_listens_to_the_network(pool: personal.Pool) -> None:
    """Every socket on which a daemon listens is bound to loopback."""
    sockets = set()
    for daemon in processes.daemons(pool.folder / "condor_config"):
        with contextlib.suppress(FileNotFoundError):  # a child that has ended
            for descriptor in os.listdir(f"/proc/{daemon.pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # a file that was closed meanwhile
                    sockets.add(os.readlink(f"/proc/{daemon.pid}/fd/{descriptor}"))
    listening = "0A"
    tables = [Path(f"/proc/net/{table}") for table in ("tcp", "tcp6")]  # the latter if the kernel has IPv6
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
    bound = {row[1].partition(":")[0] for row in rows if row[3] == listening and f"socket:[{row[9]}]" in sockets}
    assert bound == {"0100007F"}


def test_the_queue_survives_a_stop(own: Path, workdir: Path) -> None:
    """A waiting job survives a stop and start of the pool, and tidy finds its folder."""
    personal.start(own, cpus=1)
    try:
        job = htcondor2.Submit({"executable": "/bin/true", "hold": "true", "initialdir": str(workdir)})
        schedd.schedd(folder=own).submit(job)
        assert tidy.queued(own) == [workdir]
        with pytest.raises(SystemExit, match="jobs of"):
            tidy.main(str(own), str(workdir / "elsewhere"))
        personal.stop(own)
        personal.start(own, cpus=1)
        job["universe"] = "scheduler"  # like DAGMan's jobs
        schedd.schedd(folder=own).submit(job)
        asked = personal.status(own)
        assert (asked.jobs["held"], asked.campaigns) == (1, 1)
        schedd.schedd(folder=own).act(htcondor2.JobAction.Remove, "true")
        tidy.main(str(own), str(workdir))
        assert personal.status(own).running is False
    finally:
        personal.use()


def test_no_pool_was_ever_started(workdir: Path) -> None:
    """The error for a folder without a pool names the command that starts one."""
    with pytest.raises(UserError, match="faser-align pool start"):
        personal.use(workdir / "none")


def test_no_htcondor(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """Without condor_master in PATH or the system's folders the error says what to install."""
    monkeypatch.setenv("PATH", str(workdir))
    monkeypatch.setattr(machine, "_SYSTEM", ())
    with pytest.raises(UserError, match="HTCondor is not installed on this machine"):
        machine.condor_master()
    (workdir / "condor_master").touch(0o755)
    with pytest.raises(UserError, match="HTCondor is only partly installed on this machine"):
        machine.condor_master()


def test_no_htcondor_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pool start` without HTCondor gives one sentence and exit status 2, and makes no folder."""
    monkeypatch.setenv("PATH", str(workdir))
    monkeypatch.setattr(machine, "_SYSTEM", ())
    monkeypatch.setattr(machine, "refuse_root", lambda: None)
    monkeypatch.setattr(sys, "argv", ["faser-align", "pool", "start", "--folder", str(workdir / "pool")])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: HTCondor is not installed on this machine (no condor_master and no condor_"
    )
    assert list(workdir.iterdir()) == []


def test_root_is_refused(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """Root gets the reason and the fix, and no folder is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UserError, match="refuses jobs of root"):
        personal.start(workdir / "pool")
    assert not (workdir / "pool").exists()


def test_a_folder_that_cannot_be_written(pool: personal.Pool, workdir: Path) -> None:
    """The error names the folder and the option that chooses another."""
    workdir.chmod(0o500)
    with pytest.raises(UserError, match="cannot write") as caught:
        personal.start(workdir / "pool")
    workdir.chmod(0o700)
    assert str(workdir / "pool") in str(caught.value)


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """The pool's folder is FASER_ALIGN_POOL, else in the XDG state home, else below the home folder."""
    assert personal.default_folder() == Path(os.environ["FASER_ALIGN_POOL"])
    monkeypatch.delenv("FASER_ALIGN_POOL")
    assert personal.default_folder() == Path(os.environ["XDG_STATE_HOME"]) / "faser-align" / "pool"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(workdir))
    assert personal.default_folder() == workdir / ".local" / "state" / "faser-align" / "pool"


def test_condor_master_is_found_without_sbin_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's PATH without the folders of system programs is sufficient."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert machine.condor_master().name == "condor_master"


def test_a_pool_starts_whatever_path_says(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If PATH has none of HTCondor's programs, those in the system's folders are found."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert personal.start(own, cpus=1).started


def test_a_configuration_that_is_gone(pool: personal.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CONDOR_CONFIG that names no file does not affect personal pools; for the machine's pool it is named."""
    monkeypatch.setenv("CONDOR_CONFIG", "/nowhere")
    with pytest.raises(UserError, match="CONDOR_CONFIG = /nowhere: there is no such file; unset it"):
        schedd.schedd("system")
    command = [sys.executable, "-m", "faser_align.cli", "pool", "status", "--folder", str(pool.folder)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (htcondor2.HTCondorException("Failed to connect.\nmore"), r"\(Failed to connect\)"),
        (KeyError("MyAddress"), r"\(the collector does not know its address\)"),
    ],
)
def test_a_schedd_that_cannot_be_found_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    """An exception of the bindings, also KeyError for an ad without MyAddress, becomes a UserError with a fix."""

    def fail() -> None:
        raise problem

    monkeypatch.setattr(htcondor2, "Schedd", fail)
    with pytest.raises(UserError, match=f"no HTCondor schedd answers {said}; work on an access point"):
        schedd.schedd("system")
