"""Apply events again: those of DAGMan's logs and of the event queue, or only those that a database lacks."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, table
from faser_align.state import create, queries, schema, spool, writer
from faser_align.state.repair.copies import DELIVERY_UNKNOWN, opened
from faser_align.state.repair.events import PROVED, UNDECIDED, UNSURE, Replayable, is_new_dagman
from faser_align.state.repair.order import NEAR_S


def begin(path: str, record: Manifest) -> None:
    """Make a new database at ``path`` for a campaign without events."""
    schema.migrate(path)
    with opened(path) as db:
        created = record["created_utc"].removesuffix("Z")
        db.execute("BEGIN IMMEDIATE")
        create.begin(db, record, created + ".000Z" * ("." not in created), "")
        db.execute("COMMIT")


def with_spool(folder: str, logged: list[Replayable]) -> list[Replayable]:
    """Return the events of logs and event queue; a queued event replaces the same event of the logs.

    Files without an event come last. A queued event is as its script made it and in no database yet, so its messages were not sent.
    """
    result = list(logged)
    unfit = []
    for name in spool.waiting(folder):
        try:
            event = spool.read(folder, name)
            if not all(isinstance(_value(event, key), str) for key in _WORDS):
                raise TypeError("it is not an event")
            place = _like(result, event)
            if place is None:
                later = (i for i in range(len(result), 0, -1) if result[i - 1].event["utc"] <= event["utc"])
                result.insert(next(later, 0), Replayable(event, spooled=name))
            else:
                result[place] = Replayable(event, spooled=name)
        except (*writer.UNFIT, OSError):
            unfit.append(Replayable(events.request("", {}), spooled=name))
    return [*result, *unfit]


_WORDS = ("phase", "event", "id", "dag_id", "node", "job_id", "hold_time", "utc")


def _value(event: Mapping[str, Any], key: str) -> Any:
    """Return a value of an event; an empty text if an event of its phase does not have it."""
    return event.get(key, "")


def _like(logged: list[Replayable], event: "events.Event") -> int | None:
    """Return the place of the same event from the logs; None without one."""
    if event["phase"] == "control" and not is_new_dagman(event):
        return None  # a control request has an id, and changes nothing a second time
    keys = {"post": ("job_id",), "hold": ("job_id", "hold_time")}.get(event["phase"], ())
    near: list[tuple[float, int]] = []
    for place, other in enumerate(logged):
        same = ("phase", "dag_id", "node", *keys)
        if other.spooled or any(_value(other.event, key) != _value(event, key) for key in same):
            continue
        near.append((abs(queries.seconds(other.event["utc"]) - queries.seconds(event["utc"])), place))
    if not near or (event["phase"] == "pre" and min(near)[0] > NEAR_S):
        return None
    return min(near)[1]


class Replayed(NamedTuple):
    """Result of a replay."""

    unfit: list[str]  # files of the event queue that could not be applied
    effective: int  # number of events with an effect
    refused: list[str]  # sentences about events that do not fit


def replay(path: str, folder: str, replayable: list[Replayable], *, unsent: bool = False) -> Replayed:
    """Apply events as scripts do, all in one transaction.

    A script that delivers has tried to send every pending message: these are not sent again. Events of the event queue were in no
    outbox before; with ``unsent`` neither were the others, because no script has committed them.
    """
    unfit, effective, refused = [], 0, []
    new: list[int] = []
    with opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        for one in replayable:
            before, messages = db.total_changes, _last_message(db)
            if not one.spooled:
                refused += _apply(db, one)
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


def _delivers(event: "events.Event") -> bool:
    """Return whether the script of an event delivers messages: no reconstruction's does."""
    if event["phase"] == "pre" or event["phase"] == "post":
        return layout.parse_node(event["node"])[0] != "reco"
    return event["phase"] in ("hold", "final")


def _apply(db: sqlite3.Connection, one: Replayable) -> list[str]:
    """Apply an event of the logs; return a sentence about one that does not fit this campaign and changes nothing."""
    event = one.event
    if one.mark == UNDECIDED:
        return []
    if one.mark == PROVED and db.execute("SELECT state FROM campaign").fetchone()[0] in table.ENDS:
        return []
    db.execute("SAVEPOINT event")
    try:
        writer.apply(db, event)
    except writer.UNFIT as problem:
        db.execute("ROLLBACK TO event")
        return [f"{event['phase']} {_value(event, 'node')}: {problem}"]
    finally:
        db.execute("RELEASE event")
    return []


def _last_message(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0])


def missing(path: str, replayable: list[Replayable]) -> tuple[list[Replayable], list[Replayable]]:
    """Return the events that the database at ``path`` lacks: those that can follow its history, and those within it."""
    with opened(path) as db:
        lacks = _Lacking(db)
    is_new = [lacks(one) for one in replayable]
    for place, one in enumerate(replayable):
        if one.mark == PROVED:  # of a DAGMan whose end the database has
            is_new[place] = is_new[place + 1 : place + 2] == [True]
    last = {_value(one.event, "node"): place for place, one in enumerate(replayable) if not is_new[place]}
    tail: list[Replayable] = []
    middle: list[Replayable] = []
    for place, one in enumerate(replayable):
        # The database knows whether a killed script committed.
        if is_new[place] and one.mark not in (UNSURE, UNDECIDED):
            moves = one.event["phase"] in ("pre", "post")
            # A script would apply the event queue as late.
            before = moves and not one.spooled and place < last.get(_value(one.event, "node"), -1)
            (middle if before else tail).append(one)
    return tail, middle


class _Lacking:
    """Follows the events of the logs in order, and returns of each whether a database lacks it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        # What the database has: attempts by DAGMan and node, the closed and the holds by node and job, DAGMans, and the ids
        # of requests. A DAGMan that is killed after its FINAL runs another one.
        attempts = db.execute("SELECT dag_id, node, job_id, closed_utc FROM attempts").fetchall()
        ids = "SELECT dag_id, job_id, node FROM events WHERE phase = ?"
        self._attempts = Counter((dag_id, node) for dag_id, node, _, _ in attempts)
        self._closed = {(node, job_id) for _, node, job_id, closed in attempts if closed and job_id}
        self._holds = Counter((node, job_id) for _, job_id, node in db.execute(ids, ("hold",)))
        self._dagmans = {row[0] for row in db.execute(ids, ("dagman",))}
        self._finals = Counter(row[0] for row in db.execute(ids, ("final",)))
        self._requests = {row[1] for row in db.execute(ids, ("control",))}
        self._opened: Counter[tuple[str, str]] = Counter()
        self._held: Counter[tuple[str, str]] = Counter()
        self._ended: Counter[str] = Counter()
        self._open: dict[tuple[str, str], bool] = {}
        self._over: dict[str, bool] = {}

    def __call__(self, one: Replayable) -> bool:
        event, unsure = one.event, one.mark in (UNSURE, UNDECIDED)
        dag_id, node = _value(event, "dag_id"), _value(event, "node")
        attempt, job = (dag_id, node), (node, _value(event, "job_id"))
        if event["phase"] == "pre":
            if attempt not in self._open:
                self._opened[attempt] += 1
                self._open[attempt] = self._opened[attempt] > self._attempts[attempt]
                if not (self._open[attempt] and unsure):
                    self._over.pop(dag_id, None)  # it may have reopened the campaign
            return self._open[attempt]  # also of a repeat
        if event["phase"] == "post":
            lacking = job not in self._closed
            if not (lacking and unsure):  # a killed POST that closed nothing leaves the attempt open
                self._open.pop(attempt, None)
            return lacking
        if event["phase"] == "hold":
            self._held[job] += 1
            return self._held[job] > self._holds[job]
        if event["phase"] == "final" and one.mark != PROVED:
            if dag_id not in self._over:
                self._ended[dag_id] += 1
                self._over[dag_id] = self._ended[dag_id] > self._finals[dag_id]
            return self._over[dag_id]  # also of a repeat
        if is_new_dagman(event):
            return dag_id not in self._dagmans
        return _value(event, "id") not in self._requests
