"""Lease messages of the outbox before they are sent, and record the results, each in a transaction.

One process of a campaign delivers at a time; it holds a lock that ends with it. So two scripts never send one message, and
a lease that the holder of the lock finds is that of a script that was killed: the message is sent again, with its key.
``fsm.next_message`` decides what goes next.
"""

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from faser_align.fsm import next_message
from faser_align.fsm.next_message import TOGETHER, Open
from faser_align.fsm.reasons import normalise_reason
from faser_align.state import database

TRIES_MAX = 6
BACKOFF_S = 60.0  # doubled with each failure
DEADLY = "every script that tried to send it was killed"


class Claim(NamedTuple):
    """A message that this process may send: one row of the outbox, or several of one kind that are sent as one."""

    ids: tuple[int, ...]
    history_ids: tuple[int, ...]  # the transitions that it is about, oldest first
    target: str
    kind: str
    tries: int
    shares: int  # into how many parts the time that is left is divided, see ``next_message.Choice``
    reached: tuple[str, ...] = ()  # recipients or channels of the target that already got it
    behind: bool = False  # whether later ones of the target are due


def due(folder: str, *, final: bool = False) -> bool:
    """Return whether a message is due, or was being sent; ``final``: whatever the back-off and the pause."""
    return database.read(folder, lambda db: any(message.due for message in _open(db, final=final)))


def pause_s(folder: str) -> float:
    """Return how long the message waits whose pause ends first (s); 0 if there is none."""

    def work(db: sqlite3.Connection) -> float:
        now_s = time.time()
        ends = _pauses(db)
        left = (ends.get(cause, 0.0) - now_s for _, cause in _causes(db, "state = 'pending' AND tries = 0"))
        return min((wait_s for wait_s in left if wait_s > 0), default=0.0)

    return database.read(folder, work)


def claim(
    folder: str, *, final: bool = False, seen: Collection[int] = (), unresponsive: Collection[str] = ()
) -> Claim | None:
    """Lease the next message, or return None if none is due; only for the process that has ``OUTBOX_LOCK``.

    If ``final``, no script comes later: do not wait for the back-off or the pause. The process has handled the rows
    ``seen``, and got no answer from the targets ``unresponsive``.
    """

    def work(db: sqlite3.Connection) -> Claim | None:
        _give_up(db)
        waiting = (message for message in _open(db, final=final) if message.id not in seen)
        choice = next_message.choose(waiting, unresponsive=unresponsive)
        if choice is None:
            return None
        ids = tuple(message.id for message in choice.messages)
        leased = database.utc()  # one for all: a lease whose script was killed is repeated as it was
        db.executemany(
            "UPDATE outbox SET state = 'claimed', claimed_utc = ?, tries = tries + 1 WHERE id = ?",
            [(leased, row) for row in ids],
        )
        first, tries = choice.messages[0], max(message.tries for message in choice.messages) + 1
        history_ids = tuple(message.history_id for message in choice.messages)
        about = (ids, history_ids, first.target, first.kind, tries)
        return Claim(*about, choice.shares, first.reached, choice.behind)

    return database.transact(folder, work)


def _open(db: sqlite3.Connection, *, final: bool) -> list[Open]:
    """Return the messages that were not sent."""
    rows = db.execute(
        "SELECT id, history_id, target, kind, tries, CASE state WHEN 'claimed' THEN claimed_utc ELSE '' END, "
        "state = 'claimed' OR :final OR next_utc <= :now, error != '' FROM outbox "
        "WHERE state IN ('pending', 'claimed') ORDER BY id",
        {"now": database.utc(), "final": int(final)},
    ).fetchall()
    reached = _reached(db) if any(row[-1] for row in rows) else {}
    paused = set()
    if not final and any(row[3] in TOGETHER for row in rows):
        now_s, ends = time.time(), _pauses(db)
        paused = {row for row, cause in _causes(db, "state = 'pending'") if ends.get(cause, 0.0) > now_s}
    return [
        Open(row, history_id, target, kind, tries, leased, bool(is_due) and row not in paused, reached.get(row, ()))
        for row, history_id, target, kind, tries, leased, is_due, _ in rows
    ]


def _pauses(db: sqlite3.Connection) -> dict[tuple[str, str, str], float]:
    """Return until when (Unix time, s) further messages about a cause wait, by target, kind and cause."""
    since = database.utc(time.time() - 2 * next_message.PAUSE_S_MAX)
    sent: dict[tuple[str, str, str], list[float]] = {}
    unix_s = "(julianday(sent_utc) - 2440587.5) * 86400"
    times = dict(db.execute(f"SELECT id, {unix_s} FROM outbox WHERE sent_utc > ?", (since,)))
    for row, cause in _causes(db, "sent_utc > ?", (since,)):
        sent.setdefault(cause, []).append(times[row])
    return {cause: next_message.pause_end_s(sent_s) for cause, sent_s in sent.items()}


def _causes(
    db: sqlite3.Connection, where: str, values: tuple[object, ...] = ()
) -> list[tuple[int, tuple[str, str, str]]]:
    """Return the messages about held jobs and dropped files that meet a condition, each with target, kind and cause."""
    kinds = ", ".join(f"'{kind}'" for kind in TOGETHER)
    rows = db.execute(
        "SELECT o.id, o.target, o.kind, coalesce(json_extract(h.facts, '$.reason'), '') FROM outbox AS o "
        f"JOIN history AS h ON h.id = o.history_id WHERE o.kind IN ({kinds}) AND o.{where}",
        values,
    )
    return [(row, (target, kind, normalise_reason(reason))) for row, target, kind, reason in rows]


def _give_up(db: sqlite3.Connection) -> None:
    """Give up messages whose scripts were killed at each attempt: they may be the cause."""
    deadly = db.execute(
        "SELECT id, target, kind, tries FROM outbox WHERE state = 'claimed' AND tries >= ?", (TRIES_MAX,)
    ).fetchall()
    for row, target, kind, tries in deadly:
        db.execute("UPDATE outbox SET state = 'failed', error = ? WHERE id = ?", (DEADLY, row))
        _note(db, database.utc(), (target, kind, tries, DEADLY), {})


def decline(folder: str, claimed: Claim) -> None:
    """Close a leased message that its target, according to the user's own file, does not accept."""
    rows = [(row,) for row in claimed.ids]
    database.transact(folder, lambda db: db.executemany("UPDATE outbox SET state = 'unwanted' WHERE id = ?", rows))


def _reached(db: sqlite3.Connection) -> dict[int, tuple[str, ...]]:
    """Return the recipients or channels that got a message although it failed, by its row, according to its last try."""
    sql = (
        "SELECT message.value, json_extract(facts, '$.reached') FROM history, json_each(facts, '$.rows') AS message "
        "WHERE event = 'delivery_failed' ORDER BY history.id"
    )
    return {row: tuple(json.loads(names)) for row, names in db.execute(sql)}


def mark(folder: str, claimed: Claim, problem: str | None, reached: Sequence[str] = ()) -> None:
    """Record the result of a leased message: sent, to be retried, or given up.

    ``reached`` are the recipients or channels of the target that got the message although the delivery failed.
    """
    now = time.time()
    partly = {"rows": claimed.ids, "reached": reached} if reached else {}

    def work(db: sqlite3.Connection) -> None:
        if problem is None:
            db.executemany(
                "UPDATE outbox SET state = 'sent', sent_utc = ?, error = '' WHERE id = ?",
                [(database.utc(now), row) for row in claimed.ids],
            )
            return
        state = "pending" if claimed.tries < TRIES_MAX else "failed"
        later = database.utc(now + BACKOFF_S * 2 ** (claimed.tries - 1))
        db.executemany(
            "UPDATE outbox SET state = ?, next_utc = ?, error = ? WHERE id = ?",
            [(state, later, problem, row) for row in claimed.ids],
        )
        _note(db, database.utc(now), (claimed.target, claimed.kind, claimed.tries, problem), partly)

    database.transact(folder, work)


def _note(db: sqlite3.Connection, utc: str, failed: tuple[str, str, int, str], further: Mapping[str, object]) -> None:
    """Record a failed delivery (target, kind, try, reason) in the history, with further payload."""
    db.execute(
        "INSERT INTO history SELECT NULL, ?, 'campaign', state, 'delivery_failed', state, '', stage, iteration, '', 0, '', "
        "dag_id, '', json_patch(json_object('target', ?, 'message', ?, 'try', ?, 'reason', ?), ?) FROM campaign",
        (utc, *failed, json.dumps(further)),
    )
