"""Test the reading commands' output character by character: on terminals of 80 and 200 columns, and plain.

After an intended change run ``FASER_ALIGN_SCREENS=write python -m pytest tests/cli/test_golden_screens.py``, then check
the difference with git.
"""

import bisect
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commandline import Command, Terminal

import faser_align
from faser_align.campaign import layout
from faser_align.state import registry

SCREENS = Path(__file__).parents[1] / "data" / "screens"
WRITE = os.environ.get("FASER_ALIGN_SCREENS") == "write"
BEGIN = datetime(2026, 11, 24, 7, 30, tzinfo=UTC).timestamp()
STEP_S = 60  # between two scripts
NOW = BEGIN + 900
NAMES = ("converged", "created", "failed", "held", "lost", "one", "removed", "running")
FORMS = ("80", "200", "plain")
# Every column of the state database with a time.
TIMES = {
    "campaign": ("created_utc", "updated_utc"),
    "attempts": ("opened_utc", "closed_utc"),
    "history": ("utc",),
    "iterations": ("started_utc", "ended_utc"),
    "outbox": ("next_utc", "claimed_utc", "sent_utc"),
}


@pytest.fixture(scope="module")
def quiet(campaigns: Path) -> Iterator[Path]:
    """Provide the campaigns in a folder with a name of fixed length, with one script per minute."""
    with tempfile.TemporaryDirectory(prefix="faser-align-screens-", dir="/var/tmp") as folder:
        root = Path(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(root / "state"))
            for name in NAMES:
                shutil.copytree(campaigns / name, root / name)
                _move(root / name, str(campaigns), str(root))
                registry.add(name, str(root / name))
        yield root


def _move(folder: Path, before: str, after: str) -> None:
    """Change a copied campaign's paths, and set its events' times to fixed values."""
    record = folder / layout.RECORD
    record.write_text(record.read_text().replace(before, after))
    db = sqlite3.connect(folder / layout.STATE, isolation_level=None)
    for table, column in (("campaign", "folder"), ("campaign", "data"), ("history", "facts"), ("outbox", "error")):
        db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (before, after))
    hooks = [utc for (utc,) in db.execute("SELECT DISTINCT utc FROM history ORDER BY utc")]

    def at(utc: str) -> str:
        number = max(0, bisect.bisect_right(hooks, utc) - 1)
        return f"{datetime.fromtimestamp(BEGIN + STEP_S * number, UTC):%Y-%m-%dT%H:%M:%S.000Z}" if utc else ""

    db.create_function("at", 1, at)
    for table, columns in TIMES.items():
        for column in columns:
            db.execute(f"UPDATE {table} SET {column} = at({column})")
    db.close()
    shutil.copy(folder / layout.STATE, folder / layout.PUBLISHED)
    for file, age_s in ((layout.STATE, 301), (layout.PUBLISHED, 300)):
        os.utime(folder / file, (NOW - age_s, NOW - age_s))


@pytest.fixture
def screen(plain_command: Command, quiet: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a command's output on a terminal of some columns, or plain, with stable times, paths and version."""
    for name, value in (
        ("XDG_STATE_HOME", str(quiet / "state")),
        ("FASER_ALIGN_POOL", str(quiet / "pool")),
        ("NO_COLOR", "1"),
        ("TERM", "xterm"),
        ("TZ", "Europe/Zurich"),
    ):
        monkeypatch.setenv(name, value)

    def show(form: str, *words: str) -> str:
        out = Terminal()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", form if form.isdecimal() else "80")
            patch.setattr(time, "time", lambda: NOW)
            patch.setattr(sys, "stdout", out)
            time.tzset()
            words = (*words, "--plain") if form == "plain" else words
            assert plain_command(*words).status == 0
        stands = "/data/alignment/of/faser/".ljust(len(str(quiet)), "x")[: len(str(quiet))]
        shown = out.getvalue().replace(str(quiet), stands)
        return shown.replace(f"faser-align {faser_align.__version__}", "faser-align VERSION")

    yield show
    monkeypatch.undo()
    time.tzset()


CASES = [
    ("list",),
    *((verb, name) for verb in ("status", "history", "analyze") for name in NAMES),
    *(("metrics", name) for name in ("converged", "lost", "one")),
    ("metrics", "converged", "--plot"),
    *(("why", name) for name in ("converged", "one", "running")),
    ("compare", "converged", "failed", "created"),
    *(("report", name, "--text") for name in ("converged", "failed", "created")),
]


@pytest.mark.parametrize("form", FORMS)
def test_screens_are_as_they_were(form: str, screen: Callable[..., str]) -> None:
    """Every screen in every form is the recorded one."""
    differing = []
    for words in CASES:
        path = SCREENS / form / f"{'-'.join(word.lstrip('-') for word in words)}.txt"
        shown = screen(form, *words)
        if WRITE:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shown, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != shown:
            differing.append(f"{' '.join(words)}:\n{shown}")
    assert not differing, "\n".join(differing)


def test_there_is_no_screen_too_many() -> None:
    """Each recorded screen belongs to a tested command."""
    wanted = {f"{form}/{'-'.join(word.lstrip('-') for word in words)}.txt" for form in FORMS for words in CASES}
    assert {str(path.relative_to(SCREENS)) for path in SCREENS.glob("*/*")} == wanted


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_screens_fit_the_terminal(columns: int, screen: Callable[..., str]) -> None:
    """No line exceeds the terminal, down to 40 columns, except unbreakable words, commands to paste, and curves."""
    command = re.compile(r" *(CONDOR_CONFIG=\S+ )?(faser-align|condor_\w+) [^`]+")
    for words in (case for case in CASES if "--plot" not in case):
        for line in screen(str(columns), *words).splitlines():
            longest = max(map(len, line.split()), default=0)
            assert len(line) <= columns or longest > columns - 20 or command.fullmatch(line), (words, line)


def test_plain_output_is_plain(screen: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain output, by option or by environment variable, has neither drawn lines nor Braille characters."""
    for words in CASES:
        shown = screen("plain", *words)
        assert [c for c in shown if 0x2500 <= ord(c) < 0x2900] == []
    option = screen("plain", "status", "converged")
    monkeypatch.setenv("FASER_ALIGN_PLAIN", "1")
    assert screen("80", "status", "converged") == option


def test_watching_plainly(screen: Callable[..., str]) -> None:
    """Plain watching writes lines that stay, also on a terminal, and never redraws a screen."""
    assert screen("plain", "watch", "converged").splitlines()[0].startswith("converged  converged: ")
    assert "\x1b" not in screen("plain", "watch", "converged")


def test_colours_are_for_who_wants_them(screen: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours; NO_COLOR, a dumb terminal and plain output have none, with the same text."""
    without = screen("80", "status", "converged")
    monkeypatch.setenv("TERM", "dumb")
    assert screen("80", "status", "converged") == without
    monkeypatch.delenv("NO_COLOR")
    assert screen("80", "status", "converged") == without
    monkeypatch.setenv("TERM", "xterm")
    coloured = screen("80", "status", "converged")
    assert "\x1b[1;32m✓ converged  converged\x1b[0m" in coloured
    assert "\x1b" not in screen("plain", "status", "converged")


def written_to(terminal: int) -> bytes:
    """Return everything written to a pseudo-terminal after closing both ends."""
    found = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's answer when the other end is closed
            break
        if not part:
            break
        found += part
    os.close(terminal)
    return found


@pytest.mark.parametrize(
    ("wanted", "shown"), [({"NO_COLOR": "1"}, b"%s\r\n"), ({}, b"\x1b[33m%s\x1b[0m\r\n")], ids=["without", "with"]
)
def test_colours_of_warnings(wanted: dict[str, str], shown: bytes) -> None:
    """A warning has a colour on a terminal, but not with NO_COLOR, and foreign control sequences are removed."""
    ours, theirs = pty.openpty()
    program = "from faser_align.cli import console; console.warn('\\x1b[5mno \\x1b]0;title\\x07room')"
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **wanted}
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    assert written_to(ours) == shown % b"warning: no room"


def test_a_real_terminal(quiet: Path) -> None:
    """On a pseudo-terminal of 80 columns the screen equals the recorded one."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(quiet / "state"),
        "NO_COLOR": "1",
        "TERM": "xterm",
        "TZ": "Europe/Zurich",
    }
    program = Path(sys.executable).with_name("faser-align")
    done = subprocess.Popen([program, "why", "converged"], stdout=theirs, env=environment)
    os.close(theirs)
    found = written_to(ours)
    assert done.wait(60) == 0
    assert found.decode().replace("\r\n", "\n") == (SCREENS / "80" / "why-converged.txt").read_text(encoding="utf-8")
