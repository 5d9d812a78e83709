"""Test that a script killed at any place and run again leaves what an undisturbed run leaves.

Places are system calls, where strace may trace, and executed lines. `make soak` tries every call that changes something
outside the process, every line, and of the scripts of reconstruction nodes every call. `make test` tries some, the same
ones each time, and lines of the scripts that take long to run only where strace may not trace, since nothing changes between
two calls.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import HOOK, hook
from killing import STRACE, killing_at, may_trace
from properties import SOAK
from scenarios import HEAVY, LIGHT, Prepare, Stage, held
from soaked import Record
from stored import seen
from worlds import PROMPT

from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import without_dagman
from faser_align.state import queries

pytestmark = pytest.mark.slow

STRIDE_LINES, STRIDE_LINES_HEAVY = 299, 2503
STRIDE_CHANGES = 1 if SOAK else 151
STRIDE_LOOKS, STRIDE_LOOKS_HEAVY = (1, 40) if SOAK else (900, 9000)  # calls that only read
TRACES = may_trace(Path.cwd())
PACKAGES = str(Path(HOOK).parents[2])
CRASH = Path(__file__).parents[1] / "support" / "crash.py"
CALL = re.compile(r"^(\w+)\(", re.MULTILINE)
# A process killed before a reading call leaves the same as one killed before the next of these.
CHANGES = {
    *["write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "truncate", "fsync", "fdatasync"],
    *["unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat", "rmdir", "chmod"],
    *["flock", "exit_group"],
}


@pytest.fixture
def stage(tmp_path: Path, prepare: Prepare) -> Iterator[Stage]:
    """Provide the prepared script."""
    with Mailbox(tmp_path / "mail") as mailbox:
        yield Stage(tmp_path, mailbox, prepare)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("prepare", [*LIGHT, *(HEAVY if SOAK or not TRACES else ())])
def test_a_hook_that_is_killed_anywhere_is_completed_by_the_next_run(
    stage: Stage, prepare: Prepare, tmp_path: Path, record_property: Record
) -> None:
    """A script that is killed at any line and run again has done everything once, with the right exit status."""
    counted = tmp_path / "counted"

    def run(last: int) -> int:
        crash = (sys.executable, "-I", "-S", str(CRASH), str(last), str(counted), PACKAGES)
        return hook(*stage.call, interpreter=crash).returncode

    stage.record_undisturbed(lambda: run(0))
    lines = int(counted.read_text())
    stride = 1 if SOAK else STRIDE_LINES_HEAVY if prepare in HEAVY else STRIDE_LINES
    places = range(1, lines + 1, stride)
    for last in places:
        stage.reset()
        assert run(last) == -9, last
        stage.complete(last)
    record_property("kills", len(places))
    print(f"{prepare.__name__}: killed at {len(places)} of {lines} lines")


def points(calls: list[str], *, heavy: bool) -> list[tuple[str, int]]:
    """Return where to kill a script that makes ``calls``: (name of a system call, which of them)."""
    numbers: Counter[str] = Counter()
    found: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
    for name in calls:
        numbers[name] += 1
        found[name in CHANGES].append((name, numbers[name]))
    looks = STRIDE_LOOKS_HEAVY if heavy else STRIDE_LOOKS
    return found[True][::STRIDE_CHANGES] + found[False][::looks]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("prepare", [*LIGHT, *HEAVY])
def test_a_hook_that_is_killed_at_any_system_call_is_completed_by_the_next_run(
    stage: Stage, prepare: Prepare, tmp_path: Path, record_property: Record
) -> None:
    """A script killed before any system call and run again has done everything once, with the right exit status."""
    if not TRACES:
        pytest.skip("strace may not trace here: the test that kills hooks at lines is complete instead")
    log = tmp_path / "calls"
    whole = (str(STRACE), "-qq", "-o", str(log), *PROMPT)
    stage.record_undisturbed(lambda: hook(*stage.call, interpreter=whole).returncode)
    calls = CALL.findall(log.read_text(errors="replace"))
    places = points(calls, heavy=prepare in HEAVY)
    missed: list[str] = []
    touched = True
    for place in places:
        if touched:
            stage.reset()
        if hook(*stage.call, interpreter=killing_at(*place, *PROMPT)).returncode != -9:
            missed.append(place[0])
        touched = stage.complete(place)
    # The number of reading calls may vary slightly (reading a pipe, allocating memory), that of changes may not.
    assert not CHANGES.intersection(missed)
    assert len(missed) <= max(1, 0.02 * len(places))
    changes = sum(name in CHANGES for name in calls)
    record_property("kills", len(places) - len(missed))
    print(
        f"{prepare.__name__}: killed {len(places) - len(missed)} times; it makes {len(calls)} system calls, {changes} change something"
    )


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("prepare", [held])
def test_a_sender_that_is_killed_costs_one_attempt(stage: Stage, tmp_path: Path) -> None:
    """Killing the process that sends fails no script; its message arrives with the next attempt, at most twice."""
    if not TRACES:
        pytest.skip("strace may not trace here")
    # Of SMTP: EHLO, MAIL, RCPT, DATA, the mail, QUIT.
    for place in [("sendto", number) for number in (range(1, 7) if SOAK else (5, 6))]:
        stage.reset()
        assert hook(*stage.call, interpreter=killing_at(*place, *PROMPT, children=True)).returncode == 0
        (row,) = seen(stage.folder, queries.outbox)
        assert row["error"] == "the process ended early with status -9"
        without_dagman.deliver(str(stage.folder))
        assert len(set(stage.letters())) == 1, place
        assert len(stage.letters()) == 1 + (place == ("sendto", 6)), place
