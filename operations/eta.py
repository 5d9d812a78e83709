"""Estimate a campaign's speed: slow nodes, retried nodes, and the time of its end."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import exit_codes
from faser_align.fsm.rules import limits_of
from faser_align.operations.snapshot_types import Estimate, RetriedNode, SlowNode
from faser_align.state import database, queries

SAMPLE = 500  # finished nodes of an iteration for the median: a large campaign is not read completely
SAMPLED = 2  # latest iterations with finished nodes
FINISHED_MIN = 3  # for a meaningful median
SLOW_FACTOR, SLOW_S_MIN = 3.0, 60.0  # multiple of the median, and minimum excess over it
SHARE_MIN = 0.1  # fraction of an iteration's nodes that must be done before its duration is extrapolated
PACE_MAX = 0.95  # ratio of a quantity to its value in the previous iteration; above this no end is predicted
PACE_OVER = 3  # iterations
SHRINKING = ("effect_um", "significance")  # quantities whose limits predict an end


def retried(db: sqlite3.Connection) -> list[RetriedNode]:
    """Return nodes that needed several attempts and are not failed, held or dropped, with the previous failure."""
    found = queries.rows(
        db,
        "SELECT n.node, n.state, n.attempts, a.outcome, a.return_value FROM nodes AS n "
        "JOIN attempts AS a ON a.node = n.node AND a.attempt = n.attempts - 1 "
        "WHERE n.attempts > 1 AND n.state NOT IN ('failed', 'held', 'lost') ORDER BY n.node",
    )
    return [
        {"node": row["node"], "state": row["state"], "attempts": row["attempts"], "why": _befell(row)} for row in found
    ]


def _befell(row: Mapping[str, Any]) -> str:
    value = row["return_value"]
    if row["outcome"] == "succeeded":
        return "repeated after success"
    if known := exit_codes.failure(value):
        return known[0]
    if value is None:
        return "its DAGMan ended" if row["outcome"] in ("", "abandoned") else "failed before its job ran"
    return "the job left no valid output" if value == 0 else f"the job ended with exit status {value}"


def slow(db: sqlite3.Connection, rows: Sequence[Mapping[str, Any]], now_s: float) -> list[SlowNode]:
    """Return running nodes that take much longer than the median of their kind.

    ``rows`` are those of ``queries.all_counts``, ``now_s`` is Unix time.
    """
    if not any(row.get("running") for row in rows):
        return []
    found: list[SlowNode] = []
    for kind in ("reco", "mille"):
        took = _took(db, kind, rows)
        if len(took) < FINISHED_MIN:
            continue
        median = _median(took)
        begun = now_s - max(SLOW_FACTOR * median, median + SLOW_S_MIN)
        late = db.execute(
            "SELECT n.node, a.opened_utc FROM nodes AS n JOIN attempts AS a ON a.node = n.node AND a.attempt = n.attempts "
            "WHERE n.state = 'running' AND n.kind = ? AND a.opened_utc < ? ORDER BY a.opened_utc, n.node",
            (kind, database.utc(begun)),
        )
        found += [
            {"node": node, "kind": kind, "since_s": now_s - queries.seconds(utc), "median_s": median}
            for node, utc in late
        ]
    return found


def _median(values: Sequence[float]) -> float:
    """Return the median; importing the module statistics would cost more than the queries."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _took(db: sqlite3.Connection, kind: str, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return how long nodes of a kind took from PRE to POST (s): a sample of the latest iterations with finished ones."""
    done = [row for row in rows if row["stage"] and row.get("done")][-SAMPLED:]
    prefixes = [f"{kind}_s{row['stage']}_i{row['iteration']:02d}_" for row in done] if kind == "reco" else [f"{kind}_"]
    found: list[float] = []
    for prefix in prefixes:
        times = db.execute(
            "SELECT opened_utc, closed_utc FROM attempts WHERE node BETWEEN ? AND ? AND outcome = 'succeeded' LIMIT ?",
            (prefix, f"{prefix}~", SAMPLE),
        )
        found += [queries.seconds(closed) - queries.seconds(opened) for opened, closed in times]
    return found


def estimate(
    record: Manifest, rows: Sequence[Mapping[str, Any]], now_s: float, *, validating: bool = False
) -> Estimate:
    """Estimate the campaign's end from the durations of its iterations; {} if that is not possible yet.

    It assumes that each remaining iteration takes the median time of those done, and that all allowed iterations are
    needed. If the criteria's quantities shrink steadily, their limits give the iteration in which the stage may
    converge.

    Args:
        record: the campaign's manifest, with its stages and limits.
        rows: the iterations of a snapshot, in order.
        now_s: Unix time.
        validating: the iterations are over, and the validation, which takes as long as one, has begun.

    Returns:
        ``iteration_s`` (one iteration), ``iterations`` (how many the estimate is based on; 0: part of the first),
        ``left`` (maximum number of iterations left, including the current one and the validation; 0 while validating),
        ``left_s``, ``end_utc``, and for the last stage ``converges`` (the iteration, None if unknown) with ``converges_utc``.
    """
    if not rows:
        return {}
    now = rows[-1]
    finished = [row["wall_s"] for row in rows if row["wall_s"]]
    going = not now["ended_utc"]
    began = now["ended_utc"] if validating else now["started_utc"]
    spent = now_s - queries.seconds(began) if (going or validating) and began else 0.0
    each = _median(finished) if finished else _from_a_part(now["nodes"], spent)
    if not each or spent > SLOW_FACTOR * each:
        return {}  # the current iteration takes much longer than the estimate
    later = sum(stage["iterations"] for stage in record["stages"][now["stage"] :]) + ("validation" in record)
    more = 0 if validating else max(0, record["stages"][now["stage"] - 1]["iterations"] - now["iteration"]) + later
    this = max(0.0, each - spent) if going or validating else 0.0
    left_s = this + more * each
    found: Estimate = {"iteration_s": each, "iterations": len(finished), "left": more + going, "left_s": left_s}
    found["end_utc"] = database.utc(now_s + left_s)
    at = None if later or validating else _converges(record, [row for row in rows if row["stage"] == now["stage"]])
    to_come = None if at is None else this + max(0, at - now["iteration"]) * each
    return {**found, "converges": at, "converges_utc": "" if to_come is None else database.utc(now_s + to_come)}


def _from_a_part(counts: Mapping[str, int], spent_s: float) -> float | None:
    done, nodes = counts.get("done", 0) + counts.get("skipped", 0), sum(counts.values())
    return spent_s * nodes / done if nodes and done >= SHARE_MIN * nodes and spent_s > 0 else None


def _converges(record: Manifest, rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the iteration in which the stage converges at its current rate, or None if unknown."""
    rules = convergence_of(record, rows[-1]["stage"])
    judged = [row for row in rows if row["verdict"]]
    if not judged or "rules" not in rules:
        return None
    asked = [(key, limit) for key, limit in limits_of(rules).items() if key in SHRINKING]
    known = [count for key, limit in asked if (count := _needed(key, limit, judged)) is not None]
    if not known or (rules["require"] == "all" and len(known) < len(rules["rules"])):
        return None
    count = max(known) if rules["require"] == "all" else min(known)
    return int(judged[-1]["iteration"] + max(1, count + rules["patience"] - 1))


def _needed(key: str, limit: float, judged: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the iterations until a geometrically shrinking number is below its limit; 0 if it is."""
    values = [row[key] for row in judged if isinstance(row[key], int | float) and row[key] > 0]
    if len(values) < len(judged) or not values:
        return None
    if values[-1] <= limit:
        return 0
    over = min(PACE_OVER, len(values) - 1)
    pace = float(values[-1] / values[-1 - over]) ** (1 / over) if over else 1.0
    return math.ceil(math.log(float(limit / values[-1])) / math.log(pace)) if pace <= PACE_MAX else None
