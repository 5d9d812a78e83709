"""Test the validation job."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faser_align.alignment.parameters.constants import read_constants, write_constants
from faser_align.alignment.quality.figure_data import read_figures
from faser_align.campaign import layout
from faser_align.jobs.figures import keep_half
from faser_align.jobs.program import open_iteration
from faser_align.jobs.reconstruct import reconstruct

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def solved(make_campaign: Callable[..., Path], run_job: Run) -> Path:
    """Return a campaign of one file whose first iteration is solved, and whose validation has its constants."""
    folder = make_campaign(numbers=(400,), campaign={"iterations": 2}, validation={"used_files": True})
    before = layout.constants_file(str(folder), layout.VALIDATION, layout.BEFORE)
    os.makedirs(os.path.dirname(before))
    shutil.copyfile(layout.constants_file(str(folder), 1, 1), before)
    reconstruct(str(folder), 1, 1, 400)
    assert run_job("solve", folder, 1, 1).returncode == 0
    return folder


def validate(folder: Path, run_job: Run) -> dict[str, Any]:
    """Reconstruct both halves, run the job, and return its metrics."""
    for half in (layout.BEFORE, layout.AFTER):
        reconstruct(str(folder), layout.VALIDATION, half, 400)
    path = Path(layout.metrics_file(str(folder), layout.VALIDATION, layout.AFTER))
    path.parent.mkdir(parents=True, exist_ok=True)
    done = run_job("validate", folder, layout.VALIDATION, layout.AFTER)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_both_constants_are_compared(solved: Path, run_job: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """chi2/ndf, momenta and residuals of modules and sides are compared; unchanged constants give no remark.

    Both halves of a validation have data of figures; damaged histograms are only reported.
    """
    found = validate(solved, run_job)
    before, after = (found["groups"]["all"][when] for when in ("before", "after"))
    assert before["chi2_per_ndf"] > after["chi2_per_ndf"] > 0
    assert before["modules"].keys() == after["modules"].keys()
    assert "median_q_over_p_plus" in found["groups"]["all"]["momentum"]
    assert (found["constants"]["changed_by_hand"], found["notes"]) == ([], [])
    for key, module in after["modules"].items():
        sides = [after["sides"][f"{key}{side}"] for side in "01" if f"{key}{side}" in after["sides"]]
        assert sum(side["hits"] for side in sides) == module["hits"]
        assert sum(side["hits"] * side["mean_um"] for side in sides) == pytest.approx(
            module["hits"] * module["mean_um"]
        )
    assert found["free_modules"] == [f"0{layer}{module}" for layer in range(3) for module in range(8)]
    assert found["free_parameters"] == 3 * len(found["free_modules"])
    halves = [read_figures(layout.figures_file(str(solved), layout.VALIDATION, half)) for half in (1, 2)]
    for half, summary in zip(halves, (before, after), strict=True):
        assert half is not None
        means = half.profile("residual_means")
        assert means is not None
        assert means.sum("side").at(module="003").values() == pytest.approx(summary["modules"]["003"]["mean_um"])
    after_half = open_iteration(str(solved), layout.VALIDATION, layout.AFTER)
    path = layout.histograms_file(after_half.mille_file(400))
    Path(path).write_bytes(b"damaged")
    keep_half(after_half, [400], "all")
    assert f"the data of the figures are not stored: cannot read the histograms {path}" in capsys.readouterr().err
    assert read_figures(layout.figures_file(str(solved), layout.VALIDATION, layout.AFTER)) is None


@pytest.mark.slow
def test_constants_changed_before_the_validation_are_noticed(solved: Path, run_job: Run) -> None:
    """Constants changed between the last iteration and the validation are used, and named in the metrics."""
    halves = (layout.BEFORE, layout.AFTER)
    given = {half: Path(layout.constants_file(str(solved), layout.VALIDATION, half)) for half in halves}
    texts = {half: path.read_text() for half, path in given.items()}
    for changed, said in (
        (halves[:1], "the first constants"),
        (halves[1:], "the last constants"),
        (halves, "the first constants and the last constants"),
    ):
        for half, path in given.items():
            path.write_text(texts[half])
        for half in changed:
            constants = read_constants(given[half])
            x, *others = constants["003"]
            write_constants(given[half], constants | {"003": (x + 0.01, *others)})
        assert validate(solved, run_job)["notes"] == [f"{said}, as the validation has them, were changed by hand"]
