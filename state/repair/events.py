"""The events of a campaign, made again from the logs of DAGMan, in the form in which hooks make them (``state.apply``).

Pure but for the metrics and the last words of jobs, which are read from the campaign's folder as hooks read them. What
only hooks could know is not made up: times are DAGMan's, to the second, and the host of the access point is empty.
"""

import bisect
import copy
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.changes import Change
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import exit_codes, table
from faser_align.state import control_requests, create, database, joblogs, judging
from faser_align.state.joblogs import Line, Logs

Event = dict[str, Any]

SECOND = len("2026-11-24T07:30:00")  # of a time: logs know no more
NEAR_S = 30  # two logs that tell of one script give it times that are nearer than that
UNKNOWN = "unknown"  # id of a DAGMan that no log names
KILLED, UNENDED = (
    -9,
    -1000,
)  # instead of an exit status: of a script that died on a signal, and of one whose end no log has
PROVED = "proved"  # marks an end that no script told, and a later event proves
UNSURE = "unsure"  # marks an event of a script that was killed, and may have recorded nothing
UNDECIDED = "undecided"  # marks a killed POST whose end no log has: it is not applied


class Happening(NamedTuple):
    """One script's run: Unix time (s), DAGMan's id, phase (``dagman``: it began), node, job, and what the phase adds.

    ``status`` is an exit status, or -signal of a script that was killed; 1 if only its failure is known. Of FINAL it is
    $DAG_STATUS. ``late`` says that the script began while FINAL ran.
    """

    at_s: int
    dag_id: str
    phase: str
    node: str = ""
    job_id: str = ""
    ret: int | None = None
    status: int | None = None
    late: bool = False


def happenings(logs: Logs) -> list[Happening]:
    """Return the scripts' runs in the order in which they ended, but for those that began while FINAL ran: they follow it.

    Each script commits soon after it begins; FINAL delivers messages after that.

    The order is that of the logs' lines, never that of their seconds. JOBSTATE_LOG is completed with what only dagman.out has.
    Then the scripts' log decides: DAGMan adds a line to it as soon as a script has ended, and sees the end of a POST in its
    other logs only when it reads the nodes log again.
    """
    scripts = joblogs.scripts(logs.scripts)
    values: dict[str, int] = {}
    for event in joblogs.job_events(logs.jobs):
        if (value := joblogs.value_of(event)) is not None:
            values.setdefault(event.job_id, value)  # condor_rm adds an event 009 to a job that has just ended by itself
    second = joblogs.dagman_out(logs.dagman_out)
    began = sorted(
        [(line.at_s, line.value) for line in second if line.what == "DAGMAN_STARTED"] + _submissions(logs.dagman_log)
    )
    found = _complete(_told(joblogs.jobstate(logs.jobstate), began, values), _told(second, began, values))
    ended = _told(joblogs.script_lines(scripts), began, values)
    answered = {(s.node, s.macros[3]): s.status for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    ended = [
        one._replace(status=answered.get((one.node, one.job_id), one.status)) if one.phase == "post" else one
        for one in ended
    ]
    return _with_status(_after_final(_in_order_of_ends(found, ended) if found else ended))


def _submissions(dagman_log: str) -> list[tuple[int, str]]:
    """When DAGMans were submitted: (Unix time (s), id)."""
    events = (event for event in joblogs.job_events(dagman_log) if event.code == 0)
    return [(at_s, event.job_id) for event in events if (at_s := joblogs.local_s(event.time)) is not None]


def _told(lines: Sequence[Line], began: Sequence[tuple[int, str]], values: Mapping[str, int]) -> list[Happening]:
    """What one log tells; ``began`` says which DAGMan it was where the log itself does not."""
    return list(_Reader(began, values).read(lines))


class _Reader:
    """Reads the lines of one log one after the other."""

    def __init__(self, began: Sequence[tuple[int, str]], values: Mapping[str, int]) -> None:
        self._began, self._values = began, values
        self._dag_id = ""
        self._returned: dict[str, int] = {}
        self._running: dict[
            str, tuple[int, str, int | None]
        ] = {}  # POST scripts: when they began, job, its exit status
        self._ended: set[tuple[str, str]] = set()
        self._final: Happening | None = None  # which waits for its $DAG_STATUS
        self._dag_status: int | None = None  # since FINAL began
        self._final_began = False
        self._late: set[str] = set()  # nodes whose script began after that

    def read(self, lines: Sequence[Line]) -> Iterator[Happening]:
        for line in _with_lost_pres(lines):
            if line.what in ("PRE_SCRIPT_STARTED", "POST_SCRIPT_STARTED") and not _is_final(line.node):
                (self._late.add if self._final_began else self._late.discard)(line.node)
            if line.what == "DAGMAN_STARTED":
                yield from self._started(line)
            elif line.what == "DAG_STATUS":
                self._dag_status = int(line.value)
                yield from self._finish_final()
            elif line.what in ("JOB_SUCCESS", "JOB_FAILURE"):
                if line.value.lstrip("-").isdigit():
                    self._returned[line.node] = int(line.value)
            elif line.what == "POST_SCRIPT_STARTED":
                self._running[line.node] = (line.at_s, line.value, self._returned.get(line.node))
            elif _is_final(line.node) and line.what == "PRE_SCRIPT_STARTED":
                self._dag_status, self._final_began = None, True
            else:
                yield from self._ended_script(line)
        yield from self._lost_posts()
        yield from self._finish_final()

    def _started(self, line: Line) -> Iterator[Happening]:
        self._final_began = False
        if line.value == self._dag_id:
            self._running = {}  # a DAGMan that recovers runs them again
            return
        yield from self._lost_posts()
        yield from self._finish_final()
        self._dag_id, self._returned = line.value, {}  # one that recovers does not write again what it knew
        yield Happening(line.at_s, line.value, "dagman")

    def _lost_posts(self) -> Iterator[Happening]:
        """Yield POST scripts that DAGMan did not wait for, whose end the job's exit status alone decides."""
        for node, (at_s, job_id, told) in self._running.items():
            ret = self._values.get(job_id, 0) if told is None else told
            if ret != 0 and _phase(Line(at_s, node, "POST_SCRIPT_FAILURE", job_id)) == "post":
                yield self._happening(at_s, "post", node)._replace(job_id=job_id, ret=ret, status=UNENDED)
        self._running = {}

    def _finish_final(self) -> Iterator[Happening]:
        if self._final is not None:
            yield self._final if self._final.status is not None else self._final._replace(status=self._dag_status)
            self._final = None

    def _happening(self, at_s: int, phase: str, node: str) -> Happening:
        dag_id = self._dag_id or _dagman_at(self._began, at_s)
        return Happening(at_s, dag_id, phase, node, late=phase in ("pre", "post") and node in self._late)

    def _ended_script(self, line: Line) -> Iterator[Happening]:
        at_s, node, what, value = line
        phase = _phase(line)
        if phase is None:
            return
        this = self._happening(at_s, phase, node)
        if phase == "final":
            yield from self._finish_final()
            known = int(value) if value.isdigit() else self._dag_status
            self._final = this._replace(status=known)
            if known is not None:
                yield from self._finish_final()
            return
        if phase == "pre" and what == joblogs.PRE_FAILED:
            this = this._replace(status=int(value) if value.lstrip("-").isdigit() else 1)
        elif phase == "hold":
            this = this._replace(job_id=value)
        elif phase == "post":
            _, _, told = self._running.pop(node, (0, "", None))
            returned = self._returned.pop(node, None) if told is None else told
            self._returned.pop(node, None)
            if (node, value) in self._ended:
                return  # recovering, DAGMan writes it again
            if what != joblogs.POST_KILLED:
                self._ended.add((node, value))
            status = {"POST_SCRIPT_SUCCESS": 0, joblogs.POST_KILLED: KILLED}.get(what, 1)
            ret = self._values.get(value, max(status, 0)) if returned is None else returned
            this = this._replace(job_id=value, ret=ret, status=status)
        yield this


def _with_lost_pres(lines: Sequence[Line]) -> list[Line]:
    """The lines, with the end of a killed PRE after the start of one that never ended: its DAGMan was killed with it."""
    found: list[Line] = []
    ended: set[str] = set()
    for line in reversed(lines):
        if line.what == "DAGMAN_STARTED":
            ended = set()
        elif line.what == "PRE_SCRIPT_STARTED" and not _is_final(line.node):
            if line.node not in ended:
                found.append(line._replace(what=joblogs.PRE_FAILED, value=f"{UNENDED}"))
            ended.add(line.node)  # what began before has ended before, or was deferred
        elif _PHASES.get(line.what) == "pre":
            ended.add(line.node)
        found.append(line)
    return found[::-1]


_PHASES = {
    "PRE_SCRIPT_SUCCESS": "pre",
    joblogs.PRE_FAILED: "pre",
    "PRESKIP": "pre",
    "POST_SCRIPT_SUCCESS": "post",
    "POST_SCRIPT_FAILURE": "post",
    joblogs.POST_KILLED: "post",
    "JOB_HELD": "hold",
}


def _is_final(node: str) -> bool:
    return node == layout.FINAL_NODE


def _phase(line: Line) -> str | None:
    """The script that a line is about, or None; each counts from its end, FINAL from that of its PRE."""
    try:
        kind = layout.parse_node(line.node)[0]
    except ValueError:
        return None
    phase = _PHASES.get(line.what)
    if kind == "final":
        return "final" if phase == "pre" else None
    return phase


def _dagman_at(began: Sequence[tuple[int, str]], at_s: int) -> str:
    """The DAGMan that ran at a time, as far as is known."""
    before = [dag_id for started_s, dag_id in began if started_s <= at_s]
    return before[-1] if before else began[0][1] if began else UNKNOWN


def _places(first: Sequence[Happening], second: Sequence[Happening]) -> list[int | None]:
    """Of each of ``second`` the place in ``first`` of the same run of a script; None where there is none.

    Times only tell runs of one script apart that have no job's id.
    """
    known: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(first):
        known[_name(one)].append(place)
    found: list[int | None] = []
    for one in second:
        same = known[_name(one)]
        certain = one.phase == "dagman" or (one.phase == "post" and one.job_id[:1].isdigit())
        near = [place for place in same if certain or abs(first[place].at_s - one.at_s) <= NEAR_S]
        nearest = min(near, key=lambda place: abs(first[place].at_s - one.at_s), default=None)
        if nearest is not None:
            same.remove(nearest)
        found.append(nearest)
    return found


def _name(one: Happening) -> tuple[str, ...]:
    if one.phase == "dagman":
        return (one.phase, one.dag_id)
    return (one.phase, one.node, one.job_id)


def _complete(first: list[Happening], second: list[Happening]) -> list[Happening]:
    """``first``, and those of ``second`` that it does not tell of: each after what precedes it in ``second``."""
    if not first or not second:
        return first or second
    places = _places(first, second)
    known = [place for place in places if place is not None]
    latest = list(itertools.accumulate((one.at_s for one in first), max))
    after = known[0] - 0.5 if known else None
    added: list[tuple[float, Happening]] = []
    for one, place in zip(second, places, strict=True):
        if place is not None:
            after = place + 0.5
            first[place] = first[place]._replace(status=_surer(first[place], one))
        else:
            # Two logs that tell of nothing in common have only their times.
            added.append((after if after is not None else bisect.bisect_right(latest, one.at_s) - 0.5, one))
    # Sorting keeps the order of those that have one place.
    return [one for _, one in sorted([*enumerate(first), *added], key=lambda pair: pair[0])]


def _surer(first: Happening, second: Happening) -> int | None:
    """What JOBSTATE_LOG and dagman.out say of a script's exit status: the former does not tell a signal, and may lack an end."""
    killed = second.status == KILLED
    return second.status if killed or first.status in (None, UNENDED) else first.status


def _in_order_of_ends(found: list[Happening], ended: list[Happening]) -> list[Happening]:
    """``found`` with the scripts of each DAGMan in the order of the scripts' log, and with those that only this log has."""
    places = _places(found, ended)
    dags = [found[place].dag_id if place is not None else None for place in places]
    slots = {
        dag_id: iter(sorted(place for place in places if place is not None and found[place].dag_id == dag_id))
        for dag_id in {*dags}
    }
    result: dict[int, Happening] = dict(enumerate(found))
    added: list[tuple[float, Happening]] = []
    seen = {_name(one) for one in found if one.phase == "post"}
    slot = -1.0
    waiting: list[Happening] = []  # which only this log has, of the DAGMan of the next one that is known
    for number, (one, place) in enumerate(zip(ended, places, strict=True)):
        if place is not None:
            slot = next(slots[found[place].dag_id])
            added += [(slot - 0.5, each) for each in waiting]
            waiting = []
            known = found[place]
            result[int(slot)] = known._replace(
                status=known.status if one.status is None and known.status != UNENDED else one.status,
                ret=one.ret if one.phase == "post" else None,
            )
        elif _name(one) not in seen:  # a POST that ran again has its first end
            before = next((dag_id for dag_id in reversed(dags[:number]) if dag_id), None)
            after = next((dag_id for dag_id in dags[number:] if dag_id), None)
            own = one.dag_id if one.dag_id in (before, after) else before or after or one.dag_id
            dags[number] = own
            if own == before or after is None:
                added.append((slot + 0.5, one._replace(dag_id=own)))
            else:
                waiting.append(one._replace(dag_id=own))
    return [one for _, one in sorted([*result.items(), *added], key=lambda pair: pair[0])]


def _after_final(found: Sequence[Happening]) -> list[Happening]:
    """The scripts that began while FINAL ran, behind it or at the end of their DAGMan."""
    result: list[Happening] = []
    late: list[Happening] = []
    for one in found:
        if one.late:
            late.append(one)
        else:
            result += [one, *late] if one.phase == "final" else [*late, one] if one.phase == "dagman" else [one]
            late = late if one.phase not in ("final", "dagman") else []
    return result + late


def _with_status(found: Sequence[Happening]) -> list[Happening]:
    """Add $DAG_STATUS to each FINAL of which no log has it: 2 if nodes had failed."""
    failed: set[tuple[str, str]] = set()
    result = []
    for one in found:
        if one.phase == "post":
            # A POST that fails behind a job that succeeded may mean that the constants stand still, and one that succeeds
            # behind a job that failed that its file was given up.
            (failed.add if one.ret and one.status else failed.discard)((one.dag_id, one.node))
        if one.phase == "final" and one.status is None:
            one = one._replace(status=2 * any(dag_id == one.dag_id for dag_id, _ in failed))
        result.append(one)
    return result


def events_of(logs: Logs, record: Manifest, changed: Sequence[Change] = ()) -> list[Event]:
    """The events of a campaign, in order, as its hooks and its command line have made them.

    Args:
        logs: the campaign's logs.
        record: the campaign's record as it was submitted; its folder has the metrics.
        changed: what was changed in it since.
    """
    scripts = joblogs.scripts(logs.scripts)
    told = happenings(logs)
    holds = _Holds(logs.jobs)
    tries: Counter[tuple[str, str]] = Counter()
    retries = {(s.node, s.macros[3]): int(s.macros[0]) for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    dag_ids: list[str] = []
    posts: dict[int, Happening] = {}
    found: list[Event] = []
    for one in told:
        if one.phase == "pre" and (one.status or 0) > 0:
            continue
        event: Event = {
            "phase": one.phase,
            "dag_id": one.dag_id,
            "node": one.node,
            "utc": database.utc(one.at_s),
            "host": "",
            "exit": 0,
        }
        attempt = (one.dag_id, one.node)
        if one.phase in ("pre", "post") and (one.status or 0) < 0:
            event[UNSURE] = True
        if one.phase == "dagman":
            del event["node"]
            if found:
                found.append(_end_of(dag_ids[-1] if dag_ids else UNKNOWN, event["utc"], logs))
            dag_ids.append(one.dag_id)
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
            if _is_undecided(one):
                event |= {"job_id": one.job_id, UNDECIDED: True}
            else:
                posts[id(event)] = one
        found.append(event)
    result = _with_changes(found, record, changed, logs.extended_by)
    _judge(result, posts, record, changed)
    return [*result, *_solved(record)]


def _judge(events: list[Event], posts: Mapping[int, Happening], record: Manifest, changed: Sequence[Change]) -> None:
    """Add to each POST what it says of its job, by the limits of its place among the changes."""
    last = {one.node: one.job_id for one in posts.values()}
    by_id = {change["id"]: change for change in changed}
    for event in events:
        if event.get("event") in ("changed", "extended"):
            record = changes.apply(copy.deepcopy(record), [by_id[event["id"]]])
        elif one := posts.get(id(event)):
            _ended(event, one, record, latest=last[one.node] == one.job_id)


def _is_undecided(one: Happening) -> bool:
    """Whether a POST was killed whose job succeeded: its decision depends on more than the job's exit status."""
    return one.phase == "post" and (one.status or 0) < 0 and one.ret == 0


def _end_of(dag_id: str, utc: str, logs: Logs) -> Event:
    """The end of a DAGMan of which a later one is known. It only counts for a campaign that has not ended by then.

    A DAGMan that left without FINAL was closed by ``repair``, or goes on in the next one.
    """
    left = how_dagman_left(logs.dagman_log, dag_id)
    return {
        "phase": "final",
        "dag_id": dag_id,
        "node": layout.FINAL_NODE,
        "utc": utc,
        "host": "",
        "exit": 1,
        "dag_status": 4 if left.removed else 1,
        "failed_count": 0,
        "reason": left.words,
        PROVED: True,
    }


def _solved(record: Manifest) -> list[Event]:
    """The request that records the solution of a `reco`, as the metrics on disk have it."""
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
    """The events with the changes among them.

    An extension is before its own DAGMan and after the end of the one before it. Of other changes there is a time: within a second
    they are behind what scripts did, and before a resumption.
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
    """The wish that a change was to the hooks (``state.control_requests``); ``record`` has it."""
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


def _ended(event: Event, one: Happening, record: Manifest, *, latest: bool) -> None:
    """What POST says of an ended job. What DAGMan was told stands in the logs; files may have changed since."""
    ret = one.ret or 0
    event |= {"job_id": one.job_id, "ret": ret, "exit": exit_codes.job_exit(ret), "reason": ""}
    event["fatal"] = event["exit"] == exit_codes.FATAL
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


def _agree(event: Event, told: int, record: Manifest) -> None:
    """Where DAGMan was told otherwise than the metrics say now, what it was told has happened."""
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
    """The verdict and the campaign's event that fit what DAGMan was told, 0 or ``CONVERGED``."""
    if stage == layout.VALIDATION:
        return "confirmed", "confirmed"
    if told == exit_codes.CONVERGED:
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
