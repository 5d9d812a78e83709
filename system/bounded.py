"""Run a function of ours in a process that can be killed.

Who waits for a file server or a name server that is gone hears no alarm, but can be killed; where not even that helps, the
process is left to the system. It ends with its parent.
"""

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

KILLED_S_MAX = 2.0  # a process that was killed and does not end within this time is left to the system
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; from faser_align.system import bounded; bounded.serve(int(sys.argv[1]))"
)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Ended(NamedTuple):
    """How a function ended.

    Attributes:
        found: what it has yielded by then.
        late: whether it was killed because its time was up.
        problem: why it failed, in a sentence; empty if it did not.
    """

    found: list[Any]
    late: bool
    problem: str


def call(
    module: str, function: str, *arguments: object, wait_s: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a function in a process of its own, for at most ``wait_s``.

    Args:
        module, function: names of a function that returns an iterable or None.
        arguments: its arguments, which can be pickled, as what it yields.
        wait_s: how long to wait.
        environment: of the process; None: as here.
    """
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), *sys.path]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    late = False
    try:
        found, said = child.communicate(pickle.dumps((module, function, arguments)), timeout=max(0.0, wait_s))
    except subprocess.TimeoutExpired:
        late = True
        child.kill()
        try:
            found, said = child.communicate(timeout=KILLED_S_MAX)
        except subprocess.TimeoutExpired as left:
            found, said = left.output or b"", b""
    finally:
        if child.poll() is None:
            child.kill()
    words = said.decode("utf-8", "replace").strip()
    return Ended(list(_loaded(found)), late, "" if late or not child.returncode else words or _status(child.returncode))


def _loaded(pickled: bytes) -> Iterable[Any]:
    """Yield the whole pickles of a stream whose writer may have been killed."""
    stream = io.BytesIO(pickled)
    with suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(stream)


def _status(status: int) -> str:
    return f"it was killed by signal {-status}" if status < 0 else f"its exit status is {status}"


def serve(parent: int) -> None:
    """Run the function that standard input names, in the process that may be killed; its last words go to standard error."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(2, 1)  # what a library prints is not a result
        try:
            module, function, arguments = pickle.load(sys.stdin.buffer)
            for result in getattr(import_module(module), function)(*arguments) or ():
                pickle.dump(result, results)
                results.flush()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the parent gets it in a sentence
            sys.exit(str(problem) or type(problem).__name__)
