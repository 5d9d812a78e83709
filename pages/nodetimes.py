"""Where the time of a campaign went: for each iteration how long its jobs waited, ran, were held, or had to be repeated."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.config import layout

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


class Spent(NamedTuple):
    """What became of the jobs of one kind in one iteration (s, summed over jobs; the span by the clock)."""

    stage: int
    iteration: int
    kind: str
    begin_s: float
    end_s: float
    jobs: int
    waiting_s: float
    running_s: float
    held_s: float
    retried_s: float


def spent(folder: str, attempts: Mapping[str, tuple[str, int, int, bool]]) -> list[Spent]:
    """Times of the jobs of the campaign in ``folder`` by iteration, from the jobs' event log; nothing without it.

    Args:
        folder: the campaign's.
        attempts: by job id: (kind, stage, iteration, whether the attempt succeeded).
    """
    sums: dict[tuple[int, int, str], list[float]] = {}
    try:
        with open(Path(folder, layout.JOB_LOG), encoding="utf-8", errors="replace") as log:
            jobs = _jobs(log)
    except OSError:
        return []
    for job_id, (begin, end, times) in jobs.items():
        if job_id not in attempts:
            continue
        kind, stage, iteration, succeeded = attempts[job_id]
        row = sums.setdefault((stage, iteration, kind), [begin, end, 0, 0.0, 0.0, 0.0, 0.0])
        row[0], row[1], row[2] = min(row[0], begin), max(row[1], end), row[2] + 1
        row[3] += times["waiting"]
        row[4 if succeeded else 6] += times["running"]
        row[5] += times["held"]
    return [
        Spent(stage, iteration, kind, row[0], row[1], int(row[2]), *row[3:])
        for (stage, iteration, kind), row in sorted(sums.items(), key=lambda item: item[1][0])
    ]


def _jobs(lines: Any) -> dict[str, tuple[float, float, dict[str, float]]]:
    """By job id: first and last event (Unix time, s), and how long it was in each state (s)."""
    found: dict[str, tuple[float, float, dict[str, float]]] = {}
    now: dict[str, tuple[str, float]] = {}
    for code, job_id, at in _events(lines):
        begin, _, times = found.setdefault(job_id, (at, at, {"waiting": 0.0, "running": 0.0, "held": 0.0}))
        state, since = now.get(job_id, ("", at))
        if state:
            times[state] += at - since
        now[job_id] = (_STATES[code], at)
        found[job_id] = (begin, at, times)
    return found


def _events(lines: Any) -> Iterator[tuple[str, str, float]]:
    """(code, job id, time) of the events that change what a job does; the log of a large campaign is read in one go."""
    for line in lines:
        code = line[:3]
        if code not in _STATES or line[3:5] != " (":
            continue
        job, _, rest = line[5:].partition(") ")
        cluster, proc, _ = job.split(".", 2)
        try:
            at = datetime.fromisoformat(rest[:19]).timestamp()
        except ValueError:
            continue
        yield code, f"{int(cluster)}.{int(proc)}", at
