"""How the commands write: text and tables on standard output, warnings on standard error, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from faser_align.fsm.reasons import harmless
from faser_align.system.program import named, program

__all__ = ["named", "note", "program", "say", "sentence", "show_json", "table", "warn"]


def say(text: str = "") -> None:
    """Write a line for a person; a reason or a log in it cannot command the terminal."""
    typer.echo(harmless(text))


def warn(text: str) -> None:
    """Write a warning to standard error, where it does not disturb ``--json``; like ``say`` it cannot command the terminal."""
    from faser_align.cli.show import draw

    line = f"warning: {harmless(named(text))}"
    typer.echo(typer.style(line, fg="yellow") if draw.has_colours() else line, err=True)


def note(text: str) -> None:
    """Write a line about progress to the terminal of a person who waits, and nothing to a program."""
    if sys.stderr.isatty():
        typer.echo(text, err=True)


def sentence(problem: object) -> str:
    """A mistake as one line that a terminal shows as it is: what a name has of control characters is written out."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(problem)
    )


def show_json(value: Any) -> None:
    """Write ``value`` as JSON, the only thing on standard output."""
    json.dump(value, sys.stdout, indent=2, sort_keys=False, allow_nan=False, default=str)
    sys.stdout.write("\n")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, plain: bool = False
) -> None:
    """Draw a table; a column whose name starts with ``>`` is aligned to the right, None is an empty cell; plain as in ``draw.show``."""
    from faser_align.cli.show import draw

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    draw.show([*([draw.Line(title, "bold")] if title else []), draw.Grid(columns, cells), draw.Line()], plain=plain)
