"""Make a campaign's events from DAGMan's logs, in the form in which scripts make them (``fsm.events``).

Pure, except that metrics and the ends of jobs' logs are read from the campaign's folder. Times are DAGMan's, to the second,
and the host is empty: the logs do not have it.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.changes import Change
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, exit_codes, table
from faser_align.state import control_requests, create, dagmanlogs, database, joblogs, judging
from faser_align.state.dagmanlogs import Logs
from faser_align.state.repair.runs import UNENDED, UNKNOWN, ScriptRun, script_runs

Event = dict[str, Any]

SECOND = len("2026-11-24T07:30:00")  # precision of times in the logs
PROVED = "proved"  # marks an end without a script, which a later event proves
UNSURE = "unsure"  # marks an event of a killed script, which may not have committed
UNDECIDED = "undecided"  # marks a killed POST whose end no log has: it is not applied


def events_of(logs: Logs, record: Manifest, changed: Sequence[Change] = ()) -> list[Event]:
    """Return the events of a campaign in order, as scripts and commands made them.

    Args:
        logs: the campaign's logs.
        record: the manifest as it was submitted; its folder has the metrics.
        changed: later changes of the manifest.
    """
    scripts = dagmanlogs.scripts(logs.scripts)
    told = script_runs(logs)
    holds = _Holds(logs.jobs)
    tries: Counter[tuple[str, str]] = Counter()
    retries = {(s.node, s.macros[3]): int(s.macros[0]) for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    dag_ids: list[str] = []
    posts: dict[int, ScriptRun] = {}
    found: list[Event] = []
    for one in told:
        hold = holds.next(one.job_id) if one.phase == "hold" else None
        if (one.phase == "pre" and (one.status or 0) > 0) or (one.phase == "hold" and hold is None):
            continue
        source: events.Source = {"dag_id": one.dag_id, "utc": database.utc(one.at_s), "host": ""}
        attempt = (one.dag_id, one.node)
        event: Event
        if one.phase == "dagman":
            if found:
                before = dag_ids[-1] if dag_ids else UNKNOWN
                left = how_dagman_left(logs.dagman_log, before)
                found.append({**end_of(left, {**source, "dag_id": before}), PROVED: True})
            dag_ids.append(one.dag_id)
            event = dict(events.dagman(source, resumed=bool(found)))
        elif one.phase == "pre":
            event = dict(events.pre(source, one.node, tries[attempt]))
        elif hold is not None:
            event = dict(events.hold(source, one.node, one.job_id, *hold))
        elif one.phase == "final":
            event = dict(events.final(source, one.node, one.status or 0))
        else:
            event = dict(
                events.post(
                    source,
                    one.node,
                    retry=retries.get((one.node, one.job_id), tries[attempt]),
                    max_retries=record["config"]["htcondor"]["retries"],
                    ret=one.ret or 0,
                    job_id=one.job_id,
                )
            )
            tries[attempt] += 1
            if _is_undecided(one):
                event[UNDECIDED] = True
            else:
                posts[id(event)] = one
        if (one.phase in ("pre", "post") and (one.status or 0) < 0) or (one.phase == "final" and one.ret == UNENDED):
            event[UNSURE] = True
        found.append(event)
    result = _with_changes(found, record, changed, logs.extended_by)
    _judge(result, posts, record, changed)
    return [*result, *_solved(record)]


def _judge(events: list[Event], posts: Mapping[int, ScriptRun], record: Manifest, changed: Sequence[Change]) -> None:
    """Add the outcome of its job to each POST, judged by the manifest as it was then."""
    last = {one.node: one.job_id for one in posts.values()}
    by_id = {change["id"]: change for change in changed}
    for event in events:
        if event.get("event") in ("changed", "extended"):
            record = changes.apply(copy.deepcopy(record), [by_id[event["id"]]])
        elif one := posts.get(id(event)):
            _ended(event, one, record, latest=last[one.node] == one.job_id)


def _is_undecided(one: ScriptRun) -> bool:
    """Return whether a POST of a successful job was killed: the exit status alone does not give its decision."""
    return one.phase == "post" and (one.status or 0) < 0 and one.ret == 0


def end_of(left: "Left", source: "events.Source") -> Event:
    """Return the end of a DAGMan. If another one followed it only counts if the campaign has not ended by then.

    A DAGMan that left without FINAL was closed by ``repair``, or goes on in the next one.
    """
    return dict(events.final(source, layout.FINAL_NODE, 4 if left.removed else 1, left.words))


def _solved(record: Manifest) -> list[Event]:
    """Return the control request that records the solution of a `reco`, from the metrics on disk."""
    if "only" not in record:
        return []
    try:
        facts = control_requests.solution(record["folder"], record["only"])
    except (OSError, ValueError):
        return []  # `verify` names a metrics file that cannot be read
    return [{"phase": "control", "event": "solved", "dag_id": "", "host": "", "who": "", **facts}] if facts else []


def _with_changes(
    found: list[Event], record: Manifest, changed: Sequence[Change], extended_by: Sequence[str] = ()
) -> list[Event]:
    """Return the events with the changes inserted.

    An extension is before its own DAGMan and after the end of the one before it. Of other changes there is a time: within a second
    they follow the scripts and precede a resumption.
    """
    result = list(found)
    dagmans = iter(extended_by)
    place = 0  # changes keep their own order
    for change in changed:
        record = changes.apply(copy.deepcopy(record), [change])
        event = _change_event(change, record)
        second = event["utc"][:SECOND]
        later = [i for i, e in enumerate(result) if (e["utc"][:SECOND], e.get("event") == "resumed") > (second, False)]
        if event["event"] == "extended":
            own = next(dagmans, None)
            begins = [i for i, e in enumerate(result) if e.get("event") in table.NEW_DAGMAN and e["dag_id"] == own]
            new = [i for i, e in enumerate(result) if e.get("event") == "resumed" and e["utc"][:SECOND] >= second]
            later = begins or new
        place = max(place, later[0] if later else len(result))
        result.insert(place, event)
        place += 1
    return result


def _change_event(change: Change, record: Manifest) -> Event:
    """Return the control request of a change; ``record`` includes the change."""
    key = change["key"]
    event: Event = {"phase": "control", "event": "changed", "dag_id": "", "exit": 0}
    event |= {name: change[name] for name in ("id", "utc", "who", "host", "key", "before", "after")}
    if changes.is_extension(key):
        return event | {"event": "extended", "stage": int(key.split(".")[1])}
    return event | {"columns": create.columns(record)}


class _Holds:
    """Time and reason of every hold, by job."""

    def __init__(self, jobs: str) -> None:
        self._of: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for event in joblogs.job_events(jobs.splitlines(), (joblogs.HELD,)):
            self._of[event.job_id].append((event.time, event.why_held[: judging.REASON_CHARS_MAX]))
        self._seen: Counter[str] = Counter()

    def next(self, job_id: str) -> tuple[str, str] | None:
        """Return time and reason of the hold of the job's next HOLD script, empty if the event log has none of the job.

        None for a HOLD script that a restarted DAGMan repeats: the log has all holds of a job or none.
        """
        place, known = self._seen[job_id], self._of.get(job_id)
        self._seen[job_id] += 1
        if known is None:
            return "", ""
        return known[place] if place < len(known) else None


def _ended(event: Event, one: ScriptRun, record: Manifest, *, latest: bool) -> None:
    """Add the outcome of a job to its POST. The logs have POST's exit status; files may have changed since."""
    kind = layout.parse_node(one.node)[0]
    if one.ret:
        # Each attempt overwrites the job's log: only the last attempt has its last line.
        event["reason"] = judging.why(one.ret, record["folder"] if latest else "", one.node)
        if kind == "reco" and one.status == 0:
            event |= {"outcome": "lost", "exit": 0}
        elif kind == "reco" and (one.status or 0) > 0:  # POST failed: it did not drop the file; a killed one may have
            event |= {"fatal": False, "max_retries": event["retry"] + 1}
    elif kind == "reco":
        if one.status:
            event |= {"outcome": "failed", "reason": "no output", "exit": 1}
    else:
        judging.judge(record, event)
        _agree(event, one.status or 0, record)


def _agree(event: Event, told: int, record: Manifest) -> None:
    """Let POST's exit status decide where the metrics now say something else."""
    says = event["exit"]
    if told == says or (told == 1 and says) or {told, says}.isdisjoint((0, exit_codes.CONVERGED)):
        return  # JOBSTATE_LOG only knows that a script failed: 1 may stand for any other status
    _, stage, iteration, _ = layout.parse_node(event["node"])
    if told not in (0, exit_codes.CONVERGED):
        for key in ("verdict", "moves"):
            event.pop(key, None)
        event |= {
            "outcome": "failed",
            "exit": told,
            "reason": "DAGMan was told that it failed; its metrics say otherwise",
        }
        return
    name, moves = _as_told(record, stage, iteration, told)
    event |= {
        "outcome": "succeeded",
        "reason": "",
        "exit": told,
        "verdict": name,
        "moves": moves,
        "verdict_reason": f"as DAGMan was told; {event.get('verdict_reason') or event['reason']}",
        "criteria": event.get("criteria", "[]"),
        "metrics": event.get("metrics", "{}"),
    }


def _as_told(record: Manifest, stage: int, iteration: int, told: int) -> tuple[str, str]:
    """Return the verdict and the campaign's event for POST's exit status, 0 or ``CONVERGED``."""
    if stage == layout.VALIDATION:
        return "confirmed", "confirmed"
    if told == exit_codes.CONVERGED:
        return "converged", "converged"
    this, last = record["stages"][stage - 1], stage == len(record["stages"])
    name = "limit" if iteration == this["iterations"] else "go_on"
    at_limit = this.get("at_limit", "continue")
    return name, table.after_verdict(name, last=last, validated="validation" in record, at_limit=at_limit)


class Left(NamedTuple):
    """How a DAGMan left HTCondor's queue: whether it was removed, and a sentence."""

    removed: bool
    words: str


def how_dagman_left(dagman_log: str, dag_id: str) -> Left:
    """Return how the DAGMan ``dag_id`` left the queue, from its own event log."""
    own = [event for event in joblogs.job_events(dagman_log.splitlines()) if event.job_id == dag_id]
    why = ""
    for event in own:
        if event.code == joblogs.HELD:
            why = event.why_held or "no reason given"
        elif event.code == joblogs.RELEASED:
            why = ""
    held = f" while it was on hold ({why})" if why else ""
    name = f"DAGMan {dag_id}"
    if own and own[-1].code == joblogs.ABORTED:
        return Left(True, f"{name} was removed at {own[-1].time}{held}, and its last script did not run")
    if own and own[-1].code == joblogs.TERMINATED:
        how = f"with status {value}" if (value := own[-1].value or 0) >= 0 else f"by signal {-value}"
        return Left(False, f"{name} ended {how} at {own[-1].time}, and its last script did not run")
    last = f"; its log ends at {own[-1].time}" if own else ""
    return Left(False, f"{name} is in HTCondor's queue no more{held}, and its last script did not run{last}")
