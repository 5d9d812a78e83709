"""Format counts, lists, fractions and lengths for sentences."""

from collections.abc import Sequence


def count(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``6 files``, ``17,000 tracks``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return at most this many names, and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def in_percent(share: float, decimals: int = 0, sign: str = "") -> str:
    """Return a fraction in percent: ``12 %``; with ``+`` as its sign ``+0.3 %``."""
    return f"{share:{sign}.{decimals}%}".replace("%", " %")


SHIFT_UM_MIN = 0.01  # smallest residual shift that is shown: hits are known to 20 um, their means to about 0.1 um


def shift(um: float) -> str:
    """Return a residual shift (um) with three digits, at most two of them decimals: ``11.0``, ``0.07``, ``<0.01``."""
    if 0 < um < SHIFT_UM_MIN:
        return f"<{SHIFT_UM_MIN}"
    text = f"{um:,.0f}" if 99.95 <= um < 1e6 else f"{um:#.3g}"
    return text if um >= 0.9995 else f"{um:.2f}"
