"""Test the demonstration as a person runs it, on the pool of this test run."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from commandline import Command, faser_align
from nowhere import until
from playwright.sync_api import Browser
from properties import SOAK
from standin import make_pede

from faser_align.cli import main
from faser_align.cli.commands import demonstration
from faser_align.pool import personal

# As typed in `make soak`; in `make test` one file instead of six, and with pede one iteration.
SMALLER: dict[str, object] = {} if SOAK else {"FILES": "400", "VALIDATED": "406"}
DATA = "6 raw files: 2023, run 011705 files 400-405" if SOAK else "1 raw file: 2023, run 011705 files 400"

# Questions of a newcomer, and the places on the demonstration's page that answer them.
QUESTIONS = {
    "did it converge": r"<h1>demo-1 .*converged.*</h1>",
    "by which rule": r"</h1>\s*<p>[^<]*residual shift \S+ µm is below 0.5 µm, in 2 consecutive iterations[^<]*</p>",
    "in which iteration": r"<tr><td>\d</td>(?:(?!</tr>).)*<td>converged</td>",
    "which module moved most": r"Largest displacements.*?<li>\d{3}: −?\d+ ± \d+ µm \([\d.]+ σ\), from \S+ to \S+: module \d of layer \d of station 0, y</li>",
    "which module moved most, at a glance": r"<dt>moved most, from start to end</dt><dd>−?\d+ ± \d+ µm \([\d.]+ σ\), y of module \d{3}</dd>",
    "was a file lost": rf"{DATA}. None dropped",
    "what is weakly determined": r"Weak modes and fixed parameters</h2>.*?<p>Of the directions [^<]* none is poorly determined",
    "which command comes next": r"<dt>next</dt><dd><code>\S+ constants export demo-1 -o demo-1.txt</code>",
}


@pytest.fixture
def program(plain_command: Command, pool: personal.Pool, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run ``faser-align`` under its typed name and return its output."""
    monkeypatch.setenv("FASER_ALIGN_COMMAND", "build/faser-align")
    for name, value in SMALLER.items():
        monkeypatch.setattr(demonstration, name, value)

    def run(*words: str, status: int = 0) -> str:
        left = plain_command(*words, status=status)
        return left.out

    return run


def test_the_demonstration_converges_and_is_told(
    program: Callable[..., str], pool: personal.Pool, browser: Browser
) -> None:
    """The demonstration converges early, runs no job of a later iteration, delivers one mail, and its hints work.

    The report page, with all figures, prints on fewer than eight sheets of paper.
    """
    shown = program("demo")
    seen = json.loads(program("status", "demo-1", "--json"))
    assert (seen["state"], seen["ended"]) == ("converged", True)
    assert 3 <= seen["iteration"] <= 5
    campaign = Path(seen["folder"])
    later = campaign / f"iter{seen['iteration'] + 1:02d}"
    assert [path for path in later.rglob("*") if path.suffix in (".root", ".bin")] == []
    (letter,) = (campaign.parent / "demo-1.mail").glob("*.eml")
    assert "converged" in message_from_bytes(letter.read_bytes())["Subject"]
    assert "times the statistical error" in shown
    hints = [line.split() for line in shown.splitlines() if line.startswith("  build/faser-align ")]
    assert len(hints) >= 5
    for hint in hints[-5:]:
        program(*hint[1:])
    *_, last = shown.splitlines()
    assert last.startswith("Open it in a browser: file://")
    address = last.split()[-1]
    page = Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")
    assert all(question in shown and where in shown for question, where in demonstration.LOOK_AT)
    for question, answer in QUESTIONS.items():
        assert re.search(answer, page, re.DOTALL), question
    paper = browser.new_page()
    paper.goto(address)
    assert 0 < len(re.findall(rb"/Type\s*/Page\b", paper.pdf(format="A4"))) < 8
    # A pool that ran before keeps running.
    nothing = {"idle": 0, "running": 0, "held": 0, "other": 0}
    until(lambda: personal.status(pool.folder).jobs == nothing)  # a job leaves the queue a moment after its end


def test_the_demonstration_runs_with_pede(
    program: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pede (a stand-in whose exit status is always 0) the demonstration also ends, and its metrics name the solver."""
    if not SOAK:
        monkeypatch.setattr(demonstration, "ITERATIONS", 1)
    shown = program("demo", "--pede", make_pede(tmp_path), status=0 if SOAK else 1)
    name = next(line.split()[-1] for line in shown.splitlines() if line.startswith("$ build/faser-align watch "))
    seen = json.loads(program("status", name, "--json"))
    assert seen["state"] == ("converged" if SOAK else "exhausted")
    metrics = json.loads((Path(seen["folder"]) / "iter01" / "3millepede" / "metrics.json").read_text())
    assert metrics["solver"]["backend"] == "pede"
    assert metrics["hits"]["cut"]["derivative"] < 0.01 * metrics["hits"]["read"]


@pytest.mark.slow
def test_an_interrupted_demonstration_removes_its_campaign(program: Callable[..., str]) -> None:
    """After Ctrl-C the demonstration's DAGMan leaves the queue, and nothing says that the campaign continues."""
    command = (sys.executable, "-m", "faser_align.cli", "demo")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout
        shown = ""
        while "DAGMan job" not in shown:
            shown = running.stdout.readline()
            assert shown
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == main.INTERRUPTED
    assert "continues" not in rest
    (demo, *_) = json.loads(program("list", "--json"))
    assert demo["state"] == "removed"


@pytest.mark.usefixtures("pool")
def test_the_pool_of_a_demonstration_continues_with_other_jobs(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A demonstration does not stop a pool in which somebody has queued other jobs meanwhile."""
    folder = workdir / "pool"
    monkeypatch.setenv("FASER_ALIGN_POOL", str(folder))
    try:
        with demonstration.pool_for(1, workdir / "demo"):
            job = "executable = /bin/true\nhold = true\nqueue\n"
            environment = os.environ | personal.environment(folder)
            subprocess.run(("condor_submit", "-"), input=job, text=True, env=environment, cwd=workdir, check=True)
        assert f"The pool continues with jobs of {workdir}" in capsys.readouterr().out
        assert personal.status(folder).running
    finally:
        assert personal.stop(folder)


def test_a_demonstration_needs_a_pede_that_runs(pool: personal.Pool, tmp_path: Path) -> None:
    """A missing program, or one that is not pede, is refused before anything starts."""
    for pede in (str(tmp_path / "pede"), "/bin/true"):
        assert faser_align("demo", "--pede", pede).status == 2
