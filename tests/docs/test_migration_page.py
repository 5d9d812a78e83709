"""Test the page for users of faser-alignment-script: complete, current, and with working commands."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from calypso import Lxplus
from commandline import Command, Result, in_process

from faser_align.pool.personal import Pool

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from-faser-alignment-script.md"
THEIRS = ROOT / "tests" / "data" / "predecessor"
CONSTANTS = ROOT / "tests" / "data" / "constants"
NAME, RECO = "Y2023_R011705_F400", "Y2023_R011705_F400_reco01"
SHORTER = {
    "400-450": "400",
    "400:450": "400:400",
    "450-500": "402",
    "-i 10": "-i 2",  # so that it is still running when it is stopped
    "--iterations 10": "--iterations 1",
}
# Parts of sentences, not complete commands.
FRAGMENTS = {"faser-align mille"}


def rows() -> list[tuple[str, str]]:
    """Return the rows of the command tables: the old command and the new one."""
    section = PAGE.read_text().partition("## Command by command")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    return [(there, here) for there, here in found if not there.startswith(("there", "---"))]


def commands() -> list[str]:
    """Return each command of ours on the page, in order: first steps, then tables."""
    page = PAGE.read_text()
    steps = page.partition("## In ten minutes")[2].partition("\n## ")[0]
    texts = [steps, *(here for _, here in rows())]
    found = [command for text in texts for command in re.findall(r"`(faser-align [^`]+)`", text)]
    return [command for command in dict.fromkeys(found) if command not in FRAGMENTS]


def test_every_line_that_could_be_typed_there_has_its_row() -> None:
    """Each line of the old README that a user could type is in a table, with a counterpart."""
    there = {typed: here for left, here in rows() for typed in re.findall(r"`([^`]+)`", left)}
    lines = (THEIRS / "commands.txt").read_text().splitlines()
    assert len(lines) > 40
    assert [line for line in lines if not there.get(line)] == []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""
    return in_process(monkeypatch, capsys)


class Desk:
    """The folder of an expert with Calypso, a configuration and an old campaign, in which the page is followed."""

    def __init__(self, workdir: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.command, self.chdir = command, monkeypatch.chdir
        monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
        self.lxplus = Lxplus(workdir / "lxplus", tracks=1800)
        for number in (400, 402):
            self.lxplus.raw(number)
        shutil.copy(ROOT / "examples" / "align_2025.txt", self.lxplus.folder / "truth.txt")
        self.here, self.fresh, self.elsewhere = workdir / "here", workdir / "fresh", workdir / "elsewhere"
        for folder in (self.here, self.fresh, self.elsewhere):
            folder.mkdir(mode=0o755)
        start = ROOT / "examples" / "ift_misplaced.txt"
        (self.here / "faser-align.toml").write_text(
            f'[campaign]\nconstants = "{start}"\n{self.lxplus.toml()}[convergence]\nstarved_per_parameter = 0\n'
        )
        (self.here / "my_custom_env.sh").write_text("true\n")
        shutil.copy(start, self.here / "inputforalign.txt")
        shutil.copy(THEIRS / "config.json", self.fresh / "config.json")
        shutil.copy(THEIRS / "pede-dev.yaml", self.fresh / "config.yaml")

    def adapt(self, typed: str) -> str:
        """Return the page's command with one file and fewer iterations, and paths of this test."""
        for long, short in SHORTER.items():
            typed = typed.replace(long, short)
        typed = re.sub(r"(--calypso_path) \S+", rf"\1 {self.lxplus.checkout}", typed)
        typed = typed.replace("/eos/user/y/yourusername/elsewhere", str(self.elsewhere))
        solution = self.here / RECO / "iter01" / "3millepede"
        if "STEERING" in typed:
            steering = next(path for path in solution.glob("*.txt") if "Cfiles" in path.read_text())
            typed = typed.replace("STEERING", str(steering))
        return typed.replace("millepede.res", str(solution / "millepede.res"))

    def follow(self, typed: str) -> Result:
        """Run a command of the page in its folder."""
        words = shlex.split(self.adapt(typed))[1:]
        verb = words[0]
        self.chdir(self.here)
        if verb in ("init", "import"):
            return self._begin(words)
        if verb == "reco" and typed != "faser-align reco -y 2023 -r 11705 -f 400-450 -n 1":
            words += ["--dry-run", "--name", "trial"]
        if verb == "stop":
            words.append("--yes")
        left = self.command(*words)
        if verb == "reco" and "--dry-run" not in words:
            assert self.command("wait", RECO, "--timeout", "600").status == 0
        return left

    def _begin(self, words: list[str]) -> Result:
        self.chdir(self.fresh)
        (self.fresh / "faser-align.toml").unlink(missing_ok=True)
        if words[0] == "import" and words[1] == NAME:
            iteration = self.fresh / NAME / "iter01"
            for part, source in (
                ("1reco", "align_2022_4st_local.txt"),
                ("3millepede", "align_2022_4st_local_plus_correction_2024.txt"),
            ):
                (iteration / part).mkdir(parents=True)
                shutil.copy(CONSTANTS / source, iteration / part / "inputforalign.txt")
        return self.command(*words)


def test_every_command_of_the_page_works(
    pool: Pool, workdir: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the page works, from top to bottom, with one raw file instead of 51."""
    desk = Desk(workdir, command, monkeypatch)
    ends = {"wait": (0, 10)}
    followed = []
    for typed in commands():
        left = desk.follow(typed)
        assert left.status in ends.get(typed.split()[1], (0,)), f"{typed}\n{left.out}\n{left.err}"
        followed.append(typed.split()[1])
    assert {"init", "import", "check", "reco", "solve", "mille", "submit", "stop", "resume", "wait"} <= set(followed)
    assert os.path.isfile(desk.here / "constants.txt")
