"""Test the Millepede job with the expert's own steps, and with pede."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iterating import iterate
from standin import make_pede

from faser_align.alignment.parameters.constants import read_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.results import read_result
from faser_align.campaign import layout
from faser_align.fsm.errors import NodeError
from faser_align.jobs.program import Iteration
from faser_align.jobs.solve import _freed_earlier

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
def test_pede_gives_the_campaign_that_the_builtin_solver_gives(
    make_campaign: Callable[..., Path], tmp_path: Path, pede: str
) -> None:
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
    """The last stage judges what any step of any earlier stage freed, in this campaign and those that it continues."""

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


def test_pede_that_fails_is_no_solution(make_campaign: Callable[..., Path], tmp_path: Path) -> None:
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


def test_severe_warnings_can_be_refused(make_campaign: Callable[..., Path], tmp_path: Path) -> None:
    """A result with a severe warning is used unless the configuration refuses it."""
    step = STEP | {"extra_lines": ["entries 25 1000000"]}  # no parameter has so many accepted entries: code 2
    campaign = make_campaign(FILES, stages=[{"name": "one", "steps": [step]}])
    assert iterate(campaign, 1, FILES)[0]["steps"][0]["end_code"] == 2
    campaign.rename(tmp_path / "first")
    campaign = make_campaign(FILES, stages=[{"name": "one", "steps": [step]}], solver={"warnings_ok": [3, 4]})
    with pytest.raises(NodeError, match=r"2 Ended with severe warnings \(insufficient measurements\): its result"):
        iterate(campaign, 1, FILES)


def test_a_steps_own_lines_and_parameters_are_used(make_campaign: Callable[..., Path], tmp_path: Path) -> None:
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
    make_campaign: Callable[..., Path], capsys: pytest.CaptureFixture[str]
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
