"""Apply events again: those of DAGMan's logs and of the spool, or only those that a database lacks."""

import sqlite3
from collections import Counter
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import table
from faser_align.state import create, schema, spool, writer
from faser_align.state.repair.copies import DELIVERY_UNKNOWN, opened
from faser_align.state.repair.events import PROVED, UNDECIDED, UNSURE
from faser_align.state.repair.runs import NEAR_S

Event = dict[str, Any]


class Taken(NamedTuple):
    """An event to apply; ``spooled`` is its file in the spool, if it is there."""

    event: Event
    spooled: str = ""


def begin(path: str, record: Manifest) -> None:
    """Make a new database at ``path`` for a campaign without events."""
    schema.migrate(path)
    with opened(path) as db:
        created = record["created_utc"].removesuffix("Z")
        db.execute("BEGIN IMMEDIATE")
        create.begin(db, record, created + ".000Z" * ("." not in created), "")
        db.execute("COMMIT")


def with_spool(folder: str, events: list[Event]) -> list[Taken]:
    """Return the events of logs and spool; the spool's replace the same events of the logs. Files without an event come last.

    An event in the spool is as its hook has made it, and surely in no store yet: whatever message it brings was not sent.
    """
    found = [Taken(event) for event in events]
    unfit = []
    for name in spool.waiting(folder):
        try:
            event = spool.read(folder, name)
            if not all(isinstance(event.get(key, ""), str) for key in _WORDS):
                raise TypeError("it is not an event")
            place = _like(found, event)
            if place is None:
                later = (i for i in range(len(found), 0, -1) if found[i - 1].event["utc"] <= event["utc"])
                found.insert(next(later, 0), Taken(event, name))
            else:
                found[place] = Taken(event, name)
        except (*writer.UNFIT, OSError):
            unfit.append(Taken({"phase": "control"}, name))
    return [*found, *unfit]


_WORDS = ("phase", "event", "id", "dag_id", "node", "job_id", "hold_time", "utc")


def _like(found: list[Taken], event: Event) -> int | None:
    """Return the place of the same event from the logs; None without one."""
    if event["phase"] == "control" and event.get("event") not in table.NEW_DAGMAN:
        return None  # a control request has an identity, and changes nothing a second time
    keys = {"post": ("job_id",), "hold": ("job_id", "hold_time")}.get(event["phase"], ())
    near: list[tuple[float, int]] = []
    for place, other in enumerate(found):
        same = ("phase", "dag_id", "node", *keys)
        if other.spooled or any(other.event.get(key) != event.get(key) for key in same):
            continue
        near.append((abs(_seconds(other.event["utc"]) - _seconds(event["utc"])), place))
    if not near or (event["phase"] == "pre" and min(near)[0] > NEAR_S):
        return None
    return min(near)[1]


def _seconds(utc: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(utc).timestamp()


class Replayed(NamedTuple):
    """Files of the spool that could not be applied, the number of events with an effect, and sentences about events that do not fit."""

    unfit: list[str]
    effective: int
    refused: list[str]


def replay(path: str, folder: str, events: list[Taken], *, unsent: bool = False) -> Replayed:
    """Apply events as scripts do, all in one transaction.

    A script that delivers has tried to send every pending message: these are not sent again. Events of the spool were in no
    outbox before; with ``unsent`` neither were the others, because no script has committed them.
    """
    unfit, effective, refused = [], 0, []
    new: list[int] = []
    with opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        for one in events:
            before, messages = db.total_changes, _last_message(db)
            if not one.spooled:
                refused += _apply(db, one.event)
            elif not writer.replay(db, folder, one.spooled):
                unfit.append(one.spooled)
            effective += db.total_changes > before
            if one.spooled:
                new += range(messages + 1, _last_message(db) + 1)
            elif not unsent and db.total_changes > before and _delivers(one.event):
                db.execute(
                    "UPDATE outbox SET state = 'failed', error = ? WHERE state IN ('pending', 'claimed') "
                    f"AND id NOT IN ({', '.join(map(str, new))})",
                    (DELIVERY_UNKNOWN,),
                )
        db.execute("COMMIT")
    return Replayed(unfit, effective, refused)


def _delivers(event: Event) -> bool:
    """Return whether the script of an event delivers messages: no reconstruction's does."""
    return event["phase"] in ("hold", "final") or (
        event["phase"] in ("pre", "post") and layout.parse_node(event["node"])[0] != "reco"
    )


def _apply(db: sqlite3.Connection, event: Event) -> list[str]:
    """Apply an event of the logs; return a sentence about one that does not fit this campaign and changes nothing."""
    if event.get(UNDECIDED):
        return []
    if event.get(PROVED) and db.execute("SELECT state FROM campaign").fetchone()[0] in table.ENDS:
        return []
    db.execute("SAVEPOINT event")
    try:
        writer.apply(db, event)
    except writer.UNFIT as problem:
        db.execute("ROLLBACK TO event")
        return [f"{event['phase']} {event.get('node', '')}: {problem}"]
    finally:
        db.execute("RELEASE event")
    return []


def _last_message(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0])


class _Known(NamedTuple):
    """What a database has, by the keys of events."""

    attempts: Counter[tuple[str, str]]  # (DAGMan, node)
    closed: set[tuple[str, str]]  # (node, job)
    holds: Counter[tuple[str, str]]  # (node, job)
    dagmans: set[str]
    finals: Counter[str]  # DAGMan; one that is killed after its FINAL runs another one
    wishes: set[str]  # identities


def _known(db: sqlite3.Connection) -> _Known:
    attempts = db.execute("SELECT dag_id, node, job_id, closed_utc FROM attempts").fetchall()
    return _Known(
        Counter((dag_id, node) for dag_id, node, _, _ in attempts),
        {(node, job_id) for _, node, job_id, closed in attempts if closed and job_id},
        Counter(tuple(row) for row in db.execute("SELECT node, job_id FROM events WHERE phase = 'hold'")),
        {row[0] for row in db.execute("SELECT dag_id FROM events WHERE phase = 'dagman'")},
        Counter(row[0] for row in db.execute("SELECT dag_id FROM events WHERE phase = 'final'")),
        {row[0] for row in db.execute("SELECT job_id FROM events WHERE phase = 'control'")},
    )


def missing(path: str, events: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """Return the events that the database at ``path`` lacks: those that can follow its history, and those within it."""
    with opened(path) as db:
        known = _known(db)
    lacking = _Lacking(known)
    is_new = [lacking(one.event) for one in events]
    for place, one in enumerate(events):
        if one.event.get(PROVED):  # of a DAGMan whose end the database has
            is_new[place] = is_new[place + 1 : place + 2] == [True]
    last: dict[str, int] = {}
    for place, one in enumerate(events):
        if not is_new[place]:
            last[one.event.get("node", "")] = place
    tail: list[Taken] = []
    middle: list[Taken] = []
    for place, one in enumerate(events):
        # The database knows whether a killed script committed.
        if is_new[place] and not one.event.get(UNSURE):
            moves = one.event["phase"] in ("pre", "post")
            # A script would apply the spool as late.
            before = moves and not one.spooled and place < last.get(one.event.get("node", ""), -1)
            (middle if before else tail).append(one)
    return tail, middle


class _Lacking:
    """Follows the events of the logs in order, and returns of each whether a database lacks it."""

    def __init__(self, known: _Known) -> None:
        self._known = known
        self._opened: Counter[tuple[str, str]] = Counter()
        self._held: Counter[tuple[str, str]] = Counter()
        self._ended: Counter[str] = Counter()
        self._open: dict[tuple[str, str], bool] = {}
        self._over: dict[str, bool] = {}

    def __call__(self, event: Event) -> bool:
        phase, node = event["phase"], event.get("node", "")
        attempt, job = (event.get("dag_id", ""), node), (node, event.get("job_id", ""))
        if phase == "pre":
            if attempt not in self._open:
                self._opened[attempt] += 1
                self._open[attempt] = self._opened[attempt] > self._known.attempts[attempt]
                if not (self._open[attempt] and event.get(UNSURE)):
                    self._over.pop(attempt[0], None)  # it may have reopened the campaign
            return self._open[attempt]  # also of a repeat
        if phase == "post":
            lacking = job not in self._known.closed
            if not (lacking and event.get(UNSURE)):  # a killed POST that closed nothing leaves the attempt open
                self._open.pop(attempt, None)
            return lacking
        if phase == "hold":
            self._held[job] += 1
            return self._held[job] > self._known.holds[job]
        if phase == "final" and not event.get(PROVED):
            dag_id = attempt[0]
            if dag_id not in self._over:
                self._ended[dag_id] += 1
                self._over[dag_id] = self._ended[dag_id] > self._known.finals[dag_id]
            return self._over[dag_id]  # also of a repeat
        if event.get("event") in table.NEW_DAGMAN:
            return attempt[0] not in self._known.dagmans
        return event.get("id", "") not in self._known.wishes
