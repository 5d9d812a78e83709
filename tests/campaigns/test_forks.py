"""Test campaigns made from others on a real pool: one per run, forks from any constants, iterations solved again."""

import json

import pytest
from desk import SIMULATION, Desk

from faser_align.campaign import layout

CONFIG = f"{SIMULATION}[convergence]\nstarved_per_parameter = 0.0\n"
NAME = FIRST = "Y2023_R011705_F400"
SECOND = "Y2023_R011706_F1"


def test_campaigns_from_one_configuration_and_from_campaigns(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command makes a campaign per run; one of them is forked, and an iteration is solved with other cuts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(desk.folder / "state"))  # without other campaigns
    desk.configure(CONFIG)
    pairs = ("-r", "11705", "-f", "400", "-r", "11706", "-f", "1")
    planned = desk.run("submit", "--each", "-y", "2023", *pairs, "-i", "1", "--dry-run")
    assert f"{FIRST}: 2023, run 011705, 1 file (400); planned\n" in planned
    assert not desk.campaign.exists()
    desk.run("submit", "--each", "-y", "2023", *pairs[:-2], "-i", "1", status=2)
    said = desk.run("submit", "--each", "-y", "2023", *pairs, "-i", "1")
    assert len([line for line in said.splitlines() if "; submitted as job " in line]) == 2
    desk.wait(FIRST, status=10)
    desk.wait(SECOND, status=10)
    listed = desk.run("list")
    assert [listed.count(f"{name} ") for name in (FIRST, SECOND)] == [1, 1]

    found = (desk.campaign / "iter01" / layout.MILLEPEDE / layout.CONSTANTS).read_text()
    said = desk.run("submit", "--from", FIRST, "-i", "1")
    assert f"forked from:  {FIRST}, iteration 1\n" in said
    fork = desk.folder / f"{FIRST}-2"
    record = json.loads((fork / layout.RECORD).read_text())
    assert (record["year"], record["run"], record["files"]) == (2023, "011705", [400])
    assert record["parent"]["name"] == FIRST
    assert record["parent"]["sha256"] == record["constants"]["sha256"]
    assert record["parent"]["stages"] == json.loads((desk.campaign / layout.RECORD).read_text())["stages"]
    assert (fork / "iter01" / layout.RECO / layout.CONSTANTS).read_text() == found
    desk.wait(f"{FIRST}-2", status=10)
    assert f"forked from {FIRST}, iteration 1\n" in desk.run("status", f"{FIRST}-2")
    assert f"at most 1 iteration, forked from {FIRST}, iteration 1" in desk.run(
        "history", f"{FIRST}-2", "--campaign-only"
    )
    assert f"forked from:  {FIRST}, its initial constants" in desk.run(
        "submit", "--from", FIRST, "--iteration", "0", "--dry-run"
    )
    desk.run("submit", "--from", FIRST, "--iteration", "2", status=2)
    desk.run("submit", "-y", "2023", "-r", "1", "-f", "1", "--iteration", "2", status=2)
    desk.run("verify", f"{FIRST}-2")

    metrics = json.loads((desk.campaign / "iter01" / layout.MILLEPEDE / layout.METRICS).read_text())
    again = json.loads(desk.run("solve", "--from", FIRST, "-o", "again", "--json"))
    assert again["corrections"] == metrics["corrections"]
    assert [step["from_sums"] for step in again["steps"]] == [True]
    text = (desk.folder / "faser-align.toml").read_text()
    text = text.replace('fix = ["layer", "3ST"]', 'fix = ["module", "3ST"]')
    (desk.folder / "other.toml").write_text(f"{text}[mille]\nresidual_max = [0.3]\n")
    other = json.loads(
        desk.run("solve", "--from", FIRST, "--iteration", "1", "--config", "other.toml", "-o", "other", "--json")
    )
    assert other["residual_max_mm"] == 0.3
    assert {dof.partition(".")[0] for dof in other["corrections"]} == {"layer"}
    assert (desk.folder / "other" / "iter01" / layout.MILLEPEDE / layout.CONSTANTS).read_text() != found
    assert (desk.campaign / "iter01" / layout.MILLEPEDE / layout.CONSTANTS).read_text() == found
    desk.run("solve", "--from", FIRST, "-o", "other", status=2)
    (desk.campaign / "iter01" / layout.KFALIGNMENT / "kfalignment_011705_00400.root").unlink()
    desk.run("solve", "--from", FIRST, "--config", "other.toml", "-o", "third", status=2)
    assert not (desk.folder / "third").exists()
    desk.run("solve", "--from", FIRST, "-o", "third")
