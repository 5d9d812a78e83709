"""Run the command line in tests."""

import io
import sys
from collections.abc import Callable, Iterator
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


# Runs the command line with arguments.
Command = Callable[..., Result]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all commands, without groups."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


def faser_align(*words: str) -> Result:
    """Run the command line in a process of its own."""
    done = forking.run(list(words))
    return Result(done.returncode, done.stdout, done.stderr)


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs the command line in this process."""

    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["faser-align", *words])
        capsys.readouterr()
        try:
            main.main()
        except SystemExit as left:
            return Result(int(left.code or 0), *capsys.readouterr())
        return Result(0, *capsys.readouterr())

    return run
