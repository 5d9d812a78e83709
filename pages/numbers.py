"""Write numbers for people in pages and figures: with errors, standard deviations, and a real minus sign. Pure."""

import math
import re

from faser_align.system import formatting

_MINUS = re.compile(r"(?<![\w.)-])-(?=[\d.])")


def signed(text: str) -> str:
    """Return text whose negative numbers have a minus sign instead of a hyphen; ranges such as 400-405 keep theirs."""
    return _MINUS.sub("−", text)


def measured(value: float, error: float | None, unit: str = "") -> str:
    """Return a value with error and unit, by the rule of the Particle Data Group: ``−0.4 ± 1.2 µm``."""
    return signed(" ".join(filter(None, (" ± ".join(filter(None, formatting.with_error(value, error))), unit))))


def significant(value: float, error: float | None, unit: str = "") -> str:
    """Return a value with error, unit and standard deviations, ``−290 ± 40 µm (7.1 σ)``; without an error the value."""
    return signed(formatting.significant(value, error, unit))


def beside(value: float, other: float) -> str:
    """Return a value with as many decimals as ``other`` has with three digits, because both share a scale."""
    decimals = max(0, 2 - math.floor(math.log10(abs(other)))) if other else 0
    return signed(f"{round(value, decimals) + 0.0:,.{decimals}f}")
