"""Test Calypso campaigns with dropped files on a real pool, with stand-ins for lxplus."""

import json
import shutil
from pathlib import Path

import pytest
import uproot
from calypso import Lxplus
from desk import EXAMPLES, Desk, cluster_of
from nowhere import no_job_begins

from faser_align.campaign import layout

NAME = "camp"
CONFIG = """
[campaign]
name = "camp"
constants = "{constants}"
{reconstruction}[convergence]
patience = 1
starved_per_parameter = 5
{more}
[notify]
targets = ["me"]
file = "targets.toml"
[htcondor]
retries = 1
retry_wait_s = 1
[htcondor.reco]
memory_mb = 300
memory_max_mb = 600
disk_mb = 50
"""

STAGES = """
[mille]
residual_max = [0.5]
pivot = "layer"
[[stages]]
name = "3ST"
stations = 3
iterations = 1
[stages.convergence]
starved_per_parameter = 1
[[stages.steps]]
name = "modules"
fix = ["IFT", "layer"]
[[stages]]
name = "IFT global"
iterations = 1
[[stages.steps]]
name = "IFT fix side"
fix = ["side", "3ST"]
[[stages]]
name = "IFT local"
iterations = 5
[stages.convergence]
held_fixed_max = 10000  # the few tracks are not enough for a step that frees all
delta_chi2_per_parameter_max = 1.0
residual_shift_um_max = 2.0
[[stages.steps]]
name = "IFT fix layer"
fix = ["layer", "3ST"]
[validation]
used_files = true
"""


def set_up(desk: Desk, *, tracks: int, min_files: float, more: str = "") -> Lxplus:
    lxplus = Lxplus(desk.folder / "lxplus", tracks)
    shutil.copy(EXAMPLES / "align_2025.txt", lxplus.folder / "truth.txt")
    constants = EXAMPLES / "ift_misplaced.txt"
    desk.configure(CONFIG, reconstruction=lxplus.toml(min_files=min_files), constants=constants, more=more)
    return lxplus


@pytest.mark.timeout(1800)
def test_three_stages_and_a_validation_without_two_of_three_files(desk: Desk) -> None:
    """A campaign that drops two of three files converges in its third stage and passes its validation."""
    lxplus = set_up(desk, tracks=400, min_files=0.3, more=STAGES)
    for file in (401, 402, 403):
        lxplus.raw(file, **({"good": 3} if file == 402 else {}))
    with no_job_begins():
        said = desk.run("submit", "-y", "2023", "-r", "11705", "-f", "401-403")
        lxplus.raw(403).unlink()
    desk.wait("camp")
    assert desk.dagman(cluster_of(said))["ExitCode"] == 0
    assert [event for event in desk.events() if event not in ("reconstruction_started", "solving_started")] == [
        *("created", "submitted", "stage_finished", "stage_finished", "go_on"),
        *("go_on", "validation_asked", "confirmed"),
    ]

    lost = {row["subject"]: str(row["facts"]["reason"]) for row in desk.history() if row["event"] == "lost"}
    vanished, crashed = layout.reco_node(1, 1, 403), layout.reco_node(3, 2, 402)
    assert list(lost) == [vanished, crashed]
    assert lost[vanished].startswith("raw file missing or unreadable: inputs: raw file ")
    assert lost[crashed].startswith("reconstruction crashed: reconstruction: ")
    assert "FATAL: Segment decoding failed" in lost[crashed]
    # A failure that a retry cannot fix is not retried; others are, once.
    started = [row["subject"] for row in desk.history() if row["event"] == "started"]
    assert (started.count(vanished), started.count(crashed)) == (1, 2)
    # A dropped file stays out; the iteration with other files did not count, though its corrections were below
    # threshold.
    submitted: dict[tuple[int, int], set[int]] = {}
    for kind, stage, iteration, file in map(layout.parse_node, desk.jobs()):
        if kind == "reco":
            submitted.setdefault((stage, iteration), set()).add(file)
    assert submitted == {
        (1, 1): {401, 402, 403},
        (2, 1): {401, 402},
        (3, 1): {401, 402},
        (3, 2): {401, 402},
        (3, 3): {401},
        (layout.VALIDATION, layout.BEFORE): {401},
        (layout.VALIDATION, layout.AFTER): {401},
    }
    verdicts = [str(row["facts"]["reason"]) for row in desk.history() if row["event"] == "go_on"]
    assert verdicts[1] == "the set of files changed"

    folder = desk.campaign / "stage03" / "iter03"
    tracks = sorted(path.name for path in (folder / layout.KFALIGNMENT).glob("*.root"))
    assert tracks == ["kfalignment_011705_00401.root"]
    with uproot.open(folder / layout.KFALIGNMENT / tracks[0]) as file:
        assert file["tree"].num_entries > 150
    assert (folder / layout.MILLEPEDE / layout.CONSTANTS).exists()
    # The first stage has no tracks in the IFT.
    for place, aligned in (("iter01", False), ("stage02/iter01", True)):
        metrics = json.loads((desk.campaign / place / layout.MILLEPEDE / layout.METRICS).read_text())
        kept = [count for name, (count, _) in metrics["hits"]["modules"].items() if name.startswith("0")]
        assert any(kept) == aligned
    log = Path(layout.job_log(str(desk.campaign), crashed, "log")).read_text()
    assert "ApplicationMgr INFO reconstructing" in log
    assert "FASERNU-04, OFLCOND-FASER-05" in log
    assert not list(desk.campaign.glob("**/.*.tmp"))

    for subject, words in (
        ("dropped", ("403", "402", "raw file missing or unreadable", "reconstruction crashed")),
        ("converged", ("converged",)),
    ):
        text = desk.letters(subject)
        assert [word for word in words if word not in text] == []
    assert not (desk.campaign / layout.HOOKS_LOG).exists()
