"""Notify a campaign's recipients if no script can: it is stuck, or FINAL was killed before it had sent everything.

The command that finds this runs the scripts' delivery itself, as `notify retry` does. A stuck campaign is an event: the
command puts it into the event queue first, once per cause.
"""

import contextlib
import os
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.manifest import moved_from, read_record
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError
from faser_align.operations import dagman, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, queries


def notify(found: dagman.DagmanStatus[Any]) -> tuple[str, ...]:
    """Send the messages that a campaign's scripts can no longer send; return the targets that accepted one.

    For a stuck campaign that is the message *stuck*, once per cause. For an ended one it is every message that was
    never tried, or whose sender was killed, because DAGMan does not run FINAL again. Does nothing for a campaign of
    another user, while another command works on it, or if its scripts may write the state database on another machine
    at the same time.
    """
    folder = found.seen["folder"]
    if found.seen["state"] in table.ENDS:
        return send_unsent(folder)
    if not found.key or not _is_ours(folder) or found.key in control_requests.recorded(folder):
        return ()
    with contextlib.suppress(CampaignError, OSError), alone(folder, wait_s=0.0):
        now = dagman.look(folder)  # another command may have resumed it
        known = control_requests.recorded(folder)
        if now.key != found.key or now.key in known or not (now.gone or _is_here(now)):
            return ()
        control_requests.put(folder, "stuck", {"reason": now.trouble}, key=now.key)
        without_dagman.deliver(folder)
        return _accepted(folder)
    return ()


def send_unsent(folder: str) -> tuple[str, ...]:
    """Deliver messages that an ended campaign's FINAL left unsent; return the targets that accepted one."""
    unsent = _unsent(folder)
    if not unsent or not _is_ours(folder):
        return ()
    with contextlib.suppress(CampaignError, OSError), alone(folder, wait_s=0.0):
        answer = dagman.ask(read_record(folder))
        if answer.problem or answer.jobs:
            return ()
        without_dagman.deliver(folder)
        left = set(_unsent(folder))
        return tuple(sorted({target for row, target in unsent.items() if row not in left}))
    return ()


def _unsent(folder: str) -> dict[int, str]:
    """Return the targets of messages that were never tried, or whose sender was killed, by the message's id."""
    return {
        row["id"]: row["target"]
        for row in queries.messages(folder)
        if row["state"] == "claimed" or (row["state"], row["tries"]) == ("pending", 0)
    }


def _is_ours(folder: str) -> bool:
    """Return whether the user may write the campaign, and it is not a copy of another."""
    try:
        return os.access(f"{folder}/{layout.STATE}", os.W_OK) and not moved_from(folder, read_record(folder))
    except CampaignError:
        return False


def _is_here(found: dagman.DagmanStatus[Any]) -> bool:
    """Return whether the scripts of the campaign's DAGMan run on this machine, and so respect its locks."""
    with queries.published(found.seen["folder"]) as db:
        query = "SELECT host FROM attempts WHERE dag_id = ? AND host != '' LIMIT 1"
        row = db.execute(query, (found.seen["dag_id"],)).fetchone()
    return row is not None and row[0] == os.uname().nodename


def _accepted(folder: str) -> tuple[str, ...]:
    """Return the targets that have the message about the last time the campaign was stuck."""
    rows = [row for row in queries.messages(folder) if row["kind"] == "stuck"]
    last = max((row["history_id"] for row in rows), default=0)
    return tuple(row["target"] for row in rows if row["history_id"] == last and row["state"] == "sent")
