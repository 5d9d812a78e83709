"""Collect the payload of a message: its event, and the campaign at that time, however late it is sent."""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faser_align.alignment.quality.notes import changed_by_hand, solver_end
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.message_facts import Entry, Facts, Largest, Row, Saved
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.metrics import Metrics, Mode, Quality
from faser_align.fsm.next_message import TOGETHER
from faser_align.state import queries
from faser_align.state.outbox import Claim


def facts(db: sqlite3.Connection, claimed: Claim) -> Facts:
    """Return the payload of a message: its event, and the campaign at that time."""
    campaign = queries.campaign(db)
    event = queries.rows(db, "SELECT * FROM history WHERE id = ?", (claimed.history_ids[-1],))[0]
    told = queries.history(db, since=event["utc"])
    about = next(row["facts"] for row in told if row["id"] == event["id"])
    # A message may be late: its numbers are those of its time.
    iterations = [row for row in queries.iterations(db) if row["ended_utc"] and row["ended_utc"] <= event["utc"]]
    last = iterations[-1] if iterations else None
    then = _nodes_then(db, event["id"])
    sql = "SELECT destination FROM history WHERE subject = 'campaign' AND id <= ? ORDER BY id DESC LIMIT 1"
    state_then = db.execute(sql, (event["id"],)).fetchone()
    limit = db.execute(
        "SELECT max(iteration) FROM nodes WHERE stage = ? AND kind = 'mille'", (max(1, event["stage"]),)
    ).fetchone()[0]
    message: Facts = {
        "campaign": campaign["name"],
        "folder": campaign["folder"],
        "dag_id": event["dag_id"],
        "event": claimed.kind,
        "state": str(state_then[0]) if state_then else table.INITIAL,
        "reason": queries.whole_reason(db, event["id"], event["event"], about.get("reason", "")),
        "utc": event["utc"],
        "stage": event["stage"],
        "stages": campaign["stages"],
        "iteration": event["iteration"],
        "iterations": limit,
        "rows": [summary(row) for row in iterations],
        "files_lost": [
            {"file": n["file"], "node": n["node"], "why": n["reason"]}
            for n in sorted(then, key=lambda n: int(n["file"]))
            if n["state"] == "lost"
        ],
        "held": [{"node": n["node"], "reason": n["reason"]} for n in then if n["state"] == "held"],
        "failed": [{"node": n["node"], "why": n["reason"]} for n in then if n["state"] == "failed"],
        "wall_s": queries.seconds(event["utc"]) - queries.seconds(campaign["created_utc"]),
        "constants": layout.result_file(campaign["folder"], last["stage"], last["iteration"]) if last else None,
        "weak": weak_modes(last["metrics"]) if last else [],
        "cpu_s": _sum_of([_cpu_s(row["metrics"]) for row in iterations]),
        "key": f"{campaign['name']}/{event['id']}",
        # Two campaigns may have the same name at different times.
        "thread": f"{campaign['name']}/{campaign['created_utc']}",
    }
    if claimed.kind in TOGETHER:
        message |= _together(db, claimed)
    if claimed.kind == "converged":
        message["saved"] = _saved(db, iterations)
    if last:
        message["solver"] = solver_end(last["metrics"].get("solver", {}))
        message["plot"] = layout.plot_file(campaign["folder"], last["stage"], last["iteration"])
        message["no_plot"] = last["metrics"].get("no_plot", "")
    validation = queries.validation(db)
    if not "" < validation.get("ended_utc", "") <= event["utc"]:
        validation = {}
    if claimed.kind in ("converged", "rejected"):
        message["validation"] = validation.get("metrics", {}).get("groups", {})
    if event["subject"] == "campaign" and claimed.kind != "submitted":
        message["quality"] = None
        # A message is sent whatever the metrics have.
        with contextlib.suppress(CampaignError, KeyError, TypeError, ValueError, AttributeError):
            message["quality"] = quality(read_record(campaign["folder"]), iterations, validation)
    notes = [*_notes(campaign["folder"], iterations), *validation.get("metrics", {}).get("notes", [])]
    message["notes"] = [note for note in notes if note not in message["reason"]]
    return message


def quality(
    record: Mapping[str, Any], iterations: Sequence[Mapping[str, Any]], validation: Mapping[str, Any]
) -> Quality | None:
    """Return the quality block of the latest constants; None before the first, or if nothing is known about them.

    Jobs write it. For campaigns of older versions it is made here from their metrics. ``iterations`` and
    ``validation`` are rows of the state database, oldest first; {} without a validation.
    """
    solved = [row for row in iterations if row["ended_utc"] and row["metrics"]]
    if not solved:
        return None
    is_newer = validation.get("ended_utc", "") >= solved[-1]["ended_utc"]
    judged = validation if is_newer and validation.get("metrics") else {}
    last: Metrics = (judged or solved[-1])["metrics"]
    if "quality" in last:
        return last["quality"]
    from faser_align.alignment.quality.grades import Limits, Subject, assess

    subject = Subject([row["metrics"] for row in solved], judged.get("metrics"), judged.get("verdict", ""))
    return assess(Limits.from_config(record["config"].get("quality", {})), subject)


def _nodes_then(db: sqlite3.Connection, event: int) -> list[queries.Row]:
    """Return the nodes that were held, failed or dropped after the event with this id, with state and reason, in order."""
    states = "('held', 'failed', 'lost')"
    # SQLite takes the other columns of a group from the row that has the maximum.
    sql = (
        "SELECT n.node, n.file, h.destination AS state, coalesce(json_extract(h.facts, '$.reason'), '') AS reason, max(h.id) "
        "FROM history AS h JOIN nodes AS n ON n.node = h.subject WHERE h.ignored = '' AND h.id <= ?1 AND h.subject IN "
        f"(SELECT subject FROM history WHERE id <= ?1 AND destination IN {states} AND subject != 'campaign') "
        "GROUP BY h.subject ORDER BY n.stage, n.iteration, n.kind DESC, n.file"
    )
    return [row for row in queries.rows(db, sql, (event,)) if row["state"] in ("held", "failed", "lost")]


def weak_modes(metrics: Metrics) -> list[Mode]:
    """Return the weak modes that an iteration moved in any step, each once, with its largest move."""
    found: dict[str, Mode] = {}
    for step in metrics.get("steps") or ():
        for mode in (step.get("parts") or {}).get("modes") or ():
            known = found.setdefault(mode["name"], mode)
            if (mode.get("moved_um") or 0.0) > (known.get("moved_um") or 0.0):
                found[mode["name"]] = mode
    return list(found.values())


def _cpu_s(metrics: Metrics) -> float | None:
    """Return the CPU time of an iteration (s), of its reconstruction and its Millepede job; None if one is unknown."""
    reconstruction, solution = (metrics.get("reconstruction") or {}).get("cpu_s"), metrics.get("cpu_s")
    return None if reconstruction is None or solution is None else float(reconstruction + solution)


def _sum_of(values: Sequence[float | None]) -> float | None:
    """Return the sum, or None if a value is unknown or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _saved(db: sqlite3.Connection, iterations: Sequence[Mapping[str, Any]]) -> Saved:
    """Return the cost of allowed iterations that were not needed, at the mean cost (s) of those that ran."""
    allowed = db.execute("SELECT count(*) FROM nodes WHERE kind = 'mille' AND stage > 0").fetchone()[0]
    left = allowed - len(iterations)
    return {
        "iterations": left,
        "allowed": allowed,
        "wall_s": _cost_of(left, (row["wall_s"] for row in iterations)),
        "cpu_s": _cost_of(left, (_cpu_s(row["metrics"]) for row in iterations)),
    }


def _cost_of(count: int, costs: Iterable[float | None]) -> float | None:
    """Return the cost of ``count`` iterations at the mean of the known ones, or None without any."""
    known = [cost for cost in costs if cost is not None]
    return count * sum(known) / len(known) if known else None


def _together(db: sqlite3.Connection, claimed: Claim) -> Facts:
    """Return how many holds, or dropped files, one message is about, with the reason of the first."""
    query = "SELECT node, job_id AS job, json_extract(facts, '$.reason') AS reason FROM history WHERE id = ?"
    nodes: list[Any] = [queries.rows(db, query, (row,))[0] for row in claimed.history_ids]
    first, jobs = nodes[0], len({(node["node"], node["job"]) for node in nodes})
    named = first["node"] if jobs == 1 else f"{first['node']} and {jobs - 1} more"
    said: Facts = {"reason": f"{named}: {first['reason'] or 'no reason given'}", "count": jobs}
    if claimed.kind != "held":
        return said
    # A job may be held twice for one reason.
    each: dict[tuple[str, str, str], Entry] = {(node["node"], node["job"], node["reason"]): node for node in nodes}
    return {**said, "held": list(each.values())}


def _notes(folder: str, iterations: Sequence[queries.Row]) -> list[str]:
    """Return remarks besides the decision: on the last iteration, and on the campaign's configuration."""
    # It imports steering and labels, which readers of facts do not need.
    from faser_align.alignment.quality.pivot import pivot_doubt

    # A manual change of any iteration's constants affects all later ones.
    found = [note for row in iterations[:-1] if (note := changed_by_hand(row["metrics"]))]
    found += [str(note) for note in iterations[-1]["metrics"].get("notes", [])] if iterations else []
    try:
        record = read_record(folder)
        doubt = pivot_doubt(record["config"]["mille"]["pivot"], record["stages"], record["stations"])
    except (CampaignError, KeyError, TypeError):
        doubt = ""  # a message is sent even if the manifest is unreadable
    return [*found, doubt] if doubt else found


def summary(iteration: Mapping[str, Any]) -> Row:
    """Return the metrics of an iteration that every table has; None for unknown ones."""
    metrics: Metrics = iteration.get("metrics", {})
    files, solver = metrics.get("files", {}), metrics.get("solver", {})
    return {
        "stage": iteration["stage"],
        "iteration": iteration["iteration"],
        "files_used": files.get("used"),
        "files_expected": files.get("expected"),
        "tracks": metrics.get("tracks", {}).get("used"),
        "chi2_per_ndf": metrics.get("chi2_per_ndf"),
        "residual_shift_um": metrics.get("effect_um"),
        "delta_chi2_per_parameter": metrics.get("significance"),
        "effect_um": metrics.get("effect_um"),  # deprecated names, which programs of users read
        "significance": metrics.get("significance"),
        "largest": largest(metrics) if metrics else None,
        "verdict": iteration.get("verdict", ""),
        "solver": f"{solver.get('end_code', '')} {solver.get('end_text', '')}".strip(),
    }


def error_of_correction(metrics: Metrics, dof: str, where: str) -> float | None:
    """Return the error of an element's correction (um, urad), which is that of its constant; None if it has none."""
    six = (metrics.get("constant_errors") or {}).get(where)
    return (six[_PLACES[dof.rpartition(".")[2]]] or None) if six else None


_PLACES = {dof: place for place, dof in enumerate(("x", "y", "z", "rx", "ry", "rz"))}


def largest(metrics: Metrics) -> Largest | None:
    """Return the largest finite correction of an iteration as a length, or as an angle if no length was free."""
    found: list[Largest] = [
        {"dof": dof, **c, "value": value, "error": error_of_correction(metrics, dof, c["where"])}
        for dof, c in metrics.get("corrections", {}).items()
        if (value := c["largest"]) is not None
    ]
    lengths = [c for c in found if c["unit"] == "um"] or found
    return max(lengths, key=lambda c: abs(c["value"]), default=None)
