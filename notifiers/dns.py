"""Look up server names so that an alarm can interrupt it.

The C library asks each name server twice, for five seconds each and for each search domain, and Python runs no signal
handler meanwhile: silent name servers would block a hook for a minute.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

_LOOKUPS = ("getaddrinfo", "gethostbyaddr")  # smtplib and urllib call these for servers and for our own host name


@contextmanager
def interruptible() -> Iterator[None]:
    """Run each lookup in a daemon thread, so that the caller's wait can be interrupted."""
    before = {name: getattr(socket, name) for name in _LOOKUPS}
    for name, lookup in before.items():
        setattr(socket, name, partial(_look_up, lookup))
    try:
        yield
    finally:
        for name, lookup in before.items():
            setattr(socket, name, lookup)


def _look_up(lookup: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            results.put((lookup(*arguments, **named), None))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    answer, error = results.get()
    if error is not None:
        raise error
    return answer
