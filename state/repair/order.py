"""Merge the runs of a campaign's scripts in all of DAGMan's logs, in the order of their ends. Pure: texts in, tuples out."""

import bisect
import itertools
import operator
from collections import defaultdict
from collections.abc import Sequence

from faser_align.state import dagmanlogs, joblogs
from faser_align.state.dagmanlogs import Logs
from faser_align.state.repair.runs import KILLED, UNENDED, ScriptRun, runs_in

NEAR_S = 30  # times of one run in two logs differ by less
UNENDED_S = 5  # of a run that never ended


def script_runs(logs: Logs) -> list[ScriptRun]:
    """Return the scripts' runs in the order of their ends; those that began while FINAL ran follow it.

    A script commits soon after its start; FINAL then delivers messages.

    The order is that of the logs' lines, never that of their seconds. Runs that only dagman.out has are added to those
    of JOBSTATE_LOG. Then the scripts' log decides: DAGMan adds a line to it as soon as a script has ended, and sees the
    end of a POST in its other logs only when it reads the nodes log again.
    """
    scripts = dagmanlogs.scripts(logs.scripts)
    values: dict[str, int] = {}
    for event in joblogs.job_events(logs.jobs.splitlines(), (joblogs.TERMINATED, joblogs.ABORTED)):
        if event.value is not None:  # condor_rm adds an event 009 to a job that has just ended by itself
            values.setdefault(event.job_id, event.value)
    second = dagmanlogs.dagman_out(logs.dagman_out)
    began = sorted(
        [(line.at_s, line.value) for line in second if line.what == "DAGMAN_STARTED"] + _submissions(logs.dagman_log)
    )
    found = _complete(runs_in(dagmanlogs.jobstate(logs.jobstate), began, values), runs_in(second, began, values))
    ended = runs_in([line for script in scripts for line in dagmanlogs.lines_of(script)], began, values)
    answered = {(s.node, s.macros[3]): s.status for s in scripts if s.kind == "POST" and len(s.macros) > 3}
    ended = [
        one._replace(status=answered.get((one.node, one.job_id), one.status)) if one.phase == "post" else one
        for one in ended
    ]
    return _with_status(_after_final(_in_order_of_ends(found, ended) if found else ended))


def _submissions(dagman_log: str) -> list[tuple[int, str]]:
    """Return when DAGMans were submitted: (Unix time (s), id)."""
    events = joblogs.job_events(dagman_log.splitlines(), (joblogs.SUBMITTED,))
    return [(at_s, event.job_id) for event in events if (at_s := joblogs.local_s(event.time)) is not None]


def _places(first: Sequence[ScriptRun], second: Sequence[ScriptRun]) -> list[int | None]:
    """Return for each of ``second`` the index of the same run in ``first``; None without one."""
    by_name: tuple[dict[tuple[str, ...], list[int]], ...] = (defaultdict(list), defaultdict(list))
    for runs, known in zip((first, second), by_name, strict=True):
        for place, one in enumerate(runs):
            known[_name(one)].append(place)
    found: list[int | None] = [None] * len(second)
    for name, places in by_name[1].items():
        same = by_name[0][name]
        for i, j in _aligned([first[place] for place in same], [second[place] for place in places]):
            found[places[j]] = same[i]
    return found


def _aligned(first: Sequence[ScriptRun], second: Sequence[ScriptRun]) -> list[tuple[int, int]]:
    """Pair the runs of one script in two logs in order, with the smallest sum of time differences and unpaired runs (s)."""
    steps: list[list[tuple[float, int, int]]] = [[(0.0, 0, 0)] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i in range(len(first), -1, -1):
        for j in range(len(second), -1, -1):
            ways = []
            if i < len(first) and j < len(second):
                ways.append((_apart_s(first[i], second[j]) + steps[i + 1][j + 1][0], 1, 1))
            if i < len(first):
                ways.append((_left_out_s(first[i]) + steps[i + 1][j][0], 1, 0))
            if j < len(second):
                ways.append((_left_out_s(second[j]) + steps[i][j + 1][0], 0, 1))
            steps[i][j] = min(ways, key=operator.itemgetter(0), default=(0.0, 0, 0))
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(first) and j < len(second):
        _, of_first, of_second = steps[i][j]
        pairs += [(i, j)] * (of_first and of_second)
        i, j = i + of_first, j + of_second
    return pairs


def _left_out_s(one: ScriptRun) -> float:
    """Return the cost (s) of an unpaired run: small if it never ended, since DAGMan was killed before it wrote all logs."""
    return UNENDED_S if UNENDED in (one.status, one.ret) else NEAR_S


def _apart_s(one: ScriptRun, other: ScriptRun) -> float:
    """Return the time between two runs (s); almost 0 if a DAGMan or job identifies the run."""
    apart_s = float(abs(one.at_s - other.at_s))
    certain = one.phase == "dagman" or (one.phase == "post" and one.job_id[:1].isdigit())
    return min(apart_s, 1e6) / 1e6 if certain else apart_s


def _name(one: ScriptRun) -> tuple[str, ...]:
    if one.phase == "dagman":
        return (one.phase, one.dag_id)
    return (one.phase, one.node, one.job_id)


def _complete(first: list[ScriptRun], second: list[ScriptRun]) -> list[ScriptRun]:
    """Return ``first`` with the runs that only ``second`` has, each after its predecessor in ``second``."""
    if not first or not second:
        return first or second
    places = _places(first, second)
    known = [place for place in places if place is not None]
    latest = list(itertools.accumulate((one.at_s for one in first), max))
    after = known[0] - 0.5 if known else None
    added: list[tuple[float, ScriptRun]] = []
    for one, place in zip(second, places, strict=True):
        if place is not None:
            after = place + 0.5
            first[place] = first[place]._replace(status=_surer(first[place], one))
        else:
            # Logs without a common run are merged by time.
            added.append((after if after is not None else bisect.bisect_right(latest, one.at_s) - 0.5, one))
    # Sorting is stable: runs with equal places keep their order.
    return [one for _, one in sorted([*enumerate(first), *added], key=lambda pair: pair[0])]


def _surer(first: ScriptRun, second: ScriptRun) -> int | None:
    """Return the status by JOBSTATE_LOG and dagman.out: the former has no signals, and may lack an end."""
    if second.status == UNENDED:
        return first.status
    killed = second.status == KILLED
    return second.status if killed or first.status in (None, UNENDED) else first.status


def _in_order_of_ends(found: list[ScriptRun], ended: list[ScriptRun]) -> list[ScriptRun]:
    """Return ``found`` in the order of the scripts' log for each DAGMan, with the runs that only this log has."""
    places = _places(found, ended)
    dags = [found[place].dag_id if place is not None else None for place in places]
    slots = {
        dag_id: iter(sorted(place for place in places if place is not None and found[place].dag_id == dag_id))
        for dag_id in {*dags}
    }
    result: dict[int, ScriptRun] = dict(enumerate(found))
    added: list[tuple[float, ScriptRun]] = []
    seen = {_name(one) for one in found if one.phase == "post"}
    slot = -1.0
    waiting: list[ScriptRun] = []  # only in this log, of the next known run's DAGMan
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
        elif _name(one) not in seen:  # a repeated POST keeps its first end
            before = next((dag_id for dag_id in reversed(dags[:number]) if dag_id), None)
            after = next((dag_id for dag_id in dags[number:] if dag_id), None)
            own = one.dag_id if one.dag_id in (before, after) else before or after or one.dag_id
            dags[number] = own
            if own == before or after is None:
                added.append((slot + 0.5, one._replace(dag_id=own)))
            else:
                waiting.append(one._replace(dag_id=own))
    return [one for _, one in sorted([*result.items(), *added], key=lambda pair: pair[0])]


def _after_final(found: Sequence[ScriptRun]) -> list[ScriptRun]:
    """Move the scripts that began while FINAL ran after it, or to the end of their DAGMan."""
    result: list[ScriptRun] = []
    late: list[ScriptRun] = []
    for one in found:
        if one.late:
            late.append(one)
        else:
            result += [one, *late] if one.phase == "final" else [*late, one] if one.phase == "dagman" else [one]
            late = late if one.phase not in ("final", "dagman") else []
    return result + late


def _with_status(found: Sequence[ScriptRun]) -> list[ScriptRun]:
    """Add $DAG_STATUS to each FINAL of which no log has it: 2 if nodes had failed."""
    failed: set[tuple[str, str]] = set()
    result = []
    for one in found:
        if one.phase == "post":
            # A POST that fails after a successful job may mean convergence, and one that succeeds after a failed job a dropped file.
            (failed.add if one.ret and one.status else failed.discard)((one.dag_id, one.node))
        if one.phase == "final" and one.status is None:
            one = one._replace(status=2 * any(dag_id == one.dag_id for dag_id, _ in failed))
        result.append(one)
    return result
