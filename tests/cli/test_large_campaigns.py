"""Test the reading commands in a campaign of many nodes: they show what matters, and count the rest."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from commandline import Command, Terminal
from largecampaigns import make_large

from faser_align.campaign import layout
from faser_align.state import publish, registry

FILES, ITERATIONS = 400, 2
COLUMNS = ("dag_id", "opened_utc", "closed_utc", "job_id", "outcome", "return_value", "exit_status", "host")


@pytest.fixture(scope="module")
def place(session_folder: Path) -> Path:
    """Provide a folder with a campaign of 802 nodes and 1,609 events, whose first two files are dropped."""
    made = session_folder / "large campaigns"
    make_large(made / "large", files=FILES, iterations=ITERATIONS, lost=2)
    return made


@pytest.fixture
def large(plain_command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Provide the command line with this campaign."""
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))
    registry.add("large", str(place / "large"))
    return plain_command


def test_a_long_history_is_cut_and_says_so(large: Command) -> None:
    """Of more than a thousand events only the campaign's own and unusual ones are shown; --all shows all."""
    everything = json.loads(large("history", "large", "--json").out)
    own = [row for row in everything if row["subject"] == "campaign"]
    brief = large("history", "large").out.splitlines()
    assert brief[0].startswith(f"{len(everything) - len(own):,} events of nodes, ordinary or old")
    assert sum("campaign  " in line for line in brief) == len(own)
    assert not [line for line in brief if "reco_s1_i01_00400  " in line]
    assert sum("waiting -> running" in line for line in large("history", "large", "--all").out.splitlines()) == 802
    one = large("history", "large", "--node", "reco_s1_i01_00400").out
    assert "are not shown" not in one
    assert "waiting -> running" in one
    since = everything[-30]["utc"]
    assert "are not shown" not in large("history", "large", "--since", since).out


def test_counts_of_many_nodes(large: Command) -> None:
    """Nodes are counted correctly in all states."""
    seen = json.loads(large("status", "large", "--json").out)
    assert seen["nodes"] == {"done": 800, "lost": 2}
    assert [row["nodes"] for row in seen["iterations"]] == [{"done": 399, "lost": 2}, {"done": 401}]
    assert len(large("status", "large").out.splitlines()) < 30


@pytest.fixture(scope="module")
def troubled_folder(place: Path) -> Path:
    """Provide a campaign in its last iteration, with a hundred held jobs on different hosts, and retries."""
    folder = place / "troubled"
    make_large(folder, files=FILES * 3, iterations=10, ended=False)
    why = "'cannot send to wn' || (1000 + file) || '.cern.ch'"
    again = "(SELECT node FROM nodes WHERE iteration = 9 AND file % 4 = 0)"
    with closing(sqlite3.connect(folder / layout.STATE, isolation_level=None)) as db:
        db.execute("UPDATE campaign SET stage = 1, iteration = 10")
        db.execute(f"UPDATE nodes SET state = 'held', reason = {why} WHERE state = 'running' AND file % 6 = 1")
        db.execute(f"INSERT INTO attempts SELECT node, 2, {', '.join(COLUMNS)} FROM attempts WHERE node IN {again}")
        db.execute(f"UPDATE attempts SET outcome = 'failed', return_value = 63 WHERE attempt = 1 AND node IN {again}")
        db.execute(f"UPDATE nodes SET attempts = 2 WHERE node IN {again}")
    publish.publish(str(folder))
    return folder


@pytest.fixture
def troubled(large: Command, troubled_folder: Path) -> Command:
    """Provide the command line with that campaign as well."""
    registry.add("troubled", str(troubled_folder))
    return large


@pytest.mark.parametrize(("columns", "most"), [(40, 66), (80, 50), (200, 42)])
def test_the_status_of_a_large_campaign_is_one_screen(
    columns: int, most: int, troubled: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 12,000 nodes, hundreds held and retried, status stays one screen, also on a narrow terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert troubled("status", "troubled").status == 0
    shown = terminal.getvalue()
    assert len(shown.splitlines()) <= most, shown
    assert "others like it: cannot send to wn" in " ".join(shown.split())
    assert "300 nodes retried" in shown
    assert "10 " in shown


def test_plain_words_need_no_pydantic() -> None:
    """A campaign's name or a state is read without slow imports; a number is still checked."""
    code = "import sys; from faser_align.cli import main; sys.argv = {!r}\ntry: main.main()\nfinally: print({})"
    loaded = "sorted({'pydantic', 'rich', 'statistics', 'jinja2'} & set(sys.modules), key=str)"
    for words in (["list", "--state", "failed"], ["status", "no-such"], ["history", "no-such", "--node", "x"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(["faser-align", *words], loaded)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.stdout.splitlines()[-1] == "[]", done


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("operations.extension operations.lifecycle operations.notify_retry state.create", []),
        ("operations.submission state.schema", ["sqlite_utils"]),
        ("notifiers.message state.facts alignment.quality.grades", []),
    ],
    ids=["an existing campaign", "a new one", "a message"],
)
def test_libraries_that_take_long_are_not_loaded(modules: str, expected: list[str]) -> None:
    """Only a new database needs sqlite-utils, which would load pandas; messages and their grades need no NumPy."""
    code = f"import sys; {'; '.join(f'import faser_align.{module}' for module in modules.split())}; "
    loaded = "print(*sorted({'sqlite_utils', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + loaded], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
