"""The outbox: messages are claimed in a transaction before they are sent, and marked in another afterwards.

One process of a campaign delivers at a time, behind a lock that ends with it. So two hooks never send one message, and
a claim that whoever has the lock finds is that of a hook which was killed: the message is sent (again).
"""

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from faser_align.alignment.pivot import pivot_doubt
from faser_align.config.record import read_record
from faser_align.fsm.errors import CampaignError
from faser_align.state import database, queries

TRIES_MAX = 6
BACKOFF_S = 60.0  # doubled with each failure


class Claim(NamedTuple):
    """A message that this process may send."""

    id: int
    history_id: int
    target: str
    kind: str
    tries: int


_DUE = "state IN ('pending', 'claimed') AND (state = 'claimed' OR next_utc <= :now OR :final)"


def due(folder: str, *, final: bool = False) -> bool:
    """Whether a message waits to be sent, or was being sent; ``final`` does not wait for the back-off. Takes no lock."""
    db = database.connect(folder)
    try:
        return db.execute(f"SELECT 1 FROM outbox WHERE {_DUE} LIMIT 1", _times(final)).fetchone() is not None
    finally:
        db.close()


def claim(folder: str, *, final: bool = False, seen: frozenset[int] = frozenset()) -> Claim | None:
    """Claim the oldest message that is due, leaving out those that this process has tried (``seen``).

    Only for who has the turn behind ``OUTBOX_LOCK``.
    """
    found: list[Claim] = []

    def work(db: sqlite3.Connection) -> int:
        for row in db.execute(
            f"SELECT id, history_id, target, kind, tries FROM outbox WHERE {_DUE} ORDER BY id", _times(final)
        ).fetchall():
            if row[0] not in seen:
                db.execute(
                    "UPDATE outbox SET state = 'claimed', claimed_utc = ?, tries = tries + 1 WHERE id = ?",
                    (database.utc(), row[0]),
                )
                found.append(Claim(row[0], row[1], row[2], row[3], row[4] + 1))
                break
        return 0

    database.transact(folder, work)
    return found[0] if found else None


def decline(folder: str, claimed: Claim) -> None:
    """Close a claimed message that its target, by the user's own file, does not want."""

    def work(db: sqlite3.Connection) -> int:
        db.execute("UPDATE outbox SET state = 'unwanted' WHERE id = ?", (claimed.id,))
        return 0

    database.transact(folder, work)


def mark(folder: str, claimed: Claim, problem: str | None) -> None:
    """Write down what became of a claimed message: sent, to be tried again, or given up."""
    now = time.time()

    def work(db: sqlite3.Connection) -> int:
        if problem is None:
            db.execute(
                "UPDATE outbox SET state = 'sent', sent_utc = ?, error = '' WHERE id = ?",
                (database.utc(now), claimed.id),
            )
            return 0
        state = "pending" if claimed.tries < TRIES_MAX else "failed"
        db.execute(
            "UPDATE outbox SET state = ?, next_utc = ?, error = ? WHERE id = ?",
            (state, database.utc(now + BACKOFF_S * 2 ** (claimed.tries - 1)), problem, claimed.id),
        )
        db.execute(
            "INSERT INTO history SELECT NULL, ?, 'campaign', state, 'delivery_failed', state, '', stage, iteration, '', 0, '', "
            "dag_id, '', json_object('target', ?, 'message', ?, 'try', ?, 'reason', ?) FROM campaign",
            (database.utc(now), claimed.target, claimed.kind, claimed.tries, problem),
        )
        return 0

    database.transact(folder, work)


def _times(final: bool) -> dict[str, Any]:
    return {"now": database.utc(), "final": int(final)}


def facts(db: sqlite3.Connection, claimed: Claim) -> dict[str, Any]:
    """What the message of a claim is about: its transition, and how the campaign stands.

    Args:
        db: the store.
        claimed: the message.

    Returns:
        The dictionary that ``notifiers.message.compose`` describes.
    """
    campaign = queries.campaign(db)
    event = queries.rows(db, "SELECT * FROM history WHERE id = ?", (claimed.history_id,))[0]
    told = queries.history(db, since=event["utc"])
    about = next(row["facts"] for row in told if row["id"] == claimed.history_id)
    iterations = [row for row in queries.iterations(db) if row["ended_utc"]]
    limit = db.execute(
        "SELECT max(iteration) FROM nodes WHERE stage = ? AND kind = 'mille'", (max(1, event["stage"]),)
    ).fetchone()[0]
    message: dict[str, Any] = {
        "campaign": campaign["name"],
        "folder": campaign["folder"],
        "event": claimed.kind,
        "state": event["destination"] if event["subject"] == "campaign" else campaign["state"],
        "reason": about.get("reason", ""),
        "utc": event["utc"],
        "stage": event["stage"],
        "stages": campaign["stages"],
        "iteration": event["iteration"],
        "iterations": limit,
        "rows": [_row(row) for row in iterations],
        "files_lost": queries.lost_files(db),
        "held": [{"node": n["node"], "reason": n["reason"]} for n in queries.nodes(db, "held")],
        "failed": [{"node": n["node"], "why": n["reason"]} for n in queries.nodes(db, "failed")],
        "wall_s": queries.seconds(event["utc"]) - queries.seconds(campaign["created_utc"]),
        "constants": queries.latest_constants(db),
        "key": f"{campaign['name']}/{claimed.history_id}",
        # Two campaigns may have one name, at different times.
        "thread": f"{campaign['name']}/{campaign['created_utc']}",
    }
    if claimed.kind == "held":
        message["held"] = [{"node": event["node"], "reason": about.get("reason", "")}]
        message["reason"] = f"{event['node']} is on hold: {about.get('reason', '')}"
    if claimed.kind == "lost":
        message["reason"] = f"{event['node']} is lost for good: {about.get('reason', '')}"
    if iterations:
        message["solver"] = message["rows"][-1]["solver"]
    message["notes"] = _notes(campaign["folder"], iterations)
    return message


def _notes(folder: str, iterations: Sequence[dict[str, Any]]) -> list[str]:
    """What should be known beside the verdict: of the last iteration, and of the campaign as it was set up."""
    found = [str(note) for note in iterations[-1]["metrics"].get("notes", [])] if iterations else []
    try:
        record = read_record(folder)
        doubt = pivot_doubt(record["config"]["mille"]["pivot"], record["stages"], record["stations"])
    except (CampaignError, KeyError, TypeError):
        doubt = ""  # a message goes out whatever has become of the record
    return [*found, doubt] if doubt else found


def _row(iteration: dict[str, Any]) -> dict[str, Any]:
    metrics = iteration["metrics"]
    files = metrics.get("files", {})
    solver = metrics.get("solver", {})
    return {
        "stage": iteration["stage"],
        "iteration": iteration["iteration"],
        "files_used": files.get("used"),
        "files_expected": files.get("expected"),
        "tracks": metrics.get("tracks", {}).get("used"),
        "chi2_per_ndf": metrics.get("chi2_per_ndf"),
        "effect_um": metrics.get("effect_um"),
        "significance": metrics.get("significance"),
        "largest": largest(metrics),
        "verdict": iteration["verdict"],
        "solver": f"{solver.get('end_code', '')} {solver.get('end_text', '')}".strip(),
    }


def largest(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """The largest correction of an iteration in length, or in angle where no length was free."""
    found = [{"dof": dof, **c, "value": c["largest"]} for dof, c in metrics.get("corrections", {}).items()]
    lengths = [c for c in found if c["unit"] == "um"] or found
    return max(lengths, key=lambda c: abs(c["value"]), default=None)
