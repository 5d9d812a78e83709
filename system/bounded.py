"""Run functions of ours in a process that can be killed.

A process that waits for a server, a name server or a file server that is gone hears no alarm, but can be killed; where not
even that helps, it is left to the system. It ends with its parent.
"""

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, NamedTuple, Self

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


class Worker:
    """A process that runs one function after the other, started by the first call and again after a kill.

    Args:
        environment: of the process; None: as here.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def call(self, module: str, function: str, *arguments: object, wait_s: float) -> Ended:
        """Run a function of a module, which returns an iterable or None, for at most ``wait_s``.

        Arguments and what it yields can be pickled.
        """
        deadline = time.monotonic() + wait_s
        found: list[Any] = []
        child = self._child = self._child or self._start()
        assert child.stdin
        assert child.stdout
        with suppress(BrokenPipeError):  # it has died, which its output tells
            pickle.dump((module, function, arguments), child.stdin)
            child.stdin.flush()
        for line in _lines(child.stdout.fileno(), deadline):
            kind, _, pickled = line.partition(b" ")
            value = pickle.loads(bytes.fromhex(pickled.decode()))
            if kind == b"ended":
                return Ended(found, False, value)
            found.append(value)
        late = time.monotonic() >= deadline
        status = self._end()
        return Ended(found, late, "" if late else f"the process ended early with status {status}")

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), *sys.path]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, env=self._environment)

    def _end(self) -> int | None:
        """Kill the process, and return the exit status that it had before or has now."""
        child, self._child = self._child, None
        if child is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            child.kill()
            child.communicate(timeout=KILLED_S_MAX)
        return child.returncode


def call(module: str, function: str, *arguments: object, wait_s: float) -> Ended:
    """Run one function, as ``Worker.call`` does."""
    with Worker() as worker:
        return worker.call(module, function, *arguments, wait_s=wait_s)


def _lines(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Yield the lines of a pipe until its end or the deadline."""
    poll, rest = select.poll(), b""
    poll.register(descriptor, select.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0 and poll.poll(left_s * 1e3):
        received = os.read(descriptor, 2**16)
        if not received:
            return
        *lines, rest = (rest + received).split(b"\n")
        yield from lines


def serve(parent: int) -> None:
    """Run the functions that standard input names, in the process that may be killed."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not a result

    def write(kind: bytes, value: object) -> None:
        results.write(kind + b" " + pickle.dumps(value).hex().encode() + b"\n")
        results.flush()

    with suppress(EOFError):
        while True:
            module, function, arguments = pickle.load(sys.stdin.buffer)
            try:
                for value in getattr(import_module(module), function)(*arguments) or ():
                    write(b"found", value)
                write(b"ended", "")
            except Exception as problem:  # noqa: BLE001 - whatever it is, the parent gets it in a sentence
                write(b"ended", str(problem) or type(problem).__name__)
