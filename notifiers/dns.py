"""Looking up the names of servers so that an alarm can end it.

The C library asks each name server twice, for five seconds each and for each domain that it searches, and lets no signal
handler of Python run meanwhile: name servers that are silent would keep a hook for a minute.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

_LOOKUPS = ("getaddrinfo", "gethostbyaddr")  # what smtplib and urllib call, for servers and for our own name


@contextmanager
def interruptible() -> Iterator[None]:
    """Let each lookup be a thread's work, for which the caller waits as long as nothing interrupts it; hooks take it with them."""
    before = {name: getattr(socket, name) for name in _LOOKUPS}
    for name, lookup in before.items():
        setattr(socket, name, partial(_look_up, lookup))
    try:
        yield
    finally:
        for name, lookup in before.items():
            setattr(socket, name, lookup)


def _look_up(lookup: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    found: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            found.put((lookup(*arguments, **named), None))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            found.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    answer, error = found.get()
    if error is not None:
        raise error
    return answer
