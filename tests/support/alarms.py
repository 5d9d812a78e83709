"""Provide an alarm of the caller, which our code must restore."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def counted(after_s: float, every_s: float = 0.0) -> Iterator[list[int]]:
    """Set SIGALRM's timer (s) with a handler that collects the alarms, and restore both."""
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    signal.setitimer(signal.ITIMER_REAL, after_s, every_s)
    try:
        yield rang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
