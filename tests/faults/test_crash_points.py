"""Every hook is killed at one executed line after another, run again, and must leave what an undisturbed run leaves.

``make test`` tries every 97th line of the hooks of reconstruction nodes and every 173rd of the others, the same ones each time.
FASER_ALIGN_SOAK=1 tries all of the former; of the others it tries all where processes may not be traced, since elsewhere
test_crash_calls.py kills them at each of their system calls: between two of these nothing outside the process changes.
"""

import os
import sys
from pathlib import Path

import pytest
from campaigns import HOOK, hook
from killing import may_trace
from scenarios import HEAVY, LIGHT, Prepare, Stage, picture

from faser_align.notifiers.mailbox import Mailbox

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))
STRIDE, STRIDE_HEAVY = 97, 173
PACKAGES = str(Path(HOOK).parents[2])
CRASH = Path(__file__).parents[1] / "support" / "crash.py"


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("prepare", [*LIGHT, *HEAVY])
def test_a_hook_that_is_killed_anywhere_is_completed_by_the_next_run(prepare: Prepare, tmp_path: Path) -> None:
    """Killed at any line and run again, a hook has done everything once, and answers as it should."""
    counted = tmp_path / "counted"
    with Mailbox(tmp_path / "mail") as mailbox:
        stage = Stage(tmp_path, mailbox, prepare)

        def run(last: int) -> int:
            return hook(
                *stage.call, interpreter=(sys.executable, "-I", "-S", str(CRASH), str(last), str(counted), PACKAGES)
            ).returncode

        # The first run finds no compiled copy of what it imports late, and so on: count in the second.
        for _ in range(2):
            stage.reset()
            expected = run(0)
        told, undisturbed = stage.letters(), picture(stage.folder)
        lines = int(counted.read_text())
        complete = SOAK and (prepare in LIGHT or not may_trace(tmp_path))
        stride = 1 if complete else STRIDE_HEAVY if prepare in HEAVY else STRIDE
        places = range(1, lines + 1, stride)
        for last in places:
            stage.reset()
            assert run(last) == -9, last
            if not stage.untouched():
                stage.let_time_pass()
                assert hook(*stage.call).returncode == expected, last
                assert picture(stage.folder) == undisturbed, last
                # Between sending and marking a message may be repeated; it is never lost.
                letters = stage.letters()
                assert len(told) <= len(letters) <= 2 * len(told), last
                assert set(letters) == set(told), last
        print(f"{prepare.__name__}: killed at {len(places)} of {lines} lines")
