"""The parser of HTCondor's event log, compared with HTCondor's own on the logs of recorded campaigns."""

from pathlib import Path

import htcondor2
import pytest
from recorded import CASES, unpack

from faser_align.campaign import layout
from faser_align.state import joblogs

LOGS = (layout.JOB_LOG, layout.DAG + layout.ENDING_DAGMAN_LOG)


@pytest.mark.parametrize("case", CASES)
def test_events_are_those_that_htcondor_reads(case: str, tmp_path: Path) -> None:
    """Code, job, time, node, exit status and reason of a hold of every event are what htcondor2.JobEventLog reads."""
    unpack(case, tmp_path)
    for path in (tmp_path / name for name in LOGS):
        expected = [
            (int(event.type), f"{event.cluster}.{event.proc}", event.timestamp, *_about(event))
            for event in htcondor2.JobEventLog(str(path)).events(stop_after=0)
        ]
        found = [
            (e.code, e.job_id, joblogs.local_s(e.time), e.node, e.value, e.why_held if e.code == joblogs.HELD else "")
            for e in joblogs.job_events(path.read_text().splitlines())
        ]
        assert found == expected != []


def _about(event: htcondor2.JobEvent) -> tuple[str, int | None, str]:
    """Node, value and reason of a hold, from the attributes that HTCondor gives an event."""
    notes, reason = event.get("StructuredNotes", {}), ""
    value = event.get("ReturnValue", -event.get("TerminatedBySignal", 0)) if event.type == joblogs.TERMINATED else None
    if event.type == joblogs.HELD:
        reason = event.get("HoldReason", "Reason unspecified")
    return notes.get("DAGNodeName", ""), joblogs.REMOVED if event.type == joblogs.ABORTED else value, reason


def test_a_torn_event_ends_where_the_next_one_begins() -> None:
    """An event without its last lines keeps what it has, and lines that belong to no event are skipped."""
    lines = ["\tno event's", "012 (", "012 (007.000.000) 2026-11-25 10:00:00 Job was held.", "\tquota"]
    lines += ["005 (007.001.000) 2026-11-25 10:00:01 Job terminated.", "\t(0) Abnormal termination (signal 9)", "..."]
    held, ended = joblogs.job_events([*lines, "009 (8.0.0) 2026"], (joblogs.HELD, joblogs.TERMINATED))
    assert (held.job_id, held.why_held, held.node, held.value) == ("7.0", "quota", "", None)
    assert (ended.job_id, ended.value) == ("7.1", -9)
    assert [event.code for event in joblogs.job_events(lines, (joblogs.TERMINATED,))] == [joblogs.TERMINATED]


@pytest.mark.parametrize("text", ["2026-11-25 10:50:43", "2026-11-25T10:50:43.250", "11/25/26 10:50:43"])
def test_times_of_logs(text: str) -> None:
    """A log's time is local time, in HTCondor's own form or in ISO 8601; anything else is no time."""
    assert joblogs.local_s(text) == 1795603843
    assert [joblogs.local_s(wrong) for wrong in ("", "10:50", "11/25/2026 10:50:43", text[:-5])] == [None] * 4
