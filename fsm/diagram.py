"""Draw the transition tables as text: Mermaid for the documentation, DOT for Graphviz."""

from collections.abc import Iterable, Sequence

from faser_align.fsm import table

Row = tuple[str, str, str]


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
