"""Test the decisions on attempts, skipped nodes, dropped files, reopened campaigns and late events, in memory."""

from typing import Any

import pytest
from memory import Memory

from faser_align.fsm import reduce, reduce_campaign, table
from faser_align.fsm.rows import Attempt, Campaign, Known, Node

MEMORY = Memory()
CAMPAIGN: Campaign = {**MEMORY.campaign, "state": "reconstructing", "stage": 1, "iteration": 1, "stages": 2}
CAMPAIGN["dag_id"] = "12.0"
NODE: Node = {**MEMORY.nodes["reco_s1_i01_00400"], "state": "running", "attempts": 1}
KNOWN: Known = {"campaign": CAMPAIGN, "file_lost": False, "converged": False}
OPEN: Attempt = {"attempt": 1, "dag_id": "12.0", "closed_utc": "", "job_id": ""}
CLOSED: Attempt = {**OPEN, "closed_utc": "2026-11-24T08:00:00.000Z", "job_id": "13.0"}
NO_JOB = "0.2147483647"  # DAGMan's id of a job that it could not submit


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [([], False), ([OPEN], True), ([CLOSED], False), ([OPEN | {"dag_id": "11.0"}], False), ([OPEN, CLOSED], False)],
)
def test_an_attempt_is_open_for_its_own_dagman(attempts: list[Attempt], expected: bool) -> None:
    """Only the latest attempt counts, and only for the DAGMan that opened it."""
    assert reduce.is_open(attempts, "12.0") == expected


@pytest.mark.parametrize(
    ("job_id", "processed", "expected"),
    [
        ("13.0", [], None),
        ("13.0", [(1, 5)], 5),
        (NO_JOB, [(2, 5)], 5),
        (NO_JOB, [(1, 5)], None),
        ("", [(2, 5), (1, 4)], 5),
    ],
)
def test_a_repeated_post_gets_the_recorded_status(
    job_id: str, processed: list[tuple[int, int]], expected: int | None
) -> None:
    """The POST of a job without an id of its own is a repeat only while its attempt is the node's latest."""
    assert reduce.recorded_answer(job_id, processed, [CLOSED, CLOSED | {"attempt": 2}]) == expected


@pytest.mark.parametrize(
    ("state", "node", "known", "expected"),
    [
        ("reconstructing", {}, {}, False),
        ("reconstructing", {}, {"file_lost": True}, True),
        ("solving", {"stage": 1}, {"stages_done": 1}, True),
        ("solving", {"stage": 2}, {"stages_done": 1}, False),
        ("submitted", {"stage": table.VALIDATION}, {"converged": True}, False),
        ("validating", {"stage": table.VALIDATION}, {"converged": True}, False),
        ("validating", {"stage": table.VALIDATION}, {"converged": False}, True),
        ("converged", {"stage": table.VALIDATION}, {"converged": True}, True),
    ],
)
def test_nodes_with_nothing_to_do_are_skipped(state: str, node: Any, known: Any, expected: bool) -> None:
    """A node is skipped if its file is dropped, its stage has ended, or there is nothing to validate."""
    campaign: Any = {**CAMPAIGN, "state": state, "stages_done": known.get("stages_done", 0)}
    assert reduce.should_skip(campaign, {**NODE, **node}, {**KNOWN, **known}) == expected


@pytest.mark.parametrize("state", table.STATES)
def test_only_the_campaigns_own_dagman_reopens_it(state: str) -> None:
    """A node of the campaign's DAGMan reopens a failed or removed campaign; a decided end stays."""
    campaign: Campaign = {**CAMPAIGN, "state": state}
    assert reduce.reopens(campaign, "12.0") == (state in ("failed", "removed"))
    assert not reduce.reopens(campaign, "11.0")


@pytest.mark.parametrize(
    ("dag_id", "job_id", "attempts", "expected"),
    [
        ("12.0", "13.0", [], 0),
        ("12.0", "13.0", [OPEN], 0),
        ("12.0", "13.0", [CLOSED], 1),
        ("12.0", "14.0", [CLOSED], 0),
        ("11.0", "14.0", [{**CLOSED, "dag_id": "11.0", "job_id": ""}, {**OPEN, "attempt": 2}], 1),
        ("11.0", "14.0", [{**OPEN, "dag_id": "11.0"}], 0),
    ],
)
def test_a_hold_is_late_after_the_end_of_its_attempt(
    dag_id: str, job_id: str, attempts: list[Attempt], expected: int
) -> None:
    """A hold is late if the attempt of its job is closed, or was abandoned because a later DAGMan began another one."""
    event: Any = {"dag_id": dag_id, "job_id": job_id}
    assert reduce.late_hold(event, attempts, "12.0") == expected


@pytest.mark.parametrize(
    ("since", "state"), [([], "exhausted"), (["final_failed", "resumed"], "exhausted"), (["solving_started"], "failed")]
)
def test_an_early_end_counts_at_final_until_the_campaign_moves(since: list[str], state: str) -> None:
    """FINAL applies a decision that came too early, unless another event has moved the campaign since."""
    end: Any = {"event": "limit", "stage": 1, "iteration": 2, "attempt": 1, "facts": '{"verdict": "limit"}'}
    known: Known = {
        "campaign": CAMPAIGN,
        "processed": [],
        "failed": [],
        "only_iteration": None,
        "early_end": end | {"since": since},
    }
    event: Any = {"phase": "final", "dag_id": "12.0", "node": "final", "utc": "now", "host": "ap", "dag_status": 0}
    changes, exit_status = reduce.react(known, event)
    assert changes[-1] == ("update_campaign", state, 1, 2 if state == "exhausted" else 1, 0, 0, "12.0", "now")
    assert exit_status == (state == "failed")


def test_a_decision_leaves_its_rows_unchanged() -> None:
    """A decision does not change the rows that it gets; it returns the changes."""
    known: Known = {**KNOWN, "node": NODE, "attempts": [OPEN], "processed": []}
    before = repr(known)
    event: Any = {"phase": "post", "dag_id": "12.0", "node": NODE["node"], "utc": "now", "host": "ap", "job_id": "13.0"}
    event |= {"retry": 2, "max_retries": 2, "ret": 1, "fatal": False, "outcome": "failed", "reason": "no", "exit": 1}
    changes, exit_status = reduce.react(known, event)
    assert [kind for kind, *_ in changes] == [
        *("close_attempt", "add_history", "enqueue", "mark_processed", "update_node", "update_campaign")
    ]
    assert (exit_status, repr(known)) == (0, before)


def test_a_request_is_taken_once() -> None:
    """A request of the command line changes nothing the second time, and one that is not known is refused."""
    event: Any = {"phase": "control", "event": "stop_asked", "id": "a", "who": "me", "utc": "", "host": ""}
    event["after"] = "job"
    changes, _ = reduce.react({"campaign": CAMPAIGN, "processed": []}, event)
    assert [kind for kind, *_ in changes] == ["mark_processed", "add_history"]
    assert reduce.react({"campaign": CAMPAIGN, "processed": [(0, 0)]}, event) == ([], 0)
    with pytest.raises(ValueError, match="'nonsense' is no event of the command line"):
        reduce.react({"campaign": CAMPAIGN, "processed": []}, {**event, "event": "nonsense"})
    assert set(reduce_campaign.COLUMNS) == {"data", "lost_max", "targets", "messages"}


@pytest.mark.parametrize(
    ("min_files", "files", "expected"),
    [(1.0, 10, 0), (0.9, 10, 1), (0.9, 9, 0), (0.7, 10, 3), (0.5, 3, 1), (0.01, 5, 4)],
)
def test_the_minimum_fraction_of_files_remains(min_files: float, files: int, expected: int) -> None:
    """The minimum fraction of files must remain; rounding does not change the number by one."""
    assert reduce.most_dropped(min_files, files) == expected


@pytest.mark.parametrize(
    ("lost", "file_lost", "fatal", "retry", "expected"),
    [
        *((0, False, False, 1, False), (0, False, False, 2, True), (0, False, True, 0, True)),
        *((1, False, True, 0, False), (1, True, True, 0, True), (1, True, False, 1, False)),
    ],
)
def test_a_file_is_dropped_if_enough_remain(
    lost: int, file_lost: bool, fatal: bool, retry: int, expected: bool
) -> None:
    """A file is dropped after its last attempt, if one more may be dropped or this one is counted already."""
    campaign: Any = {"lost": lost, "lost_max": 1}
    event: Any = {"fatal": fatal, "retry": retry, "max_retries": 2}
    assert reduce.may_drop(campaign, event, file_lost) == expected
