"""Draw the transition tables: Mermaid for the documentation, DOT for Graphviz, and SVG.

The SVG has a main path and the ends in a column. ``diagram.toml`` has the positions, because no layout program finds the main
path. The colours follow the reader's system.
"""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from faser_align.fsm import table

Row = tuple[str, str, str]
_WIDTH, _HEIGHT = 124, 30  # of a state, in pixels
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
.event { font: 12px ui-monospace, monospace; text-anchor: start }
.left { text-anchor: end }
.page { fill: #fff }
.box { fill: #f3f5f8; stroke: #57606a }
.good { fill: #e3f4e6; stroke: #1a6a2e }
.bad { fill: #fdeaea; stroke: #a02828 }
.frame { fill: none; stroke: #8c959f; stroke-dasharray: 5 4 }
.arrow { fill: none; stroke: #57606a; marker-end: url(#head) }
#head { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.page { fill: #0d1117 }
.box { fill: #1c2430; stroke: #8c959f }
.good { fill: #12301b; stroke: #4cb868 }
.bad { fill: #3a1818; stroke: #e5736f }
.arrow { stroke: #9aa4af }
#head { fill: #9aa4af }
}
"""


def rows(which: str) -> Sequence[Row]:
    """Return the table ``campaign`` or ``node``."""
    return table.CAMPAIGN if which == "campaign" else table.NODE


def _edges(transitions: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Group the events by the pair of states that they join, in the table's order."""
    edges: dict[tuple[str, str], list[str]] = {}
    for source, event, destination in transitions:
        edges.setdefault((source, destination), []).append(event)
    return edges


def mermaid(which: str = "campaign") -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {rows(which)[0][0]}"]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in _edges(rows(which)).items()]
    if which == "campaign":
        lines += [f"    {state} --> [*]" for state in table.ENDS]
    return "\n".join(lines) + "\n"


def dot(which: str = "campaign") -> str:
    """Return the table as a Graphviz graph."""
    ends = table.ENDS if which == "campaign" else ("done", "lost", "skipped")
    lines = [f'digraph "{which}" {{', "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    lines += [f"    {state} [peripheries=2];" for state in ends]
    lines += [f'    {a} -> {b} [label="{", ".join(events)}"];' for (a, b), events in _edges(rows(which)).items()]
    return "\n".join([*lines, "}"]) + "\n"


def layout(which: str) -> dict[str, Any]:
    """Return the positions and colours in ``diagram.toml`` of the table ``campaign`` or ``node``."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))[which]  # type: ignore[no-any-return]


def svg(which: str = "campaign") -> str:
    """Return the table ``campaign`` or ``node`` as an SVG picture."""
    return "\n".join(_drawn(layout(which))) + "\n"


def _drawn(picture: dict[str, Any]) -> Iterator[str]:
    width, height = picture["size"]
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    yield f"<title>{escape(picture['said'])}</title>"
    yield f"<style>{_STYLE}</style>"
    yield '<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    yield '<path d="M0 0L8 4L0 8z"/></marker>'
    yield f'<rect class="page" width="{width}" height="{height}" rx="8"/>'
    if frame := picture.get("frame"):
        left, top, across, down = frame["place"]
        yield f'<rect class="frame" x="{left}" y="{top}" width="{across}" height="{down}" rx="8"/>'
        yield _text(frame["title"], *frame["at"])
    for arrow in picture["arrows"]:
        yield f'<path class="arrow" d={quoteattr(arrow["path"])}/>'
        yield _text(", ".join(arrow["by"]), *arrow["label"], left=arrow.get("left", False))
    for state, (x, y, kind) in picture["states"].items():
        yield f'<rect class="{kind}" x="{x - _WIDTH / 2}" y="{y - _HEIGHT / 2}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        yield f'<text x="{x}" y="{y + 4.5}">{state}</text>'
    yield "</svg>"


def _text(text: str, x: float, y: float, *, left: bool = False) -> str:
    return f'<text class="event{" left" * left}" x="{x}" y="{y}">{escape(text)}</text>'
