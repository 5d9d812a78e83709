"""Test the Millepede job in this process: with the expert's own steps, with pede, and until it finds the truth."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iterating import iterate
from standin import make_pede

from faser_align.alignment.parameters.constants import add_constants, read_constants, write_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.results import read_result
from faser_align.campaign import layout
from faser_align.fsm.errors import NodeError
from faser_align.fsm.metrics import Metrics
from faser_align.jobs.program import Iteration, open_iteration
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import _freed_earlier, solve
from faser_align.simulation.misalign import distance_to_truth

Make = Callable[..., Path]
FILES = (400, 401)
STEP = {"name": "IFT", "fix": ["layer", "3ST"]}


@pytest.fixture
def pede(tmp_path: Path) -> str:
    """Return a stand-in that behaves like pede and, like pede, always ends with 0."""
    return make_pede(tmp_path)


def folder_of(campaign: Path, number: int = 1) -> Path:
    """Return the folder of an iteration's solution."""
    return Path(layout.metrics_file(str(campaign), 1, number)).parent


@pytest.mark.slow
def test_pede_gives_the_campaign_that_the_builtin_solver_gives(make_campaign: Make, tmp_path: Path, pede: str) -> None:
    """The demonstration's campaign has the same constants and metrics with either solver."""
    campaign = make_campaign(FILES)
    builtin = iterate(campaign, 2, FILES)
    expected = read_constants(layout.result_file(str(campaign), 1, 2))
    campaign.rename(tmp_path / "builtin")
    other = iterate(make_campaign(FILES, solver={"backend": "pede", "pede": pede, "threads": 2}), 2, FILES)
    found = read_constants(layout.result_file(str(campaign), 1, 2))
    assert all(found[key] == pytest.approx(expected[key], abs=2e-5) for key in expected)  # pede prints five digits
    assert [row["solver"]["backend"] for row in other] == ["pede"] * 2
    assert [row["effect_um"] for row in other] == pytest.approx([row["effect_um"] for row in builtin], rel=1e-3)
    assert [row["steps"][0]["end_code"] for row in other] == [row["steps"][0]["end_code"] for row in builtin]
    assert other[0]["solver"]["records"] == builtin[0]["solver"]["records"]
    assert "threads 2" in (folder_of(campaign) / "str.txt").read_text().splitlines()


def test_everything_that_was_ever_freed_is_judged_at_the_end() -> None:
    """The last stage judges all parameters that an earlier stage freed, in this campaign and those that it continues."""

    def stage(*steps: list[int | str], stations: int = 4) -> dict[str, Any]:
        return {"stations": stations, "steps": [{"name": "a", "fix": fix} for fix in steps]}

    stages = [stage(["layer", "3ST"], ["module", "3ST"]), stage(["layer"], stations=3), stage(["IFT", "layer"])]
    parent: dict[str, Any] = {"parent": {"stages": [stage(["IFT", "module"]), stages[2]]}}

    def found(record: Any, number: int = 3) -> set[str]:
        labels = _freed_earlier(Iteration({"stations": 4, **record}, "", number, 1))
        return {f"{'IFT' if PARAMETERS[label].station == 0 else '3ST'} {PARAMETERS[label].kind}" for label in labels}

    ift_layers = {f"IFT layer.{dof}" for dof in ("x", "y", "rx", "ry", "rz")}
    modules = {f"{part} module.{dof}" for part in ("IFT", "3ST") for dof in ("x", "rz")}
    assert found({"stages": stages}) == ift_layers | modules
    assert found({"stages": stages[2:] + stages[2:]}, 2) == set()  # repeated, not another stage
    assert found({"stages": stages}, 2) == set()  # before the last stage
    assert found({"stages": stages[2:], **parent}, 1) == {f"3ST layer.{dof}" for dof in ("x", "y", "rx", "ry", "rz")}


def test_pede_that_fails_is_no_solution(make_campaign: Make, tmp_path: Path) -> None:
    """A pede that ends with status 0 and code 26, or writes nothing, fails the job with its message."""
    program = tmp_path / "pede"
    ends = {"echo '   26   Aborted, too many rejects' > millepede.end": "26", ":": "crashed or was stopped"}
    for commands, words in ends.items():
        program.write_text(f"#!/bin/sh\n{commands}\nexit 0\n")
        program.chmod(0o755)
        campaign = make_campaign(FILES, solver={"backend": "pede", "pede": str(program)})
        with pytest.raises(NodeError, match=words):
            iterate(campaign, 1, FILES)
        assert not Path(layout.metrics_file(str(campaign), 1, 1)).exists()
        campaign.rename(tmp_path / f"old{words[:2]}")


def test_severe_warnings_can_be_refused(make_campaign: Make, tmp_path: Path) -> None:
    """A result with a severe warning is used unless the configuration refuses it."""
    step = STEP | {"extra_lines": ["entries 25 1000000"]}  # no parameter has so many accepted entries: code 2
    campaign = make_campaign(FILES, stages=[{"name": "one", "steps": [step]}])
    assert iterate(campaign, 1, FILES)[0]["steps"][0]["end_code"] == 2
    campaign.rename(tmp_path / "first")
    campaign = make_campaign(FILES, stages=[{"name": "one", "steps": [step]}], solver={"warnings_ok": [3, 4]})
    with pytest.raises(NodeError, match=r"2 Ended with severe warnings \(insufficient measurements\): its result"):
        iterate(campaign, 1, FILES)


def test_a_steps_own_lines_and_parameters_are_used(make_campaign: Make, tmp_path: Path) -> None:
    """Extra lines, presigmas of kinds and the expert's own parameters reach the solver, and stay in the folder."""
    own = tmp_path / "own.txt"
    own.write_text("Parameter ! held by hand\n10001 0.004 -1\n")
    step = STEP | {"extra_lines": ["matiter 1"], "parameters": str(own), "presigma": {"module_rz": 0.002}}
    campaign = make_campaign(
        FILES, stages=[{"name": "one", "steps": [step]}], solver={"presigma": {"module_x": 0.03}, "entries": 1}
    )
    own.unlink()  # the campaign has a copy of the text
    (metrics,) = iterate(campaign, 1, FILES)
    folder = folder_of(campaign)
    assert (folder / "own.txt").read_text() == "Parameter ! held by hand\n10001 0.004 -1\n"
    assert (folder / "str.txt").read_text().splitlines()[-2:] == ["matiter 1", "end"]
    result = read_result(folder / "millepede.res")
    assert (result[10001].value, result[10001].presigma, result[10001].difference) == (0.004, -1.0, None)
    assert (result[10011].presigma, result[10002].presigma) == (0.03, 0.002)
    assert metrics["steps"][0]["variable"] == 71


def test_a_step_freezes_what_the_tracks_hardly_determine(
    make_campaign: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `freeze_sigma` the constants stay at the campaign's start along weak directions; log, texts and metrics name them."""
    step = STEP | {"freeze_sigma": 2.0}
    campaign = make_campaign(FILES[:1], stages=[{"name": "one", "steps": [step]}], survey={"weak": 2.0})
    metrics = iterate(campaign, 2, FILES[:1])
    for one in metrics:
        frozen, modes = one["steps"][0]["frozen"], one["weak_modes"]
        assert 0 < len(frozen) == modes["weak"] < modes["directions"]
        assert modes["drift_sigma"] < 0.01
        assert one["steps"][0]["free_parameters"] == modes["directions"] - len(frozen)
    text = (folder_of(campaign, 2) / "con.txt").read_text()
    assert [line for line in text.splitlines() if line.startswith("*")] == [f"* frozen: {name}" for name in frozen]
    assert f"freezes {'; '.join(frozen)}" in capsys.readouterr().out


def test_a_moved_module_and_a_duplicated_file_are_in_the_metrics(make_campaign: Make) -> None:
    """The job names a module that is displaced in later files, and a file with the tracks of another."""
    campaign = make_campaign((400, 401, 402))
    truth = campaign.parent / "truth.txt"
    reconstruct(str(campaign), 1, 1, 400)
    move = (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)  # mm, rad
    write_constants(truth, add_constants(read_constants(truth), {"011": move}))
    reconstruct(str(campaign), 1, 1, 401)
    iteration = open_iteration(str(campaign), 1, 1)
    for name in (iteration.mille_file, iteration.momenta_file, lambda file: f"{iteration.mille_file(file)}.json"):
        shutil.copyfile(name(401), name(402))
    solve(str(campaign), 1, 1)
    metrics: Metrics = json.loads(Path(layout.metrics_file(str(campaign), 1, 1)).read_text())
    worst = metrics["files"]["agreement"]["worst"]
    assert (worst["kind"], worst["module"], worst["file"]) == ("step", "011", "401")
    assert worst["sigma"] > 10
    assert metrics["files"]["duplicates"]["pairs"] == [["402", "401", 1.0]]
    moved, twice = metrics["notes"][-2:]
    assert "from file 401 on. Something moved" in moved
    assert twice.startswith("100 % of the tracks of file 402 are also in file 401")


@pytest.mark.slow
def test_alignment_finds_the_truth(make_campaign: Make) -> None:
    """Misaligned IFT modules return to the truth within errors, and iteration 3 is converged."""
    files = tuple(range(400, 406))
    campaign = make_campaign(files, simulation={"tracks": 1000})
    metrics = iterate(campaign, 3, files)
    chi2 = [row["chi2_per_ndf"] for row in metrics]
    assert 1.2 < chi2[0] < 1.45
    assert chi2[1:] == pytest.approx([1.0] * 2, abs=0.02)
    effect = [row["effect_um"] for row in metrics]
    assert effect[0] > 6.0
    assert effect[0] > 20 * effect[1] > 40 * effect[2]
    assert metrics[0]["significance"] > 100
    assert metrics[2]["significance"] < 0.01
    assert [row["residual_max_final"] for row in metrics] == [False, True, True]

    truth = read_constants(json.loads((campaign / layout.RECORD).read_text())["config"]["simulation"]["truth"])
    start = distance_to_truth(read_constants(layout.constants_file(str(campaign), 1, 1)), truth)
    assert start == pytest.approx((24.0, 121.0, 380.0), rel=1e-3)
    end = distance_to_truth(read_constants(layout.result_file(str(campaign), 1, 3)), truth)
    assert end.u_um < 4.0
    assert end.v_um < 100.0
    assert end.rz_urad < 180.0
    assert 0.6 < metrics[2]["truth"]["sigma"] < 1.4

    # Only the IFT's modules moved.
    first, last = (read_constants(layout.constants_file(str(campaign), 1, number)) for number in (1, 3))
    assert {key for key in first if first[key] != last[key]} == {f"0{i}{k}" for i in range(3) for k in range(8)}
