"""Write and read the event queue: a folder of numbered files with events that the database does not have yet.

Commands put their requests there for the scripts, which may run on another machine; so does a script that cannot write
the database. Startup-critical: standard library only, and json only for an event that is read or written.
"""

import os
import time

from faser_align.campaign import layout
from faser_align.state import database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faser_align.fsm.events import Event

ASIDE = "aside"
DIGITS = 16  # of a name: microseconds since 1970, or one more than the last


def put(folder: str, event: "Event") -> str:
    """Add ``event`` to the event queue of the campaign in ``folder`` and return the name of its file.

    The content is on disk before the name appears; names are numbers that grow, taken by exclusive ``link``.

    Raises:
        OSError: the event is not in the event queue.
    """
    import json

    spool = f"{folder}/{layout.SPOOL}"
    if not os.path.exists(spool):  # copies of a campaign's folder may lack empty folders
        try:
            os.mkdir(spool)
            database.sync(folder)
        except FileExistsError:
            pass
    temporary = f"{spool}/.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(event, file)
            file.flush()
            os.fsync(file.fileno())
        while True:
            taken = waiting(folder)
            # Numbers are never used again: a script that is slow to remove what it applied must not remove a new event.
            number = max(int(taken[-1][:DIGITS]) + 1 if taken else 0, time.time_ns() // 1000)
            name = f"{number:0{DIGITS}d}.json"
            try:
                os.link(temporary, f"{spool}/{name}")
                break
            except FileExistsError:
                continue
    finally:
        os.unlink(temporary)
    database.sync(spool)
    return name


def waiting(folder: str) -> list[str]:
    """Return the names of the queued events, oldest first; none without its folder."""
    try:
        names = os.listdir(f"{folder}/{layout.SPOOL}")
    except OSError:
        return []
    ending = ".json"
    return sorted(n for n in names if len(n) == DIGITS + len(ending) and n[:DIGITS].isdigit() and n.endswith(ending))


def read(folder: str, name: str) -> "Event":
    """Return the event in the file ``name``.

    Raises:
        ValueError, TypeError: it is not an event.
        OSError: it cannot be read.
    """
    import json

    with open(f"{folder}/{layout.SPOOL}/{name}", encoding="utf-8") as file:
        event: Event = json.load(file)
    if not isinstance(event, dict):
        raise TypeError("it is not an event")
    return event


def remove(folder: str, names: "list[str]") -> None:
    """Remove events that the database holds now; a missing one is not an error."""
    for name in names:
        try:
            os.unlink(f"{folder}/{layout.SPOOL}/{name}")
        except FileNotFoundError:
            continue


def set_aside(folder: str, name: str) -> None:
    """Quarantine a file that cannot be applied."""
    aside = f"{folder}/{layout.SPOOL}/{ASIDE}"
    os.makedirs(aside, exist_ok=True)
    try:
        os.rename(f"{folder}/{layout.SPOOL}/{name}", f"{aside}/{name}.{os.getpid()}")
    except FileNotFoundError:
        return
