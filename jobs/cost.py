"""What an iteration's reconstruction took, as HTCondor has measured it: from the event log of the campaign's jobs.

So it is the same for every backend, the programs that a wrapper starts included.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import joblogs

_SUBMITTED, _TERMINATED = "000", "005"  # codes of the event log (HTCondor manual, "Job event log codes")
_USED = re.compile(r"\s+Usr (\d+) (\d\d):(\d\d):(\d\d), Sys (\d+) (\d\d):(\d\d):(\d\d)  -  Run Remote Usage")
_UNITS_S = (86_400, 3600, 60, 1)


class Cost(NamedTuple):
    """CPU time (s) of the reconstruction jobs of an iteration, repeated ones included, and how many they were."""

    cpu_s: int
    jobs: int


def reconstruction_cost(folder: str, stage: int, number: int) -> Cost | None:
    """What the reconstruction of an iteration of the campaign in ``folder`` took; None if no log tells."""
    try:
        with open(f"{folder}/{layout.JOB_LOG}", encoding="utf-8", errors="replace") as log:
            return _sum(log, (stage, number))
    except OSError:
        return None


def _sum(lines: Iterable[str], wanted: tuple[int, int]) -> Cost | None:
    """The sum over the log's terminated jobs; the log of a large campaign is read in one go."""
    ours: set[str] = set()
    code = job = ""
    cpu_s = jobs = 0
    for line in lines:
        if line[3:5] == " (":
            code, job = line[:3], line[5:].partition(")")[0]
        elif code == _SUBMITTED and (node := joblogs.logged_node(line)):
            if _is_of(node, wanted):
                ours.add(job)
        elif code == _TERMINATED and job in ours and (used := _USED.match(line)):
            cpu_s += sum(int(number) * unit for number, unit in zip(used.groups(), _UNITS_S * 2, strict=True))
            jobs += 1
    return Cost(cpu_s, jobs) if jobs else None


def _is_of(node: str, wanted: tuple[int, int]) -> bool:
    try:
        kind, *place, _ = layout.parse_node(node)
    except ValueError:
        return False
    return kind == "reco" and tuple(place) == wanted
