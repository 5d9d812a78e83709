"""Define the types of the quality block.

Scripts start without this module: only type checkers read it. ``alignment.quality.grades`` makes the block.
"""

from typing import Any, Literal, TypedDict

Grade = Literal["good", "look", "bad"]


class Line(TypedDict):
    """One line: what is known (``text``, numbers in ``values``), its grade with criterion and source, and its figure.

    ``short`` is the line as part of the sentence.
    """

    name: str
    title: str
    grade: Grade
    text: str
    short: str
    criterion: str
    source: str
    figure: str
    values: dict[str, Any]


class Quality(TypedDict):
    """The quality of an iteration's constants: the worst grade, all lines, and the sentence that joins them."""

    grade: Grade
    sentence: str
    lines: list[Line]
