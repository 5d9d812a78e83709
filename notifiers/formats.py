"""Format event payloads as text: each function accepts any value and returns one readable line or nothing."""

import math
from typing import TypeGuard

from faser_align.fsm.reasons import strip_control_characters
from faser_align.system.formatting import NONE, clock, number

LINE_MAX = 200  # characters of a name or a log line


def line(value: object, length_max: int = LINE_MAX) -> str:
    """Return ``value`` as one line of at most ``length_max`` characters, without control characters."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    # A program may print a megabyte on one line; the rest would be cut off anyway.
    return cut(" ".join(printable(text[: 20 * length_max]).split()), length_max)


def size(value: object, form: str) -> str:
    """Return ``value`` in a format; small values with two digits, never rounded to 0 or -0.0."""
    return number(value, ".2g" if _is_number(value) and abs(value) < 0.1 else form)


def duration(seconds: object) -> str:
    """Return a time in seconds as ``42 s``, ``3 min 12 s`` or ``5 h 07 min``."""
    return clock(seconds) if _is_number(seconds) and math.isfinite(seconds) else ""


def printable(value: object) -> str:
    """Return ``value`` as one line without control characters, at full length."""
    return strip_control_characters("" if value is None else str(value)).replace("\n", " ")


def cut(text: str, length_max: int) -> str:
    """Return ``text``, shortened to ``length_max`` with an ellipsis if necessary."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def count(value: object) -> int:
    """Return a positive integer, or 0 for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def with_unit(text: str, unit: str) -> str:
    """Return a number with its unit, or an empty string if either is missing."""
    return text if text == NONE or not unit else f"{text} {unit}"


def above_zero(value: object) -> float:
    """Return a positive number, or 0 for any other value."""
    return max(0.0, float(value)) if _is_number(value) and math.isfinite(value) else 0.0


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
