"""Delay Ctrl-C and other signals that end a command, or raise them as Ctrl-C is (standard library only)."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def delayed() -> Iterator[list[str]]:
    """Deliver signals that end the command after the block.

    HTCondor's bindings crash if Python raises KeyboardInterrupt while they make objects, and an exception right after a
    submission would make the command remove files that DAGMan uses already. The block may add sentences about what it
    has done to the list: KeyboardInterrupt then has them as its arguments.
    """
    done: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield done  # Python interrupts only the main thread
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in INTERRUPTS}
    try:
        yield done
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            try:
                signal.raise_signal(late)
            except KeyboardInterrupt as interrupt:
                interrupt.args = tuple(done)
                raise


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt at a signal that ends the terminal or the process, so that the block removes what it started.

    An ignored signal stays ignored: ``nohup`` ignores SIGHUP.
    """
    ends = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in ends:  # a second signal must not interrupt the removal
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
