"""Send messages in the test's own process; functions for a worker to run."""

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

from faser_align.notifiers.message import Message
from faser_align.notifiers.send import send
from faser_align.notifiers.services import Answer
from faser_align.notifiers.targets import Target


def ask(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> Answer:
    """Send a message and return the answer; recipients or channels that have it are added to ``reached``."""
    *names, answer = send(target, message, key, thread, tuple(reached or ()))
    if reached is not None:
        reached += [str(name) for name in names]
    assert isinstance(answer, Answer)
    return answer


def deliver(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> str | None:
    """Send a message; returns None if it was accepted, else why not."""
    answer = ask(target, message, key=key, thread=thread, reached=reached)
    return None if answer.accepted else answer.words


def counting(*values: object) -> Iterator[object]:
    """Print and yield the values."""
    for value in values:
        print(value)
        yield value


def deaf(path: str) -> Iterator[int]:
    """Yield the process's number, write it to a file, and wait for a lock in the C library, which no signal handler interrupts."""
    yield os.getpid()
    Path(path).write_text(f"{os.getpid()}")
    library, lock = ctypes.PyDLL(None), (ctypes.c_byte * 64)()
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)


def failing(words: str) -> None:
    """Fail."""
    raise ValueError(words)


def until_gone(process: int) -> None:
    """Wait for the end of a process."""
    while Path(f"/proc/{process}").exists():
        time.sleep(0.02)


def spelled(number: int) -> str:
    """Return a number spelled in letters, so that reasons differ in their words."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))
