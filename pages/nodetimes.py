"""Where the time of a campaign went: what each of its nodes did when, read from HTCondor's log of the jobs."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import joblogs

# Codes of the job event log (HTCondor manual, "Job event log codes").
SUBMITTED, EXECUTING, TERMINATED, ABORTED, HELD, RELEASED = "000", "001", "005", "009", "012", "013"
EVICTED, RECONNECT_FAILED = "004", "024"
_STATES = {
    SUBMITTED: "waiting",
    EXECUTING: "running",
    EVICTED: "waiting",
    RECONNECT_FAILED: "waiting",
    HELD: "held",
    RELEASED: "waiting",
    TERMINATED: "",
    ABORTED: "",
}


class Span(NamedTuple):
    """What a job did for a while: ``waiting``, ``running`` or ``held``, from when to when (Unix time, s)."""

    state: str
    begin_s: float
    end_s: float


class Job(NamedTuple):
    """One attempt at a node: its spans in order, whether it came to nothing, whether it goes on at the log's end."""

    spans: list[Span]
    failed: bool
    open: bool

    def seconds(self, state: str) -> float:
        """How long the job was in a state."""
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
        """When it was first submitted (Unix time)."""
        return self.jobs[0].spans[0].begin_s

    @property
    def end_s(self) -> float:
        """When its last attempt ended, or that of what is known (Unix time)."""
        return self.jobs[-1].spans[-1].end_s

    @property
    def length_s(self) -> float:
        """From its first submission to its end by the clock."""
        return self.end_s - self.begin_s

    @property
    def failed(self) -> bool:
        """Whether its last attempt came to nothing."""
        return self.jobs[-1].failed

    def seconds(self, state: str) -> float:
        """How long its jobs were ``waiting`` or ``held``; ``running`` is without, ``failed`` only, what came to nothing."""
        if state in ("running", "failed"):
            return sum(job.seconds("running") for job in self.jobs if job.failed == (state == "failed"))
        return sum(job.seconds(state) for job in self.jobs)


class Spent(NamedTuple):
    """What became of the jobs of one kind in one iteration (s, summed over jobs; begin and end by the clock)."""

    stage: int
    iteration: int
    kind: str
    begin_s: float
    end_s: float
    jobs: int
    waiting_s: float
    running_s: float
    failed_s: float
    held_s: float


def read(folder: str, outcomes: Mapping[tuple[str, str], str], now_s: float | None) -> list[Node]:
    """The nodes of the campaign in ``folder`` that were submitted, in the order of their submission; none without a log.

    Args:
        folder: the campaign's.
        outcomes: of the attempts that its store knows, by node and job id.
        now_s: until when jobs that have not ended go on (Unix time); None for a campaign that has ended, where they
            are known until the log's end.
    """
    try:
        with open(Path(folder, layout.JOB_LOG), encoding="utf-8", errors="replace") as log:
            logged, last_s = _logged(log)
    except OSError:
        return []
    of_node: dict[str, list[_Logged]] = {}
    for job in logged:
        of_node.setdefault(job.node, []).append(job)
    found = []
    for name, jobs in of_node.items():
        try:
            kind, stage, iteration, file = layout.parse_node(name)
        except ValueError:
            continue
        until_s = last_s if now_s is None else max(now_s, last_s)
        found.append(Node(name, kind, stage, iteration, file, list(_jobs(jobs, outcomes, until_s))))
    return found


def spent(nodes: Iterable[Node]) -> list[Spent]:
    """Times by iteration and kind of job, in the order in which they began."""
    sums: dict[tuple[int, int, str], list[Node]] = {}
    for node in nodes:
        sums.setdefault((node.stage, node.iteration, node.kind), []).append(node)
    rows = [
        Spent(
            *key,
            min(node.begin_s for node in of),
            max(node.end_s for node in of),
            sum(len(node.jobs) for node in of),
            *(sum(node.seconds(state) for node in of) for state in ("waiting", "running", "failed", "held")),
        )
        for key, of in sums.items()
    ]
    return sorted(rows, key=lambda row: row.begin_s)


def duration(seconds: float) -> str:
    """A time in words, with two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Logged:
    """A job as the log tells of it: its node, the changes of its state (state, Unix time), whether it was removed."""

    __slots__ = ("aborted", "changes", "job_id", "node")

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.node = ""
        self.aborted = False
        self.changes: list[tuple[str, float]] = []


def _jobs(logged: list[_Logged], outcomes: Mapping[tuple[str, str], str], until_s: float) -> Iterator[Job]:
    """The attempts at one node."""
    for at, job in enumerate(logged):
        is_open = bool(job.changes[-1][0])
        # The store does not know how a job ended whose POST script has not run yet, or not at all.
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
    """The jobs of a log in the order of their submission, and the time of its last event; a large log is read in one go."""
    found: list[_Logged] = []
    now: dict[str, _Logged] = {}
    at = 0.0
    job: _Logged | None = None
    for line in lines:
        code = line[:3]
        if code in _STATES and line[3:5] == " (":
            number, _, rest = line[5:].partition(") ")
            try:
                cluster, proc, _ = number.split(".", 2)
                job_id = f"{int(cluster)}.{int(proc)}"
                at = datetime.fromisoformat(rest[:19]).timestamp()
            except ValueError:
                continue
            job = now.get(job_id)
            if job is None or (code == SUBMITTED and not job.changes[-1][0]):  # after a move job ids begin anew
                job = now[job_id] = _Logged(job_id)
                found.append(job)
            job.changes.append((_STATES[code], at))
            job.aborted = code == ABORTED
        elif (
            line.startswith("    ") and job is not None
        ):  # below a submission; what is below other events begins with a tab
            job.node = job.node or joblogs.logged_node(line)
    return found, at
