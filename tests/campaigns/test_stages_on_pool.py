"""Test stages on a real pool: repeated, ended at a limit, rejected by a validation, and extended."""

import itertools
import json
import re
from pathlib import Path

from desk import NOTIFY, Desk
from nowhere import until

from faser_align.campaign import layout

SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "--name")
CONFIG = """
[campaign]
constants = "{examples}/ift_misplaced.txt"
{campaign}
[simulation]
truth = "{examples}/align_2025.txt"
tracks = {tracks}
[mille]
residual_max = [{cut}]
pivot = "layer"
[solver]
entries = 1
[convergence]
starved_per_parameter = 0.0
stalled_iterations = 9
{convergence}
{notify}
{more}
"""
TWICE = """
[[stages]]
name = "IFT"
iterations = 1
at_limit = "stop"
[stages.convergence]
min_iterations = 2
patience = 1
significance_max = 1e6
effect_um_max = 1e6
remaining_sigma_max = 1e9
chi2_rise_max = 10.0
[[stages.steps]]
name = "IFT fix layer"
fix = ["layer", "3ST"]
"""
STRICT = """
[validation]
used_files = true
side_mean_um_max = 0.0
"""


def configure(desk: Desk, **parts: str) -> None:
    usual = {"campaign": "", "tracks": "500", "cut": "0.5", "convergence": "", "more": "", "notify": NOTIFY}
    desk.configure(CONFIG, **usual | parts)


def verdicts(desk: Desk) -> list[tuple[int, int, str]]:
    rows = desk.read("status", desk.name)["iterations"]
    return [(row["stage"], row["iteration"], row["verdict"]) for row in rows]


def test_a_stage_is_gone_through_twice_and_stops_at_its_limit(desk: Desk) -> None:
    """A stage that reaches its limit ends the campaign as exhausted; after an extension the next stage begins, which can be extended, too."""
    configure(desk, campaign="repeat = 2", more=TWICE)
    desk.run(*SUBMIT, desk.name)
    desk.wait(desk.name, status=10)
    assert verdicts(desk) == [(1, 1, "limit")]
    assert desk.read("status", desk.name)["stage"] == 1
    assert "stage 1 of 2" in desk.run("status", desk.name)

    assert "continues with iteration 2 of at most 2" in desk.run("extend", desk.name, "-i", "1")
    desk.wait(desk.name, status=10)
    assert verdicts(desk) == [(1, 1, "limit"), (1, 2, "converged"), (2, 1, "limit")]
    assert "continues with iteration 2 of at most 2" in desk.run("extend", desk.name, "-i", "1")
    desk.wait(desk.name)
    assert verdicts(desk) == [(1, 1, "limit"), (1, 2, "converged"), (2, 1, "limit"), (2, 2, "converged")]
    events = [event for event in desk.events() if event not in ("reconstruction_started", "solving_started")]
    assert events == ["created", "submitted", "limit", "extended", "stage_finished", "limit", "extended", "converged"]
    assert "stage 2" in desk.run("history", desk.name, "--campaign-only")
    # Each stage starts from the previous result.
    places = ["iter01", "iter02", "stage02/iter01", "stage02/iter02"]
    for before, after in itertools.pairwise(places):
        found = (desk.campaign / before / layout.MILLEPEDE / layout.CONSTANTS).read_text()
        assert (desk.campaign / after / layout.RECO / layout.CONSTANTS).read_text() == found
    assert desk.kinds() == ["exhausted", "exhausted", "converged"]
    desk.run("verify", desk.name)
    # Any stage's constants can start another campaign, and any iteration can be solved again.
    place = ("--from", desk.name, "--stage", "2", "--iteration", "2")
    assert f"forked from:  {desk.name}, stage 2, iteration 2" in desk.run("submit", *place, "--dry-run")
    metrics = json.loads((desk.campaign / places[-1] / layout.MILLEPEDE / layout.METRICS).read_text())
    again = json.loads(desk.run("solve", *place, "-o", "again", "--json"))
    assert again["corrections"] == metrics["corrections"]
    assert not (desk.campaign / layout.HOOKS_LOG).exists()


def test_a_rejected_campaign_is_extended(desk: Desk) -> None:
    """A rejected campaign's extension runs the skipped iterations, and is validated with the new limits."""
    easy = (
        "significance_max = 1e6\neffect_um_max = 1e6\nremaining_sigma_max = 1e9\nchi2_rise_max = 10.0\npatience = 1\n"
        "module_cut_max = 1.0\ndetector_cut_max = 1.0\n"
    )
    # With a tight cut on residuals, the first iteration corrects only a part of the misalignment.
    configure(desk, cut="0.05", tracks="1000", convergence=easy, more=STRICT)
    desk.run(*SUBMIT, desk.name, "-i", "2")
    desk.wait(desk.name, status=14)
    assert verdicts(desk) == [(1, 1, "converged")]
    letter = desk.letters("rejected")
    assert re.search(r"module \d{3} seems off by \d+ µm across its strips", letter)
    assert re.search(r"files +tracks +χ²/ndf before +χ²/ndf after\s+all files +[\d,]+ +\d", letter)
    desk.run("report", desk.name)
    page = (desk.folder / f"{desk.name}.html").read_text()
    section = page.partition('<h2 id="validation">Validation: refuted</h2>')[2].partition("</table>")[0]
    assert section
    assert "the new constants do not describe the data" not in section
    assert desk.run("status", desk.name).count("the new constants do not describe the data") == 1

    until(lambda: not (desk.campaign / "iter02").exists())  # FINAL removes folders that no job has used
    for node in (layout.reco_node(1, 2, 400), layout.mille_node(1, 2)):  # as a restarted DAGMan leaves them
        mark = Path(layout.passed_file(str(desk.campaign), node))
        mark.parent.mkdir(parents=True)
        mark.touch()
    desk.run("set", desk.name, "validation.side_mean_um_max=100")
    desk.run("set", desk.name, "validation.enabled=false", status=2)
    assert "continues with iteration 2 of at most 2" in desk.run("extend", desk.name, "-i", "1")
    desk.wait(desk.name)
    assert verdicts(desk) == [(1, 1, "converged"), (1, 2, "converged")]
    events = [event for event in desk.events() if event not in ("reconstruction_started", "solving_started")]
    assert events == [
        *("created", "submitted", "validation_asked", "refuted", "changed", "extended", "validation_asked", "confirmed")
    ]
    started = [row["subject"] for row in desk.history() if row["event"] == "started"]
    assert [started.count(node) for node in (layout.mille_node(1, 2), "after_00400", "validate")] == [1, 2, 2]
    last = (desk.campaign / "iter02" / layout.MILLEPEDE / layout.CONSTANTS).read_text()
    assert (desk.campaign / "validation" / "after" / layout.RECO / layout.CONSTANTS).read_text() == last
    desk.run("verify", desk.name)
    assert not (desk.campaign / layout.HOOKS_LOG).exists()
