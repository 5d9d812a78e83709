"""Test that every block of code in the documentation is run by a test, or says why not.

A comment precedes each block, ``<!-- run by test_NAME -->`` or ``<!-- not run: why -->``; a page that one test follows
from top to bottom has one ``<!-- blocks run by test_NAME -->``. Blocks of ``text`` show output.
"""

import gzip
import os
import re
import shlex
import shutil
import sqlite3
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command, in_process
from sources import names_of_tests

from faser_align.alignment.parameters.constants import parse_constants
from faser_align.campaign import layout
from faser_align.config.load import parse_config
from faser_align.notifiers.targets import load_targets
from faser_align.state import registry

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)((?:    +\S.*\n(?:\n(?=    ))?)+)")
_MARK = re.compile(r"<!-- (run by|not run:) (.+?) -->\s*$")


class Block(NamedTuple):
    """A block: its place, language, text, and mark."""

    page: str
    language: str
    text: str
    runner: str
    reason: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, fenced or indented, in order."""
    text = page.read_text(encoding="utf-8")
    found = [(m.start(), m[2], textwrap.dedent(m[3])) for m in _FENCE.finditer(text)]
    plain = _FENCE.sub(lambda m: "x" * len(m[0]), text)  # of the same length, so that positions stay
    found += [
        (m.start(), "sh", textwrap.dedent(m[1])) for m in _INDENTED.finditer(plain) if not _in_a_list(plain, m.start())
    ]
    followed = re.search(r"<!-- blocks run by (test_\w+) -->", text)
    for start, language, code in sorted(found):
        mark = _MARK.search(text[:start])
        runner, reason = ("", "") if mark is None else (mark[2], "") if mark[1] == "run by" else ("", mark[2])
        if followed and not reason:
            runner = runner or followed[1]
        yield Block(page.name, language, code, runner, reason)


def _in_a_list(text: str, start: int) -> bool:
    """Return whether an indented block belongs to an item of a list: the last line without indent begins one."""
    before = [line for line in text[:start].splitlines() if line and not line.startswith(" ")]
    return bool(before) and re.match(r"(\d+\.|-) ", before[-1]) is not None


ALL = [block for page in PAGES for block in blocks(page)]


def those_of(runner: str) -> list[Block]:
    """Return the blocks that a test runs."""
    found = [block for block in ALL if block.runner == runner]
    assert found
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_who_runs_it(page: Path) -> None:
    """A block of code names an existing test that runs it, or the reason why none does."""
    for block in blocks(page):
        if block.language in ("text", ""):
            continue
        assert block.reason or block.runner, f"{page.name}: mark this block:\n{block.text}"
        assert not block.runner or block.runner in names_of_tests(), block.runner
        for named in re.findall(r"tests/\S+\.py", block.reason):
            assert (ROOT / named).exists(), named


def test_configurations_on_the_pages_are_valid() -> None:
    """Each configuration shown on a page is valid."""
    for block in those_of("test_configurations_on_the_pages_are_valid"):
        parse_config(block.text, block.page)


def test_targets_on_the_pages_are_read(tmp_path: Path) -> None:
    """Files of targets shown on pages are valid, with the names in them."""
    for block in those_of("test_targets_on_the_pages_are_read"):
        path = tmp_path / "targets.toml"
        path.write_text(block.text)
        path.chmod(0o600)
        assert "me" in load_targets(str(path))


def test_the_constants_of_the_page_are_read() -> None:
    """Lines of constants shown on a page are valid."""
    for block in those_of("test_the_constants_of_the_page_are_read"):
        assert len(parse_constants(block.text, block.page)) == block.text.count('"') / 2


@pytest.fixture(scope="module")
def desk(session_folder: Path) -> Iterator[Path]:
    """Provide a folder with one converged and one running campaign, both registered."""
    folder = session_folder / "pages"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        for name, iterations in (("demo-1", 4), ("demo-2", 2)):
            record = make_campaign(folder / name, files=1, name=name)
            registry.add(name, record["folder"])
            for iteration in range(1, iterations + 1):
                run_iteration(record, iteration)
                result = layout.result_file(record["folder"], 1, iteration)
                shutil.copy(DATA / "constants" / "align_2025.txt", result)
        assert hook("final", str(folder / "demo-1"), "final", 0, 0).returncode == 0
        start = Path(layout.constants_file(str(folder / "demo-1"), 1, 1))
        start.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / "constants" / "align_2025.txt", start)
        patch.chdir(folder)
        yield folder


@pytest.fixture
def command(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, in that folder."""
    return in_process(monkeypatch, capsys)


def lines_of(runner: str) -> list[list[str]]:
    """Return the words of each line of those blocks, without comments."""
    lines = [shlex.split(line, comments=True) for block in those_of(runner) for line in block.text.splitlines()]
    return [words for words in lines if words]


def test_the_tutorial_can_be_followed(command: Command) -> None:
    """Each command of the tutorial, from top to bottom, works on a converged campaign."""
    for program, *words in lines_of("test_the_tutorial_can_be_followed"):
        assert program == "faser-align"
        command(*words, status=0)


def test_a_report_that_cannot_be_written_here_is_written_at_home(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another user's folder `report` writes to the home folder, and prints the full path."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir(mode=0o555)
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    expected = (here if os.access(here, os.W_OK) else home) / "demo-1.html"  # root can write everywhere
    assert command("report", "demo-1").out == f"{expected} written\n"
    assert expected.exists()


def test_commands_on_the_pages_work(command: Command) -> None:
    """Each command of the guides works on a running campaign."""
    for program, *words in lines_of("test_commands_on_the_pages_work"):
        assert program == "faser-align"
        command(*("demo-2" if word == "NAME" else word for word in words), status=0)


def test_python_on_the_pages_runs(desk: Path, command: Command) -> None:
    """Each piece of Python on the pages runs unchanged."""
    import pandas  # slow, and nothing else needs it

    (desk / "tracks.bin").write_bytes(gzip.decompress((DATA / "mille" / "mp2input_4st.bin.gz").read_bytes()))
    command("export", "demo-2", "--format", "csv", "-o", "exported")
    for block in those_of("test_python_on_the_pages_runs"):
        exec(compile(block.text, block.page, "exec"), {})  # noqa: S102
    assert list(pandas.read_parquet("iterations.parquet")["iteration"]) == [1, 2, 3, 4]


def test_sql_on_the_pages_runs(desk: Path) -> None:
    """Each query on the pages runs on a campaign's snapshot."""
    db = sqlite3.connect(f"file:{desk}/demo-1/{layout.PUBLISHED}?mode=ro", uri=True)
    for block in those_of("test_sql_on_the_pages_runs"):
        for query in filter(str.strip, re.sub(r"--.*", "", block.text).split(";")):
            db.execute(query).fetchall()
    db.close()
