"""Load apprise, whose import takes 0.1 s, and collect its log records."""

import importlib
import logging
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any, NamedTuple

APP = "faser-align"
_PLUGINS = dict.fromkeys(("mailto", "mailtos"), "apprise.plugins.email:NotifyEmail") | dict.fromkeys(
    ("mmost", "mmosts"), "apprise.plugins.mattermost:NotifyMattermost"
)
APPRISE, REQUESTS = "apprise", "urllib3.connectionpool"  # loggers


class Answer(NamedTuple):
    """Result of a delivery: whether it was accepted, and the server's answer or the error."""

    accepted: bool
    words: str


def open_service(url: str) -> Any | None:
    """Return the apprise service of an address, or None if apprise cannot use it.

    Sends nothing, starts no thread, stores nothing on disk and loads no picture.
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
    with heard(APPRISE):
        try:
            if plugin := _plugin(url):
                parsed = plugin.parse_url(url.replace("/#", "/%23"))
                return plugin(**parsed, tag=set(), asset=asset) if parsed else None
            return apprise.Apprise.instantiate(url, asset=asset)
        except (ValueError, TypeError, LookupError, AttributeError):  # raised by a plug-in's parser
            return None


def _plugin(url: str) -> Any | None:
    """Return apprise's class for mail and Mattermost, else None.

    ``Apprise.instantiate`` loads all services for any address, which takes longer than to send a message.
    """
    module, _, name = _PLUGINS.get(url.partition("://")[0].lower(), "").partition(":")
    try:
        return getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError):  # another version of apprise
        return None


def secured(*, verified: bool) -> ssl.SSLContext:
    """Return a TLS context that checks the server's certificate unless the address says ``verify=no``."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def heard(name: str) -> Iterator[list[logging.LogRecord]]:
    """Collect the records of a logger and keep them from other logs: they may contain addresses and tokens."""
    handler = BufferingHandler(sys.maxsize)
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers[:] = [handler]
    try:
        yield handler.buffer
    finally:
        logger.level, logger.propagate, logger.handlers[:] = before
        logger.setLevel(before[0])  # clears the logger's cache of enabled levels


def http_status(requests: list[logging.LogRecord]) -> str:
    """Return the status of the last request, or ''; a record ends with method, path, version, status, length."""
    ends = [request.args[-2] for request in requests if isinstance(request.args, tuple) and len(request.args) >= 2]
    return next((f"HTTP status {status}" for status in reversed(ends) if isinstance(status, int)), "")


def complaint(records: list[logging.LogRecord]) -> str:
    """Return apprise's reason for a refused delivery: its last warning, and the cause that it logs at a lower level.

    The text may contain secrets.
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
    """Return the operating system's message from nested network errors."""
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", cause)
    return system[1] if system else cause.rpartition("(Caused by ")[2]
