"""Run functions of ours in a process that can be killed.

A process that waits for a lost file server or name server handles no alarm but can usually be killed; if not, it is left to
the system. It dies with its parent.
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

KILLED_S_MAX = 2.0  # limit for the end of a killed process
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; from faser_align.system import bounded; bounded.serve(int(sys.argv[1]))"
)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Ended(NamedTuple):
    """The end of a function."""

    found: list[Any]  # the values that it yielded
    late: bool  # whether it was killed at its time limit
    problem: str  # one sentence if it failed, else empty


class Worker:
    """A process that runs functions one after the other; the first call starts it, and the first after its end another.

    ``environment`` has the variables of the process; by default those of this one.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def running(self) -> bool:
        """Whether the next call finds a process that an earlier one started."""
        return self._child is not None

    def call(self, module: str, function: str, *arguments: object, wait_s: float) -> Ended:
        """Run a function that returns an iterable or None for at most ``wait_s``.

        Its arguments and the values that it yields must be picklable.
        """
        deadline = time.monotonic() + wait_s
        found: list[Any] = []
        child = self._child = self._child or self._start()
        assert child.stdin
        assert child.stdout
        with suppress(BrokenPipeError):  # it died: its output ends
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
        """Kill the process if it still runs; return its exit status."""
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
    """Run the functions that standard input names; the main program of a ``Worker``."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print

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
            except Exception as problem:  # noqa: BLE001 - the parent reports it
                write(b"ended", str(problem) or type(problem).__name__)
