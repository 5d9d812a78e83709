"""What the command line asks of the hooks, through the spool, besides a new DAGMan: changes, extensions, deliveries, solutions.

Each wish has an identity of its own, so that a hook that dies between its commit and its tidying up repeats nothing.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout, submissions
from faser_align.fsm import machine, table
from faser_align.fsm.errors import StoreError
from faser_align.state import database, history, spool

if TYPE_CHECKING:
    from faser_align.state.history import Campaign

# Columns of the campaign's row that follow from what can be changed in its record.
COLUMNS = ("data", "lost_max", "targets", "messages")
SOLVED = "the user solved it; no decision is made on a single iteration"


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


def take(campaign: "Campaign") -> int:
    """Take a wish in; a second time changes nothing. Raises ValueError for one that is not known."""
    event = campaign.event
    wish = {
        "extended": _extended,
        "changed": _changed,
        "notify_retried": _notify_retried,
        "stop_asked": _stop_asked,
        "stuck": _stuck,
        "solved": _solved,
    }.get(event["event"])
    if wish is None:
        raise ValueError(f"{event['event']!r} is no event of the command line")
    new = campaign.db.execute("INSERT OR IGNORE INTO events VALUES ('', '', 0, 'control', ?, '', 0)", (event["id"],))
    if new.rowcount:
        event["dag_id"] = campaign.dag_id
        wish(campaign)
    return 0


def _note(campaign: "Campaign", facts: dict[str, Any]) -> int:
    """Write a row of the history that moves nothing; returns its id."""
    state, name = campaign.state, campaign.event["event"]
    where = (campaign.stage, campaign.iteration, "", 0)
    told = json.dumps({**facts, "who": campaign.event["who"]})
    return history.write(campaign, "campaign", (state, name, state, ""), where, "json(?)", (told,))


def _changed(campaign: "Campaign") -> None:
    event = campaign.event
    for column, value in event.get("columns", {}).items():
        if column in COLUMNS:
            campaign.db.execute(f"UPDATE campaign SET {column} = ?", (value,))
    _note(campaign, {key: event[key] for key in ("key", "before", "after")})


def _notify_retried(campaign: "Campaign") -> None:
    """Messages that were given up get fresh tries, those that wait are due now; what was sent stays sent."""
    asked = campaign.event["target"]
    found = campaign.db.execute(
        "UPDATE outbox SET state = 'pending', tries = 0, next_utc = '' "
        "WHERE state IN ('failed', 'pending') AND (? = '' OR target = ?)",
        (asked, asked),
    )
    _note(campaign, {"target": asked, "messages": found.rowcount})


def _stop_asked(campaign: "Campaign") -> None:
    _note(campaign, {"after": campaign.event["after"]})


def _stuck(campaign: "Campaign") -> None:
    """Note that no script can move the campaign, and notify of it; one that has ended meanwhile is not stuck."""
    if campaign.state not in table.ENDS:
        history.enqueue(campaign, _note(campaign, {"reason": campaign.event["reason"]}), "stuck")


def _extended(campaign: "Campaign") -> None:
    """More iterations of a stage: the campaign goes on, and has the nodes that it needs for them."""
    event, db = campaign.event, campaign.db
    stage, before, after = int(event["stage"]), int(event["before"]), int(event["after"])
    facts = "json_object('stage', ?, 'before', ?, 'after', ?, 'who', ?)"
    values = (stage, before, after, event["who"])
    moved = history.campaign_event(
        campaign, "extended", campaign.stage, campaign.iteration, facts, values, after=machine.campaign_after
    )
    if moved is None:
        return
    files = [
        row[0] for row in db.execute("SELECT DISTINCT file FROM nodes WHERE kind = 'reco' AND stage = ?", (stage,))
    ]
    for iteration in range(before + 1, after + 1):
        nodes = [(layout.reco_node(stage, iteration, file), "reco", stage, iteration, file) for file in sorted(files)]
        nodes.append((layout.mille_node(stage, iteration), "mille", stage, iteration, -1))
        db.executemany("INSERT OR IGNORE INTO nodes VALUES (?, ?, ?, ?, ?, 'waiting', 0, '')", nodes)
    # A stage that was over goes on, and whatever comes after it has its turn.
    db.execute("UPDATE campaign SET stages_done = min(stages_done, ?)", (stage - 1,))


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


def _solved(campaign: "Campaign") -> None:
    """The user solved the iteration of a `reco`: its constants and metrics are known."""
    event = campaign.event
    if campaign.state == "exhausted":  # as earlier versions ended it
        history.campaign_event(
            campaign, "reconstructed", campaign.stage, campaign.iteration, after=machine.campaign_after
        )
    stage, iteration = int(event["stage"]), int(event["iteration"])
    moved = history.campaign_event(
        campaign, "solved", stage, iteration, "json_object('who', ?)", (event["who"],), after=machine.campaign_after
    )
    if moved is not None:
        history.end_iteration(campaign, stage, iteration, ("solved", SOLVED, "[]", event["metrics"]))
