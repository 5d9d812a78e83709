"""The demonstration, as a person runs it, on the pool of this test run."""

import json
import os
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

from faser_align.pool import personal


def program(*words: str, status: int = 0) -> str:
    """Run ``faser-align`` with the typed form of its name and return what it wrote."""
    command = [sys.executable, "-I", "-m", "faser_align.cli", *words]
    variables = {**os.environ, "FASER_ALIGN_COMMAND": "build/faser-align"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_the_demonstration_converges_and_is_told(pool: personal.Pool) -> None:
    """It converges early, no job of a later iteration runs, one e-mail arrives, and its hints can be typed."""
    shown = program("demo")
    seen = json.loads(program("status", "demo-1", "--json"))
    assert (seen["state"], seen["ended"]) == ("converged", True)
    assert 3 <= seen["iteration"] <= 5
    campaign = Path(seen["folder"])
    later = campaign / f"iter{seen['iteration'] + 1:02d}"
    assert [path for path in later.rglob("*") if path.suffix in (".root", ".bin")] == []
    (letter,) = (campaign.parent / "demo-1.mail").glob("*.eml")
    assert "converged" in message_from_bytes(letter.read_bytes())["Subject"]
    assert "times what the statistics allow" in shown
    hints = [line.split() for line in shown.splitlines() if line.startswith("  build/faser-align ")]
    assert len(hints) >= 5
    for hint in hints[-5:]:
        program(*hint[1:])
    # A pool that ran before runs on.
    assert personal.status(pool.folder).jobs == {"idle": 0, "running": 0, "held": 0, "other": 0}
