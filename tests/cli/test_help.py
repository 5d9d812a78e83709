"""Test the help of every command."""

import re

import pytest
from commandline import Command, commands

from faser_align.cli import main

COMMANDS = sorted(commands(main.root()))


@pytest.fixture(autouse=True)
def _80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set 80 columns, whatever the terminal of the tests."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("group", sorted({path[:-1] for path in COMMANDS}), ids=" ".join)
def test_what_a_command_does_is_not_cut(group: tuple[str, ...], command: Command) -> None:
    """In the list of commands each has a complete sentence, on 80 columns."""
    shown = command(*group, "--help").out
    titles = ["Commands"] if group else list(main.GROUPS)
    listed = [line for title in titles for line in shown.partition(f"{title}:\n")[2].partition("\n\n")[0].splitlines()]
    assert len(listed) == len({path[len(group)] for path in COMMANDS if path[: len(group)] == group})
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []
    assert max(len(line) for line in listed) <= 80


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example(path: tuple[str, ...], command: Command) -> None:
    """The help of each command has one example of that command, on 80 columns.

    The usage and the list of arguments have names in capitals, without braces and types of Python.
    """
    shown = command(*path, "--help", status=0).out
    assert f"Example: faser-align {' '.join(path)}" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert not re.search(r"Usage: [^\n]*(\{|\[\[| [a-z_]+$)|^  \[?[A-Z]\S* <", shown, re.MULTILINE)


def test_values_of_options_have_plain_names(plain_command: Command) -> None:
    """The help names values TEXT, N, NUMBER or PATH instead of types of Python, and no year is the default."""
    shown = {name: plain_command(name, "--help").out for name in ("submit", "watch", "mille")}
    assert "-f, --files TEXT" in shown["submit"]
    assert re.search(r"-y, --year N +Year of data taking.\n", shown["submit"])
    assert "--interval NUMBER" in shown["watch"]
    assert "--output PATH" in shown["mille"]
    assert not re.search(r"--\w+ <|\[default: 0\]", "".join(shown.values()))


def test_a_missing_argument_has_the_name_of_the_help(plain_command: Command) -> None:
    """An error names an argument as the usage line does."""
    assert "missing argument 'AFTER'" in plain_command("constants", "diff", "a").err
