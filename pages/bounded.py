"""Publish a page within a time limit, whatever the state of its folder; hooks and jobs use this.

A child process writes the page. A process that waits for a lost file server handles no alarm but can usually be killed;
if not, it is left to the system. The child dies with its parent.
"""

import contextlib
import os
import signal
import subprocess
import sys

from faser_align.fsm.errors import CampaignError

PUBLISH_S_MAX, KILLED_S_MAX = 60.0, 2.0
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; from faser_align.pages import bounded; bounded.write(*sys.argv[1:5])"
)
_PR_SET_PDEATHSIG = 1  # prctl(2)


def publish(campaign: str, folder: str, *, written_utc: str) -> None:
    """Publish as ``pages.publish`` does, within ``PUBLISH_S_MAX``.

    Raises:
        CampaignError: the page could not be written.
    """
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), campaign, folder, written_utc, *sys.path]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, output = child.communicate(timeout=PUBLISH_S_MAX)
    except subprocess.TimeoutExpired:
        raise CampaignError(f"the page was not written within {PUBLISH_S_MAX:.0f} s") from None
    finally:
        if child.poll() is None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=KILLED_S_MAX)
    if child.returncode:
        raise CampaignError(output.decode("utf-8", "replace").strip() or f"exit status {child.returncode}")


def write(parent: str, campaign: str, folder: str, written_utc: str) -> None:
    """Publish in the child process; the last line on stderr is the error."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("who asked is gone")
    try:
        from faser_align.pages import publish as pages  # imported here, because the parent does not need it

        pages.publish(campaign, folder, written_utc=written_utc)
    except Exception as problem:  # noqa: BLE001 -- the parent reports any error as a sentence
        sys.exit(str(problem) or type(problem).__name__)
