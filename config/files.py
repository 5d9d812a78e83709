"""Parse raw files, runs and years as users type them."""

import re
import time
from collections.abc import Iterable

from faser_align.fsm.errors import UserError

FILE_MAX = 99_999  # raw file names have five digits
RUN_MAX = 999_999
YEAR_MIN = 2021  # FASER was installed in 2021
HOW = "write 400-450, 400:450, 400, or several of these separated by commas"


def parse_files(text: str) -> list[int]:
    """Return the numbers of the raw files in ``text``: ``400-450``, ``400:450``, ``400``, ``400-410,415``.

    Both ends are included, duplicates count once, and the result is sorted. Raises UserError.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:[-:]\s*([0-9]+)\s*)?", part)
        if match is None:
            shown = f"-f {text}" if part == text or not part.strip() else f"{part.strip()!r} in -f {text}"
            raise UserError(f"{shown} names no raw files; {HOW}")
        # Refuse a number of thousands of digits before Python does.
        if max(len(digits.lstrip("0")) for digits in match.groups(default="")) > len(str(FILE_MAX)):
            raise UserError(f"-f {_short(text)} is out of range; raw files are numbered from 0 to {FILE_MAX}")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UserError(f"-f {text}: the first file is larger than the last; write {last}-{first}")
        found.update(range(first, last + 1))
    return sorted(found)


def format_files(files: Iterable[int]) -> str:
    """Return the shortest text that :func:`parse_files` reads as these numbers: ``400-410,415``."""
    ranges: list[list[int]] = []
    for number in sorted(set(files)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)


def parse_run(text: str) -> str:
    """Return a run number with six digits; raise UserError for anything else."""
    digits = text.strip()
    if not re.fullmatch(r"[0-9]{1,6}", digits) or int(digits) == 0:
        raise UserError(f"-r {_short(text)} is not a run; write a number from 1 to {RUN_MAX}, for example 11705")
    return digits.zfill(6)


def check_year(year: int) -> int:
    """Return the year of data taking; raise UserError before FASER's first year and for future years."""
    now = time.gmtime().tm_year
    if not YEAR_MIN <= year <= now:
        why = "is in the future" if year > now else f"is before {YEAR_MIN}, when FASER was installed"
        raise UserError(f"-y {year} {why}; write a year from {YEAR_MIN} to {now}")
    return year


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
