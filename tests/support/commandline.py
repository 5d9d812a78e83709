"""Run the command line in tests."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import forking
import pytest

from faser_align.cli import main


class Result(NamedTuple):
    """Result of a command: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


class Terminal(io.StringIO):
    """Standard output that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


# Runs the command line with arguments; ``status`` is the exit status that it must have, if given.
Command = Callable[..., Result]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all commands, without groups."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


def configure(old: str, new: str) -> None:
    """Replace a part of the configuration in the current folder."""
    path = Path("faser-align.toml")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add(text: str) -> None:
    """Add tables to the configuration in the current folder."""
    with open("faser-align.toml", "a", encoding="utf-8") as file:
        file.write(text)


def says(check: dict[str, Any], result: str, *words: str) -> None:
    """Check the result of one of the checks of ``check --json``, and words of its text."""
    assert (check["result"], [each for each in words if each not in check["text"]]) == (result, []), check


def checked(words: tuple[str, ...], result: Result, status: int | None) -> Result:
    """Return the result of a command, which must have this exit status."""
    assert status in (None, result.status), (words, result)
    return result


def faser_align(*words: str, status: int | None = None) -> Result:
    """Run the command line in a process of its own."""
    done = forking.run(list(words))
    return checked(words, Result(done.returncode, done.stdout, done.stderr), status)


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs the command line in this process."""

    def run(*words: str, status: int | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["faser-align", *words])
        capsys.readouterr()
        code = None
        try:
            main.main()
        except SystemExit as left:
            code = left.code
        return checked(words, Result(int(code or 0), *capsys.readouterr()), status)

    return run
