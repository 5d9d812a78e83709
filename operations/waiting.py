"""Wait for a campaign and follow it, reading only its snapshot."""

import time
from collections.abc import Callable
from typing import NamedTuple

from faser_align.fsm import table
from faser_align.operations import snapshot
from faser_align.state import queries

# Exit statuses of `wait`, one for each end of a campaign.
STATUSES = {
    "converged": 0,
    "reconstructed": 0,
    "exhausted": 10,
    "diverged": 11,
    "stalled": 12,
    "starved": 13,
    "rejected": 14,
    "failed": 15,
    "removed": 16,
}
TIMEOUT = 17
STUCK = 18
SILENCE_S = 600.0  # time without events after which HTCondor is asked whether any can come

TELL_OF_NODES = ("held", "failed", "lost")


class Outcome(NamedTuple):
    """Result of waiting: the end state, or why none can come; neither after a timeout."""

    end: str | None
    stuck: str = ""


def exit_status(found: Outcome) -> int:
    """Return the exit status of `wait` for its result."""
    if found.end:
        return STATUSES[found.end]
    return STUCK if found.stuck else TIMEOUT


def wait(
    folder: str,
    *,
    timeout_s: float | None = None,
    interval_s: float = 1.0,
    stuck: Callable[[str], str] | None = None,
    silence_s: float = SILENCE_S,
) -> Outcome:
    """Wait until the campaign has ended, or until it is known that it cannot.

    Args:
        folder: the campaign.
        timeout_s: when to give up; None: never.
        interval_s: time between two checks of the snapshot's modification time.
        stuck: returns why no script can advance the campaign in this folder, or an empty string.
        silence_s: time without events after which ``stuck`` is called, each time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    seen: object = None
    asked = time.monotonic()
    while True:
        stamp = snapshot.stamp(folder)
        # A file system may be unavailable for a while.
        if stamp != seen and stamp[0]:
            seen, asked = stamp, time.monotonic()
            state = ended(folder)
            if state:
                return Outcome(state)
        if stuck is not None and time.monotonic() - asked >= silence_s:
            asked, sentence = time.monotonic(), stuck(folder)
            if sentence:
                return Outcome(None, sentence)
        left_s = interval_s if deadline is None else deadline - time.monotonic()
        if left_s <= 0:
            return Outcome(None)
        time.sleep(min(interval_s, left_s))


def ended(folder: str) -> str | None:
    """Return the campaign's end state, or None."""
    state = snapshot.state_now(folder)
    return state if state in table.ENDS else None


def follow(
    folder: str,
    tell: Callable[[queries.Row], None],
    *,
    after: int,
    interval_s: float = 1.0,
    ask: Callable[[], None] = lambda: None,
) -> str:
    """Report every change of the campaign until the campaign has ended; return its end state.

    Args:
        folder: the campaign.
        tell: called with each row of the history: the campaign's own events, and nodes that were held, failed or
            dropped.
        after: id of the last known event.
        interval_s: time between two checks of the snapshot's modification time.
        ask: called every ``SILENCE_S``: it asks HTCondor, and prints the answer.
    """
    seen: object = None
    asked = time.monotonic()
    while True:
        stamp = snapshot.stamp(folder)
        if stamp != seen and stamp[0]:
            seen = stamp
            # Read the end first: the snapshot then contains the events that led to it.
            end = ended(folder)
            with queries.published(folder) as db:
                news = queries.history(db, after=after)
            for row in news:
                after = row["id"]
                told = row["destination"] in TELL_OF_NODES and not row["ignored"]
                if told or row["subject"] == "campaign" or row["event"] == "held":
                    tell(row)
            if end:
                return end
        if time.monotonic() - asked >= SILENCE_S:
            ask()
            asked = time.monotonic()
        time.sleep(interval_s)
