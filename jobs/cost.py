"""Sum what an iteration's reconstruction cost, from HTCondor's event log of the campaign's jobs.

HTCondor measures it in the same way for every backend, including the programs that a wrapper starts.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import joblogs

_USED = re.compile(r"Usr (\d+) (\d\d):(\d\d):(\d\d), Sys (\d+) (\d\d):(\d\d):(\d\d)  -  Run Remote Usage")
_UNITS_S = (86_400, 3600, 60, 1)


class Cost(NamedTuple):
    """CPU time (s) and number of an iteration's reconstruction jobs, including repeated ones."""

    cpu_s: int
    jobs: int


def reconstruction_cost(folder: str, stage: int, number: int) -> Cost | None:
    """Return the cost of an iteration's reconstruction in the campaign in ``folder``; None without a log."""
    try:
        with open(f"{folder}/{layout.JOB_LOG}", encoding="utf-8", errors="replace") as log:
            return _sum(log, (stage, number))
    except OSError:
        return None


def _sum(lines: Iterable[str], wanted: tuple[int, int]) -> Cost | None:
    """Sum over the terminated jobs in the log, in one pass."""
    ours: set[str] = set()
    cpu_s = jobs = 0
    for event in joblogs.job_events(lines, (joblogs.SUBMITTED, joblogs.TERMINATED)):
        if event.code == joblogs.SUBMITTED:
            if _is_of(event.node, wanted):
                ours.add(event.job_id)
        elif event.job_id in ours and (used := next(filter(None, map(_USED.match, event.said)), None)):
            cpu_s += sum(int(number) * unit for number, unit in zip(used.groups(), _UNITS_S * 2, strict=True))
            jobs += 1
    return Cost(cpu_s, jobs) if jobs else None


def _is_of(node: str, wanted: tuple[int, int]) -> bool:
    try:
        kind, *place, _ = layout.parse_node(node)
    except ValueError:
        return False
    return kind == "reco" and tuple(place) == wanted
