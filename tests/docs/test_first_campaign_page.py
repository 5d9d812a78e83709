"""Test the page *First campaign on lxplus* from top to bottom, with stand-ins for lxplus on a real pool."""

import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from calypso import Lxplus
from commandline import Command, Result, in_process
from nowhere import until
from receivers import text_of

from faser_align.alignment.parameters.constants import read_constants
from faser_align.cli.show import draw
from faser_align.config.profiles import profile_text
from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import checks
from faser_align.pool.personal import Pool

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first-campaign-on-lxplus.md"
NAME = "Y2023_R011705_F400-401"
ME = "test_the_first_campaign_can_be_followed"
BLOCK = re.compile(
    rf"(?P<status><!-- ends with status 1 -->\n)?<!-- (?P<mark>run by {ME}|printed by the last command.*?|the message.*?) -->\n"
    r"```(?P<language>sh|toml|text)\n(?P<text>.*?)```",
    re.DOTALL,
)
# Machines of today's batch system instead of lxplus, seconds instead of hours.
SHORTER = [
    ("requirements = '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= \"AlmaLinux9\")'", ""),
    ("memory_mb = 4000", "memory_mb = 300"),
    ("memory_mb = 2000", "memory_mb = 300"),
    ("disk_mb = 8000", "disk_mb = 50"),
    ("disk_mb = 4000", "disk_mb = 50"),
    ("cpus = 2", "cpus = 1"),
    ("scan_interval_s = 5", "scan_interval_s = 1"),
    ("residual_max = [1.0, 0.05]", 'residual_max = [0.5]\npivot = "layer"'),
]
# Parts of the page's output that differ between runs and machines.
VARYING = [
    (r"faser-align-probe-\w+", "faser-align-probe-N"),
    (r"\S+/execute/dir_\d+(/scratch)?", "/pool/execute/dir_N"),  # scratch: HTCondor 25
    (r"\(Debian GNU/Linux [^\n]*\)", "(SYSTEM)"),
    (r"[\d,.]*\d(e-\d+)?", "N"),
    (r" N (s|min|h)\b( N (s|min|h)\b)?", " TIME"),
    (r"─+", "-"),
    (r"[ \t]+", " "),
]


class Desk:
    """The folder on AFS in which the page is followed; AFS, EOS and CVMFS are folders beside it."""

    def __init__(self, root: Path, mailbox: Mailbox, command: Command) -> None:
        self.root, self.mailbox, self.command = root, mailbox, command
        self.lxplus = Lxplus(root / "lxplus", tracks=3300)
        self.lxplus.orders("write:05")
        for file in (400, 401):
            self.lxplus.raw(file)
        shutil.copy(ROOT / "examples" / "align_2025.txt", self.lxplus.folder / "truth.txt")
        self.here = root / "alignment"
        self.here.mkdir(mode=0o755)
        for folder in ("faser-align", "archive"):
            (root / "eos" / folder).mkdir(parents=True)
        shutil.copy(ROOT / "examples" / "ift_misplaced.txt", self.here / "inputforalign.txt")
        shutil.copy(ROOT / "tests" / "data" / "predecessor" / "config_readme.json", self.here / "config.json")
        self.targets = root / ".config" / "faser-align" / "targets.toml"
        self.targets.parent.mkdir(parents=True)

    def adapt(self, text: str) -> str:
        """Return the page's command with fewer files and the folders of this test."""
        for there, here in (
            ("/afs/cern.ch/user/y/you/calypso/install", self.lxplus.checkout),
            ("/afs/cern.ch/user/y/you/calypso", self.lxplus.checkout),
            ("/eos/user/y/you", self.root / "eos"),
            ("mailto://cernmx.cern.ch?from=you@cern.ch&to=you@cern.ch", self.mailbox.url("you@cern.ch")),
            *SHORTER,
        ):
            text = text.replace(there, str(here))
        return text

    def as_on_lxplus(self, text: str) -> str:
        """Return an output with lxplus's folders instead of this test's."""
        afs, cvmfs = (
            "/afs/cern.ch/user/y/you",
            "/cvmfs/faser.cern.ch/repo/sw/database/DBRelease/current/sqlite200/ALLP200.db",
        )
        for here, there in (
            (self.lxplus.checkout / "setup.sh", f"{afs}/calypso/install/setup.sh"),
            (self.lxplus.checkout, f"{afs}/calypso"),
            (self.lxplus.atlas_base, "/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase"),
            (self.lxplus.database, cvmfs),
            (self.lxplus.folder / "raw", "/eos/experiment/faser/raw"),
            (self.root / "eos", "/eos/user/y/you"),
            (self.here, f"{afs}/alignment"),
            (sys.executable, f"{afs}/faser-align-env/bin/python"),
            (f" on {os.uname().nodename}", " on NODE"),
            (f"{os.uname().nodename} has no", "NODE has no"),
        ):
            text = text.replace(str(here), there)
        text = re.sub(r"\S+/pool/execute", "/pool/execute", text)
        return re.sub(r"^─{60,}$", "─" * 60, text, flags=re.MULTILINE)

    def configure(self, text: str) -> None:
        """Write a block of TOML to the file named on the page: targets, or lines of the configuration."""
        if "[targets]" in text:
            self.targets.write_text(self.adapt(text))
            self.targets.chmod(0o600)
            return
        path = self.here / "faser-align.toml"
        configuration = path.read_text()
        for line in text.splitlines():
            key, equals, _ = line.partition(" = ")
            if equals:
                found = rf"^{key} = .*$"
                assert re.search(found, configuration, re.MULTILINE), f"the profile has no {key}"
                configuration = re.sub(found, lambda _, line=line: line, configuration, count=1, flags=re.MULTILINE)
        raw = f'raw = "{self.lxplus.reconstruction()["raw"]}"'
        configuration = re.sub(r"^raw = .*$", lambda _: raw, configuration, count=1, flags=re.MULTILINE)
        places = f'atlas_base = "{self.lxplus.atlas_base}"\ndatabase = "{self.lxplus.database}"\n'
        if places not in configuration:
            configuration = configuration.replace("[storage]", f"{places}[storage]", 1)
        configuration = self.adapt(configuration)
        tomllib.loads(configuration)
        path.write_text(configuration)

    def follow(self, line: str, status: int) -> Result:
        """Run a command of the page."""
        program, *words = shlex.split(self.adapt(line))
        assert program == "faser-align"
        left = self.command(*words)
        assert left.status == status, (line, left)
        return left

    def message(self) -> str:
        """Return the text of the message about the end; FINAL may still be sending it when `wait` returns."""
        until(lambda: "converged" in self.mailbox.messages()[-1]["Subject"])
        return text_of(self.mailbox.messages()[-1])


def chosen(text: str, mark: str) -> str:
    """Return the lines of an output that the page's mark selects."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    words = re.search(r'lines with "(.+)"', mark)
    if words:
        lines = [line for line in lines if words[1] in line]
    part = re.search(r"lines (\d+) to (\d+)", mark)
    return "\n".join(lines[int(part[1]) - 1 : int(part[2])] if part else lines) + "\n"


def alike(text: str) -> str:
    """Return an output without parts that differ between runs."""
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture
def desk(
    pool: Pool, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    """Provide the desk of a user who has logged in: a home folder, a mail server, the command line."""
    monkeypatch.setenv("HOME", str(workdir))
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    monkeypatch.setattr(draw, "TEXT_WIDTH", 400)  # paths here are longer than on lxplus: no row may be wrapped

    with Mailbox(workdir / "mail") as mailbox:
        made = Desk(workdir, mailbox, in_process(monkeypatch, capsys))
        monkeypatch.chdir(made.here)
        yield made


def test_the_same_python_is_named_everywhere() -> None:
    """The page, the profile of init and check's warning name the same Python on CVMFS."""
    assert f"base={checks.ON_CVMFS} " in PAGE.read_text()
    assert f"#     {checks.ON_CVMFS}\n" in profile_text("lxplus")


def test_the_first_campaign_can_be_followed(desk: Desk) -> None:
    """The page's blocks, in order, lead to a campaign that converges, with the output shown.

    With FASER_ALIGN_PAGES=write the outputs are written to the page.
    """
    typed, printed, shown = [], "", []
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["language"] == "toml":
            desk.configure(block["text"])
        elif block["language"] == "sh":
            for line in block["text"].splitlines():
                printed = desk.follow(line, 1 if block["status"] else 0).out
                typed.append(line.split()[1])
        else:
            text = desk.message() if block["mark"].startswith("the message") else printed
            shown.append((block, chosen(desk.as_on_lxplus(text), block["mark"])))
    assert {"init", "import", "check", "submit", "status", "report", "constants", "clean", "move"} <= set(typed)
    if os.environ.get("FASER_ALIGN_PAGES") == "write":
        page = PAGE.read_text()
        for block, text in reversed(shown):
            page = page[: block.start("text")] + text + page[block.end("text") :]
        PAGE.write_text(page)
    for block, text in shown:
        assert alike(text) == alike(block["text"]), block["mark"]
    assert len(shown) == 4

    campaign, data = desk.here / NAME, desk.root / "eos" / "archive" / NAME
    subjects = [letter["Subject"] for letter in desk.mailbox.messages()]
    assert any(re.fullmatch(rf"\[faser-align\] {NAME} converged after \d of 10 iterations", one) for one in subjects), (
        subjects
    )
    last = max(campaign.glob("iter*/3millepede/inputforalign.txt"))
    for part in ("metrics.json", "millepede.res"):
        assert (last.parent / part).exists()
    assert list((last.parents[1] / "1reco" / "logs").glob("*.out"))
    assert read_constants(str(desk.here / "constants.txt")) == read_constants(str(last))
    assert list((desk.here / "database").glob("**/ALLP200.db"))
    assert (desk.here / f"{NAME}.html").stat().st_size > 10_000
    # The remaining files were moved, and nothing else is in the way.
    assert len(list(data.glob("iter*/2kfalignment/kfalignment*"))) == 2
    assert list((desk.root / "eos" / "faser-align").iterdir()) == []
