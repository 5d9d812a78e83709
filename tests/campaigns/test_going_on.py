"""Test extensions, changed limits, stops after an iteration, and simultaneous commands on a real pool."""

import json
import subprocess

from desk import COMMAND, NOTIFY, SIMULATION, Desk
from nowhere import no_job_begins
from poolcampaigns import make_stub

from faser_align.campaign import layout

NAME = "goes-on"
SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "--name", NAME, "--no-check")
CONFIG = f"""{SIMULATION}{NOTIFY}
[convergence]
min_iterations = 9
starved_per_parameter = 0.0
stalled_iterations = 9
[python]
jobs = "{{stub}}/job"
"""


def both(desk: Desk, *words: str) -> list[tuple[int, str]]:
    """Run the same command twice at once; return exit statuses and output, sorted."""
    running = [
        subprocess.Popen(
            [*COMMAND, *words], cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    return sorted((one.wait(timeout=300), one.communicate()[0]) for one in running)


def test_a_campaign_goes_on(desk: Desk) -> None:
    """An extended, changed, stopped and resumed campaign has one history and one DAGMan."""
    make_stub(desk.folder / "stub", files=1, iterations=4)
    desk.configure(CONFIG, stub=desk.folder / "stub")
    desk.run(*SUBMIT, "-i", "1")
    desk.wait(NAME, status=10)
    assert "extend goes-on -i" in desk.run("status", NAME)
    desk.run("resume", NAME, status=2)
    assert "continues with iteration 2 of at most 4" in desk.run("extend", NAME, "-i", "3", "--dry-run")
    assert layout.dag_files(str(desk.campaign)) == [layout.DAG]

    with no_job_begins():  # while it prints this
        (first, said), (second, refused) = both(desk, "extend", NAME, "-i", "3")
        assert (first, second) == (0, 2), said + refused
        assert layout.dag_files(str(desk.campaign)) == [layout.DAG, "alignment-02.dag"]
        assert "JOB mille_s1_i01" not in (desk.campaign / "alignment-02.dag").read_text()
        desk.run("set", NAME, "convergence.effect_um_max=0.4", "notify.events=iteration,end")
        desk.run("extend", NAME, "-i", "1", status=2)
        desk.run("stop", NAME, "--after", "iteration")
    desk.wait(NAME, status=16)

    status = desk.read("status", NAME)
    reached = status["iteration"]
    assert 2 <= reached <= 3  # the one that ran at the request
    assert status["limit"] == 4
    assert status["reason"].endswith("asked to stop after the iteration")
    assert [row["verdict"] for row in status["iterations"]] == ["limit", *["go_on"] * (reached - 1)]
    assert not (desk.campaign / layout.STOP).exists()
    assert (desk.campaign / "alignment-02.dag.rescue001").exists()

    with no_job_begins():
        (first, said), (second, refused) = both(desk, "resume", NAME)
        assert (first, second) == (0, 2), said + refused
        assert "is already running as job" in refused
        forced = subprocess.run(
            [*COMMAND, *SUBMIT, "-i", "1", "--force"], cwd=desk.folder, capture_output=True, text=True, check=False
        )
    assert forced.returncode == 2, forced.stdout
    assert "stop it before submit --force" in forced.stderr
    desk.wait(NAME, status=10)

    assert desk.read("status", NAME)["iteration"] == 4
    turn = ["reconstruction_started", "solving_started", "go_on"]
    moved = [event for event in desk.events() if event not in ("changed", "stop_asked")]
    assert moved == [
        *("created", "submitted", *turn[:2], "limit", "extended", *turn * (reached - 1), "final_removed", "resumed"),
        *(*turn * (3 - reached), *turn[:2], "limit"),
    ]
    changed = [row for row in desk.history() if row["event"] == "changed"]
    assert [(row["facts"]["key"], row["facts"]["before"], row["facts"]["after"]) for row in changed] == [
        ("convergence.residual_shift_um_max", 0.5, 0.4),
        ("notify.events", ["end"], ["iteration", "end"]),
    ]
    assert all(row["facts"]["who"] and row["host"] for row in changed)
    told = desk.run("history", NAME, "--campaign-only")
    assert "stage 1 may have 4 iterations, 1 before, by " in told
    assert "convergence.residual_shift_um_max: 0.5 -> 0.4, by " in told
    for iteration in (2, 3, 4):
        before = (desk.campaign / f"iter{iteration - 1:02d}" / layout.MILLEPEDE / layout.CONSTANTS).read_text()
        assert (desk.campaign / f"iter{iteration:02d}" / layout.RECO / layout.CONSTANTS).read_text() == before
    assert desk.kinds() == [
        "exhausted",
        *["continues"] * (reached - 1),
        "removed",
        *["continues"] * (3 - reached),
        "exhausted",
    ]
    desk.run("verify", NAME)
    assert not (desk.campaign / layout.HOOKS_LOG).exists()
    assert {change["key"] for change in json.loads((desk.campaign / layout.CHANGES).read_text())} == {
        "stages.1.iterations",
        "convergence.residual_shift_um_max",
        "notify.events",
    }
