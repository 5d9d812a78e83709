"""Collect a campaign's data for the reading commands from one snapshot.

The result is a dictionary of JSON types, so that ``--json`` and the screens agree.
"""

import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.manifest import moved_from, read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import exit_codes, table
from faser_align.operations import eta, queued
from faser_align.operations.snapshot_types import FailedNode, HeldJob, Listed, Snapshot, Undelivered
from faser_align.pool.tools import release_held, to_pool
from faser_align.state import facts, queries, spool
from faser_align.system import formatting

SETTLE_S, SETTLE_POLL_S = 6.0, 0.02  # a copy takes milliseconds, and begins within 5 s of the change
JUST_NOW_S = 10.0


def take(folder: str) -> Snapshot:
    """Return the campaign in ``folder`` from its snapshot and its event queue.

    Raises StoreError if the snapshot or the manifest cannot be read.
    """
    record = read_record(folder)
    _settle(folder)
    now_s = time.time()
    with queries.published(folder) as db:
        campaign = queries.campaign_now(db, folder)
        ended = campaign["state"] in table.ENDS
        counts = queries.all_counts(db)
        nodes = queries.node_counts(counts)
        rows = _iterations(db, counts)
        validation = queries.validation(db)
        # In a large campaign all nodes are examined only if there is something to find.
        held = _held(db, record) if nodes.get("held") else []
        return {
            "name": campaign["name"],
            "state": campaign["state"],
            "reason": _reason(db, campaign, rows, validation),
            "folder": folder,
            "ended": ended,
            "year": record["year"],
            "run": campaign["run"],
            "files": len(record["files"]),
            "held_back": list(record.get("validation", {}).get("held_back", ())),
            "stage": campaign["stage"],
            "stages": campaign["stages"],
            "iteration": campaign["iteration"],
            "limit": _limit(record, campaign["stage"]),
            "created_utc": campaign["created_utc"],
            "updated_utc": campaign["updated_utc"],
            "dag_id": campaign["dag_id"],
            "elapsed_s": queries.seconds(campaign["updated_utc"]) - queries.seconds(campaign["created_utc"]),
            "nodes": nodes,
            "iterations": rows,
            "validation": validation,
            "quality": facts.quality(record, queries.iterations(db), validation),
            "held": held,
            "failed": [_failed(node) for node in queries.nodes(db, "failed")] if nodes.get("failed") else [],
            "lost": queries.lost_files(db) if nodes.get("lost") else [],
            "retried": eta.retried(db),
            "slow": [] if ended else eta.slow(db, counts, now_s),
            "lost_max": campaign["lost_max"],
            "disconnected": [],  # only HTCondor knows these
            "vanished": [],
            "undelivered": _undelivered(queries.outbox(db), ended=ended),
            "told": campaign["targets"],
            "published_age_s": queries.age_s(folder),
            "spool_waiting": len(spool.waiting(folder)),
            "spool_aside": len(list(Path(folder, layout.SPOOL, spool.ASIDE).glob("*"))),
            "pending": campaign["pending"],
            "constants": queries.latest_constants(db, folder),
            "start_constants": record["constants"]["source"],
            "only": record.get("only", 0),
            "parent": record.get("parent", {}),
            "imported": record.get("imported", {}).get("from", ""),
            "moved_from": moved_from(folder, record),
            "to_pool": to_pool(record),
            "release": _release(record, held, campaign["dag_id"]),
            "estimate": {}
            if ended or campaign["pending"] or is_halted(folder)
            else eta.estimate(record, rows, now_s, validating=campaign["state"] == "validating"),
            "last_event": db.execute("SELECT max(id) FROM history").fetchone()[0],
        }


def is_halted(folder: str) -> bool:
    """Return whether the campaign's latest DAGMan was halted, so that it starts no new nodes."""
    return os.path.exists(layout.newest_dag(folder) + layout.ENDING_HALT)


def summary(folder: str) -> Listed:
    """Return the campaign in ``folder`` as ``list`` shows it; raise StoreError if its snapshot cannot be read."""
    with queries.published(folder) as db:
        campaign = queries.campaign_now(db, folder)
        record = read_record(folder)
        solved = [row for row in queries.iterations(db) if row["ended_utc"]]
        metrics = solved[-1]["metrics"] if solved else {}
        return {
            "name": campaign["name"],
            "state": campaign["state"],
            "stage": campaign["stage"],
            "stages": campaign["stages"],
            "iteration": campaign["iteration"],
            "limit": _limit(record, campaign["stage"]),
            "files": len(record["files"]),
            "lost": campaign["lost"],
            "nodes_held": len(queries.held(db)),
            "chi2_per_ndf": metrics.get("chi2_per_ndf"),
            "residual_shift_um": metrics.get("effect_um"),
            "effect_um": metrics.get("effect_um"),  # its deprecated name
            "created_utc": campaign["created_utc"],
            "updated_utc": campaign["updated_utc"],
            "dag_id": campaign["dag_id"],
            "disconnected": [],
            "vanished": [],
            "year": record["year"],
            "run": campaign["run"],
            "folder": folder,
        }


def state_now(folder: str) -> str:
    """Return the campaign's state only, including a resumption that no script has recorded yet."""
    _settle(folder)
    with queries.published(folder) as db:
        return str(queries.campaign_now(db, folder)["state"])


def _settle(folder: str) -> None:
    """Wait a moment after an end: a script removes a resumption from the event queue just before it publishes.

    The files' times show whether the snapshot is out of date; one that stays out of date is read.
    """
    deadline = time.monotonic() + SETTLE_S
    while _is_behind(folder) and time.monotonic() < deadline:
        with queries.published(folder) as db:
            if queries.campaign_now(db, folder)["state"] not in table.ENDS:
                return
        time.sleep(SETTLE_POLL_S)


def _is_behind(folder: str) -> bool:
    """Return whether the state database was written just now, and after the snapshot was made."""
    try:
        written = os.stat(f"{folder}/{layout.STATE}").st_mtime
        return written > os.stat(f"{folder}/{layout.PUBLISHED}").st_mtime and time.time() - written < JUST_NOW_S
    except OSError:
        return False


def stamp(folder: str) -> tuple[int, int, tuple[str, ...]]:
    """Return a value that changes with the campaign's data; only files are examined."""
    try:
        seen = os.stat(f"{folder}/{layout.PUBLISHED}")
    except OSError:
        return (0, 0, ())
    return (seen.st_mtime_ns, seen.st_ino, tuple(spool.waiting(folder)))


def with_queue(seen: Snapshot, waiting: Collection[str], found: queued.Found = queued.NOTHING) -> Snapshot:
    """Return the snapshot with the schedd's information about the nodes' jobs.

    Args:
        seen: a snapshot, in which a node runs from its PRE script to its POST script.
        waiting: nodes whose job waits.
        found: fates of jobs that no script has recorded.
    """
    states = dict.fromkeys(waiting, "queued") | {
        row["node"]: state
        for state, rows in (("disconnected", found.disconnected), ("vanished", found.vanished), ("held", found.held))
        for row in rows
    }
    places: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for node, state in states.items():
        places[layout.parse_node(node)[1:3]][state] += 1
    released = Counter(layout.parse_node(node)[1:3] for node in found.released)
    rows = [_with_queue(row, places[at], released[at]) for row in seen["iterations"] for at in [_place(row)]]
    before = next((row for row in seen["iterations"] if progress(row) == seen["reason"]), None)
    reason = seen["reason"] if before is None else progress(rows[seen["iterations"].index(before)])
    slow = [item for item in seen["slow"] if item["node"] not in states]
    release = f"{seen['to_pool']}condor_release "
    held: list[HeldJob] = [{**row, "release": f"{release}{row['job_id']}"} for row in found.held]
    all_held = [*(row for row in seen["held"] if row["node"] not in found.released), *held]
    return {
        **seen,
        "iterations": rows,
        "reason": reason,
        "slow": slow,
        "held": all_held,
        "release": _release(read_record(seen["folder"]), all_held, seen["dag_id"])
        if all_held != seen["held"]
        else seen["release"],
        "disconnected": list(found.disconnected),
        "vanished": list(found.vanished),
    }


def _release(record: Manifest, held: Sequence[HeldJob], dag_id: str) -> list[dict[str, str]]:
    """Return the steps that let held jobs continue."""
    jobs = ((row["node"], row["job_id"], row["why"]) for row in held)
    return [step._asdict() for step in release_held(record, jobs, dag_id)]


def _place(row: queries.Row) -> tuple[int, int]:
    return row["stage"], row["iteration"]


def _with_queue(row: queries.Row, others: Mapping[str, int], released: int) -> queries.Row:
    """Return the iteration's row with ``released`` held nodes running, and ``others`` of the running in another state."""
    counts = {"queued": 0, "running": 0, **row["nodes"]}
    back = min(released, counts.get("held", 0))
    if back:
        counts["held"] -= back
        counts["running"] += back
    if not counts["running"]:
        return row
    for state, count in others.items():
        moved = min(count, counts["running"])  # the snapshot may be older than the schedd's answer
        counts["running"] -= moved
        counts[state] = counts.get(state, 0) + moved
    return {**row, "nodes": counts}


def _limit(record: Manifest, stage: int) -> int:
    return int(record["stages"][max(1, stage) - 1]["iterations"])


def _reason(db: sqlite3.Connection, campaign: queries.Row, rows: Sequence[queries.Row], validation: queries.Row) -> str:
    """Return why the campaign is in its state, in one sentence."""
    if campaign["pending"]:
        return f"{campaign['pending'][-1]} as DAGMan job {campaign['dag_id']}; no script has run yet"
    if campaign["state"] in table.ENDS:
        return queries.last_reason(db)
    if campaign["state"] == "created":
        return "it was created, but HTCondor has not started it"
    if campaign["state"] == "validating":
        # {} until the first of its scripts
        nodes = _done(validation["nodes"]) if validation else "no node has begun"
        return f"the last constants are being validated: {nodes}"
    now = next((r for r in rows if (r["stage"], r["iteration"]) == (campaign["stage"], campaign["iteration"])), None)
    return progress(now) if now else "it is idle in HTCondor's queue"


def progress(row: queries.Row) -> str:
    """Return the progress of an iteration: ``iteration 3: 4 of 7 nodes done, 2 in HTCondor``."""
    return f"iteration {row['iteration']}: {_done(row['nodes'])}"


def _done(counts: queries.Row) -> str:
    done = counts.get("done", 0) + counts.get("skipped", 0)
    return ", ".join([f"{done:,} of {sum(counts.values()):,} nodes done", *formatting.busy(counts)])


def _iterations(db: sqlite3.Connection, all_counts: Sequence[queries.Row]) -> list[queries.Row]:
    """Return one row per iteration with events: its nodes, and its metrics once solved."""
    solved = {(row["stage"], row["iteration"]): row for row in queries.iterations(db)}
    found = []
    for row in queries.begun(all_counts):
        stage, iteration = row["stage"], row["iteration"]
        counts = {state: count for state, count in row.items() if state not in ("stage", "iteration")}
        if (stage, iteration) not in solved and set(counts) <= {"waiting", "skipped"}:
            continue  # skipped: the stage had ended before
        empty: queries.Row = {
            "reason": "",
            "criteria": [],
            "started_utc": "",
            "ended_utc": "",
            "wall_s": None,
            "metrics": {},
        }
        known = solved.get((stage, iteration), {})
        shown = facts.summary({**known, "stage": stage, "iteration": iteration})
        found.append({**shown, "nodes": counts, **{key: known.get(key, value) for key, value in empty.items()}})
    return found


def release(record: Manifest, job_id: str) -> str:
    """Return the command that releases a job, with the place of a personal pool."""
    return f"{to_pool(record)}condor_release {job_id}"


def _held(db: sqlite3.Connection, record: Manifest) -> list[HeldJob]:
    """Return the nodes whose job is held, with job, time, reason and the command that releases it."""
    command = release(record, "")
    return [
        {
            "node": row["node"],
            "why": row["reason"],
            "job_id": row["job_id"],
            "utc": row["utc"],
            "release": f"{command}{row['job_id']}" if row["job_id"] else "",
        }
        for row in queries.held(db)
    ]


def _failed(node: queries.Row) -> FailedNode:
    return {
        "node": node["node"],
        "attempts": node["attempts"],
        "why": node["reason"],
        "cure": exit_codes.cure(node["reason"], node["return_value"]),
        "utc": node["closed_utc"],
        "host": node["host"],
    }


def _undelivered(messages: Sequence[queries.Row], *, ended: bool) -> list[Undelivered]:
    """Return messages that were refused at least once, or that wait after the last script."""
    shown: list[Any] = [
        {key: row[key] for key in Undelivered.__annotations__}
        for row in messages
        if row["state"] != "sent" and (row["state"] == "failed" or row["error"] or ended)
    ]
    return shown
