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
        "the snapshot: the campaign counts 3 lost files and has 0",
        "the snapshot: campaign is not what was written to it: lost of id 1",
    ]
    assert json.loads(command("verify", str(tmp_path / "damaged"), "--json").out)["sound"] is False
