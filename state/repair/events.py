"""Make a campaign's events from DAGMan's logs, in the form in which scripts make them (``fsm.events``).

Pure, except that metrics and the ends of jobs' logs are read from the campaign's folder. Times are DAGMan's, to the second,
and the host is empty: the logs do not have it.
"""

import copy
import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.changes import Change
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, exit_codes, table
from faser_align.state import control_requests, create, dagmanlogs, database, joblogs, judging
from faser_align.state.dagmanlogs import Logs
from faser_align.state.repair.order import script_runs
from faser_align.state.repair.runs import UNENDED, UNKNOWN, ScriptRun

SECOND = len("2026-11-24T07:30:00")  # precision of times in the logs
PROVED = "proved"  # marks an end without a script, which a later event proves
UNSURE = "unsure"  # marks an event of a killed script, which may not have committed
UNDECIDED = "undecided"  # marks a killed POST whose decision is in no log: it is not applied


_UNLOGGED = itertools.repeat(("", ""))


class Replayable(NamedTuple):
    """An event to apply."""

    event: "events.Event"
    mark: str = ""  # one of PROVED, UNSURE and UNDECIDED
    spooled: str = ""  # its file in the event queue, if it is there
    run: ScriptRun | None = None  # of a POST whose job has not been judged yet


def events_of(logs: Logs, record: Manifest, changed: Sequence[Change] = ()) -> list[Replayable]:
    """Return the events of a campaign in order, as scripts and commands made them.

    ``record`` is the manifest as it was submitted, whose folder has the metrics, ``changed`` are its later changes.
    """
    scripts = dagmanlogs.scripts(logs.scripts)
    holds: dict[str, list[tuple[str, str]]] = defaultdict(list)  # time and reason of every hold, by job
    for held in joblogs.job_events(logs.jobs.splitlines(), (joblogs.HELD,)):
        holds[held.job_id].append((held.time, held.why_held[: judging.REASON_CHARS_MAX]))
    of_job = {job_id: iter(of) for job_id, of in holds.items()}
    tries: Counter[tuple[str, str]] = Counter()
    retries = {(s.node, s.macros[3]): int(s.macros[0]) for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    dag_id = UNKNOWN
    logged: list[Replayable] = []
    for run in script_runs(logs):
        # The log has all holds of a job, and then none for a HOLD script that a restarted DAGMan repeats, or none.
        hold = next(of_job.get(run.job_id, _UNLOGGED), None) if run.phase == "hold" else None
        if (run.phase == "pre" and (run.status or 0) > 0) or (run.phase == "hold" and hold is None):
            continue
        source: events.Source = {"dag_id": run.dag_id, "utc": database.utc(run.at_s), "host": ""}
        attempt = (run.dag_id, run.node)
        killed = UNSURE if (run.status or 0) < 0 else ""
        if run.phase == "dagman":
            if logged:
                end = end_of(how_dagman_left(logs.dagman_log, dag_id), {**source, "dag_id": dag_id})
                logged.append(Replayable(end, PROVED))
            dag_id = run.dag_id
            logged.append(Replayable(events.dagman(source, resumed=bool(logged))))
        elif run.phase == "pre":
            logged.append(Replayable(events.pre(source, run.node, tries[attempt]), killed))
        elif hold is not None:
            logged.append(Replayable(events.hold(source, run.node, run.job_id, *hold)))
        elif run.phase == "final":
            event = events.final(source, run.node, run.status or 0)
            logged.append(Replayable(event, UNSURE if run.ret == UNENDED else ""))
        else:
            retry = retries.get((run.node, run.job_id), tries[attempt])
            most = record["config"]["htcondor"]["retries"]
            post = events.post(source, run.node, retry=retry, max_retries=most, ret=run.ret or 0, job_id=run.job_id)
            # The exit status of a killed POST does not give its decision on a job that succeeded.
            undecided = bool(killed) and run.ret == 0
            logged.append(Replayable(post, UNDECIDED if undecided else killed, run=None if undecided else run))
            tries[attempt] += 1
    result = _with_changes(logged, record, changed, logs.extended_by)
    return [*_judged(result, record, changed), *_solved(record)]


def _judged(logged: Sequence[Replayable], record: Manifest, changed: Sequence[Change]) -> list[Replayable]:
    """Return the events, with each POST judged by the manifest as it was then."""
    last = {one.run.node: one.run.job_id for one in logged if one.run}
    by_id = {change["id"]: change for change in changed}
    result = []
    for one in logged:
        event = one.event
        if event["phase"] == "control" and event["event"] in ("changed", "extended"):
            record = changes.apply(copy.deepcopy(record), [by_id[event["id"]]])
        elif event["phase"] == "post" and one.run:
            event = _ended(event, one.run, record, latest=last[one.run.node] == one.run.job_id)
        result.append(one._replace(event=event, run=None))
    return result


def end_of(left: "Left", source: "events.Source") -> "events.Final":
    """Return the end of a DAGMan. If another one followed it only counts if the campaign has not ended by then.

    A DAGMan that left without FINAL was closed by ``repair``, or the next one continued its campaign.
    """
    return events.final(source, layout.FINAL_NODE, 4 if left.removed else 1, reason=left.words)


def _solved(record: Manifest) -> list[Replayable]:
    """Return the control request that records the solution of a `reco`, from the metrics on disk."""
    if "only" not in record:
        return []
    try:
        about = control_requests.solution(record["folder"], record["only"])
    except (OSError, ValueError):
        return []  # `verify` names a metrics file that cannot be read
    return [Replayable(events.request("solved", {"host": "", "who": "", **about}))] if about else []


def _with_changes(
    logged: Sequence[Replayable], record: Manifest, changed: Sequence[Change], extended_by: Sequence[str] = ()
) -> list[Replayable]:
    """Return the events with the changes inserted.

    An extension is before its own DAGMan and after the end of the one before it. Of other changes there is a time: within a second
    they follow the scripts and precede a resumption.
    """
    result = list(logged)
    dagmans = iter(extended_by)
    place = 0  # changes keep their own order
    for change in changed:
        record = changes.apply(copy.deepcopy(record), [change])
        event = _change_event(change, record)
        second = event["utc"][:SECOND]
        times = [(one.event["utc"][:SECOND], control_name(one.event)) for one in result]
        later = [i for i, (at, name) in enumerate(times) if (at, name == "resumed") > (second, False)]
        if event["event"] == "extended":
            own = next(dagmans, None)
            begins = [i for i, one in enumerate(result) if is_new_dagman(one.event) and one.event["dag_id"] == own]
            later = begins or [i for i, (at, name) in enumerate(times) if name == "resumed" and at >= second]
        place = max(place, later[0] if later else len(result))
        result.insert(place, Replayable(event))
        place += 1
    return result


def control_name(event: "events.Event") -> str:
    """Return the name of a command's report or request; empty for an event of a script."""
    return event["event"] if event["phase"] == "control" else ""


def is_new_dagman(event: "events.Event") -> bool:
    """Return whether a DAGMan begins."""
    return control_name(event) in table.NEW_DAGMAN


def _change_event(change: Change, record: Manifest) -> "events.Control":
    """Return the control request of a change; ``record`` includes the change."""
    about = control_requests.of_change(change)
    if changes.is_extension(change["key"]):
        return events.request("extended", {**about, "stage": int(change["key"].split(".")[1])})
    return events.request("changed", {**about, "columns": create.columns(record)})


def _ended(event: "events.Post", run: ScriptRun, record: Manifest, *, latest: bool) -> "events.Post":
    """Return a POST with the outcome of its job. The logs have POST's exit status; files may have changed since."""
    kind = layout.parse_node(run.node)[0]
    if run.ret:
        # Each attempt overwrites the job's log: only the last attempt has its last line.
        event = {**event, "reason": judging.why(run.ret, record["folder"] if latest else "", run.node)}
        if kind == "reco" and run.status == 0:
            return {**event, "outcome": "lost", "exit": 0}
        if kind == "reco" and (run.status or 0) > 0:  # POST failed: it did not drop the file; a killed one may have
            return {**event, "fatal": False, "max_retries": event["retry"] + 1}
        return event
    if kind == "reco":
        return events.failed(event, "no output", 1) if run.status else event
    return _agree(judging.judge(record, event), run.status or 0, record)


def _agree(event: "events.Post", status: int, record: Manifest) -> "events.Post":
    """Let POST's exit status decide where the metrics now say something else."""
    judged = event["exit"]
    if status == judged or (status == 1 and judged) or {status, judged}.isdisjoint((0, exit_codes.CONVERGED)):
        return event  # JOBSTATE_LOG only knows that a script failed: 1 may stand for any other status
    _, stage, iteration, _ = layout.parse_node(event["node"])
    if status not in (0, exit_codes.CONVERGED):
        event = events.failed(event, "DAGMan's logs say that it failed; its metrics say otherwise", status)
        event.pop("verdict", None)
        event.pop("moves", None)
        return event
    name, moves = _by_status(record, stage, iteration, status)
    return {
        **event,
        "outcome": "succeeded",
        "reason": "",
        "exit": status,
        "verdict": name,
        "moves": moves,
        "verdict_reason": f"as DAGMan was told; {event.get('verdict_reason') or event['reason']}",
        "criteria": event.get("criteria", "[]"),
        "metrics": event.get("metrics", "{}"),
    }


def _by_status(record: Manifest, stage: int, iteration: int, status: int) -> tuple[str, str]:
    """Return the decision and the campaign's event for POST's exit status, 0 or ``CONVERGED``."""
    if stage == layout.VALIDATION:
        return "confirmed", "confirmed"
    if status == exit_codes.CONVERGED:
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
