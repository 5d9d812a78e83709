"""The spool: a folder of numbered files through which events reach the store when they cannot directly.

It is the way from the command line to the hooks, which may run on another machine, and the way of a hook
that finds the store locked, full or away. Hot: standard library only; json only where there is something
to read or write.
"""

import os
import time

from faser_align.campaign import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ASIDE = "aside"
DIGITS = 16  # of a name: microseconds since 1970, or one more than the last


def put(folder: str, event: "dict[str, Any]") -> str:
    """Add ``event`` to the spool of the campaign in ``folder`` and return the name of its file.

    The content is on disk before the name appears; names are numbers that grow, taken by exclusive ``link``.

    Raises:
        OSError: the event is not in the spool.
    """
    import json

    spool = f"{folder}/{layout.SPOOL}"
    if not os.path.exists(spool):
        _make(folder, spool)
    temporary = f"{spool}/.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(event, file)
            file.flush()
            os.fsync(file.fileno())
        while True:
            taken = waiting(folder)
            # A number is never used again: a hook that was slow to remove what it replayed must not meet a new event.
            number = max(int(taken[-1][:DIGITS]) + 1 if taken else 0, time.time_ns() // 1000)
            name = f"{number:0{DIGITS}d}.json"
            try:
                os.link(temporary, f"{spool}/{name}")
                break
            except FileExistsError:
                continue
    finally:
        os.unlink(temporary)
    _sync(spool)
    return name


def waiting(folder: str) -> list[str]:
    """Names of the events that wait, oldest first; none where there is no spool."""
    try:
        names = os.listdir(f"{folder}/{layout.SPOOL}")
    except OSError:
        return []
    return sorted(
        name for name in names if len(name) == DIGITS + 5 and name[:DIGITS].isdigit() and name.endswith(".json")
    )


def read(folder: str, name: str) -> "dict[str, Any]":
    """The event in the file ``name``.

    Raises:
        ValueError, TypeError: it is not an event.
        OSError: it cannot be read.
    """
    import json

    with open(f"{folder}/{layout.SPOOL}/{name}", encoding="utf-8") as file:
        event = json.load(file)
    if not isinstance(event, dict):
        raise TypeError("it is not an event")
    return event


def remove(folder: str, names: "list[str]") -> None:
    """Take events away that the store holds now; one that is gone already is no error."""
    for name in names:
        try:
            os.unlink(f"{folder}/{layout.SPOOL}/{name}")
        except FileNotFoundError:
            continue


def set_aside(folder: str, name: str) -> None:
    """Move a file that cannot be replayed to where it is kept but no longer looked at."""
    aside = f"{folder}/{layout.SPOOL}/{ASIDE}"
    os.makedirs(aside, exist_ok=True)
    try:
        os.rename(f"{folder}/{layout.SPOOL}/{name}", f"{aside}/{name}.{os.getpid()}")
    except FileNotFoundError:
        return


def _make(folder: str, spool: str) -> None:
    """Make the spool anew: who copies a campaign's folder may leave out what is empty."""
    try:
        os.mkdir(spool)
    except FileExistsError:
        return
    _sync(folder)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
