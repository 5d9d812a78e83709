"""The outbox: messages are claimed in a transaction before they are sent, and marked in another afterwards.

One process of a campaign delivers at a time, behind a lock that ends with it. So two hooks never send one message, and
a claim that whoever has the lock finds is that of a hook which was killed: the message is sent (again).
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from faser_align.fsm import table
from faser_align.state import database

TRIES_MAX = 6
BACKOFF_S = 60.0  # doubled with each failure
DEADLY = "every hook that was to send it was killed"


class Claim(NamedTuple):
    """A message that this process may send: one row of the outbox, or several of one kind that are told together."""

    ids: tuple[int, ...]
    history_ids: tuple[int, ...]  # the transitions that it is about, oldest first
    target: str
    kind: str
    tries: int
    targets: int  # how many targets still wait for a message, this one included
    reached: tuple[str, ...] = ()  # recipients or channels of the target that have it already, from an earlier try


TOGETHER = ("held", "lost")  # fifty jobs that are held at once are one message, or a few
_DUE = "state IN ('pending', 'claimed') AND (state = 'claimed' OR next_utc <= :now OR :final)"
_ENDS = ", ".join(f"'{state}'" for state in table.ENDS)


def due(folder: str, *, final: bool = False) -> bool:
    """Whether a message waits to be sent, or was being sent; ``final`` does not wait for the back-off."""

    def work(db: sqlite3.Connection) -> bool:
        return db.execute(f"SELECT 1 FROM outbox WHERE {_DUE} LIMIT 1", _times(final)).fetchone() is not None

    return database.read(folder, work)


def claim(
    folder: str, *, final: bool = False, seen: frozenset[int] = frozenset(), tired: frozenset[str] = frozenset()
) -> Claim | None:
    """Claim the next message that is due: the campaign's end before everything else, else the oldest.

    Only for who has the turn behind ``OUTBOX_LOCK``.

    Args:
        folder: the campaign.
        final: no hook comes later: do not wait for the back-off.
        seen: rows that this process has tried already.
        tired: targets that have not answered this process.
    """
    found: list[Claim] = []

    def work(db: sqlite3.Connection) -> int:
        _give_up(db)
        rows = [
            row
            for row in db.execute(
                "SELECT id, history_id, target, kind, tries, error FROM outbox "
                f"WHERE {_DUE} ORDER BY kind NOT IN ({_ENDS}), id",
                _times(final),
            )
            if row[0] not in seen and row[2] not in tired
        ]
        if not rows:
            return 0
        _, _, target, kind, _, _ = rows[0]
        same = [row for row in rows if row[2:4] == (target, kind)] if kind in TOGETHER else rows[:1]
        reached = _reached(db) if any(row[5] for row in same) else {}
        # What some of the target's recipients have already is told to the others by itself.
        known = reached.get(rows[0][0], ())
        same = [row for row in same if reached.get(row[0], ()) == known]
        db.executemany(
            "UPDATE outbox SET state = 'claimed', claimed_utc = ?, tries = tries + 1 WHERE id = ?",
            [(database.utc(), row[0]) for row in same],
        )
        ids, history_ids = tuple(row[0] for row in same), tuple(row[1] for row in same)
        tries = max(row[4] for row in same) + 1
        found.append(Claim(ids, history_ids, target, kind, tries, len({row[2] for row in rows}), known))
        return 0

    database.transact(folder, work)
    return found[0] if found else None


def _give_up(db: sqlite3.Connection) -> None:
    """Let a message rest whose claims all ended with their hooks: it may be what kills them."""
    deadly = db.execute(
        "SELECT id, target, kind, tries FROM outbox WHERE state = 'claimed' AND tries >= ?", (TRIES_MAX,)
    ).fetchall()
    for row, target, kind, tries in deadly:
        db.execute("UPDATE outbox SET state = 'failed', error = ? WHERE id = ?", (DEADLY, row))
        _note(db, database.utc(), (target, kind, tries, DEADLY), {})


def decline(folder: str, claimed: Claim) -> None:
    """Close a claimed message that its target, by the user's own file, does not want."""

    def work(db: sqlite3.Connection) -> int:
        db.executemany("UPDATE outbox SET state = 'unwanted' WHERE id = ?", [(row,) for row in claimed.ids])
        return 0

    database.transact(folder, work)


def _reached(db: sqlite3.Connection) -> dict[int, tuple[str, ...]]:
    """Who of a target's recipients or channels has got a message although it failed, by its row; by its last try."""
    sql = (
        "SELECT message.value, json_extract(facts, '$.reached') FROM history, json_each(facts, '$.rows') AS message "
        "WHERE event = 'delivery_failed' ORDER BY history.id"
    )
    return {row: tuple(json.loads(names)) for row, names in db.execute(sql)}


def mark(folder: str, claimed: Claim, problem: str | None, reached: Sequence[str] = ()) -> None:
    """Write down what became of a claimed message: sent, to be tried again, or given up.

    ``reached`` are the recipients or channels of the target that have it although it failed.
    """
    now = time.time()
    partly = {"rows": claimed.ids, "reached": reached} if reached else {}

    def work(db: sqlite3.Connection) -> int:
        if problem is None:
            db.executemany(
                "UPDATE outbox SET state = 'sent', sent_utc = ?, error = '' WHERE id = ?",
                [(database.utc(now), row) for row in claimed.ids],
            )
            return 0
        state = "pending" if claimed.tries < TRIES_MAX else "failed"
        later = database.utc(now + BACKOFF_S * 2 ** (claimed.tries - 1))
        db.executemany(
            "UPDATE outbox SET state = ?, next_utc = ?, error = ? WHERE id = ?",
            [(state, later, problem, row) for row in claimed.ids],
        )
        _note(db, database.utc(now), (claimed.target, claimed.kind, claimed.tries, problem), partly)
        return 0

    database.transact(folder, work)


def _note(db: sqlite3.Connection, utc: str, failed: tuple[str, str, int, str], further: dict[str, Any]) -> None:
    """Write into the history that a message did not arrive: of (target, kind, try, reason), and what else is known."""
    db.execute(
        "INSERT INTO history SELECT NULL, ?, 'campaign', state, 'delivery_failed', state, '', stage, iteration, '', 0, '', "
        "dag_id, '', json_patch(json_object('target', ?, 'message', ?, 'try', ?, 'reason', ?), ?) FROM campaign",
        (utc, *failed, json.dumps(further)),
    )


def _times(final: bool) -> dict[str, Any]:
    return {"now": database.utc(), "final": int(final)}
