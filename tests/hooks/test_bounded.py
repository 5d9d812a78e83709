"""Test functions that run in a process that can be killed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sending import until_gone

from faser_align.system.bounded import Worker, call


def test_a_worker_runs_one_function_after_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    """A worker returns the values of each function, prints nothing, and continues after an error, which it reports."""
    with Worker() as worker:
        assert worker.call("sending", "counting", 1, "two", wait_s=60.0) == ([1, "two"], False, "")
        assert worker.call("sending", "failing", "no luck", wait_s=60.0) == ([], False, "no luck")
        assert worker.call("sending", "failing", "", wait_s=60.0) == ([], False, "ValueError")
        process = worker._child
        assert process is not None
        assert worker.call("sending", "counting", wait_s=60.0) == ([], False, "")
        assert process.poll() is None
    assert process.poll() is not None
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_dies_is_replaced() -> None:
    """A worker that ends early is reported with its exit status, and the next call starts another."""
    with Worker() as worker:
        for status in (7, 0):
            assert worker.call("os", "_exit", status, wait_s=60.0) == (
                [],
                False,
                f"the process ended early with status {status}",
            )
        assert worker.call("sending", "counting", 1, wait_s=60.0).found == [1]


@pytest.mark.slow
def test_a_function_that_no_signal_reaches_is_killed(tmp_path: Path) -> None:
    """A function that waits in the C library is killed at its time limit, its values count, and the next call works."""
    with Worker() as worker:
        worker.call("sending", "counting", wait_s=60.0)  # has started, however busy the machine is
        started = time.monotonic()
        (process,), late, problem = worker.call("sending", "deaf", str(tmp_path / "process"), wait_s=2.0)
        assert 2.0 <= time.monotonic() - started < 60.0
        assert (late, problem) == (True, "")
        assert not Path(f"/proc/{process}").exists()
        assert worker.call("sending", "counting", 1, wait_s=60.0).found == [1]
    assert call("sending", "counting", 1, wait_s=-1.0) == ([], True, "")


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """The kernel kills a worker whose parent was killed."""
    file = tmp_path / "process"
    program = (
        "import sys; sys.path[:] = sys.argv[2:]\n"
        "from faser_align.system.bounded import call; call('sending', 'deaf', sys.argv[1], wait_s=600.0)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(file), *sys.path]) as parent:
        while not (file.exists() and file.read_text()):
            assert parent.poll() is None
            time.sleep(0.02)
        parent.kill()
    until_gone(int(file.read_text()))
