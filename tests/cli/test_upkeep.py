"""Test verify."""

import json
import shutil
from pathlib import Path

import pytest
from commandline import Command
from stored import change

from faser_align.campaign import layout

CASES = ["converged", "failed", "running", "held", "lost", "created"]


@pytest.mark.parametrize("name", CASES)
def test_campaigns_in_every_state_are_sound(command: Command, name: str) -> None:
    """The state database is valid after every script."""
    assert command("verify", name, status=0).out.startswith(f"{name} is sound: ")
    assert json.loads(command("verify", name, "--json").out) == {
        "campaign": name,
        "sound": True,
        "findings": [],
        "spooled": 0,
        "note": "",
    }


def test_a_damaged_campaign_is_not(command: Command, campaigns: Path, tmp_path: Path) -> None:
    """Problems are sentences, one per line, with exit status 1."""
    shutil.copytree(campaigns / "converged", tmp_path / "damaged")
    change(tmp_path / "damaged" / layout.PUBLISHED, "UPDATE campaign SET lost = 3")
    left = command("verify", str(tmp_path / "damaged"), status=1)
    assert left.out.splitlines() == [
        "the snapshot: the campaign counts 3 dropped files and has 0",
        "the snapshot: campaign differs from the redo log: lost of id 1",
    ]
    assert json.loads(command("verify", str(tmp_path / "damaged"), "--json").out)["sound"] is False


@pytest.mark.parametrize("name", [layout.STATE, layout.PUBLISHED])
def test_a_missing_file_is_a_finding(command: Command, campaigns: Path, tmp_path: Path, name: str) -> None:
    """A missing database or snapshot is a finding that names the fix, beside the findings about the other file."""
    folder, other = tmp_path / "part", {layout.STATE: layout.PUBLISHED, layout.PUBLISHED: layout.STATE}[name]
    shutil.copytree(campaigns / "converged", folder)
    (folder / name).unlink()
    sentence = f"{folder}/{name} is missing; `faser-align repair {folder}` makes it again"
    assert command("verify", str(folder), status=1).out.splitlines() == [sentence]
    change(folder / other, "UPDATE campaign SET lost = 3")
    found = json.loads(command("verify", str(folder), "--json", status=1).out)["findings"]
    assert sentence in found
    assert any("the campaign counts 3 dropped files and has 0" in one for one in found)
