"""What the command line asks of the hooks, through the spool, besides a new DAGMan: changes, extensions, deliveries, solutions.

Each wish has an identity of its own, so that a hook that dies between its commit and its tidying up repeats nothing.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout, submissions
from faser_align.fsm.errors import StoreError
from faser_align.state import database, spool


def identity() -> str:
    """A name for a wish that no other one has."""
    return os.urandom(8).hex()


def put(folder: str, name: str, facts: dict[str, Any], key: str = "") -> str:
    """Put a wish into the spool, where the next hook finds it; returns the name of its file.

    Args:
        folder: the campaign.
        name: one of ``extended``, ``changed``, ``notify_retried``, ``stop_asked``, ``stuck``, ``solved``.
        facts: what it is about.
        key: its identity; a new one without.

    Raises:
        StoreError: the spool cannot be written.
    """
    about = {"id": key or identity(), "who": submissions.user(), "utc": database.utc(), "host": os.uname().nodename}
    try:
        return spool.put(folder, {"phase": "control", "event": name, **about, **facts})
    except OSError as problem:
        raise StoreError(f"the spool of {folder} cannot be written: {problem}") from problem


def solution(folder: str, iteration: int) -> dict[str, Any] | None:
    """Return the facts of ``solved`` for the `reco` in ``folder``, or None if its iteration has no metrics.

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
