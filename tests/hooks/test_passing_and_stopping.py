"""Test skipping across processes of a DAGMan, requests to stop after an iteration, and what FINAL ingests and removes."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from campaigns import HOOK, hook, make_campaign, metrics, run_iteration, write_metrics
from stored import history, seen
from taking import DONE, FAILED, PRE, take

from faser_align.campaign import layout
from faser_align.dag.create import make_folders
from faser_align.fsm import exit_codes, table
from faser_align.hooks import post, pre, skip_guard
from faser_align.operations import without_dagman
from faser_align.state import queries

# A process between this one and the script, like a restarted DAGMan.
OTHER = ("sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-I", "-S", HOOK)


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Return a campaign of two files, one of which is dropped in its first iteration."""
    config = {"campaign": {"iterations": 2}, "reconstruction": {"min_files": 0.5}}
    made = make_campaign(tmp_path / "campaign", files=2, config=config)
    node = layout.reco_node(1, 1, 400)
    assert hook("pre", made["folder"], node, 0, 2).returncode == 0
    assert hook("post", made["folder"], node, 0, 2, exit_codes.RAW_MISSING, "13.0", 0).returncode == 0
    return made


def test_only_the_first_process_of_a_dagman_passes_over(record: dict[str, Any]) -> None:
    """After a restart, DAGMan runs the job of a skipped node, which ends at once; a new DAGMan skips again."""
    folder, node = record["folder"], layout.reco_node(1, 2, 400)
    mark = Path(layout.passed_file(folder, node))
    assert hook("final", folder, layout.FINAL_NODE, 0, 0).returncode == 1  # without a decision
    for _ in range(2):
        assert hook("pre", folder, node, 0, 2).returncode == exit_codes.SKIP
    assert not mark.exists()
    assert hook("pre", folder, node, 0, 2, interpreter=OTHER).returncode == 0
    assert mark.exists()
    mark.unlink()
    assert hook("pre", folder, node, 0, 2).returncode == exit_codes.SKIP  # the first one is still the first
    assert hook("pre", folder, node, 0, 2, dag_id="20.0", interpreter=OTHER).returncode == exit_codes.SKIP
    assert hook("pre", folder, node, 0, 2, dag_id="20.0").returncode == 0


@pytest.mark.parametrize("name", ["", layout.STATE, layout.PUBLISHED])
def test_a_solution_waits_for_no_file_that_is_lost(name: str, record: dict[str, Any]) -> None:
    """The Millepede job gets the dropped files from the database, or else from the snapshot."""
    folder, node = record["folder"], layout.mille_node(1, 1)
    if name:
        Path(folder, name).rename(Path(folder, "elsewhere"))
    assert hook("pre", folder, node, 0, 2).returncode == 0
    assert json.loads(Path(layout.lost_file(folder, 1, 1)).read_text()) == [400]
    whole = make_campaign(Path(folder).with_name("whole"), files=1)["folder"]
    assert hook("pre", whole, node, 0, 2).returncode == 0
    assert not Path(layout.lost_file(whole, 1, 1)).exists()


def test_a_solution_that_is_passed_over_waits_for_nothing(tmp_path: Path) -> None:
    """A list of dropped files is written only for nodes with a job."""
    config: dict[str, Any] = {"campaign": {"iterations": 2}, "reconstruction": {"min_files": 0.5}}
    config["stages"] = [{"name": name, "iterations": 2, "steps": [{"name": "IFT", "fix": []}]} for name in "ab"]
    folder = make_campaign(tmp_path / "campaign", files=2, config=config)["folder"]
    mille, other = {"node": layout.mille_node(1, 1), "job_id": "14.0"}, {"node": layout.reco_node(1, 1, 401)}
    said = {"verdict": "converged", "moves": "stage_finished", "verdict_reason": "", "criteria": "[]", "metrics": "{}"}
    gone = {**FAILED, "fatal": True, "ret": exit_codes.RAW_MISSING, "exit": exit_codes.FATAL}
    take(folder, PRE, gone, {**PRE, **other}, {**DONE, **other, "job_id": "15.0"})
    assert take(folder, {**PRE, **mille}, {**DONE, **mille, **said}) == [0, 0]
    assert hook("pre", folder, layout.mille_node(1, 2), 0, 2).returncode == exit_codes.SKIP
    assert not Path(layout.lost_file(folder, 1, 2)).exists()
    assert hook("pre", folder, layout.mille_node(2, 1), 0, 2).returncode == 0
    assert json.loads(Path(layout.lost_file(folder, 2, 1)).read_text()) == [400]


def test_what_is_asked_for_by_hand_waits_for_no_back_off(tmp_path: Path) -> None:
    """A delivery by hand tries refused messages at once, because no script follows, and so does FINAL."""
    notify = {"targets": ["me"], "events": ["end", "held"], "file": str(tmp_path / "none.toml")}
    folder = make_campaign(tmp_path / "told", files=1, config={"notify": notify})["folder"]
    node = layout.reco_node(1, 1, 400)
    assert hook("pre", folder, node, 0, 2).returncode == 0
    tries = []
    for words in (("hold", node, "13.0", 0), ("hold", node, "13.0", 0), ("final", layout.FINAL_NODE, 4, 0)):
        hook(words[0], folder, *words[1:])
        tries.append(_tries(folder))
    for by_hand in (without_dagman.take_in, without_dagman.deliver):
        by_hand(folder)
        tries.append(_tries(folder))
    assert tries == [[1], [1], [2, 1], [2, 1], [3, 2]]


def test_what_is_only_to_be_taken_in_is_not_told(tmp_path: Path) -> None:
    """Ingesting the event queue by hand sends nothing, and due messages stay due."""
    notify = {"targets": ["me"], "events": ["held"], "file": str(tmp_path / "none.toml")}
    folder = make_campaign(tmp_path / "told", files=1, config={"notify": notify})["folder"]
    take(folder, PRE, {**PRE, "phase": "hold", "job_id": "13.0", "hold_time": "2026-11-24 08:00:01", "reason": "quota"})
    tries = []
    for by_hand in (without_dagman.take_in, without_dagman.deliver):
        by_hand(folder)
        tries.append(_tries(folder))
    assert tries == [[0], [1]]


def _tries(folder: str) -> list[int]:
    return [row["tries"] for row in seen(folder, queries.outbox)]


def test_when_another_try_is_too_early(tmp_path: Path) -> None:
    """A retry waits for the pause since the last attempt ended, minus the second that DAGMan may be early."""
    folder = make_campaign(tmp_path / "campaign", files=2)["folder"]
    again = {**PRE, "utc": "2026-11-24T08:10:00.000Z"}
    take(folder, PRE, FAILED, again, {**FAILED, "utc": "2026-11-24T08:20:00.000Z", "job_id": "14.0"})

    def early(clock: str, **about: str) -> bool:
        return pre._too_early(folder, {**again, "utc": f"2026-11-24T{clock}Z", **about}, 300.0)

    times = ("08:19:59.900", "08:20:00.100", "08:24:58.900", "08:24:59.100", "09:00:00.000")
    assert [early(clock) for clock in times] == [False, True, True, False, False]
    assert not early(times[1], node=layout.reco_node(1, 1, 401))
    take(folder, {**again, "utc": "2026-11-24T08:30:00.000Z"})
    assert early(times[1])  # an open attempt has not ended
    Path(folder, layout.STATE).unlink()
    assert not early(times[1])


def test_a_process_is_known_by_its_beginning() -> None:
    """A process is identified by its number and start time, because numbers are reused."""
    time.sleep(0.05)  # the kernel counts hundredths of a second
    with subprocess.Popen(["sleep", "600"]) as other:
        child, own, again = (skip_guard._process(pid).split() for pid in (other.pid, os.getpid(), os.getpid()))
        other.kill()
    assert own == again
    assert own[0] == str(os.getpid())
    assert int(own[1]) < int(child[1])
    assert skip_guard._process(2**22 + 1) == str(2**22 + 1)  # no process has this number


def test_a_final_that_must_not_be_submitted(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """FINAL succeeds unless another process of its DAGMan has skipped a node."""
    folder = record["folder"]
    monkeypatch.setenv("CONDOR_ID", "12.0")
    assert skip_guard.answer(folder, layout.FINAL_NODE, 0) == 0
    monkeypatch.setattr(skip_guard, "_process", lambda pid: f"{pid} later")
    assert skip_guard.answer(folder, layout.FINAL_NODE, 0) == 0
    assert skip_guard.answer(folder, layout.reco_node(1, 2, 400), exit_codes.SKIP) == exit_codes.SKIP
    assert skip_guard.answer(folder, layout.FINAL_NODE, 0) == 0
    monkeypatch.undo()
    monkeypatch.setenv("CONDOR_ID", "12.0")
    assert skip_guard.answer(folder, layout.FINAL_NODE, 0) == skip_guard.ENDED
    monkeypatch.setenv("CONDOR_ID", "20.0")
    assert skip_guard.answer(folder, layout.FINAL_NODE, 0) == 0


def test_what_a_final_script_answers(tmp_path: Path) -> None:
    """FINAL of an ended campaign succeeds; if an earlier process of its DAGMan skipped a node, DAGMan ends with an error."""
    folder = make_campaign(tmp_path / "campaign", files=1, config={"campaign": {"iterations": 1}})["folder"]
    mille = {"node": layout.mille_node(1, 1), "job_id": "14.0"}
    said = {"verdict": "limit", "moves": "limit", "verdict_reason": "", "criteria": "[]", "metrics": "{}"}
    assert take(folder, PRE, DONE, {**PRE, **mille}, {**DONE, **mille, **said}) == [0] * 4
    assert hook("final", folder, layout.FINAL_NODE, 0, 0).returncode == 0
    Path(folder, layout.PASSING).write_text("12.0\nanother process\n")
    assert hook("final", folder, layout.FINAL_NODE, 0, 0).returncode == skip_guard.ENDED


def test_final_leaves_the_copy_to_nobody(tmp_path: Path) -> None:
    """FINAL's script makes the snapshot itself, because DAGMan's end kills any later publisher."""
    folder = make_campaign(tmp_path / "campaign", files=1)["folder"]
    numbers, now = (Path(folder, f"{layout.PUBLISHED}.{name}") for name in ("next", "now"))
    before = numbers.read_bytes()
    with ThreadPoolExecutor(1) as crowd:
        with now.open("r+") as taken:
            fcntl.flock(taken, fcntl.LOCK_EX)
            ended = crowd.submit(hook, "final", folder, layout.FINAL_NODE, 4, 0)
            while numbers.read_bytes() == before:
                assert not ended.done()
                time.sleep(0.01)
            numbers.write_text(f"{time.time_ns():020d} {0:011d}")  # and dies
        assert ended.result().returncode == 4
    assert seen(folder, queries.campaign)["state"] == "removed"


def test_a_wish_halts_only_a_campaign_that_would_go_on(record: dict[str, Any]) -> None:
    """DAGMan is halted after an iteration only if further nodes would start and a stop was requested."""
    folder = record["folder"]
    halt = Path(layout.newest_dag(folder) + layout.ENDING_HALT)
    events = {event for _, event, _ in table.CAMPAIGN} | {""}
    for event in events:
        post.halt_if_requested(folder, event)
    assert not halt.exists()
    Path(folder, layout.STOP).write_text(json.dumps({"who": "me"}))
    halted = set()
    for event in events:
        post.halt_if_requested(folder, event)
        if halt.exists():
            halted.add(event)
            halt.unlink()
    assert halted == {"go_on", "stage_finished", "validation_asked"}


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ('{"who": "me"}', 6, "me asked to stop after the iteration"),
        ("{", 6, "it was halted"),
        ("", 6, "it was halted"),
        ('{"who": "me"}', 4, "it was removed"),
    ],
)
def test_why_it_ended_is_told_and_the_wish_forgotten(
    wish: str, status: int, words: str, record: dict[str, Any]
) -> None:
    """FINAL of a halted DAGMan names who requested the stop, if known, and removes the request."""
    folder = record["folder"]
    node = layout.reco_node(1, 1, 401)
    assert hook("pre", folder, node, 0, 2).returncode == 0
    if wish:
        Path(folder, layout.STOP).write_text(wish)
    write_metrics(record, metrics(1, files=2))
    assert hook("pre", folder, layout.mille_node(1, 1), 0, 2).returncode == 0
    assert hook("post", folder, layout.mille_node(1, 1), 0, 2, 0, "14.0", 0).returncode == 0
    assert Path(layout.newest_dag(folder) + layout.ENDING_HALT).exists() is bool(wish)
    assert hook("final", folder, layout.FINAL_NODE, status, 0).returncode == status
    ends = history(folder, "final_removed", "final_failed")
    assert [row["facts"]["reason"] for row in ends] == [f"the DAG ended: {words}"]
    assert not Path(folder, layout.STOP).exists()


def make(place: Path, **config: Any) -> dict[str, Any]:
    """Return a campaign of one file and six iterations, with its large files elsewhere."""
    record = make_campaign(place / "campaign", files=1, config={"campaign": {"iterations": 6}, **config})
    for iteration in range(1, 7):
        shutil.rmtree(Path(record["folder"], f"iter{iteration:02d}"))
    make_folders(record, record["folder"], record["data"])
    return record


def run_iterations(record: dict[str, Any], last: int, **changes: Any) -> None:
    """Run iterations whose jobs leave logs and whose Millepede job passes its constants on."""
    folder = record["folder"]
    for iteration in range(1, last + 1):
        for part in (layout.RECO, layout.MILLEPEDE):
            Path(layout.iteration_folder(folder, 1, iteration), part, layout.LOGS, "job.out").touch()
        run_iteration(record, iteration, **changes)
        shutil.copy(layout.result_file(folder, 1, iteration), layout.constants_file(folder, 1, iteration + 1))


def iterations(record: dict[str, Any]) -> list[str]:
    return sorted(path.name for path in Path(record["folder"]).glob("iter*"))


def test_an_early_end_leaves_no_unused_folders(tmp_path: Path) -> None:
    """After convergence in iteration 4 of 6 only the folders of iterations 1 to 4 remain, with their content."""
    record = make(tmp_path)
    run_iterations(record, 4)
    before = sorted(Path(record["folder"]).glob("iter0[1-4]/**/*"))
    assert hook("final", record["folder"], layout.FINAL_NODE, 3, 0).returncode == 0
    assert iterations(record) == ["iter01", "iter02", "iter03", "iter04"]
    assert sorted(Path(record["folder"]).glob("iter0[1-4]/**/*")) == before


def test_what_somebody_put_there_stays(tmp_path: Path) -> None:
    """A file of the user in an unused folder, and constants that the user changed there, stay."""
    record = make(tmp_path)
    run_iterations(record, 4)
    Path(layout.constants_file(record["folder"], 1, 5)).write_text("{}")
    (Path(record["folder"]) / "iter06" / "notes.txt").touch()
    hook("final", record["folder"], layout.FINAL_NODE, 3, 0)
    assert iterations(record) == [f"iter{i:02d}" for i in range(1, 7)]
    assert Path(layout.constants_file(record["folder"], 1, 5)).read_text() == "{}"


@pytest.mark.parametrize(("status", "answer"), [(4, 4), (2, 2)])
def test_a_campaign_that_may_continue_keeps_its_folders(status: int, answer: int, tmp_path: Path) -> None:
    """A failed or removed campaign keeps all folders: its DAGMan may continue, or it is resumed."""
    record = make(tmp_path)
    run_iterations(record, 2)
    assert hook("final", record["folder"], layout.FINAL_NODE, status, 0).returncode == answer
    assert iterations(record) == [f"iter{i:02d}" for i in range(1, 7)]


def test_a_skipped_job_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After FINAL, a restarted DAGMan runs the job of a skipped node, whose PRE script makes its folder."""
    record = make(tmp_path)
    folder, node = record["folder"], layout.reco_node(1, 6, 400)
    run_iterations(record, 4)
    hook("final", folder, layout.FINAL_NODE, 3, 0)
    monkeypatch.setenv("CONDOR_ID", "12.0")
    Path(folder, layout.PASSING).write_text("12.0\nanother process\n")
    assert skip_guard.answer(folder, node, exit_codes.SKIP) == 0
    assert Path(layout.passed_file(folder, node)).exists()
