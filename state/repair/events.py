"""The events of a campaign, made again from the logs of DAGMan, in the form in which hooks make them (``state.apply``).

Pure but for the metrics and the last words of jobs, which are read from the campaign's folder as hooks read them. What
only hooks could know is not made up: times are DAGMan's, to the second, and the host of the access point is empty.
"""

import bisect
import copy
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.config import changes, layout
from faser_align.config.changes import Change
from faser_align.fsm import statuses, table
from faser_align.state import create, database, joblogs, judging, wishes
from faser_align.state.joblogs import Line, Logs

Event = dict[str, Any]

SECOND = len("2026-11-24T07:30:00")  # of a time: logs know no more
NEAR_S = 30  # two logs that tell of one script give it times that are nearer than that
UNKNOWN = "unknown"  # id of a DAGMan that no log names


class Happening(NamedTuple):
    """One script's run: Unix time (s), DAGMan's id, phase (``dagman``: it began), node, job, and what the phase adds."""

    at_s: int
    dag_id: str
    phase: str
    node: str = ""
    job_id: str = ""
    ret: int | None = None
    status: int | None = None  # of POST: its exit status, 1 if only its failure is known; of FINAL: $DAG_STATUS


def happenings(logs: Logs) -> list[Happening]:
    """What happened, in order: JOBSTATE_LOG's account, completed with what only dagman.out or the scripts' log tell."""
    scripts = joblogs.scripts(logs.scripts)
    values = {
        event.job_id: value for event in joblogs.job_events(logs.jobs) if (value := joblogs.value_of(event)) is not None
    }
    second = joblogs.dagman_out(logs.dagman_out)
    began = sorted(
        [(line.at_s, line.value) for line in second if line.what == "DAGMAN_STARTED"] + _submissions(logs.dagman_log)
    )
    found: list[Happening] = []
    for lines in (joblogs.jobstate(logs.jobstate), second, joblogs.script_lines(scripts)):
        found = _complete(found, _told(lines, began, values))
    return _with_status(found, second, scripts)


def _submissions(dagman_log: str) -> list[tuple[int, str]]:
    """When DAGMans were submitted: (Unix time (s), id)."""
    events = (event for event in joblogs.job_events(dagman_log) if event.code == 0)
    return [(at_s, event.job_id) for event in events if (at_s := joblogs.local_s(event.time)) is not None]


def _told(lines: Sequence[Line], began: Sequence[tuple[int, str]], values: Mapping[str, int]) -> list[Happening]:
    """What one log tells; ``began`` says which DAGMan it was where the log itself does not."""
    found: list[Happening] = []
    dag_id = ""
    returned: dict[str, int] = {}
    ended: set[tuple[str, str]] = set()
    for at_s, node, what, value in lines:
        if what == "DAGMAN_STARTED":
            if value != dag_id:
                found.append(Happening(at_s, value, "dagman"))
                returned = {}  # a DAGMan that recovers does not write again what it knew
            dag_id = value
            continue
        if what in ("JOB_SUCCESS", "JOB_FAILURE"):
            if value.lstrip("-").isdigit():
                returned[node] = int(value)
            continue
        phase = _phase(node, what)
        if phase is None or (phase == "post" and (node, value) in ended):
            continue
        this = Happening(at_s, dag_id or _dagman_at(began, at_s), phase, node)
        if phase == "hold":
            this = this._replace(job_id=value)
        elif phase == "post":
            ended.add((node, value))  # recovering, DAGMan writes them again
            status = 0 if what == "POST_SCRIPT_SUCCESS" else 1
            ret = returned.pop(node, values.get(value, status))
            this = this._replace(job_id=value, ret=ret, status=status)
        found.append(this)
    return found


_PHASES = {
    "PRE_SCRIPT_SUCCESS": "pre",
    "PRESKIP": "pre",
    "POST_SCRIPT_SUCCESS": "post",
    "POST_SCRIPT_FAILURE": "post",
    "JOB_HELD": "hold",
}


def _phase(node: str, what: str) -> str | None:
    """The hook that a line of JOBSTATE_LOG is about, or None; FINAL counts from its start, since it moves first."""
    try:
        kind = layout.parse_node(node)[0]
    except ValueError:
        return None
    if kind == "final":
        return "final" if what == "PRE_SCRIPT_STARTED" else None
    return _PHASES.get(what)


def _dagman_at(began: Sequence[tuple[int, str]], at_s: int) -> str:
    """The DAGMan that ran at a time, as far as is known."""
    before = [dag_id for started_s, dag_id in began if started_s <= at_s]
    return before[-1] if before else began[0][1] if began else UNKNOWN


def _complete(first: list[Happening], second: list[Happening]) -> list[Happening]:
    """``first``, and at their time those of ``second`` that it does not tell of."""
    if not first:
        return second
    posts = {(one.node, one.job_id) for one in first if one.phase == "post"}
    dagmans = {(one.dag_id, one.phase) for one in first if one.phase in ("dagman", "final")}
    times = defaultdict(list)
    for one in first:
        times[one.phase, one.node].append(one.at_s)

    def is_new(one: Happening) -> bool:
        if one.phase == "post":
            return (one.node, one.job_id) not in posts
        if one.phase in ("dagman", "final"):
            return (one.dag_id, one.phase) not in dagmans
        return all(abs(one.at_s - at_s) > NEAR_S for at_s in times[one.phase, one.node])

    latest = list(itertools.accumulate((one.at_s for one in first), max))
    placed = [(bisect.bisect_right(latest, one.at_s), one) for one in second if is_new(one)]
    found = [(place + 1, one) for place, one in enumerate(first)]
    # What is new at a place stands before the one that had it, in its own order: sorting keeps that.
    return [
        one for _, one in sorted([*((place + 0.5, one) for place, one in placed), *found], key=lambda pair: pair[0])
    ]


def _with_status(
    found: Sequence[Happening], said: Sequence[Line], scripts: Sequence[joblogs.Script]
) -> list[Happening]:
    """Add POST's exit statuses, and $DAG_STATUS to each FINAL: as its script was told, else as dagman.out says or nodes let guess."""
    told = [(s.at_s, int(s.macros[0])) for s in scripts if s.node == layout.FINAL_NODE and _is_number(s.macros)]
    logged = [(line.at_s, int(line.value)) for line in said if line.what == "DAG_STATUS"]
    answered = {(s.node, s.macros[3]): s.status for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    failed: set[tuple[str, str]] = set()
    result = []
    for one in found:
        if one.phase == "post":
            one = one._replace(status=answered.get((one.node, one.job_id), one.status))
            # A POST that fails behind a job that succeeded may mean that the constants stand still, and one that succeeds
            # behind a job that failed that its file was given up.
            (failed.add if one.ret and one.status else failed.discard)((one.dag_id, one.node))
        if one.phase == "final":
            after = _within(told, one.at_s) or _within(logged, one.at_s)
            one = one._replace(status=after[0] if after else 2 * any(dag_id == one.dag_id for dag_id, _ in failed))
        result.append(one)
    return result


def _is_number(macros: Sequence[str]) -> bool:
    return bool(macros) and macros[0].isdigit()


def _within(timed: Iterable[tuple[int, int]], at_s: int) -> list[int]:
    """Values that were told at a time or soon after it, the first one first."""
    return [value for when_s, value in timed if at_s <= when_s <= at_s + 2 * NEAR_S]


def events_of(logs: Logs, record: dict[str, Any], changed: Sequence[Change] = ()) -> list[Event]:
    """The events of a campaign, in order, as its hooks and its command line have made them.

    Args:
        logs: the campaign's logs.
        record: the campaign's record as it was submitted; its folder has the metrics.
        changed: what was changed in it since.
    """
    scripts = joblogs.scripts(logs.scripts)
    told = happenings(logs)
    last = {(one.node): one.job_id for one in told if one.phase == "post"}
    holds = _Holds(logs.jobs)
    tries: Counter[tuple[str, str]] = Counter()
    retries = {(s.node, s.macros[3]): int(s.macros[0]) for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    found: list[Event] = []
    for one in told:
        event: Event = {
            "phase": one.phase,
            "dag_id": one.dag_id,
            "node": one.node,
            "utc": database.utc(one.at_s),
            "host": "",
            "exit": 0,
        }
        attempt = (one.dag_id, one.node)
        if one.phase == "dagman":
            del event["node"]
            event |= {"phase": "control", "event": "resumed" if found else "submitted"}
        elif one.phase == "pre":
            event["retry"] = tries[attempt]
        elif one.phase == "hold":
            event["job_id"] = one.job_id
            event["hold_time"], event["reason"] = holds.next(one.job_id)
        elif one.phase == "final":
            event |= {"dag_status": one.status, "failed_count": 0}
        else:
            event["retry"] = retries.get((one.node, one.job_id), tries[attempt])
            event["max_retries"] = record["config"]["htcondor"]["retries"]
            tries[attempt] += 1
            then = _as_it_was(record, changed, event["utc"]) if changed else record
            _ended(event, one, then, latest=last[one.node] == one.job_id)
        found.append(event)
    return [*_with_changes(found, record, changed), *_solved(record)]


def _solved(record: dict[str, Any]) -> list[Event]:
    """The request that records the solution of a `reco`, as the metrics on disk have it."""
    if "only" not in record:
        return []
    try:
        facts = wishes.solution(record["folder"], record["only"])
    except (OSError, ValueError):
        return []  # `verify` names a metrics file that cannot be read
    return [{"phase": "control", "event": "solved", "dag_id": "", "host": "", "who": "", **facts}] if facts else []


def _as_it_was(record: dict[str, Any], changed: Sequence[Change], utc: str) -> dict[str, Any]:
    """The record with what had been changed in it by a time."""
    return changes.apply(copy.deepcopy(record), [change for change in changed if change["utc"][:SECOND] < utc[:SECOND]])


def _with_changes(found: list[Event], record: dict[str, Any], changed: Sequence[Change]) -> list[Event]:
    """The events with the changes among them: within a second behind what scripts did, and before a resumption."""
    result = list(found)
    for change in changed:
        record = changes.apply(copy.deepcopy(record), [change])
        event = _change_event(change, record)
        second = event["utc"][:SECOND]
        later = (i for i, e in enumerate(result) if (e["utc"][:SECOND], e.get("event") == "resumed") > (second, False))
        result.insert(next(later, len(result)), event)
    return result


def _change_event(change: Change, record: dict[str, Any]) -> Event:
    """The wish that a change was to the hooks (``state.wishes``); ``record`` has it."""
    key = change["key"]
    event: Event = {"phase": "control", "event": "changed", "dag_id": "", "exit": 0}
    event |= {name: change[name] for name in ("id", "utc", "who", "host", "key", "before", "after")}
    if changes.is_extension(key):
        return event | {"event": "extended", "stage": int(key.split(".")[1])}
    return event | {"columns": create.columns(record)}


class _Holds:
    """When and why each job was held, hold by hold."""

    def __init__(self, jobs: str) -> None:
        self._of: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for event in joblogs.job_events(jobs):
            if event.code == joblogs.HELD:
                self._of[event.job_id].append((event.time, joblogs.why_held(event)[: judging.REASON_CHARS_MAX]))
        self._seen: Counter[str] = Counter()

    def next(self, job_id: str) -> tuple[str, str]:
        """Time and reason of the job's next hold; empty if the event log does not have it."""
        place = self._seen[job_id]
        self._seen[job_id] += 1
        return self._of[job_id][place] if place < len(self._of[job_id]) else ("", "")


def _ended(event: Event, one: Happening, record: dict[str, Any], *, latest: bool) -> None:
    """What POST says of an ended job. What DAGMan was told stands in the logs; files may have changed since."""
    ret = one.ret or 0
    event |= {"job_id": one.job_id, "ret": ret, "exit": statuses.job_exit(ret), "reason": ""}
    event["fatal"] = event["exit"] == statuses.FATAL
    event["outcome"] = "succeeded" if ret == 0 else "failed"
    kind = layout.parse_node(one.node)[0]
    if ret != 0:
        # A job's last word is that of its node's last attempt: the log is written anew by each.
        event["reason"] = judging.why(ret, record["folder"] if latest else "", one.node)
    elif kind == "reco":
        if one.status:
            event["outcome"], event["reason"], event["exit"] = "failed", "no output", 1
    else:
        judging.judge(record, event)
        _agree(event, one.status or 0, record)


def _agree(event: Event, told: int, record: dict[str, Any]) -> None:
    """Where DAGMan was told otherwise than the metrics say now, what it was told has happened."""
    says = event["exit"]
    if told == says or (told == 1 and says) or {told, says}.isdisjoint((0, statuses.CONVERGED)):
        return  # JOBSTATE_LOG only knows that a script failed: 1 may stand for any other status
    _, stage, iteration, _ = layout.parse_node(event["node"])
    if told not in (0, statuses.CONVERGED):
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


def _as_told(record: dict[str, Any], stage: int, iteration: int, told: int) -> tuple[str, str]:
    """The verdict and the campaign's event that fit what DAGMan was told, 0 or ``CONVERGED``."""
    if stage == layout.VALIDATION:
        return "confirmed", "confirmed"
    if told == statuses.CONVERGED:
        return "converged", "converged"
    this, last = record["stages"][stage - 1], stage == len(record["stages"])
    name = "limit" if iteration == this["iterations"] else "go_on"
    at_limit = this.get("at_limit", "continue")
    return name, table.after_verdict(name, last=last, validated="validation" in record, at_limit=at_limit)


class Left(NamedTuple):
    """How a DAGMan left HTCondor's queue: whether it was removed, and in words."""

    removed: bool
    words: str


def how_dagman_left(dagman_log: str, dag_id: str) -> Left:
    """How the DAGMan ``dag_id``, which is in no queue any more, has gone, from its own event log."""
    own = [event for event in joblogs.job_events(dagman_log) if event.job_id == dag_id]
    why = ""
    for event in own:
        if event.code == joblogs.HELD:
            why = joblogs.why_held(event) or "no reason given"
        elif event.code == joblogs.RELEASED:
            why = ""
    held = f" while it was on hold ({why})" if why else ""
    name = f"DAGMan {dag_id}"
    if own and own[-1].code == joblogs.ABORTED:
        return Left(True, f"{name} was removed at {own[-1].time}{held}, and its last script did not run")
    if own and own[-1].code == joblogs.TERMINATED:
        how = f"with status {value}" if (value := joblogs.value_of(own[-1]) or 0) >= 0 else f"by signal {-value}"
        return Left(False, f"{name} ended {how} at {own[-1].time}, and its last script did not run")
    last = f"; its log ends at {own[-1].time}" if own else ""
    return Left(False, f"{name} is in HTCondor's queue no more{held}, and its last script did not run{last}")
