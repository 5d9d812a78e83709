"""Test moving a running campaign's large files on a real pool."""

import json
import subprocess
from pathlib import Path

from desk import COMMAND, SIMULATION, Desk
from killing import STRACE, fault_at
from nowhere import no_job_begins

from faser_align.campaign import layout

NAME = "moves"
CONFIG = f"""{SIMULATION}
[storage]
data = "{{first}}"
keep_iterations = 1
[mille]
residual_max = [0.5]
pivot = "layer"
[convergence]
min_iterations = 3
patience = 1
starved_per_parameter = 0.0
"""


def tracks(place: Path) -> list[str]:
    return sorted(
        str(path.relative_to(place)) for path in place.glob(f"{NAME}/iter*/{layout.KFALIGNMENT}/kfalignment*")
    )


def test_a_campaign_that_is_moved_half_way(desk: Desk) -> None:
    """A move is refused while the campaign runs; after a stop, a move with two kills and a resume, it converges."""
    first, second = desk.folder / "first", desk.folder / "second"
    for place in (first, second):
        place.mkdir()
    desk.configure(CONFIG, first=first)
    with no_job_begins():
        desk.run("submit", "-y", "2023", "-r", "11705", "-f", "400", "-i", "9", "--name", NAME)
        desk.run("move", NAME, str(second), status=2)
        assert list(second.iterdir()) == []
        desk.run("stop", NAME, "--after", "iteration")
    desk.wait(NAME, status=16)
    reached = desk.read("status", NAME)["iteration"]
    assert reached < 3
    before = tracks(first)
    assert len(before) == 1

    for call in ("fsync:3", "link:1"):
        name, _, number = call.partition(":")
        command = [str(STRACE), "-o", "/dev/null", *fault_at(name, number), *COMMAND, "move", NAME, str(second)]
        killed = subprocess.run(command, cwd=desk.folder, capture_output=True, timeout=300, check=False)
        assert killed.returncode == -9, killed
    # The manifest names the new place and no script has recorded it: the resumed campaign's scripts use the manifest.
    assert tracks(first) == tracks(second) == before
    desk.run("resume", NAME)
    desk.wait(NAME)
    assert desk.read("status", NAME)["state"] == "converged", [row for row in desk.history() if "deliv" in row["event"]]
    assert not [row for row in desk.history() if row["event"] == "failed"]
    assert (desk.campaign / layout.HOOKS_LOG).exists() is False
    last = desk.read("status", NAME)["iteration"]
    assert tracks(second) == [f"{NAME}/iter{last:02d}/2kfalignment/kfalignment_011705_00400.root"]

    left = desk.run("move", NAME, str(second), status=1)
    assert "removed" in left
    assert tracks(first) == before  # Millepede jobs have removed their copies, and every other file still has one
    moved = [row["facts"] for row in desk.history() if row["event"] == "changed"]
    assert [(one["key"], one["before"], one["after"]) for one in moved] == [
        ("data", f"{first}/{NAME}", f"{second}/{NAME}")
    ]
    assert f"data: {first}/{NAME} -> {second}/{NAME}, by " in desk.run("history", NAME, "--campaign-only")
    assert len(desk.read("metrics", NAME)) == last
    desk.run("verify", NAME)
    desk.run("report", NAME, "--text")
    assert json.loads((desk.campaign / layout.RECORD).read_text())["data"] == f"{first}/{NAME}"
    desk.run("clean", NAME, "--keep", "0")
    assert tracks(second) == []
