"""Notifying the recipients of a campaign that no script can advance, once per cause.

No script comes that would send a message, so a command that sees it puts a control request into the event queue and runs
the delivery of the scripts itself, as `notify retry` does.
"""

import contextlib
import os

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm.errors import CampaignError
from faser_align.operations import dagman, notify_retry
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, queries, spool


def notify(found: dagman.Look) -> tuple[str, ...]:
    """Notify of a stuck campaign if nobody has yet; returns the targets that accepted the message.

    Nothing is done for a campaign of another user, while another command works on it, or where its scripts may write the
    state database on another machine at the same time.
    """
    folder = found.seen["folder"]
    if not found.key or not _is_ours(folder) or _is_known(folder, found.key):
        return ()
    with contextlib.suppress(CampaignError, OSError), alone(folder, wait_s=0.0):
        now = dagman.look(folder)  # another command may have resumed it
        if now.key != found.key or _is_known(folder, now.key) or not (now.gone or _is_here(now)):
            return ()
        control_requests.put(folder, "stuck", {"reason": now.trouble}, key=now.key)
        notify_retry.deliver(folder)
        return _accepted(folder)
    return ()


def _is_ours(folder: str) -> bool:
    """Whether the user may write the campaign, and it is no copy of another."""
    try:
        return os.access(f"{folder}/{layout.STATE}", os.W_OK) and os.path.samefile(
            folder, read_record(folder)["folder"]
        )
    except (OSError, CampaignError):
        return False


def _is_known(folder: str, key: str) -> bool:
    """Whether the cause was recorded, or waits to be."""
    with queries.published(folder) as db:
        if db.execute("SELECT 1 FROM events WHERE phase = 'control' AND job_id = ?", (key,)).fetchone():
            return True
    with contextlib.suppress(OSError, ValueError, TypeError):
        return any(spool.read(folder, name).get("id") == key for name in spool.waiting(folder))
    return False


def _is_here(found: dagman.Look) -> bool:
    """Whether the scripts of the campaign's DAGMan run on this machine, whose locks they then respect."""
    with queries.published(found.seen["folder"]) as db:
        query = "SELECT host FROM attempts WHERE dag_id = ? AND host != '' LIMIT 1"
        row = db.execute(query, (found.seen["dag_id"],)).fetchone()
    return row is not None and row[0] == os.uname().nodename


def _accepted(folder: str) -> tuple[str, ...]:
    """Targets that have the message about the last time that the campaign was stuck."""
    with queries.published(folder) as db:
        rows = [row for row in queries.outbox(db) if row["kind"] == "stuck"]
    last = max((row["history_id"] for row in rows), default=0)
    return tuple(row["target"] for row in rows if row["history_id"] == last and row["state"] == "sent")
