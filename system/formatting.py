"""Format numbers, times and durations for people."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from faser_align.fsm import plural, table

count, in_percent = plural.count, plural.in_percent

NONE = "-"

# States of nodes that are under way or failed. A node runs from its PRE script to its POST script; only HTCondor knows
# whether its job runs or waits meanwhile. "queued" is present if HTCondor was asked.
_BUSY = {
    "running": "in HTCondor",
    "queued": "waiting in the queue",
    "disconnected": "disconnected",
    "vanished": "without a job",
    "held": "held",
    "failed": "failed",
    "lost": "dropped",
}


def busy(counts: Mapping[str, int], *, ended: bool = False) -> list[str]:
    """Return the numbers of nodes in states other than waiting and done: ``2 in HTCondor``.

    Nodes that run or are held although the campaign has ``ended`` were interrupted by its end.
    """
    named = _BUSY | ({"running": "running"} if "queued" in counts else {})
    if ended:
        named["running"] = "interrupted"
        counts = {**counts, "running": counts.get("running", 0) + counts.get("held", 0), "held": 0}
    return [f"{counts[state]:,} {text}" for state, text in named.items() if counts.get(state)]


def kind(name: str) -> str:
    """Return the class of a campaign's state or a grade, for its colour and symbol: good, doubt, bad, or going."""
    if name in (*table.SUCCESSES, "good"):
        return "good"
    if name in ("failed", "rejected", "diverged", "starved", "bad", "unreadable"):
        return "bad"
    return "doubt" if name in (*table.ENDS, "look") else "going"


def number(value: object, form: str = ".3g") -> str:
    """Return ``value`` in a format; a dash if there is none, a word if it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE
    return format(value, form) if math.isfinite(value) else "not finite"


def value(given: object) -> str:
    """Return any number with three digits, large ones without an exponent: 0.004, 1,352, 17,215."""
    large = isinstance(given, int | float) and 1000 <= abs(given) < 1e10
    return number(given, ",.0f" if large else ".3g")


def chi2(value: object) -> str:
    """Return chi2/ndf with three decimals, fewer if it is far from 1."""
    return number(value, ".3f" if isinstance(value, int | float) and abs(value) < 100 else ".4g")


def size(value: object) -> str:
    """Return a length or an angle with three digits, without an exponent where readable: 0.312, 9.1, 120, 4,810."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE
    magnitude = abs(value)
    if magnitude >= 100:
        return number(value, ",.0f" if magnitude < 1e6 else ".2e")
    return number(value, ".1f" if magnitude >= 10 else ".2f" if magnitude >= 0.1 else ".2g")


def shift(um: object) -> str:
    """Return a shift or an rms (um, urad) with at most two decimals: ``11.0``, ``0.07``, ``<0.01``; a dash if there is none."""
    return plural.shift(um) if isinstance(um, int | float) and math.isfinite(um) else number(um)


def rounded(value: float | None) -> str:
    """Return a number with two significant digits, at most two of them decimals: ``<0.01``, 0.10, 1.0, 51, 1,200."""
    if value is None or not math.isfinite(value):
        return number(value)
    if 0 < abs(value) < plural.SHIFT_UM_MIN:
        return f"<{plural.SHIFT_UM_MIN}"
    digits = min(1 - _exponent(value), 2)
    return f"{round(value, digits) + 0.0:,.{max(digits, 0)}f}"


def with_error(value: float, error: float | None) -> tuple[str, str]:
    """Return a value and its error with the digits that the error justifies, by the rule of the Particle Data Group.

    The error has two digits if they are 10 to 35, else one (Review of Particle Physics, Introduction, 5.3). A value
    without an error has three digits, and the error is then empty; so is that of an error that is not positive.
    """
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return size(value), ""
    three = round(error / 10.0 ** (_exponent(error) - 2))  # 100 to 1000
    digits = (1 if three <= 354 or three >= 950 else 0) - _exponent(error) - (three >= 950)
    places = max(digits, 0)
    return f"{round(value, digits) + 0.0:,.{places}f}", f"{round(error, digits):,.{places}f}"


def with_sigma(value: float, error: float | None) -> str:
    """Return a value over its error in standard deviations, ``4.2``; a dash without an error."""
    return number(value / error, ".1f") if error else NONE


def in_sigma(value: float, error: float | None) -> str:
    """Return `` (4.2 sigma)`` or `` (31 sigma)``, a value's size in units of its error, to follow it; empty without an error."""
    return f" ({number(abs(value) / error, '.1f' if abs(value) < 9.95 * error else ',.0f')} sigma)" if error else ""


def significant(value: float, error: float | None, unit: str = "") -> str:
    """Return a value with error, unit and number of standard deviations, ``280 ± 40 µm (7.1 σ)``; without an error the value."""
    shown = f"{' ± '.join(filter(None, with_error(value, error)))} {unit}".rstrip()
    return symbols(shown + in_sigma(value, error))


def plus_minus(value: float, error: float | None, form: str = "") -> str:
    """Return a value with its error, ``276±65``, or alone in a format of its own."""
    digits, known = with_error(value, error)
    if known:
        return f"{digits}±{known}"
    return format(value, form) if form else digits


def _exponent(value: float) -> int:
    """Return the power of ten of a number rounded to two digits; 0 for zero."""
    return int(f"{value:.1e}".partition("e")[2]) if value else 0


# Words next to slashes, points, hyphens or letters belong to paths and names.
_SYMBOLS = {
    re.compile(pattern): symbol
    for pattern, symbol in {
        r"(?<![\w/.-])um(?![\w/-]|\.\w)": "µm",
        r"(?<![\w/.-])urad(?![\w/-]|\.\w)": "µrad",
        r"(?<![\w/.-])(?:delta |d)chi2(?=/param|[^\w/.-]|[.]?$)": "Δχ²",
        r"(?<![\w/.-])chi2(?=/ndf\b|[^\w/.-]|[.]?$)": "χ²",
        r"(?<=\d) sigma\b": " σ",
        r"(?<=\d) \+- (?=\d)": " ± ",  # between a value and its error
        r"\+-\s?": "±",
        r" -> ": " → ",
    }.items()
}


def symbols(text: str) -> str:
    """Return text with the symbols that ASCII lacks: µm, χ², σ, ±, for pages, mail and UTF-8 terminals."""
    for pattern, symbol in _SYMBOLS.items():
        text = pattern.sub(symbol, text)
    return text


def largest(found: Mapping[str, object] | None) -> str:
    """Return the largest correction of an iteration, with its element: ``120±8 um (15 sigma) y 003``, or ``120 um y 003``."""
    if not found:
        return NONE
    value, error = found.get("value"), found.get("error")
    shown, sigma = size(value), ""
    if isinstance(value, int | float) and isinstance(error, int | float) and error > 0:
        shown, sigma = plus_minus(value, error), in_sigma(value, error)
    return f"{shown} {found.get('unit', '')}{sigma} {direction(found.get('dof'))} {found.get('where', '')}"


def direction(dof: object) -> str:
    """Return the direction of a degree of freedom: ``y`` of ``module.y``."""
    return str(dof).rpartition(".")[2]


def percent(share: float | None) -> str:
    """Return a fraction in percent, with at least one significant digit."""
    if share is None:
        return NONE
    return in_percent(share, 0 if share >= 0.1 else 1 if share >= 0.01 or share == 0 else 2)


# Formats of criteria's values; others have three digits.
_CRITERIA: Mapping[str, Callable[[float], str]] = {
    **dict.fromkeys(("residual_shift", "progress"), lambda um: f"{shift(um)} um"),
    **dict.fromkeys(("module_cut", "detector_cut", "duplicates"), percent),
    **dict.fromkeys(("numbers", "not_diverging"), chi2),
    "final_cuts": lambda mm: f"{value(mm)} mm",
}


def criterion_value(given: float | None, name: str) -> str:
    """Return the value or the limit of a criterion with its unit; a dash without one."""
    return NONE if given is None else _CRITERIA.get(name, value)(given)


def bytes_of(size: int) -> str:
    """Return an amount of data in powers of 1000: ``812 B``, ``3.4 MB``."""
    amount, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5 or unit == "TB":
            break
        amount /= 1000
    return f"{size} B" if unit == "B" else f"{amount:.3g} {unit}"


def duration(seconds: float | None) -> str:
    """Return a duration: ``0.4 s``, ``42 s``, ``3 min 12 s``, ``5 h 07 min``, ``3 d 04 h``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    return clock(whole) if whole < 86400 else f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def clock(seconds: float) -> str:
    """Return a duration in whole units of hours at most: ``0 s``, ``3 min 12 s``, ``1,005 h 07 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def origin(parent: Mapping[str, Any]) -> str:
    """Return the campaign and the iteration that a campaign was forked from."""
    at = f"iteration {parent['iteration']}" if parent["iteration"] else "its initial constants"
    stage = f"stage {parent['stage']}, " if parent["stage"] > 1 else ""
    return f"{parent['name']}, {stage}{at}"


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    return "just now" if seconds < 2 else f"{duration(seconds)} ago"


def zone(*, utc: bool) -> tzinfo | None:
    """Return the time zone to show times in; None is this machine's own."""
    return UTC if utc else None


def moment(text: str, where: tzinfo | None) -> datetime | None:
    """Return a stored time in a zone, or None for an empty one."""
    return datetime.fromisoformat(text).astimezone(where) if text else None


def day_and_time(text: str, where: tzinfo | None = None) -> str:
    """Return a stored time to the minute: ``2026-11-24 08:30``."""
    when = moment(text, where)
    return f"{when:%Y-%m-%d %H:%M}" if when else NONE


def since_utc(text: str, now: datetime) -> str | None:
    """Parse a point in time given by a user; return it in the format of stored times.

    Args:
        text: ``30m``, ``2h`` or ``1d`` before now, or a date with or without a time, in this machine's zone unless it
            names one (``2026-11-24``, ``2026-11-24 08:30``, ``2026-11-24T07:30:00Z``).
        now: the present, with a time zone.

    Returns:
        The UTC time, or None if the text is not a time.
    """
    units = {"m": 60, "h": 3600, "d": 86400}
    try:
        if text[-1:] in units and text[:-1].isdecimal():
            when = now - timedelta(seconds=int(text[:-1]) * units[text[-1]])
        else:
            when = datetime.fromisoformat(text)
        # A time without a zone is in this machine's zone.
        return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    except (ValueError, OverflowError):
        return None
