"""Publishing a page in bounded time, whatever has become of the folder of pages: what hooks and jobs do.

A process of its own writes the page. Who waits for a file server that is gone hears no alarm, but can be killed; where not
even that helps, the process is left to the system. It ends with who waits for it.
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
        CampaignError: what kept the page from being written.
    """
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), campaign, folder, written_utc, *sys.path]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = child.communicate(timeout=PUBLISH_S_MAX)
    except subprocess.TimeoutExpired:
        raise CampaignError(f"the page was not written within {PUBLISH_S_MAX:.0f} s") from None
    finally:
        if child.poll() is None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=KILLED_S_MAX)
    if child.returncode:
        raise CampaignError(said.decode("utf-8", "replace").strip() or f"exit status {child.returncode}")


def write(parent: str, campaign: str, folder: str, written_utc: str) -> None:
    """Publish, in the process that may be killed; the last word on standard error is what went wrong."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("who asked is gone")
    try:
        from faser_align.pages import publish as pages  # with all that pages need, of which who waits needs nothing

        pages.publish(campaign, folder, written_utc=written_utc)
    except Exception as problem:  # noqa: BLE001 -- whatever it is, who asked is told in a sentence
        sys.exit(str(problem) or type(problem).__name__)
