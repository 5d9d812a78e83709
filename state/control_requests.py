"""Send control requests from commands to the scripts through the event queue: changes, extensions, deliveries, solutions.

Each request has its own id, so that none is applied twice if a script is killed between its commit and removing the file.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import cast

from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout
from faser_align.campaign.changes import Change
from faser_align.fsm import events
from faser_align.fsm.errors import StoreError
from faser_align.state import database, queries, spool
from faser_align.system import account


def identity() -> str:
    """Return the id of a new request."""
    return os.urandom(8).hex()


def put(folder: str, name: str, about: "events.Request", key: str = "") -> str:
    """Put a request into the event queue for the next script; return the name of its file.

    Args:
        folder: the campaign.
        name: one of ``extended``, ``changed``, ``notify_retried``, ``stop_asked``, ``stuck``, ``solved``.
        about: its further keys.
        key: its id; by default a new one.

    Raises:
        StoreError: the event queue cannot be written.
    """
    sender: events.Request = {"id": key or identity(), "who": account.user(), "utc": database.utc()}
    try:
        return spool.put(folder, events.request(name, {**sender, "host": os.uname().nodename, **about}))
    except OSError as problem:
        raise StoreError(f"{folder}: the fallback event queue cannot be written: {problem}") from problem


def of_change(change: Change) -> "events.Request":
    """Return the request of a later change of the manifest, which has the change's keys."""
    return cast("events.Request", change)


def recorded(folder: str) -> set[str]:
    """Return the ids of the requests in the snapshot and in the event queue of the campaign in ``folder``."""
    with queries.published(folder) as db:
        found = {row[0] for row in db.execute("SELECT job_id FROM events WHERE phase = 'control'")}
    for name in spool.waiting(folder):
        with contextlib.suppress(OSError, ValueError, TypeError):  # recorded just now, or to be quarantined
            found.add(spool.read(folder, name).get("id", ""))
    return found


def solution(folder: str, iteration: int) -> "events.Request | None":
    """Return the request ``solved`` for the `reco` in ``folder``, or None if its iteration has no metrics.

    They follow from the metrics file alone, so that ``repair`` makes the event with the same identity and time.
    Raises OSError or ValueError if the file cannot be read.
    """
    path = Path(layout.metrics_file(folder, 1, iteration))
    try:
        text, changed_s = path.read_text(encoding="utf-8"), path.stat().st_mtime
    except FileNotFoundError:
        return None
    return {
        "id": hashlib.sha256(text.encode()).hexdigest(),
        "utc": database.utc(changed_s),
        "stage": 1,
        "iteration": iteration,
        "metrics": json.dumps(parse_metrics(text, str(path))),
    }
