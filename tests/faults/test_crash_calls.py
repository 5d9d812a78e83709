"""Every hook is killed at one system call after another, by strace, run again, and must leave what an undisturbed run leaves.

FASER_ALIGN_SOAK=1 tries every call that changes something outside the process, and of the hooks of reconstruction nodes every
call there is; ``make test`` a part, the same one each time. Where processes may not be traced, the test that kills at lines
stands in for this one.
"""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from campaigns import hook
from killing import STRACE, killing_at, may_trace
from scenarios import HEAVY, LIGHT, Prepare, Stage, picture
from worlds import PROMPT

from faser_align.notifiers.mailbox import Mailbox

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))
STRIDE = 1 if SOAK else 29  # of the calls that change something
STRIDE_LOOKS, STRIDE_LOOKS_HEAVY = (1, 40) if SOAK else (400, 4000)  # of those that only look
CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
# A process that dies before a call that only looks leaves what it leaves if it dies before the next of these.
CHANGES = {
    *["write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "truncate", "fsync", "fdatasync"],
    *["unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat", "rmdir", "chmod"],
    *["flock", "connect", "sendto", "sendmsg", "shutdown", "exit_group"],
}


def points(calls: list[str], *, heavy: bool) -> list[tuple[str, int]]:
    """Where to kill: (name of a system call, which of them), for a hook that makes ``calls``."""
    numbers: Counter[str] = Counter()
    found: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
    for name in calls:
        numbers[name] += 1
        found[name in CHANGES].append((name, numbers[name]))
    looks = STRIDE_LOOKS_HEAVY if heavy else STRIDE_LOOKS
    return found[True][::STRIDE] + found[False][::looks]


@pytest.mark.timeout(7200 if SOAK else 1800)
@pytest.mark.parametrize("prepare", [*LIGHT, *HEAVY])
def test_a_hook_that_is_killed_at_any_system_call_is_completed_by_the_next_run(
    prepare: Prepare, tmp_path: Path
) -> None:
    """Killed before any system call and run again, a hook has done everything once, and answers as it should."""
    if not may_trace(tmp_path):
        pytest.skip("strace may not trace here: test_crash_points.py, which kills hooks at lines, stands in")
    with Mailbox(tmp_path / "mail") as mailbox:
        stage = Stage(tmp_path, mailbox, prepare)
        log = tmp_path / "calls"
        whole = (str(STRACE), "-f", "-qq", "-o", str(log), *PROMPT)
        # The first run finds no compiled copy of what it imports late, and so on: count in the second.
        for _ in range(2):
            stage.reset()
            expected = hook(*stage.call, interpreter=whole).returncode
        told, undisturbed = stage.letters(), picture(stage.folder)
        calls = CALL.findall(log.read_text(errors="replace"))
        places = points(calls, heavy=prepare in HEAVY)
        missed: list[str] = []
        touched = True
        for place in places:
            if touched:
                stage.reset()
            if hook(*stage.call, interpreter=killing_at(*place, *PROMPT)).returncode != -9:
                missed.append(place[0])
            touched = not stage.untouched()
            if touched:
                stage.let_time_pass()
                assert hook(*stage.call).returncode == expected, place
                assert picture(stage.folder) == undisturbed, place
                # Between sending and marking a message may be repeated; it is never lost.
                letters = stage.letters()
                assert len(told) <= len(letters) <= 2 * len(told), place
                assert set(letters) == set(told), place
        # How often a program looks may differ a little from run to run (it waits for a thread, or asks for memory), what it
        # changes may not.
        assert not CHANGES.intersection(missed)
        assert len(missed) <= max(1, 0.02 * len(places))
        changes = sum(name in CHANGES for name in calls)
        print(
            f"{prepare.__name__}: killed {len(places) - len(missed)} times; it makes {len(calls)} system calls, {changes} change something"
        )
