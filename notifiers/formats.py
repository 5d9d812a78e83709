"""Facts as text: whatever a fact may be, each function gives one line, a number that can be read, or nothing."""

import math
from typing import TypeGuard

from faser_align.fsm.reasons import harmless

LINE_MAX = 200  # characters of a name or a log line
NONE = "-"


def line(value: object, length_max: int = LINE_MAX) -> str:
    """``value`` as one line: no control characters (they would break a header), no more than ``length_max``."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    # A program may have printed a megabyte on one line; what stands behind this is cut off in any case.
    return cut(" ".join(printable(text[: 20 * length_max]).split()), length_max)


def number(value: object, form: str) -> str:
    """``value`` in a format, or a dash if there is none; what is not finite is said in words."""
    if not _is_number(value):
        return NONE
    return format(value, form) if math.isfinite(value) else "not finite"


def size(value: object, form: str) -> str:
    """``value`` in a format, and if it is small with two digits: not rounded to nothing, nor to -0.0."""
    return number(value, ".2g" if _is_number(value) and abs(value) < 0.1 else form)


def duration(seconds: object) -> str:
    """A time in seconds as people say it: ``42 s``, ``3 min 12 s``, ``5 h 07 min``."""
    if not _is_number(seconds) or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def printable(value: object) -> str:
    """``value`` in one line that cannot command a terminal, however long."""
    return harmless("" if value is None else str(value)).replace("\n", " ")


def cut(text: str, length_max: int) -> str:
    """``text``, or what of it has room with a dot for the rest."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def count(value: object) -> int:
    """A whole number above zero, or 0 for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def with_unit(text: str, unit: str) -> str:
    """A number with its unit, if there is a number and a unit."""
    return text if text == NONE or not unit else f"{text} {unit}"


def above_zero(value: object) -> float:
    """A number above zero, or 0 for everything else."""
    return max(0.0, float(value)) if _is_number(value) and math.isfinite(value) else 0.0


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
