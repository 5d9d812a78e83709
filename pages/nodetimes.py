"""Read the periods of each node of a campaign from HTCondor's job event log."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import joblogs

_STATES = {
    joblogs.SUBMITTED: "waiting",
    joblogs.EXECUTING: "running",
    joblogs.EVICTED: "waiting",
    joblogs.RECONNECT_FAILED: "waiting",
    joblogs.HELD: "held",
    joblogs.RELEASED: "waiting",
    joblogs.TERMINATED: "",
    joblogs.ABORTED: "",
}


class Span(NamedTuple):
    """A period of a job: ``waiting``, ``running`` or ``held``, with start and end (Unix time, s)."""

    state: str
    begin_s: float
    end_s: float


class Job(NamedTuple):
    """One attempt of a node: its periods in order, whether it failed, whether it continues at the log's end."""

    spans: list[Span]
    failed: bool
    open: bool

    def seconds(self, state: str) -> float:
        """Return the time that the job spent in a state (s)."""
        return sum(span.end_s - span.begin_s for span in self.spans if span.state == state)


class Node(NamedTuple):
    """A node and its attempts, the first one first."""

    name: str
    kind: str
    stage: int
    iteration: int
    file: int
    jobs: list[Job]

    @property
    def begin_s(self) -> float:
        """Time of its first submission (Unix time, s)."""
        return self.jobs[0].spans[0].begin_s

    @property
    def end_s(self) -> float:
        """End of its last attempt, or of what is known of it (Unix time, s)."""
        return self.jobs[-1].spans[-1].end_s

    @property
    def length_s(self) -> float:
        """Wall time from its first submission to its end (s)."""
        return self.end_s - self.begin_s

    @property
    def failed(self) -> bool:
        """Whether its last attempt failed."""
        return self.jobs[-1].failed

    def seconds(self, state: str) -> float:
        """Return its jobs' time in a state (s); attempts that failed count as ``failed``, not as ``running``."""
        if state in ("running", "failed"):
            return sum(job.seconds("running") for job in self.jobs if job.failed == (state == "failed"))
        return sum(job.seconds(state) for job in self.jobs)


def read(folder: str, outcomes: Mapping[tuple[str, str], str], now_s: float | None) -> list[Node]:
    """Return the submitted nodes of the campaign in ``folder`` in order of submission; empty without a log.

    ``outcomes`` are those of attempts in the state database, by node and job id. Unfinished jobs are assumed to end at
    ``now_s`` (Unix time), or with the log if it is None, as in a campaign that has ended.
    """
    try:
        with open(Path(folder, layout.JOB_LOG), encoding="utf-8", errors="replace") as log:
            logged, last_s = _logged(log)
    except OSError:
        return []
    of_node: dict[str, list[_Logged]] = {}
    for job in logged:
        of_node.setdefault(job.node, []).append(job)
    nodes = []
    for name, jobs in of_node.items():
        try:
            kind, stage, iteration, file = layout.parse_node(name)
        except ValueError:
            continue
        until_s = last_s if now_s is None else max(now_s, last_s)
        nodes.append(Node(name, kind, stage, iteration, file, list(_jobs(jobs, outcomes, until_s))))
    return nodes


@dataclass(slots=True)
class _Logged:
    """A job as in the log: its node, its changes of state (state, Unix time), and whether it was removed."""

    job_id: str
    node: str = ""
    aborted: bool = False
    changes: list[tuple[str, float]] = field(default_factory=list)


def _jobs(logged: list[_Logged], outcomes: Mapping[tuple[str, str], str], until_s: float) -> Iterator[Job]:
    """Yield the attempts of one node."""
    for at, job in enumerate(logged):
        is_open = bool(job.changes[-1][0])
        # The state database does not know the outcome of a job whose POST script has not run, or never will.
        outcome = outcomes.get((job.node, job.job_id), "")
        failed = outcome != "succeeded" if outcome else job.aborted or at < len(logged) - 1
        changes = [*job.changes, ("", until_s)] if is_open else job.changes
        spans = [
            Span(state, begin, end)
            for (state, begin), (_, end) in pairwise(changes)
            if state and (end > begin or state != "waiting")
        ]
        yield Job(spans or [Span("waiting", changes[0][1], changes[-1][1])], failed, is_open and not outcome)


def _logged(lines: Iterable[str]) -> tuple[list[_Logged], float]:
    """Return the jobs of a log in order of submission, and the time of its last event, in one pass."""
    jobs: list[_Logged] = []
    now: dict[str, _Logged] = {}
    last_s = 0.0
    for event in joblogs.job_events(lines, _STATES):
        at_s = joblogs.local_s(event.time)
        if at_s is None:
            continue
        last_s = float(at_s)
        job = now.get(event.job_id)
        if job is None or (event.code == joblogs.SUBMITTED and not job.changes[-1][0]):  # a move restarts job ids
            job = now[event.job_id] = _Logged(event.job_id)
            jobs.append(job)
        job.changes.append((_STATES[event.code], last_s))
        job.aborted = event.code == joblogs.ABORTED
        job.node = job.node or event.node
    return jobs, last_s
