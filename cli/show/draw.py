"""Draw lines and grids on a terminal, in a live display, in a text file, or as plain text.

Functions that know no terminal build screens as lines and grids. Tables are drawn here, because rich would take as long
as the rest of a command; it is imported only for live displays.
"""

import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from faser_align.cli.streams import able
from faser_align.fsm.reasons import strip_control_characters
from faser_align.system import formatting

if TYPE_CHECKING:
    from rich.console import RenderableType

TEXT_WIDTH = 100  # columns of a grid in a text file
WIDTH_MIN = 20  # columns, whatever the terminal reports
COLUMN_MIN = 12  # columns of a wrapped text column
GAP, GAP_MIN = 2, 1  # between columns; the smaller one if that avoids wrapping
BAR_MAX = 30  # columns of a progress bar
PLAIN = "FASER_ALIGN_PLAIN"  # environment variable: any value means plain output

_SYMBOLS = "µχ²Δσ±→"
_UNIT = re.compile(r"(?<=\d) (?=[%µσ]|u(?:m|rad)\b|sigma\b)")  # between a number and its unit
_BOUND = "\N{NO-BREAK SPACE}"
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Line(NamedTuple):
    """A line of text; ``style`` is made of ``bold``, ``dim`` and colours, and repeats only what the text says.

    A ``whole`` line is never wrapped: it is a command to be pasted. ``spans`` (begin, end, style) colour parts of a line.
    ``symbol`` precedes the text on a terminal.
    """

    text: str = ""
    style: str = ""
    whole: bool = False
    spans: tuple[tuple[int, int, str], ...] = ()
    symbol: str = ""


class Mark(NamedTuple):
    """A symbol before a cell and the colour of both, on a terminal only: both repeat what the cell says."""

    symbol: str
    style: str


GOOD, DOUBT, BAD = Mark("✓", "green"), Mark("!", "yellow"), Mark("✗", "red")
BUSY, NOTHING = Mark("▸", "cyan"), Mark("-", "dim")


class Grid(NamedTuple):
    """A table; a column whose name starts with ``>`` is aligned to the right.

    ``narrow`` lists the columns that remain if the terminal has no room for all; without it each row is then shown as
    one value per line. ``marks`` are those of cells, by row and column. Wrapped text has at least ``wrapped`` columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    narrow: Sequence[int] = ()
    marks: Mapping[tuple[int, int], Mark] = MappingProxyType({})
    wrapped: int = COLUMN_MIN


class Item(NamedTuple):
    """A graded remark: a symbol on a terminal, a word, and text whose further lines are indented like its first."""

    mark: Mark
    word: str
    text: str


class Bar(NamedTuple):
    """A progress bar, on a terminal only: other lines have the numbers."""

    done: int
    total: int
    text: str


Block = Line | Grid | Item | Bar


def is_plain(asked: bool = False) -> bool:
    """Return whether output is plain: by option, or by environment variable."""
    return asked or bool(os.environ.get(PLAIN))


def show(blocks: Iterable[Block], *, plain: bool = False) -> None:
    """Write blocks to standard output: wrapped on a terminal, except for paths, otherwise one line each.

    ``plain`` shows tables as one value per line, and wraps and colours nothing.
    """
    out, plain = sys.stdout, is_plain(plain)
    terminal = out.isatty() and not plain
    found = _laid_out(blocks, columns() if terminal else TEXT_WIDTH, wrap=terminal, plain=plain)
    colours = terminal and has_colours()
    out.write("".join(f"{_coloured(line) if colours else line.text.rstrip()}\n" for line in _writable(found)))
    out.flush()  # a reader that follows a campaign through a pipe needs each line at once


def text(blocks: Iterable[Block], *, plain: bool = False) -> str:
    """Return blocks as text, with tables at most ``TEXT_WIDTH`` wide."""
    found = _laid_out(blocks, TEXT_WIDTH, wrap=False, plain=is_plain(plain))
    return "".join(f"{line.text.rstrip()}\n" for line in found)


def live(blocks: Iterable[Block]) -> "RenderableType":
    """Return blocks for rich's live display, which needs the ends of lines."""
    from rich.text import Text

    colours = has_colours()
    shown = (_coloured(line) if colours else line.text for line in _laid_out(blocks, columns(), wrap=True))
    return Text.from_ansi("\n".join(shown), overflow="fold")


def columns() -> int:
    """Return the columns of the terminal."""
    return max(WIDTH_MIN, shutil.get_terminal_size((80, 24)).columns)


def lines() -> int:
    """Return the lines of the terminal."""
    return shutil.get_terminal_size((80, 24)).lines


def height(blocks: Iterable[Block]) -> int:
    """Return how many lines blocks take on the terminal."""
    width = columns()
    return sum(max(1, -(-len(line.text) // width)) for line in _laid_out(blocks, width, wrap=True))


def cut(blocks: Iterable[Block], last: Iterable[Block], most: int) -> list[Block]:
    """Return as many lines of ``blocks`` as fit above ``last`` on ``most`` lines of the terminal."""
    width, last = columns(), list(last)
    room = most - height(last) - 1
    kept: list[Block] = []
    for line in _laid_out(blocks, width, wrap=True):
        room -= max(1, -(-len(line.text) // width))
        if room < 0:
            break
        kept.append(line._replace(whole=True))
    return [*kept, Line("... (no room for more)", "dim"), *last]


def has_colours() -> bool:
    """Return whether to use colours on the terminal (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _coloured(line: Line) -> str:
    shown, at, parts = line.text.rstrip(), 0, []
    for begin, end, style in line.spans:
        parts += [shown[at:begin], _painted(shown[begin:end], style)]
        at = end
    return "".join([*parts, _painted(shown[at:], "" if line.spans else line.style)])


def _painted(text: str, style: str) -> str:
    codes = ";".join(_COLOURS[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text


def _writable(lines: Iterable[Line]) -> Iterator[Line]:
    """Draw lines in ASCII if standard output cannot encode others; the stream escapes other characters."""
    for line in lines:
        text = able(line.text)
        yield line._replace(text=text, spans=line.spans if len(text) == len(line.text) else ())


def _laid_out(blocks: Iterable[Block], width: int, *, wrap: bool, plain: bool = False) -> Iterator[Line]:
    """Yield the lines of blocks: wrapped and with symbols for a terminal, or tables ``plain`` as one value per line."""
    for block in (_written(block, symbols=wrap) for block in blocks):
        if isinstance(block, Bar):
            if wrap:
                yield _bar(block, width)
        elif isinstance(block, Item):
            yield from _item(block, width) if wrap else [Line(f"  {block.word}  {block.text}")]
        elif isinstance(block, Grid) and plain:
            yield from _records(block)
        elif isinstance(block, Grid):
            yield from _table(_marked(block) if wrap else block._replace(marks={}), width)
        elif wrap and not block.whole:
            yield from (Line(part, block.style) for part in _wrapped(block.text, width))
        else:
            yield block


def _bar(bar: Bar, width: int) -> Line:
    room = max(0, min(BAR_MAX, width - len(bar.text) - 3))
    full = room * bar.done // max(1, bar.total)
    return Line(f"  {'━' * full}{'─' * (room - full)} {bar.text}", spans=((2, 2 + full, "cyan"),))


def _item(item: Item, width: int) -> Iterator[Line]:
    head = f"  {item.mark.symbol} {item.word}"
    first, *more = _wrapped(item.text, width - len(head) - GAP)
    yield Line(f"{head}{' ' * GAP}{first}", spans=((2, len(head), item.mark.style),))
    yield from (Line(f"{' ' * (len(head) + GAP)}{part}") for part in more)


def _marked(grid: Grid) -> Grid:
    """Return a table with the marks' symbols in its cells."""
    rows = [list(row) for row in grid.rows]
    for (row, column), mark in grid.marks.items():
        rows[row][column] = f"{mark.symbol} {rows[row][column]}"
    return grid._replace(rows=rows)


def with_symbols(text: str) -> str:
    """Return a text with symbols such as µm and χ², or in ASCII if standard output cannot encode them."""
    return formatting.symbols(text) if able(_SYMBOLS) == _SYMBOLS else able(text)


def _written(block: Block, *, symbols: bool) -> Block:
    """Return a block without control characters, whatever names and logs contain, and with symbols if requested."""
    write = with_symbols if symbols else str
    if isinstance(block, Bar):
        return block
    if isinstance(block, Grid):
        columns, *rows = ([strip_control_characters(cell) for cell in cells] for cells in (block.columns, *block.rows))
        # The first column has names, which are copied.
        rows = [[row[0] if row[0].isidentifier() else write(row[0]), *map(write, row[1:])] for row in rows]
        return block._replace(columns=list(map(write, columns)), rows=rows)
    text = " ".join(strip_control_characters(block.text).splitlines())
    if isinstance(block, Item):
        return block._replace(text=write(text))
    shown = text if block.whole else write(text)
    return block._replace(text=f"{block.symbol} {shown}" if symbols and block.symbol else shown, symbol="")


def _records(grid: Grid) -> Iterator[Line]:
    first, *names = (_name(column) for column in grid.columns)
    for row in grid.rows:
        yield Line(f"{first} {row[0]}".strip() if row[0] else first, "bold")
        yield from (Line(f"  {name}: {cell}") for name, cell in zip(names, row[1:], strict=True) if cell.strip("- "))


def _name(column: str) -> str:
    """Return a column's name on one line: ``chi2/ndf``, ``largest correction``."""
    name = column.removeprefix(">").replace("-\n", "").replace("\n/", "/")
    return " ".join(name.split())


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a line, with further lines indented like the first; paths are not cut, and units stay with their numbers."""
    indent = text[: len(text) - len(text.lstrip())]
    wrapper = textwrap.TextWrapper(width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [part.replace(_BOUND, " ") for part in wrapper.wrap(_UNIT.sub(_BOUND, text))] or [""]


def _table(grid: Grid, width: int) -> Iterator[Line]:
    """Draw a table under its heading; if it does not fit even with wrapped text, one value per line."""
    gaps = len(grid.columns) - 1
    gap = GAP if sum(_natural(grid)) + GAP * gaps <= width else GAP_MIN
    widths = _widths(grid, width - gap * gaps)
    if not widths and grid.narrow:
        yield from _narrow(grid, width)
        return
    if not widths:
        for line in _records(grid):
            yield from (Line(part, line.style) for part in _wrapped(line.text, width))
        return
    right = [column.startswith(">") for column in grid.columns]
    heads = [column.removeprefix(">").split("\n") for column in grid.columns]
    height = max(map(len, heads))
    for at in range(height):
        cells = [head[at - height + len(head)] if at >= height - len(head) else "" for head in heads]
        yield Line(_row(cells, widths, right, gap), "bold")
    yield Line("─" * (sum(widths) + gap * (len(widths) - 1)))
    for number, row in enumerate(grid.rows):
        folded = [_folded(cell, size) for cell, size in zip(row, widths, strict=True)]
        marks = {column: mark.style for (of, column), mark in grid.marks.items() if of == number}
        # A cell starts after the cells before it and the gaps. Blanks before it need no colour.
        begins = [sum(widths[:column]) + gap * column for column in range(len(widths))]
        spans = tuple((begins[c], begins[c] + widths[c], style) for c, style in sorted(marks.items()))
        for at in range(max(map(len, folded))):
            yield Line(
                _row([parts[at] if at < len(parts) else "" for parts in folded], widths, right, gap), spans=spans
            )


def _narrow(grid: Grid, width: int) -> Iterator[Line]:
    """Draw the most important columns, and name the others."""
    columns, *rows = ([cells[at] for at in grid.narrow] for cells in (grid.columns, *grid.rows))
    marks = {
        (row, grid.narrow.index(column)): mark for (row, column), mark in grid.marks.items() if column in grid.narrow
    }
    yield from _table(Grid(columns, rows, marks=marks), width)
    others = [_name(column) for at, column in enumerate(grid.columns) if at not in grid.narrow]
    yield from (Line(part) for part in _wrapped(f"too narrow for: {', '.join(others)}", width))


def _natural(grid: Grid) -> list[int]:
    """Return the preferred width of each column."""
    found = [max(map(_size, column.removeprefix(">").split("\n"))) for column in grid.columns]
    for row in grid.rows:
        found = [max(size, *map(_size, cell.split("\n"))) for size, cell in zip(found, row, strict=True)]
    return found


def _widths(grid: Grid, width: int) -> list[int]:
    """Return column widths that together take ``width``; empty if the table cannot fit."""
    natural = _natural(grid)
    least = list(natural)
    for at, column in enumerate(grid.columns):
        # Text is wrapped, numbers are not, and words of headings stay whole.
        if not column.startswith(">"):
            least[at] = min(natural[at], max(grid.wrapped, *map(_size, column.split() or [""])))
    over = sum(natural) - width
    if over > sum(natural) - sum(least):
        return []
    while over > 0:
        widest = max((at for at in range(len(natural)) if natural[at] > least[at]), key=lambda at: natural[at])
        natural[widest] -= 1
        over -= 1
    return natural


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: int) -> str:
    padded = [
        " " * (size - _size(cell)) + cell if to_right else cell + " " * (size - _size(cell))
        for cell, size, to_right in zip(cells, widths, right, strict=True)
    ]
    return (" " * gap).join(padded).rstrip()


def _folded(cell: str, size: int) -> list[str]:
    """Wrap a cell to lines of limited width, between words if possible."""
    if _size(cell) <= size and "\n" not in cell:
        return [cell]
    wrapped = (textwrap.wrap(_UNIT.sub(_BOUND, line), size, break_on_hyphens=False) for line in cell.split("\n"))
    return [part.replace(_BOUND, " ") for parts in wrapped for part in parts or [""]]


def _size(text: str) -> int:
    """Return the columns that a text takes: two per wide East Asian character, none per combining character."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
