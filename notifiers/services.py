"""The one place that loads apprise (its import costs a tenth of a second) and listens to what it says."""

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

APP = "faser-align"
_REQUESTS = "urllib3.connectionpool"  # what it logs of a request ends with method, path, version, status and length


class Answer(NamedTuple):
    """What became of a message: whether it was accepted, and the words of the server, or what went wrong."""

    accepted: bool
    words: str


def open_service(url: str) -> Any | None:
    """The apprise service of an address, or None if apprise cannot use it.

    Nothing is sent, no thread is started, nothing is kept on disk, no picture is fetched from anywhere.
    """
    import apprise

    asset = apprise.AppriseAsset(
        app_id=APP,
        app_desc=APP,
        app_url="",
        image_url_mask=None,
        image_url_logo=None,
        async_mode=False,
        storage_mode="memory",
    )
    with heard():
        try:
            return apprise.Apprise.instantiate(url, asset=asset)
        except (ValueError, TypeError, LookupError, AttributeError):  # of a plug-in's parser
            return None


def secured(*, verified: bool) -> ssl.SSLContext:
    """TLS for a service, with the server's certificate checked unless its address says otherwise (``verify=no``)."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """Collect what apprise logs, and keep it from every other log: it may hold addresses and tokens."""
    records: list[logging.LogRecord] = []
    with _only_to(_Listener(records), "apprise"):
        yield records


@contextmanager
def http_statuses() -> Iterator[list[int]]:
    """Collect the statuses with which web servers answer; nothing else of what is logged, which holds the tokens."""
    found: list[int] = []
    with _only_to(_StatusListener(found), _REQUESTS):
        yield found


@contextmanager
def _only_to(handler: logging.Handler, name: str) -> Iterator[None]:
    """Have all that the logger ``name`` logs go to a handler and to no other."""
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers[:] = [handler]
    try:
        yield
    finally:
        logger.level, logger.propagate, logger.handlers[:] = before
        logger.setLevel(before[0])  # forgets which levels it took for enabled


def complaint(records: list[logging.LogRecord]) -> str:
    """What apprise said about a refused delivery: its last warning, and the cause that it only whispers.

    Not yet free of secrets.
    """
    warnings = [
        record.getMessage().replace(" to channel None", "").replace(" to None", "")
        for record in records
        if record.levelno >= logging.WARNING
    ]
    causes = [
        _innermost(record.getMessage().partition(":")[2].strip())
        for record in records
        if record.levelno <= logging.DEBUG
        and record.getMessage().startswith(("Socket Exception:", "Response Details:"))
    ]
    words = [*warnings[-1:], *causes[-1:]]
    return ": ".join(word.rstrip(". ") for word in words) or "refused without a reason"


def _innermost(cause: str) -> str:
    """Of nested network errors the operating system's words, which are the ones that help."""
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", cause)
    return system[1] if system else cause.rpartition("(Caused by ")[2]


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


class _StatusListener(logging.Handler):
    def __init__(self, found: list[int]) -> None:
        super().__init__(logging.DEBUG)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args
        if isinstance(arguments, tuple) and len(arguments) >= 2 and isinstance(arguments[-2], int):
            self._found.append(arguments[-2])
