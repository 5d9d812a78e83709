"""Shell completion knows the campaigns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("verb", ["status", "resume", "compare", "clean"])
def test_names_of_campaigns_are_completed(shell: str, verb: str, campaigns: Path) -> None:
    """Behind a command that takes a campaign the shell offers the names that begin with what was typed."""
    words = f"faser-align {verb} con"
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(campaigns / "state"),
        "_FASER_ALIGN_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": words,
        "COMP_CWORD": "2",
    }
    program = Path(sys.executable).with_name("faser-align")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "converged" in done.stdout
    assert "failed" not in done.stdout
