"""Write the history of a finished campaign of faser-alignment-script: the events that scripts would have recorded."""

import json
import sqlite3
from collections.abc import Iterator, Sequence

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, reduce_campaign, table
from faser_align.fsm.metrics import Metrics
from faser_align.fsm.reaction import Reaction
from faser_align.predecessor.folder import Past, Place
from faser_align.state import database, writer
from faser_align.state.write.load import load
from faser_align.state.write.save import save

DAGMAN = "imported"  # in place of the DAGMan job's id
JUDGED = "imported: faser-alignment-script makes no decisions"


def replay(db: sqlite3.Connection, places: Sequence[Place], metrics: Sequence[Metrics], record: Manifest) -> int:
    """Record all events as scripts would have.

    Args:
        db: the new state database, in a transaction.
        places, metrics: the iterations in order, and the metrics of each.
        record: manifest of the new campaign.

    Returns:
        0, which the transaction returns.
    """
    for place, numbers in zip(places, metrics, strict=True):
        if not place.past.tracks:
            began = events.dagman(_source(place.past.began), resumed=False)
            reaction = Reaction(load(db, began), began, table.campaign_after)
            reduce_campaign.new_dagman(reaction)
            reaction.move_campaign("reconstruction_started", place.stage, place.number)
            save(db, reaction.all_changes())
        for event in _events(place, numbers, last=place is places[-1], record=record):
            writer.apply(db, event)
        if not place.past.is_solved:
            db.execute(
                "UPDATE iterations SET metrics = json(?) WHERE stage = ? AND iteration = ?",
                (json.dumps(numbers), place.stage, place.number),
            )
    if not places[-1].past.is_solved:
        writer.apply(db, events.final(_source(places[-1].past.ended), layout.FINAL_NODE, 2))
    _mark(db, places, record)
    # The outcome of files whose tracks no longer exist is unknown.
    db.execute("DELETE FROM nodes WHERE state = 'waiting'")
    return 0


def _mark(db: sqlite3.Connection, places: Sequence[Place], record: Manifest) -> None:
    """Record the origin of the history, and give it their start time."""
    began, last = database.utc(places[0].past.began), places[-1]
    source = record["imported"]["from"]
    db.execute("UPDATE campaign SET created_utc = ?", (began,))
    db.execute(
        "UPDATE history SET utc = ?, host = '', facts = json_set(facts, '$.imported', ?) WHERE event = 'created'",
        (began, source),
    )
    # Required fields of an event that are unknown: exit statuses of jobs, and the number of the attempt.
    db.execute("UPDATE attempts SET return_value = NULL, exit_status = NULL, host = ''")
    db.execute("UPDATE history SET facts = json_remove(facts, '$.return', '$.retry') WHERE subject != 'campaign'")
    if not last.past.is_solved:
        reason = f"imported: {last.past.name} has no result ({_why(last.past)})"
        db.execute("UPDATE history SET facts = json_set(facts, '$.reason', ?) WHERE event = 'final_failed'", (reason,))


def _why(past: Past) -> str:
    """Return why the resulting constants are unknown: pede's own reason, unless it has a result."""
    if past.runs and past.runs[-1].solution.result:
        return "its initial constants are unknown"
    return (past.runs[-1].solution.end_text if past.runs else "") or "pede left none"


def _events(place: Place, metrics: Metrics, *, last: bool, record: Manifest) -> "Iterator[events.Event]":
    past = place.past
    for file in past.tracks:
        yield _pre(layout.reco_node(place.stage, place.number, file), past.began)
    for file, at in past.tracks.items():
        yield _post(layout.reco_node(place.stage, place.number, file), max(at, past.began))
    node = layout.mille_node(place.stage, place.number)
    yield _pre(node, max([past.began, *past.tracks.values()]))
    if not past.is_solved:
        yield _post(node, past.ended, f"no solution: {_why(past)}")
        return
    name = "limit" if place.number == record["stages"][place.stage - 1]["iterations"] else "go_on"
    yield {
        **_post(node, past.ended),
        "verdict": name,
        "verdict_reason": JUDGED,
        "criteria": "[]",
        "metrics": json.dumps(metrics),
        "moves": table.after_verdict(
            name, last=place.stage == len(record["stages"]), validated=False, at_limit="continue"
        ),
    }


def _source(at: float) -> "events.Source":
    return {"dag_id": DAGMAN, "utc": database.utc(at), "host": ""}


def _pre(node: str, at: float) -> "events.Pre":
    return events.pre(_source(at), node, 0)


def _post(node: str, at: float, reason: str = "") -> "events.Post":
    event = events.post(_source(at), node, retry=0, max_retries=0, ret=int(bool(reason)), job_id="")
    return events.failed(event, reason, event["exit"]) if reason else event
