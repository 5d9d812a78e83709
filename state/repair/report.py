"""Report the changes of a repair, as JSON values and as sentences."""

import contextlib
import os
import shlex
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from faser_align.state.repair import copies, rebuild
from faser_align.state.repair.rebuild import Rebuilt

NODES_NAMED = 5
_NAMES = {copies.STORE: "the state database", copies.PUBLISHED: "the snapshot"}  # JSON keeps the older names
_TABLES: Sequence[Literal["attempts", "iterations", "history"]] = ("attempts", "iterations", "history")


class Contents(TypedDict, total=False):
    """Contents of a database: the campaign's state and place, the numbers of rows, and of messages in each state."""

    state: str
    stage: int
    iteration: int
    attempts: int
    iterations: int
    history: int
    messages: dict[str, int]


class ChangedNode(TypedDict):
    """A node whose state the repair has changed."""

    node: str
    before: str | None
    after: str


class Report(TypedDict):
    """Changes by a repair, as JSON."""

    campaign: str
    repaired: bool  # whether there was anything to repair
    damage: dict[str, list[str]]
    migrated: bool
    made_from: str
    events: int  # that were applied
    spooled: int
    closed: str  # why
    left_out: int  # events that have no place any more
    refused: list[str]  # events of logs that do not fit
    before: Contents
    after: Contents
    nodes: list[ChangedNode]
    not_known: list[str]
    set_aside: list[str]  # of the event queue
    sent: NotRequired[int]  # pending messages that were accepted
    dry_run: NotRequired[bool]
    kept: NotRequired[str]  # path of the old state database
    published: NotRequired[bool]  # only the snapshot was out of date


def report(name: str, rebuilt: Rebuilt) -> Report:
    """Compare the new database with the old one, as far as that can be read."""
    store = rebuilt.copies[0]
    (before, old), (after, new) = _contents(store.path), _contents(rebuilt.path or store.path)
    return {
        "campaign": name,
        "repaired": bool(rebuilt.path),
        "damage": {copy.name: list(copy.damage) for copy in rebuilt.copies if copy.damage},
        "migrated": store.migrated,
        "made_from": rebuilt.made_from,
        "events": rebuilt.taken,
        "spooled": len(rebuilt.spooled),
        "closed": rebuilt.closed,
        "left_out": rebuilt.left_out,
        "refused": list(rebuilt.refused),
        "before": before,
        "after": after,
        "nodes": [
            {"node": node, "before": old.get(node), "after": state}
            for node, state in new.items()
            if old.get(node) != state
        ],
        "not_known": list(rebuild.UNKNOWN) if rebuilt.made_from == rebuild.LOGS else [],
        "set_aside": list(rebuilt.unfit),
    }


def _contents(path: str) -> tuple[Contents, dict[str, str]]:
    """Return the contents of a database, and the state of each node; empty if it cannot be read."""
    if not os.path.exists(path):
        return {}, {}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
        state, stage, iteration = db.execute("SELECT state, stage, iteration FROM campaign").fetchone()
        attempts, iterations, history = (db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _TABLES)
        found: Contents = {
            "state": state,
            "stage": stage,
            "iteration": iteration,
            "attempts": attempts,
            "iterations": iterations,
            "history": history,
            "messages": dict(Counter(row[0] for row in db.execute("SELECT state FROM outbox"))),
        }
        return found, dict(db.execute("SELECT node, state FROM nodes ORDER BY stage, iteration, kind DESC, file"))
    return {}, {}


def sentences(found: Report) -> list[str]:
    """Return a report as sentences."""
    if not found["repaired"]:
        return [f"{found['campaign']}: nothing to repair; it is {found['after']['state']}", *_left_out(found)]
    lines = [
        f"{_NAMES.get(name, name)}: {damage[0]}{_more(len(damage) - 1)}" for name, damage in found["damage"].items()
    ]
    if found["migrated"]:
        lines.append("its schema was that of an older version")
    lines += ["", f"made from {_NAMES.get(found['made_from'], found['made_from'])}{_beyond(found)}"]
    lines += _changes(found)
    if found["closed"]:
        lines.append(f"closed as {found['after']['state']}: {found['closed']}")
    lines += [*_messages(found), *_left_out(found)]
    if found["not_known"]:
        lines += ["", "not in any log:", *(f"- {what}" for what in found["not_known"])]
    return lines[1:] if not lines[0] else lines


def _left_out(found: Report) -> list[str]:
    count, refused = found["left_out"], found["refused"]
    lines = [f"{_events(count)} of DAGMan's logs not applied: the database has later ones that the logs lack"] * bool(
        count
    )
    if refused:
        named = f"{refused[0]}{_more(len(refused) - 1)}"
        lines.append(f"{_events(len(refused))} of DAGMan's logs not applied, because they do not fit: {named}")
    return lines


def _beyond(found: Report) -> str:
    if found["made_from"] == rebuild.LOGS:
        return f": {_events(found['events'])}"
    return f", and {_events(found['events'])} of DAGMan's logs or the fallback event queue" if found["events"] else ""


def _events(count: int) -> str:
    return f"{count} event{'s' * (count != 1)}"


def _more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""


def _changes(found: Report) -> list[str]:
    """Return the differences between the new and the old database."""
    before, after = found["before"], found["after"]
    if not before:
        counts = ", ".join(f"{after[table]} {table}" for table in ("attempts", "iterations"))
        return [f"state: {after['state']}; {counts}, {after['history']} rows of history"]
    lines = []
    if before["state"] != after["state"]:
        lines.append(f"state: {before['state']} -> {after['state']}")
    lines += [f"{what}: {before[what]} -> {after[what]}" for what in _TABLES if before[what] != after[what]]
    named = [f"{node['node']} {node['before'] or 'not there'} -> {node['after']}" for node in found["nodes"]]
    if named:
        lines.append(f"nodes: {', '.join(named[:NODES_NAMED])}{_more(len(named) - NODES_NAMED)}")
    return lines or ["nothing in it changed"]


def _messages(found: Report) -> list[str]:
    """Return sentences about messages and quarantined files of the event queue."""
    counts = found["after"]["messages"]
    waiting = counts.get("pending", 0) + counts.get("claimed", 0)
    lines = []
    if waiting:
        lines.append(f"{waiting} message{'s' * (waiting != 1)} wait{'s' * (waiting == 1)} to be sent")
    if found["not_known"] and counts.get("failed"):
        retry = f"`faser-align notify retry {shlex.quote(found['campaign'])}`"
        lines.append(
            f"not sent: {counts['failed']}, because it is unknown whether they were sent before; {retry} sends them"
        )
    if found["set_aside"]:
        lines.append(
            f"quarantined files of the fallback event queue, which are not events: {', '.join(found['set_aside'])}"
        )
    return lines
