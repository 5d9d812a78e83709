"""Report the changes of a repair, as JSON values and as sentences."""

import contextlib
import os
import shlex
import sqlite3
from collections import Counter
from typing import Any

from faser_align.state.repair import rebuild
from faser_align.state.repair.rebuild import Rebuilt

NODES_NAMED = 5
_TABLES = ("attempts", "iterations", "history")


def report(name: str, rebuilt: Rebuilt) -> dict[str, Any]:
    """Compare the new database with the old one, as far as that can be read.

    Returns:
        ``campaign``; ``repaired`` (whether there was anything to repair); ``damage``; ``made_from``; ``events`` that were taken
        in; ``closed``, why; ``left_out``: events that have no place any more; ``refused``: events of logs that do not fit; ``before`` and ``after``: what each store says; ``nodes`` that changed; ``not_known``; ``set_aside`` of
        the spool.
    """
    store = rebuilt.copies[0]
    before, after = _picture(store.path), _picture(rebuilt.path or store.path)
    old, new = before.pop("nodes", {}), after.pop("nodes", {})
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


def _picture(path: str) -> dict[str, Any]:
    """Return what a database has of the campaign; empty if it cannot be read."""
    if not os.path.exists(path):
        return {}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
        state, stage, iteration = db.execute("SELECT state, stage, iteration FROM campaign").fetchone()
        return {
            "state": state,
            "stage": stage,
            "iteration": iteration,
            **{table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES},
            "messages": dict(Counter(row[0] for row in db.execute("SELECT state FROM outbox"))),
            "nodes": dict(db.execute("SELECT node, state FROM nodes ORDER BY stage, iteration, kind DESC, file")),
        }
    return {}


def sentences(found: dict[str, Any]) -> list[str]:
    """Return a report as sentences."""
    if not found["repaired"]:
        return [f"{found['campaign']}: nothing to repair; it is {found['after']['state']}", *_left_out(found)]
    lines = [f"{name}: {damage[0]}{_more(len(damage) - 1)}" for name, damage in found["damage"].items()]
    if found["migrated"]:
        lines.append("its schema was that of an older version")
    lines += ["", f"made from {found['made_from']}{_beyond(found)}"]
    lines += _changes(found)
    if found["closed"]:
        lines.append(f"closed as {found['after']['state']}: {found['closed']}")
    lines += [*_messages(found), *_left_out(found)]
    if found["not_known"]:
        lines += ["", "what no log tells:", *(f"- {what}" for what in found["not_known"])]
    return lines[1:] if not lines[0] else lines


def _left_out(found: dict[str, Any]) -> list[str]:
    count, refused = found["left_out"], found["refused"]
    lines = [f"the logs tell of {_events(count)} more, before others that they lack; these were left out"] * bool(count)
    if refused:
        named = f"{refused[0]}{_more(len(refused) - 1)}"
        lines.append(f"{_events(len(refused))} of DAGMan's logs not applied, because they do not fit: {named}")
    return lines


def _beyond(found: dict[str, Any]) -> str:
    if found["made_from"] == rebuild.LOGS:
        return f": {_events(found['events'])}"
    return f", and {_events(found['events'])} of DAGMan's logs or of the spool" if found["events"] else ""


def _events(count: int) -> str:
    return f"{count} event{'s' * (count != 1)}"


def _more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""


def _changes(found: dict[str, Any]) -> list[str]:
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
    return lines or ["everything in it stands as it was"]


def _messages(found: dict[str, Any]) -> list[str]:
    """Return sentences about messages and quarantined files of the spool."""
    counts = found["after"]["messages"]
    waiting = counts.get("pending", 0) + counts.get("claimed", 0)
    lines = []
    if waiting:
        lines.append(f"{waiting} message{'s' * (waiting != 1)} wait{'s' * (waiting == 1)} to be sent")
    if found["not_known"] and counts.get("failed"):
        retry = f"`faser-align notify retry {shlex.quote(found['campaign'])}`"
        lines.append(
            f"not sent (again): {counts['failed']}, since whether they were is not known; {retry} would send them"
        )
    if found["set_aside"]:
        lines.append(f"set aside in the spool, because they are no events: {', '.join(found['set_aside'])}")
    return lines
