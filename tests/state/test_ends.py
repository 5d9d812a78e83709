"""Test the ends of a campaign: by a decision, by its DAGMan, or by a decision that came too early."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import taking
from campaigns import make_campaign
from stored import change_by_hand
from taking import AGAIN, DONE, FAILED, MILLE, PRE, RECO, rows, take, verdict

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import queries, redolog

NEXT = layout.mille_node(1, 2)
FINAL = taking.FINAL | {"dag_status": 0, "failed_count": 0}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Provide a campaign of one file and two iterations."""
    return str(make_campaign(tmp_path / "campaign", files=1, config={"campaign": {"iterations": 2}})["folder"])


def state(folder: str) -> str:
    return str(rows(folder, "SELECT state FROM campaign")[0][0])


def reason(folder: str) -> str:
    """Return why the DAG ended."""
    reasons = "SELECT json_extract(facts, '$.reason') FROM history WHERE event LIKE 'final%' ORDER BY id"
    return str(rows(folder, reasons)[-1][0])


def test_a_verdict_counts_once(folder: str) -> None:
    """A campaign that ended by a decision, and is resumed without another one, has failed."""
    assert take(folder, PRE, DONE, {**PRE, "node": MILLE}, verdict("limit"), FINAL, FINAL) == [0] * 6
    assert state(folder) == "exhausted"
    assert take(folder, {**FINAL, **AGAIN}) == [1]
    assert state(folder) == "failed"
    assert reason(folder) == "the DAG ended: it ended normally, but no verdict was recorded"


def test_the_last_of_early_verdicts_counts(folder: str) -> None:
    """Of several early decisions the last one ends the campaign."""
    take(folder, PRE, DONE, verdict("limit"), verdict("converged", node=NEXT))
    assert state(folder) == "reconstructing"
    assert take(folder, {**FINAL, "dag_status": 3}) == [0]
    assert state(folder) == "converged"
    assert rows(folder, "SELECT stage, iteration FROM campaign") == [(1, 2)]


def test_an_early_verdict_outlives_the_failure_of_its_dagman(folder: str) -> None:
    """If the campaign failed because DAGMan lost a job, an early decision ends it under the next DAGMan, which has no work."""
    assert take(folder, PRE, {**FINAL, "dag_status": 2}, DONE, verdict("limit")) == [0, 2, 0, 0]
    assert state(folder) == "failed"
    assert take(folder, {**FINAL, **AGAIN}) == [0]
    assert state(folder) == "exhausted"
    last = "SELECT event FROM history WHERE subject = 'campaign' AND ignored = '' ORDER BY id DESC LIMIT 3"
    assert rows(folder, last) == [("limit",), ("solving_started",), ("resumed",)]


@pytest.mark.parametrize(("status", "end"), [(0, "reconstructed"), (2, "failed"), (4, "removed"), (6, "removed")])
def test_a_campaign_that_only_reconstructs(status: int, end: str, folder: str) -> None:
    """A campaign without Millepede nodes ends as reconstructed if its DAG succeeds, otherwise like any other."""
    only_reconstructs(folder)
    take(folder, PRE, DONE)
    assert take(folder, {**FINAL, "dag_status": status}) == [status]
    assert state(folder) == end


def only_reconstructs(folder: str) -> None:
    """Make the campaign a `reco`, without a Millepede node."""
    change_by_hand(Path(folder, layout.STATE), "DELETE FROM nodes WHERE kind = 'mille' OR iteration > 1")


def test_nothing_is_left_to_reconstruct(folder: str) -> None:
    """A `reco` whose DAG was removed after its last job ends as reconstructed when resumed."""
    only_reconstructs(folder)
    take(folder, PRE, DONE, {**FINAL, "dag_status": 4})
    assert take(folder, {**FINAL, **AGAIN}) == [0]
    assert state(folder) == "reconstructed"
    assert rows(folder, "SELECT stage, iteration FROM campaign") == [(1, 1)]


SOLVED = {"phase": "control", "event": "solved", "id": "s", "who": "me", "utc": "2026-11-24T09:00:00.000Z", "host": "h"}


@pytest.mark.parametrize("end", ["reconstructed", "exhausted"])
def test_a_solution_by_hand_is_recorded(end: str, folder: str) -> None:
    """A manual solution of a `reco` is recorded once, also if an earlier version ended the campaign as exhausted."""
    only_reconstructs(folder)
    take(folder, PRE, DONE, FINAL)
    with closing(sqlite3.connect(Path(folder, layout.STATE))) as db, db:
        db.execute("UPDATE campaign SET state = ?", (end,))
        db.execute("UPDATE history SET destination = ? WHERE event = 'reconstructed'", (end,))
        assert queries.campaign(db)["state"] == "reconstructed"
        assert queries.latest_constants(db, folder) is None
    redolog.begin(folder)
    solved = {**SOLVED, "stage": 1, "iteration": 1, "metrics": '{"chi2_per_ndf": 1.5}'}
    assert take(folder, solved, solved, {**solved, "id": "again"}) == [0, 0, 0]
    assert state(folder) == "reconstructed"
    assert len(rows(folder, "SELECT id FROM history WHERE event = 'solved' AND ignored = ''")) == 2
    with closing(sqlite3.connect(Path(folder, layout.STATE))) as db:
        (row,) = queries.iterations(db)
        assert (row["verdict"], row["ended_utc"], row["metrics"]) == ("solved", SOLVED["utc"], {"chi2_per_ndf": 1.5})
        assert queries.latest_constants(db, folder) == layout.result_file(folder, 1, 1)


def test_a_solution_of_a_campaign_that_runs_is_ignored(folder: str) -> None:
    """A campaign that is not reconstructed records why it ignores a solution."""
    take(folder, PRE, {**SOLVED, "stage": 1, "iteration": 1, "metrics": "{}"})
    assert rows(folder, "SELECT ignored FROM history WHERE event = 'solved'") == [
        ("a campaign that is reconstructing takes no event solved",)
    ]
    assert rows(folder, "SELECT ended_utc FROM iterations") == [("",)]


def test_a_campaign_of_an_earlier_version_sends_the_new_message(tmp_path: Path) -> None:
    """A campaign whose kinds of messages lack `reconstructed` sends it to recipients of exhausted."""
    config = {"notify": {"targets": ["me"], "events": ["exhausted"]}}
    folder = str(make_campaign(tmp_path / "campaign", files=1, config=config)["folder"])
    only_reconstructs(folder)
    take(folder, PRE, DONE, FINAL)
    assert rows(folder, "SELECT target, kind FROM outbox") == [("me", "reconstructed")]


def test_a_solution_without_statistics_ends_as_starved(folder: str) -> None:
    """A Millepede job without enough entries for any parameter ends the campaign as starved, with its reason."""
    why = "insufficient statistics: of 60 tracks no free parameter has enough"
    post = {**FAILED, "node": MILLE, "job_id": "14.1", "ret": exit_codes.STATISTICS, "exit": exit_codes.FATAL}
    assert take(folder, PRE, DONE, {**PRE, "node": MILLE}, post | {"reason": why}, {**FINAL, "dag_status": 2}) == [
        0,
        0,
        0,
        43,
        2,
    ]
    assert state(folder) == "starved"
    with closing(sqlite3.connect(Path(folder, layout.STATE))) as db:
        assert queries.last_reason(db) == why
        assert queries.latest_constants(db, folder) is None


def test_the_end_names_what_failed(folder: str) -> None:
    """Failed nodes are named besides any other reason for the DAG's end."""
    take(folder, PRE, FAILED, {**FINAL, "dag_status": 4})
    assert reason(folder) == f"the DAG ended: it was removed; 1 node failed ({RECO})"
    take(folder, {**FINAL, **AGAIN, "dag_status": 2})
    assert reason(folder) == f"the DAG ended: 1 node failed ({RECO})"


def test_an_iteration_that_is_solved_again_has_its_last_solution(folder: str) -> None:
    """Decision, reason, criteria, metrics and end of an iteration are those of its last solution; its start time stays."""
    mille = {**PRE, "node": MILLE}
    take(folder, PRE, DONE, mille, verdict("go_on"))
    ((_, _, began, *_),) = rows(folder, "SELECT * FROM iterations")
    anew = {"utc": "2026-11-24T09:00:00.000Z", "job_id": "15.0", "verdict_reason": "otherwise", "criteria": "[1]"}
    take(folder, {**mille, **AGAIN}, verdict("limit", **anew, **AGAIN, metrics='{"a":1}'))
    assert rows(folder, "SELECT * FROM iterations") == [
        (1, 1, began, anew["utc"], "limit", "otherwise", "[1]", '{"a":1}')
    ]


def test_an_early_verdict_that_still_fits_nothing_is_no_end(tmp_path: Path) -> None:
    """FINAL does not take an early decision on another iteration for the validation's."""
    config = {"campaign": {"iterations": 2}, "validation": {"used_files": True}}
    folder = str(make_campaign(tmp_path / "campaign", files=1, config=config)["folder"])
    take(folder, PRE, DONE, *({**PRE, "node": node} for node in (MILLE, NEXT)))
    take(folder, verdict("converged", "validation_asked"), verdict("limit", node=NEXT))
    assert state(folder) == "validating"
    assert take(folder, FINAL) == [1]
    assert state(folder) == "failed"
    assert reason(folder) == "the DAG ended: it ended normally, but no verdict was recorded"


@pytest.mark.parametrize(("status", "answer"), [(1, 1), (2, 2), (4, 4), (5, 5), (6, 6), (-1, 1), (42, 7), (77, 7)])
def test_what_final_answers(status: int, answer: int, folder: str) -> None:
    """FINAL returns DAGMan's outcome, except for values that have another meaning to DAGMan."""
    assert take(folder, PRE, {**FINAL, "dag_status": status}) == [0, answer]
    assert state(folder) == ("removed" if status in (4, 6) else "failed")


@pytest.mark.parametrize(("files", "named"), [(1, "1 node failed (400)"), (3, "3 nodes failed (400, 401, 402)")])
def test_a_few_that_failed_are_all_named(files: int, named: str, tmp_path: Path) -> None:
    """Up to three failed nodes are named, and further ones are indicated."""
    folder = str(make_campaign(tmp_path / "campaign", files=4)["folder"])
    for count in (files, 4):
        for place in range(count):
            node = {"node": layout.reco_node(1, 1, 400 + place), "dag_id": f"{20 + count}.0"}
            take(folder, {**PRE, **node}, {**FAILED, **node, "job_id": f"{count}{place}.0"})
        take(folder, {**FINAL, "dag_id": f"{20 + count}.0", "dag_status": 2})
        if count == files:
            assert reason(folder).replace("reco_s1_i01_00", "") == f"the DAG ended: {named}"
    assert reason(folder).replace("reco_s1_i01_00", "") == "the DAG ended: 4 nodes failed (400, 401, 402, ...)"
