"""Test reading events from the recorded logs of DAGMan and of jobs, complete and truncated."""

from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import make_campaign
from recorded import CASES, unpack

from faser_align.campaign import layout
from faser_align.state import dagmanlogs, joblogs
from faser_align.state.dagmanlogs import Logs
from faser_align.state.repair import events, order, runs
from faser_align.state.repair.rebuild import read_logs

LOGS = (layout.JOB_LOG, layout.DAG + layout.ENDING_DAGMAN_LOG)
# Fields that determine a node's state, which all three logs have.
WORDS = ("PRESKIP", "POST_SCRIPT_SUCCESS", "POST_SCRIPT_FAILURE", "JOB_HELD")


@pytest.mark.parametrize("case", CASES)
def test_three_logs_tell_the_same(case: str, tmp_path: Path) -> None:
    """JOBSTATE_LOG, dagman.out and the scripts' log have the same ends of scripts and the same holds."""
    unpack(case, tmp_path)
    logs = read_logs(str(tmp_path))
    told = [
        {
            (line.node, line.what, "" if line.what == "PRESKIP" else line.value)
            for line in lines
            if line.what in WORDS and line.node != "final"
        }
        for lines in (
            dagmanlogs.jobstate(logs.jobstate),
            dagmanlogs.dagman_out(logs.dagman_out),
            [line for script in dagmanlogs.scripts(logs.scripts) for line in dagmanlogs.lines_of(script)],
        )
    ]
    assert told[0] == told[1] == told[2] != set()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kept", [("jobstate",), ("dagman_out",), ("scripts", "dagman_log")])
def test_one_log_is_enough(case: str, kept: tuple[str, ...], tmp_path: Path) -> None:
    """Each of the three logs gives the ends of all attempts with their job, value and DAGMan."""
    unpack(case, tmp_path)
    logs = read_logs(str(tmp_path))
    alone = Logs(**{name: getattr(logs, name) for name in (*kept, "jobs")})

    def ends(found: list[runs.ScriptRun]) -> set[tuple[str, str, str, int | None]]:
        return {(one.dag_id, one.node, one.job_id, one.ret) for one in found if one.phase == "post"}

    assert ends(order.script_runs(alone)) == ends(order.script_runs(logs))


@pytest.mark.parametrize(
    ("case", "removed", "words"),
    [
        ("gone", True, "was removed at "),
        ("removed", False, "ended with status 0 at "),
        ("converged", False, "ended with status 0 at "),
    ],
)
def test_how_a_dagman_left(case: str, removed: bool, words: str, tmp_path: Path) -> None:
    """DAGMan's own event log gives how it left the queue, and why it was on hold before."""
    unpack(case, tmp_path)
    logs = read_logs(str(tmp_path))
    dagmans = [line.value for line in dagmanlogs.jobstate(logs.jobstate) if line.what == "DAGMAN_STARTED"]
    left = events.how_dagman_left(logs.dagman_log, dagmans[-1])
    assert left.removed is removed
    assert words in left.words
    assert ("while it was on hold (" in left.words) is (case == "gone")


def test_a_dagman_that_was_released_was_not_on_hold_when_it_left() -> None:
    """Only a hold that lasted to the end counts, and only in that DAGMan's own lines."""
    lines = ["012 (007.000.000) 2026-11-25 10:00:00 Job was held.\n\tquota\n\tCode 13 Subcode 2\n..."]
    lines.append("013 (007.000.000) 2026-11-25 10:01:00 Job was released.\n\tvia condor_release\n...")
    lines.append("009 (007.000.000) 2026-11-25 10:02:00 Job was aborted.\n\tvia condor_rm\n...")
    lines.append("012 (008.000.000) 2026-11-25 10:03:00 Job was held.\n\tmemory\n...")
    left = events.how_dagman_left("\n".join(lines), "7.0")
    assert left == (True, "DAGMan 7.0 was removed at 2026-11-25 10:02:00, and its last script did not run")
    held = events.how_dagman_left("\n".join([lines[0], *lines[2:]]), "7.0")
    assert "while it was on hold (quota)" in held.words


def test_what_only_one_log_tells_stands_behind_its_second() -> None:
    """Runs that only the second log has follow those of the same second in the first, in the second log's order."""
    first = [runs.ScriptRun(at_s, "7.0", "pre", f"first{number}") for number, at_s in enumerate((10, 10, 12, 11, 13))]
    second = [runs.ScriptRun(at_s, "7.0", "pre", f"second{at_s}{place}") for at_s in (9, 10, 11) for place in "ba"]
    found = [one.node for one in order._complete(first, second)]
    assert found == [
        *("second9b", "second9a", "first0", "first1", "second10b", "second10a", "second11b", "second11a"),
        *("first2", "first3", "first4"),
    ]


def test_runs_of_one_script_pair_in_order() -> None:
    """A run that never ended is not paired with the next run of its script, and no run is counted twice."""
    one = runs.ScriptRun(30, "7.0", "pre", "n")
    post = runs.ScriptRun(34, "7.0", "post", "n", "12.0", ret=1, status=1)
    first = [one, post, one._replace(at_s=42)]
    lost = one._replace(at_s=29, status=runs.UNENDED)
    second = [lost, one._replace(at_s=33), post, one._replace(at_s=44)]
    assert order._complete([*first], second) == [lost, *first]
    assert order._complete([lost, *first], [one, post]) == [lost, *first]


def test_changes_stand_behind_what_scripts_did_and_before_a_resumption(tmp_path: Path) -> None:
    """Of events in the same second, those of scripts come first, then changes in their order, then a resumption."""
    told = [("post", 0), ("resumed", 0), ("pre", 0), ("pre", 1)]
    found: list[Any] = [
        {"phase": "control" if name == "resumed" else name, "event": name, "utc": f"2026-11-25T10:00:0{second}.000Z"}
        for name, second in told
    ]
    logged = [events.Replayable(event) for event in found]
    about = {"who": "me", "host": "ap", "key": "convergence.patience", "before": 2, "after": 1}
    changed: Any = [{**about, "id": name, "utc": f"2026-11-25T10:00:00.{name}00Z"} for name in "95"]
    record = make_campaign(tmp_path / "c", files=1)
    result: list[Any] = events._with_changes(logged, record, changed)
    assert [one.event.get("id", one.event["event"]) for one in result] == ["post", "9", "5", "resumed", "pre", "pre"]


def test_lines_that_are_none(tmp_path: Path) -> None:
    """Malformed lines are skipped."""
    rubbish = "\n\0\n...\n012 (\n*** Node=\n1795604017 x\n11/25/26 10:50:43\nINTERNAL\n"
    assert dagmanlogs.jobstate(rubbish) == dagmanlogs.dagman_out(rubbish) == dagmanlogs.scripts(rubbish) == []
    assert order.script_runs(Logs(rubbish, rubbish, rubbish, rubbish, rubbish)) == []


@pytest.mark.parametrize("case", CASES)
def test_events_are_those_that_htcondor_reads(case: str, tmp_path: Path) -> None:
    """Code, job, time, node, exit status and reason of every event equal those from htcondor2.JobEventLog."""
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
    """An event without its last lines keeps the others, and lines that belong to no event are skipped."""
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
