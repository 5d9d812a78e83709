"""A line of a steering text taken apart as pede does it (RATEXT and RLTEXT of mptext).

Only blanks part words; a tab is a letter. Signs and exponents may stand apart from their digits. ``!`` begins a comment,
and so does ``%`` except where a line is looked at as a whole, for the name of a file or the kind of files.
"""

import math
import re
from typing import NamedTuple

_DIGITS = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_SIGNED = rf"([+-]?) *({_DIGITS})"
_NUMBER = re.compile(rf"{_SIGNED}(?: *[eEdD] *{_SIGNED})?")


class Line(NamedTuple):
    """What a line says.

    Attributes:
        whole: all of it without a comment.
        word: the first word in front of the numbers, the keyword; empty if there is none.
        argument: what stands between that word and the numbers.
        numbers: all of them.
    """

    whole: str
    word: str
    argument: str
    numbers: list[float]


def take_apart(raw: str) -> Line:
    """Take a line apart; a comment line says nothing."""
    if raw.startswith("*"):
        return Line("", "", "", [])
    whole = raw.split("!", 1)[0]
    text = whole.split("%", 1)[0]
    found = list(_NUMBER.finditer(text))
    word, _, argument = (text[: found[0].start()] if found else text).strip(" ").partition(" ")
    return Line(whole.strip(" "), word, argument.strip(" "), [_value(match) for match in found])


def numbers_in(text: str) -> list[float]:
    """The numbers in a piece of a line."""
    return take_apart(f" {text}").numbers


def nearest(number: float) -> int:
    """The nearest whole number, halves away from zero (Fortran's NINT).

    Raises ValueError or OverflowError if there is none.
    """
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _value(match: re.Match[str]) -> float:
    sign, digits, exponent_sign, exponent = match.groups()
    power = float((exponent_sign or "") + (exponent or "0"))
    try:
        value = float(f"{digits}e{power:.0f}") if power == int(power) else float(digits) * 10.0**power
    except OverflowError:
        value = math.inf
    return -value if sign == "-" else value
