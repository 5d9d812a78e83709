"""Sum the cost of an iteration's reconstruction, from HTCondor's event log of the campaign's jobs.

HTCondor measures it in the same way for every backend, including the programs that a wrapper starts.
"""

import re

from faser_align.campaign import layout
from faser_align.fsm.metrics import Cost
from faser_align.state import joblogs

_USED = re.compile(r"Usr (\d+) (\d\d):(\d\d):(\d\d), Sys (\d+) (\d\d):(\d\d):(\d\d)  -  Run Remote Usage")
_UNITS_S = (86_400, 3600, 60, 1)


def reconstruction_cost(folder: str, stage: int, number: int) -> Cost:
    """Return CPU time (s) and number of an iteration's reconstruction jobs, with repeated ones; empty if unknown."""
    begin = layout.reco_node(stage, number, 0).rpartition("_")[0] + "_"
    ours: set[str] = set()
    cpu_s = jobs = 0
    try:
        with open(f"{folder}/{layout.JOB_LOG}", encoding="utf-8", errors="replace") as log:
            for event in joblogs.job_events(log, (joblogs.SUBMITTED, joblogs.TERMINATED)):
                if event.code == joblogs.SUBMITTED:
                    if event.node.startswith(begin):
                        ours.add(event.job_id)
                elif event.job_id in ours and (used := next(filter(None, map(_USED.match, event.said)), None)):
                    cpu_s += sum(int(number) * unit for number, unit in zip(used.groups(), _UNITS_S * 2, strict=True))
                    jobs += 1
    except OSError:
        return {}
    return {"cpu_s": cpu_s, "jobs": jobs} if jobs else {}
