"""Test that each script has its own attempt, whatever DAGMan lost, repeated, or started unnecessarily."""

from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign
from taking import AGAIN, BASE, DONE, FAILED, FINAL, HOLD, MILLE, PRE, RECO, rows, stages, take, verdict

from faser_align.campaign import layout
from faser_align.fsm import exit_codes

OTHER = layout.reco_node(1, 1, 401)
GIVEN_UP = {**FAILED, "fatal": True, "ret": 61, "exit": exit_codes.FATAL}
NO_JOB = "0.2147483647"  # DAGMan's value for a job that it could not submit


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Provide a campaign of three files, one of which may be dropped."""
    config = {"reconstruction": {"min_files": 0.6}, "campaign": {"iterations": 2}}
    return str(make_campaign(tmp_path / "campaign", files=3, config=config)["folder"])


def attempts(folder: str) -> list[Any]:
    return rows(folder, f"SELECT dag_id, job_id, outcome FROM attempts WHERE node = '{RECO}' ORDER BY attempt")


def test_a_post_whose_pre_was_lost_has_an_attempt_of_its_own(folder: str) -> None:
    """A job is never assigned to a closed attempt of its DAGMan or an open one of an earlier DAGMan."""
    assert take(folder, PRE, FAILED, {**DONE, "job_id": "14.0"}) == [0, 1, 0]
    assert attempts(folder) == [("12.0", "13.0", "failed"), ("12.0", "14.0", "succeeded")]
    assert take(folder, {**PRE, **AGAIN}, {**DONE, "dag_id": "30.0", "job_id": "31.0"}) == [0, 0]
    assert attempts(folder)[2:] == [("20.0", "", "abandoned"), ("30.0", "31.0", "succeeded")]


def test_a_job_of_a_node_that_is_over_changes_nothing(folder: str) -> None:
    """If a node that should have been skipped has a job, its POST returns a status and changes nothing."""
    assert take(folder, PRE, GIVEN_UP) == [0, 0]
    later = {"node": layout.reco_node(1, 2, 400)}
    assert take(folder, {**PRE, **later}, {**PRE, **later}) == [exit_codes.SKIP, exit_codes.SKIP]
    known = rows(folder, "SELECT * FROM history"), rows(folder, "SELECT * FROM attempts")
    answers = take(folder, {**FAILED, **later, "job_id": "14.0"}, PRE, {**PRE, "dag_id": "12.0", "retry": 1})
    assert answers == [0, exit_codes.SKIP, exit_codes.SKIP]
    assert (rows(folder, "SELECT * FROM history"), rows(folder, "SELECT * FROM attempts")) == known


def test_only_a_raw_file_is_given_up(folder: str) -> None:
    """A Millepede node that fails for good fails the campaign, even if a file could still be dropped."""
    mille = {"node": MILLE}
    assert take(folder, {**PRE, **mille}, {**GIVEN_UP, **mille}) == [0, exit_codes.FATAL]
    assert rows(folder, f"SELECT state FROM nodes WHERE node = '{MILLE}'") == [("failed",)]
    assert rows(folder, "SELECT lost FROM campaign") == [(0,)]


def test_a_quorum_counts_files_and_has_an_end(folder: str) -> None:
    """A file is dropped at its last attempt or a fatal failure; if no further file may be dropped, it has failed."""
    tried = {**FAILED, "retry": 1, "job_id": "14.0"}
    assert take(folder, PRE, FAILED, {**PRE, "retry": 1}, tried) == [0, 1, 0, 1]
    last = {**FAILED, "retry": 2, "job_id": "15.0"}
    assert take(folder, {**PRE, "retry": 2}, last, last) == [0, 0, 0]
    assert rows(folder, "SELECT lost, lost_max FROM campaign") == [(1, 1)]
    other = {"node": OTHER}
    assert take(folder, {**PRE, **other}, {**GIVEN_UP, **other, "job_id": "16.0"}) == [0, exit_codes.FATAL]
    assert rows(folder, "SELECT lost FROM campaign") == [(1,)]


def test_a_file_that_is_lost_twice_counts_once(tmp_path: Path) -> None:
    """A file that fails in both halves of a validation counts as dropped once."""
    config = {"reconstruction": {"min_files": 0.6}, "campaign": {"iterations": 1}, "validation": {"used_files": True}}
    folder = str(make_campaign(tmp_path / "campaign", files=3, config=config)["folder"])
    converged = verdict("converged", "validation_asked")
    assert take(folder, PRE, DONE, {**PRE, "node": MILLE}, converged) == [0, 0, 0, 0]
    halves = [{"node": layout.reco_node(layout.VALIDATION, half, 400)} for half in (layout.BEFORE, layout.AFTER)]
    assert take(folder, *({**PRE, **half} for half in halves)) == [0, 0]
    assert take(folder, *({**GIVEN_UP, **half} for half in halves)) == [0, 0]
    assert rows(folder, "SELECT node FROM nodes WHERE state = 'lost'") == sorted((half["node"],) for half in halves)
    assert rows(folder, "SELECT lost, lost_max FROM campaign") == [(1, 1)]
    assert rows(folder, "SELECT ignored FROM history WHERE ignored != ''") == []


def test_what_is_validated(tmp_path: Path) -> None:
    """Nodes of a validation start only after the last stage has converged; its decision leaves stage and iteration."""
    config = {"validation": {"used_files": True}, "campaign": {"iterations": 1}, "stages": stages(1, 1)}
    folder = str(make_campaign(tmp_path / "campaign", files=1, config=config)["folder"])
    half = {**PRE, "node": layout.reco_node(layout.VALIDATION, layout.BEFORE, 400)}
    first, last = ({**PRE, "node": layout.mille_node(stage, 1)} for stage in (1, 2))
    solved = {"node": last["node"], "job_id": "14.2"}
    take(folder, PRE, DONE, first, verdict("converged", "stage_finished"), last, verdict("limit", **solved))
    assert rows(folder, "SELECT state FROM campaign") == [("exhausted",)]
    assert take(folder, {**half, **AGAIN}) == [exit_codes.SKIP]
    assert rows(folder, "SELECT state FROM campaign") == [("submitted",)]
    converged = verdict("converged", "validation_asked", **solved, **AGAIN)
    assert take(folder, {**last, **AGAIN}, converged, {**half, **AGAIN}) == [0, 0, 0]
    assert rows(folder, "SELECT state FROM campaign") == [("validating",)]
    validate = verdict("confirmed", node=layout.VALIDATE_NODE, job_id="15.0", **AGAIN)
    take(folder, {**DONE, **AGAIN, "node": half["node"]}, {**PRE, **AGAIN, "node": layout.VALIDATE_NODE}, validate)
    assert rows(folder, "SELECT state, stage, iteration FROM campaign") == [("converged", 2, 1)]
    assert rows(folder, "SELECT stage, iteration FROM history WHERE event = 'confirmed'") == [(2, 1)]
    other = {"node": layout.reco_node(layout.VALIDATION, layout.AFTER, 400)}
    assert take(folder, {**half, **AGAIN, **other}) == [exit_codes.SKIP]


def test_posts_of_jobs_that_were_never_submitted(folder: str) -> None:
    """POSTs of unsubmitted jobs have the same job name: a repeat is recognised, and the next attempt's is new."""
    never = {**FAILED, "job_id": NO_JOB}
    answers = take(folder, PRE, never, never, {**PRE, "retry": 1}, {**never, "exit": 5}, {**never, "exit": 7})
    assert answers == [0, 1, 1, 0, 5, 5]
    assert attempts(folder) == [("12.0", NO_JOB, "failed")] * 2
    assert take(folder, {**PRE, **AGAIN}, {**never, **AGAIN, "exit": 6}) == [0, 6]


def test_a_repeat_is_answered_as_the_first(folder: str) -> None:
    """A repeat returns the status for its own DAGMan and job, whatever a second run would decide."""
    assert take(folder, PRE, GIVEN_UP, {**GIVEN_UP, "exit": 9}) == [0, 0, 0]
    first = {**FAILED, "node": OTHER}
    assert take(folder, {**PRE, "node": OTHER}, first, {**first, "exit": 9}) == [0, 1, 1]
    # A job of this name is another one if a schedd has restarted its ids.
    assert take(folder, {**PRE, **AGAIN, "node": OTHER}, {**first, **AGAIN, "exit": 5}) == [0, 5]


def test_a_hold_is_one_by_its_job_and_its_time(folder: str) -> None:
    """A hold is identified by DAGMan, job and time; the same hold again is a repeat."""
    hold = HOLD
    later = {**hold, "hold_time": "2026-11-24 08:00:02", "reason": "memory"}
    take(folder, PRE, hold, later, hold, later)
    told = "SELECT json_extract(facts, '$.reason') FROM history WHERE event = 'held' ORDER BY id"
    assert rows(folder, told) == [("quota",), ("memory",)]
    assert rows(folder, f"SELECT state, reason FROM nodes WHERE node = '{RECO}'") == [("held", "memory")]
    take(folder, {**PRE, **AGAIN}, {**hold, **AGAIN}, {**hold, **AGAIN})
    assert len(rows(folder, told)) == 3
    take(folder, {**DONE, **AGAIN}, {**later, **AGAIN})
    assert rows(folder, f"SELECT state, reason FROM nodes WHERE node = '{RECO}'") == [("done", "")]
    assert len(rows(folder, told)) == 4


def test_whose_attempt_a_hold_is(folder: str) -> None:
    """A hold changes the open attempt, also of an earlier DAGMan, but not the job's next one, nor a node that is done."""
    hold = HOLD
    now = "SELECT state, reason FROM nodes WHERE node = '{}'"
    take(folder, PRE, FAILED, {**PRE, "retry": 1}, hold)
    assert rows(folder, now.format(RECO)) == [("running", "")]
    take(folder, {**DONE, "job_id": "14.0"}, {**hold, "job_id": "99.0"})
    assert rows(folder, now.format(RECO)) == [("done", "")]
    take(folder, {**PRE, "node": OTHER}, {**PRE, **AGAIN}, {**hold, "node": OTHER, "job_id": "15.0"})
    assert rows(folder, now.format(OTHER)) == [("held", "quota")]


def test_each_attempt_begins_without_a_reason(folder: str) -> None:
    """A running attempt does not have the reason of an earlier failure."""
    assert take(folder, PRE, FAILED) == [0, 1]
    assert rows(folder, f"SELECT reason FROM nodes WHERE node = '{RECO}'") == [("because",)]
    take(folder, {**PRE, "retry": 1})
    assert rows(folder, f"SELECT state, reason FROM nodes WHERE node = '{RECO}'") == [("running", "")]


@pytest.mark.parametrize(("status", "end"), [(2, "failed"), (4, "removed")])
def test_a_dagman_that_does_not_leave_goes_on(status: int, end: str, folder: str) -> None:
    """A node that begins after its DAGMan's FINAL continues the campaign once; the next FINAL ends it."""
    final = {**FINAL, "dag_status": status}
    assert take(folder, PRE, final, final) == [0, status, status]
    assert rows(folder, "SELECT state FROM campaign") == [(end,)]
    assert take(folder, {**PRE, "node": OTHER}, {**PRE, "node": MILLE}) == [0, 0]
    assert rows(folder, "SELECT state FROM campaign") == [("solving",)]
    assert rows(folder, "SELECT count(*) FROM history WHERE event = 'resumed'") == [(1,)]
    assert take(folder, {**final, "dag_status": 3}, {**final, "dag_status": 3}) == [1, 1]
    assert rows(folder, "SELECT state FROM campaign") == [("failed",)]
    assert rows(folder, "SELECT attempt, exit_status FROM events WHERE phase = 'final'") == [(0, status), (1, 1)]


def test_a_script_of_a_removed_dagman_resumes_nothing(folder: str) -> None:
    """A PRE of a DAGMan without FINAL, after the campaign's end, comes from a new DAGMan and resumes the campaign once."""
    take(folder, PRE, {**FINAL, "dag_status": 4}, {**PRE, **AGAIN, "node": OTHER})
    events = rows(folder, "SELECT event, ignored FROM history WHERE subject = 'campaign' ORDER BY id")
    assert [event for event, _ in events].count("resumed") == 1
    assert {ignored for _, ignored in events} == {""}
    assert take(folder, {**PRE, "node": MILLE}) == [0]  # it slept, and the campaign belongs to the new one anyway
    assert rows(folder, "SELECT dag_id, state FROM campaign") == [("20.0", "solving")]


@pytest.mark.parametrize(("status", "end"), [(2, "failed"), (4, "removed")])
def test_a_script_that_outlived_its_campaign_opens_nothing(status: int, end: str, folder: str) -> None:
    """A node that an earlier DAGMan starts after the end leaves the campaign at its end."""
    take(folder, PRE, {**PRE, **AGAIN, "node": OTHER}, {**FINAL, **AGAIN, "dag_status": status})
    assert take(folder, {**PRE, "node": MILLE}) == [0]
    assert rows(folder, "SELECT dag_id, state FROM campaign") == [("20.0", end)]


def test_a_final_of_an_earlier_dagman_keeps_no_later_one_from_going_on(folder: str) -> None:
    """A late FINAL of an earlier DAGMan does not end the campaign; the second DAGMan's own FINAL does."""
    take(folder, PRE, {**PRE, **AGAIN, "node": OTHER}, FINAL)
    assert rows(folder, "SELECT dag_id, state FROM campaign") == [("20.0", "failed")]
    assert take(folder, {**PRE, **AGAIN, "node": MILLE}, {**FINAL, **AGAIN, "dag_status": 4}) == [0, 4]
    events = rows(folder, "SELECT event FROM history WHERE subject = 'campaign' AND ignored = '' ORDER BY id")
    assert [event for (event,) in events[-4:]] == ["final_failed", "resumed", "solving_started", "final_removed"]


def test_a_stage_that_is_over_stays_over(tmp_path: Path) -> None:
    """A late decision on an earlier stage changes nothing in the current one."""
    config = {"campaign": {"iterations": 2}, "stages": stages(2, 2, 2)}
    folder = str(make_campaign(tmp_path / "campaign", files=1, config=config)["folder"])
    first, second = ({"node": layout.mille_node(stage, 1), "job_id": f"14.{stage}"} for stage in (1, 2))
    take(folder, PRE, DONE, {**PRE, **first}, {**PRE, "node": layout.reco_node(2, 1, 400)}, {**PRE, **second})
    ended = (verdict("converged", "stage_finished", **about) for about in (second, first))
    assert take(folder, *ended) == [0, 0]
    assert rows(folder, "SELECT stages_done FROM campaign") == [(2,)]
    assert take(folder, {**PRE, "node": layout.reco_node(2, 2, 400)}) == [exit_codes.SKIP]
    assert take(folder, {**PRE, "node": layout.reco_node(3, 1, 400)}) == [0]


def test_what_the_history_says_of_each_event(folder: str) -> None:
    """Every row has its time, node, attempt, job, DAGMan and host, as its script knew them."""
    at = [{"utc": f"2026-11-24T08:00:0{second}.000Z", "host": f"ap{second}"} for second in range(5)]
    events = (PRE, HOLD, FAILED, {**PRE, "retry": 1}, {**DONE, "job_id": "14.0"})
    take(folder, *({**event, **when} for event, when in zip(events, at, strict=True)))
    named = [
        ("started", 1, ""),
        ("held", 1, "13.0"),
        ("failed", 1, "13.0"),
        ("started", 2, ""),
        ("succeeded", 2, "14.0"),
    ]
    columns = "event, attempt, job_id, dag_id, utc, host"
    assert rows(folder, f"SELECT {columns} FROM history WHERE subject = '{RECO}' ORDER BY id") == [
        (*name, "12.0", when["utc"], when["host"]) for name, when in zip(named, at, strict=True)
    ]


def _asked(event: str, name: str, **about: Any) -> dict[str, Any]:
    """Queue a request of the command line."""
    return {"phase": "control", "event": event, "id": name, "who": "me", "utc": BASE["utc"], "host": "ap", **about}


@pytest.mark.parametrize(("stage", "over"), [(1, 0), (2, 1), (3, 1)])
def test_what_an_extension_brings(stage: int, over: int, tmp_path: Path) -> None:
    """An extension adds nodes to a stage, and later stages can run; unfinished stages stay unfinished."""
    config = {"campaign": {"iterations": 1}, "stages": stages(1, 1, 1)}
    folder = str(make_campaign(tmp_path / "campaign", files=2, config=config)["folder"])
    take(folder, PRE, {**PRE, "node": MILLE}, verdict("converged", "stage_finished"), FINAL)
    known = {node for (node,) in rows(folder, "SELECT node FROM nodes")}
    assert rows(folder, "SELECT state, stages_done FROM campaign") == [("failed", 1)]
    wish = _asked("extended", "a" * 16, stage=stage, before=1, after=3)
    assert take(folder, wish, wish) == [0, 0]
    assert rows(folder, "SELECT state, stages_done FROM campaign") == [("submitted", over)]
    new = {layout.mille_node(stage, iteration) for iteration in (2, 3)}
    new |= {layout.reco_node(stage, iteration, file) for iteration in (2, 3) for file in (400, 401)}
    assert {node for (node,) in rows(folder, "SELECT node FROM nodes")} == known | new
    assert rows(folder, "SELECT count(*) FROM history WHERE event = 'extended'") == [(1,)]


def test_a_change_reaches_only_what_may_change(folder: str) -> None:
    """Of an event with a change of the manifest only the documented keys are applied."""
    columns = {"lost_max": 2, "state": "converged", "dag_id": "99.0"}
    about = {"key": "reconstruction.min_files", "before": 0.6, "after": 0.3, "columns": columns}
    assert take(folder, PRE, _asked("changed", "b" * 16, **about)) == [0, 0]
    assert rows(folder, "SELECT lost_max, state, dag_id FROM campaign") == [(2, "reconstructing", "12.0")]
