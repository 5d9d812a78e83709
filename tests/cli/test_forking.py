"""Test the forks that tests run instead of programs."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import forking
import pytest


def test_programs_run_at_the_same_time_and_late_ones_are_killed() -> None:
    """Forks of one server run at the same time; one that takes too long is killed, and the others continue."""

    def program(body: str, timeout_s: float = 60) -> int:
        return forking.run(["-n", "1", "-r", "1", body], module="timeit", timeout_s=timeout_s).returncode

    started = time.monotonic()
    with ThreadPoolExecutor() as threads:
        late = threads.submit(program, "import time; time.sleep(100)", 0.2)
        others = [threads.submit(program, f"import os; os._exit({status})") for status in (3, 4)]
        killed = threads.submit(program, "import os; os.kill(os.getpid(), 9)")
        with pytest.raises(subprocess.TimeoutExpired):
            late.result()
        assert [other.result() for other in others] == [3, 4]
        assert killed.result() == -9
    assert program("pass") == 0
    assert time.monotonic() - started < 60
