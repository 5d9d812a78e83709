"""Test that FINAL removes unused folders of iterations, and that a continued campaign makes them again."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration

from faser_align.campaign import layout
from faser_align.dag.create import make_folders
from faser_align.fsm import exit_codes
from faser_align.hooks import skip_guard


def make(place: Path, **config: Any) -> dict[str, Any]:
    """Return a campaign of one file and six iterations, with its large files elsewhere."""
    record = make_campaign(place / "campaign", files=1, config={"campaign": {"iterations": 6}, **config})
    for iteration in range(1, 7):
        shutil.rmtree(Path(record["folder"], f"iter{iteration:02d}"))
    make_folders(record)
    return record


def run(record: dict[str, Any], last: int, **changes: Any) -> None:
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
    run(record, 4)
    before = sorted(Path(record["folder"]).glob("iter0[1-4]/**/*"))
    assert hook("final", record["folder"], layout.FINAL_NODE, 3, 0).returncode == 0
    assert iterations(record) == ["iter01", "iter02", "iter03", "iter04"]
    assert sorted(Path(record["folder"]).glob("iter0[1-4]/**/*")) == before


def test_what_somebody_put_there_stays(tmp_path: Path) -> None:
    """A file of the user in an unused folder, and constants that the user changed there, stay."""
    record = make(tmp_path)
    run(record, 4)
    Path(layout.constants_file(record["folder"], 1, 5)).write_text("{}")
    (Path(record["folder"]) / "iter06" / "notes.txt").touch()
    hook("final", record["folder"], layout.FINAL_NODE, 3, 0)
    assert iterations(record) == [f"iter{i:02d}" for i in range(1, 7)]
    assert Path(layout.constants_file(record["folder"], 1, 5)).read_text() == "{}"


@pytest.mark.parametrize(("status", "answer"), [(4, 4), (2, 2)])
def test_a_campaign_that_may_continue_keeps_its_folders(status: int, answer: int, tmp_path: Path) -> None:
    """A failed or removed campaign keeps all folders: its DAGMan may continue, or it is resumed."""
    record = make(tmp_path)
    run(record, 2)
    assert hook("final", record["folder"], layout.FINAL_NODE, status, 0).returncode == answer
    assert iterations(record) == [f"iter{i:02d}" for i in range(1, 7)]


def test_a_skipped_job_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After FINAL, a restarted DAGMan runs the job of a skipped node, whose PRE script makes its folder."""
    record = make(tmp_path)
    folder, node = record["folder"], layout.reco_node(1, 6, 400)
    run(record, 4)
    hook("final", folder, layout.FINAL_NODE, 3, 0)
    monkeypatch.setenv("CONDOR_ID", "12.0")
    Path(folder, layout.PASSING).write_text("12.0\nanother process\n")
    assert skip_guard.answer(folder, node, exit_codes.SKIP) == 0
    assert Path(layout.passed_file(folder, node)).exists()
