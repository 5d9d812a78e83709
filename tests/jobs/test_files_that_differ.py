"""Test that the Millepede job compares the raw files of an iteration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from faser_align.alignment.parameters.constants import add_constants, read_constants, write_constants
from faser_align.campaign import layout
from faser_align.fsm.metrics import Metrics
from faser_align.jobs.program import open_iteration
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve

FILES = (400, 401, 402)


def test_a_moved_module_and_a_duplicated_file_are_in_the_metrics(make_campaign: Callable[..., Path]) -> None:
    """The job names a module that is elsewhere in later files, and a file with the tracks of another."""
    campaign = make_campaign(FILES)
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
