"""Write output: text and tables to standard output, warnings to standard error, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from faser_align.cli import streams
from faser_align.fsm.reasons import strip_control_characters
from faser_align.system.program import named, program

__all__ = ["error", "named", "note", "program", "say", "sentence", "show_json", "table", "warn"]

_PLAIN = "--plain"  # the option of reading commands, which errors and warnings obey as well


def say(text: str = "") -> None:
    """Write a line for a person, with control characters in reasons and logs removed."""
    typer.echo(strip_control_characters(text))


def warn(*texts: str) -> None:
    """Write warnings to standard error, where they do not disturb ``--json``, without control characters."""
    from faser_align.cli.show import draw

    colours = draw.has_colours() and not draw.is_plain(_PLAIN in sys.argv)
    for text in texts:
        line = f"warning: {strip_control_characters(named(text))}"
        typer.echo(typer.style(line, fg="yellow") if colours else line, err=True)


def error(text: str) -> None:
    """Write an error to standard error; on a terminal with a mark and in colour, unless output is plain."""
    from faser_align.cli.show import draw

    plain = draw.is_plain(_PLAIN in sys.argv)
    colours = draw.has_colours() and not plain
    mark = f"{streams.able('✗', sys.stderr)} " if sys.stderr.isatty() and not plain else ""
    head = f"{mark}error:"
    typer.echo(f"{typer.style(head, fg='red', bold=True) if colours else head} {text}", err=True)


def note(text: str) -> None:
    """Write a line about progress to a person's terminal, and nothing to a program."""
    if sys.stderr.isatty():
        typer.echo(text, err=True)


def sentence(problem: object) -> str:
    """Return an error as one line with control characters escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(problem)
    )


def show_json(value: Any) -> None:
    """Write ``value`` as JSON, with named tuples as objects, the only thing on standard output."""
    json.dump(_plain(value), sys.stdout, indent=2, allow_nan=False, default=str)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, plain: bool = False) -> None:
    """Draw a table; ``>`` before a column's name aligns it to the right, None is an empty cell.

    ``plain`` is as in ``draw.show``.
    """
    from faser_align.cli.show import draw

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    draw.show([draw.Grid(columns, cells), draw.Line()], plain=plain)
