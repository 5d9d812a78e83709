"""Test symbols and colours: on a terminal only, and only beside words that say the same."""

import io
import re
import sys
from typing import Any

import pytest
from commandline import Terminal

from faser_align.cli import console
from faser_align.cli.show import draw, explain, screens
from faser_align.operations.checking import Check

CHECKS = [Check("Python", "ok", "3.13"), Check("EOS", "failed", "no ticket"), Check("AFS", "skipped", "not here")]


class Ascii(Terminal):
    """A terminal that shows only ASCII characters."""

    encoding = "ascii"


def listed(name: str, state: str, **changes: Any) -> dict[str, Any]:
    row = {"stage": 1, "stages": 1, "iteration": 2, "limit": 4, "files": 9, "lost": 0, "chi2_per_ndf": 1.0}
    return {**row, "effect_um": 0.5, "updated_utc": "", "name": name, "state": state, "folder": f"/{name}", **changes}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that shows blocks on a stream."""

    def show(
        out: io.StringIO, blocks: list[draw.Block], columns: int = 80, *, plain: bool = False, colour: bool = True
    ) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "" if colour else "1")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            draw.show(blocks, plain=plain)
        return out.getvalue()

    return show


def test_checks_on_a_terminal(shown: Any) -> None:
    """Results have a symbol and a colour, and their number is in the last line."""
    text = shown(Terminal(), explain.checks(CHECKS))
    assert "\x1b[32m✓ ok" in text
    assert "\x1b[31m✗ failed" in text
    assert text.splitlines()[-1] == "\x1b[31m3 checks: 1 ok, 1 failed, 1 skipped\x1b[0m"
    without = shown(Terminal(), explain.checks(CHECKS), colour=False)
    assert "✗ failed" in without
    assert "\x1b" not in without
    narrow = shown(Terminal(), explain.checks(CHECKS), 20)
    assert "✗ failed" in narrow


@pytest.mark.parametrize("plain", [False, True])
def test_a_pipe_gets_words_only(shown: Any, plain: bool) -> None:
    """Without a terminal, or plain, there is no symbol, no colour and no bar."""
    rows = [listed("a", "converged"), listed("b", "reconstructing", nodes_held=2, lost=1)]
    for blocks in (explain.checks(CHECKS), screens.campaigns(rows), [draw.Bar(1, 2, "50 %")]):
        for out in (io.StringIO(), *([Terminal()] if plain else [])):
            text = shown(out, blocks, plain=plain)
            assert text.replace("─", "-").isascii()
            assert "\x1b" not in text
    assert "reconstructing, 2 held" in shown(io.StringIO(), screens.campaigns(rows))


def test_a_terminal_without_symbols(shown: Any) -> None:
    """A terminal whose encoding lacks the symbols gets ASCII ones."""
    text = shown(Ascii(), [*explain.checks(CHECKS), draw.Bar(1, 2, "50 %")], colour=False)
    assert "+ ok" in text
    assert "x failed" in text
    assert f"  {'=' * 15}{'-' * 15} 50 %\n" in text


def test_the_list_marks_what_needs_attention(shown: Any) -> None:
    """Held jobs, dropped files and stuck campaigns are marked, and campaigns are counted by state."""
    rows = [
        *(listed("a", "converged"), listed("b", "reconstructing", nodes_held=2), listed("c", "failed", lost=1)),
        *(listed("d", "reconstructing"), listed("e", "exhausted")),
    ]
    text = shown(Terminal(), screens.campaigns(rows, stuck={"/d"}), 200, colour=False)
    states = ("✓ converged", "! reconstructing, 2 held", "✗ failed", "✗ reconstructing, stuck", "! exhausted")
    assert [state for state in states if state not in text] == []
    assert "! 8/9" in text
    assert text.endswith("5 campaigns: 2 reconstructing, 1 converged, 1 failed, 1 exhausted\n")


def test_a_bar_of_the_current_iteration(shown: Any) -> None:
    """The bar is as long as the share of nodes that are done, and fits a narrow terminal."""
    assert f"{'━' * 10}{'─' * 20} 33 % of iteration 2" in shown(
        Terminal(), [draw.Bar(1, 3, "33 % of iteration 2")], colour=False
    )
    assert len(shown(Terminal(), [draw.Bar(1, 3, "33 % of iteration 2")], 30, colour=False).rstrip()) <= 30


def test_errors_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error has a red mark on a terminal, and only the word elsewhere and in plain output."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, expected in ((Terminal(), "\x1b[31m\x1b[1m✗ error:\x1b[0m no\n"), (io.StringIO(), "error: no\n")):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            console.error("no")
        assert stream.getvalue() == expected
    plain = Terminal()
    monkeypatch.setattr(sys, "argv", ["faser-align", "list", "--plain"])
    monkeypatch.setattr(sys, "stderr", plain)
    console.error("no")
    assert plain.getvalue() == "error: no\n"


def test_units_stay_with_their_numbers(shown: Any) -> None:
    """Neither a line nor a cell is wrapped between a number and its unit."""
    text = "positive +0.33 %, negative -0.34 %; moved by 11.0 um or 24 urad, 3.1 sigma of its error"
    for columns in range(20, 60):
        found = shown(Terminal(), [draw.Line(text), draw.Grid(("name", "text"), [("a", text)])], columns, colour=False)
        assert not re.search(r"^ *(%|µm|µrad|σ)", found, re.MULTILINE), found
