"""How the commands write: text and tables on standard output, warnings on standard error, JSON for programs.

rich costs more than most commands do, so it is imported where a table is drawn.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer


def program() -> str:
    """How the person types this program, for hints on what to type next: as a launcher says, else its plain name."""
    return os.environ.get("FASER_ALIGN_COMMAND") or "faser-align"


def say(text: str = "") -> None:
    """Write a line for a person."""
    typer.echo(text)


def warn(text: str) -> None:
    """Write a warning to standard error, where it does not disturb ``--json``."""
    typer.secho(f"warning: {named(text)}", err=True, fg="yellow")


def named(text: str) -> str:
    """A sentence made deeper inside, where the program has its own name, with the name under which it is typed here."""
    return text.replace("`faser-align ", f"`{program()} ")


def sentence(problem: object) -> str:
    """A mistake as one line that a terminal shows as it is: what a name has of control characters is written out."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(problem)
    )


def show_json(value: Any) -> None:
    """Write ``value`` as JSON, the only thing on standard output."""
    json.dump(value, sys.stdout, indent=2, sort_keys=False, allow_nan=False, default=str)
    sys.stdout.write("\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Draw a table; a column whose name starts with ``>`` is aligned to the right.

    None is drawn as an empty cell. Without a terminal the width is that of the contents.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=max(80, console.measure(drawn).maximum))
    console.print(drawn)
