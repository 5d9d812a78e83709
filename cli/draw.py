"""What a screen is made of, and how it gets onto a terminal, into a live display or into a text file.

Screens are built as lines and grids by functions that know no terminal; rich is imported where they are drawn.
"""

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

TEXT_WIDTH = 100  # of a grid in a text file


class Line(NamedTuple):
    """A line of text; ``style`` is rich's (``bold``, ``red``) and carries nothing that the text does not say."""

    text: str = ""
    style: str = ""


class Grid(NamedTuple):
    """A table; a column whose name starts with ``>`` is aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Line | Grid


def show(blocks: Iterable[Block]) -> None:
    """Write blocks to standard output: wrapped on a terminal, but for paths, and one line each without one."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.file.write(text(blocks))
        console.file.flush()  # who follows a campaign through a pipe wants each line when it comes
        return
    for block in blocks:
        if isinstance(block, Grid):
            console.print(_table(block))
        else:
            for part in _wrapped(block.text, console.width):
                console.print(part, style=block.style or None, soft_wrap=True)


def text(blocks: Iterable[Block]) -> str:
    """Blocks as plain text."""
    from rich.console import Console

    written = io.StringIO()
    plain = Console(file=written, width=TEXT_WIDTH, highlight=False, markup=False, emoji=False, color_system=None)
    for block in blocks:
        if isinstance(block, Grid):
            plain.print(_table(block))
        else:
            written.write(block.text + "\n")
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def live(blocks: Iterable[Block]) -> "RenderableType":
    """Blocks for rich's live display, which has to know where lines end."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        *(
            _table(block) if isinstance(block, Grid) else Text(block.text, block.style, overflow="fold")
            for block in blocks
        )
    )


def _wrapped(text: str, width: int) -> list[str]:
    """A line in pieces that fit, further ones indented as the first; a path is never cut, so that it can be copied."""
    indent = text[: len(text) - len(text.lstrip())]
    wrapper = textwrap.TextWrapper(width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text) or [""]


def _table(grid: Grid) -> "RenderableType":
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style="bold")
    for column in grid.columns:
        side = "right" if column.startswith(">") else "left"
        drawn.add_column(column.lstrip(">"), justify=side, overflow="fold", vertical="bottom")  # type: ignore[arg-type]
    for row in grid.rows:
        drawn.add_row(*row)
    return drawn
