"""Split a line of a steering text as pede does (RATEXT and RLTEXT of mptext).

Only blanks separate words; a tab is a letter. Signs and exponents may be separated from their digits. ``!`` begins a
comment, and so does ``%``, except in lines that are used as a whole: file names and kinds of files.
"""

import math
import re
from typing import NamedTuple

_DIGITS = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_SIGNED = rf"([+-]?) *({_DIGITS})"
_NUMBER = re.compile(rf"{_SIGNED}(?: *[eEdD] *{_SIGNED})?")


class Line(NamedTuple):
    """Content of a line.

    Attributes:
        whole: the line without its comment.
        word: the first word before the numbers, the keyword; may be empty.
        argument: the text between that word and the numbers.
        numbers: all numbers.
    """

    whole: str
    word: str
    argument: str
    numbers: list[float]


def take_apart(raw: str) -> Line:
    """Split a line; a comment line is empty."""
    if raw.startswith("*"):
        return Line("", "", "", [])
    whole = raw.split("!", 1)[0]
    text = whole.split("%", 1)[0]
    matches = list(_NUMBER.finditer(text))
    word, _, argument = (text[: matches[0].start()] if matches else text).strip(" ").partition(" ")
    return Line(whole.strip(" "), word, argument.strip(" "), [_value(match) for match in matches])


def numbers_in(text: str) -> list[float]:
    """Return the numbers in a part of a line."""
    return take_apart(f" {text}").numbers


def nearest(number: float) -> int:
    """Return the nearest integer, halves away from zero (Fortran's NINT).

    Raises ValueError or OverflowError if there is none.
    """
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _value(match: re.Match[str]) -> float:
    sign, digits, exponent_sign, exponent = match.groups()
    value = float(digits)
    if exponent:
        power = float((exponent_sign or "") + exponent)
        try:
            value = float(f"{digits}e{power:.0f}") if power == int(power) else value * 10.0**power
        except OverflowError:
            value = math.inf
    return -value if sign == "-" else value
