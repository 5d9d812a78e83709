"""Read and write pede's ``millepede.res`` and ``millepede.end``.

Formats are those of pede (V04-16), byte for byte: Fortran's ``i10,2X,4G14.5`` for a parameter, ``i5,3X,a`` for the end.
The built-in solver writes the same.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, write_text

RESULT, END, LOG = "millepede.res", "millepede.end", "millepede.log"
HISTOGRAMS, MONITOR = "millepede.his", "millepede.mon"
COMMENT_LENGTH = 60  # of parameter comments in pede's files
_TITLE = " Parameter   ! first 3 elements per line are significant (if used as input)\n"
_CHECKED_ONLY = " *** Results of checking input only, no solution performed ***"

END_TEXTS = {
    -1: "Still running or crashed",
    0: "Ended normally",
    1: "Ended with warnings (bad measurements)",
    2: "Ended with severe warnings (insufficient measurements)",
    3: "Ended with severe warnings (bad global matrix)",
    4: "Ended with severe warnings (bad binary file(s))",
    5: "Ended without solution (empty constraints)",
    11: "Aborted, open error for steering file",
    13: "Aborted, unknown keywords in steering file",
    14: "Aborted, no binary files",
    15: "Aborted, open error(s) for binary files",
    16: "Aborted, open error for file",
    18: "Aborted, read error(s) for binary file",
    20: "Aborted, bad binary records",
    21: "Aborted, no labels/parameters defined",
    22: "Aborted, no variable global parameters",
    25: "Aborted, result vector contains NaNs",
    26: "Aborted, too many rejects",
    27: "Aborted, singular QL decomposition of constraints matrix",
    28: "Aborted, no local parameters",
    29: "Aborted, factorization of global matrix failed",
    30: "Aborted, memory allocation failed",
    36: "Aborted, unselected solution method",
    40: "Aborted, other reasons",
}


class Row(NamedTuple):
    """One parameter of a result.

    ``difference`` (value - start) and ``error`` are None for a fixed parameter, ``error`` also for methods without
    errors; ``entries`` is None without printcounts, ``correlation`` without globalcorr. In mm and rad.
    """

    value: float
    presigma: float
    difference: float | None = None
    error: float | None = None
    entries: int | None = None
    correlation: float | None = None


Result = dict[int, Row]
"""Parameters by label, ascending."""


def read_result(path: Name) -> Result:
    """Read ``millepede.res``.

    Raises UserError if it cannot be read or parsed, or is the listing of an input check without a solution (end code
    5).
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; read millepede.log in the same folder") from error
    lines = text.splitlines()
    if lines and lines[0].startswith(_CHECKED_ONLY):
        raise UserError(f"{path} is a listing without a solution; read millepede.end and correct the constraints")
    result: Result = {}
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith(("Parameter", "!")) or not line.strip():
            continue
        try:
            label, row = _parse_row(line)
        except ValueError:
            raise UserError(f"{path}: line {number} is not a parameter of a result: {line.strip()[:60]!r}") from None
        result[label] = row
    if result and not text.endswith("\n"):  # pede ends each line, and missing parameters would count as zero
        raise UserError(f"{path} is truncated within its last line; copy it again, or solve again")
    if not result:
        raise UserError(f"{path} contains no parameters; read millepede.log in the same folder")
    return result


def write_result(path: Name, result: Result, comments: Mapping[int, str] | None = None) -> None:
    """Write ``millepede.res`` as pede does, atomically; ``comments`` precede their labels."""
    lines = [_TITLE]
    for label, row in result.items():
        if comments and label in comments:
            lines.append(f"!{' ' + comments[label]:<{COMMENT_LENGTH}.{COMMENT_LENGTH}}\n")
        lines.append(_format_row(label, row))
    write_text(path, "".join(lines))


def write_listing(path: Name, lines: Iterable[str]) -> None:
    """Write ``millepede.res`` as a title and a listing without a solution (end code 5 or ``checkinput``)."""
    write_text(path, "".join(f"{line}\n" for line in (_CHECKED_ONLY, *lines)))


def read_end(path: Name) -> tuple[int, str]:
    """Return code and text of ``millepede.end``; raise UserError if it is missing or malformed."""
    try:
        line = Path(path).read_text(encoding="utf-8", errors="replace")
        return int(line[:5]), line[5:].strip()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pede did not run to its end there") from error
    except ValueError:
        raise UserError(f"{path} contains no end code of pede; read millepede.log in the same folder") from None


def write_end(path: Name, code: int, text: str = "") -> None:
    """Write ``millepede.end``; the default text is pede's own for the code."""
    write_text(path, f"{code:5d}   {text or END_TEXTS.get(code, '')}\n")


def fortran_g(value: float) -> str:
    """Format ``value`` as Fortran's G14.5 of a single-precision number, which pede prints."""
    single = float(np.float32(value)) + 0.0  # without the sign of zero
    if not math.isfinite(single):
        return f"{'NaN' if math.isnan(single) else ('Infinity' if single > 0 else '-Infinity'):>14}"
    return general(single, 14, 5)


def general(value: float, width: int, digits: int) -> str:
    """Format ``value`` with Fortran's descriptor ``Gwidth.digits``.

    Short numbers are fixed, followed by four blanks; others have an exponent.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:.{digits - 1}f}".rjust(width - 4) + "    "
    exponent = int(f"{abs(value):.{digits - 1}e}".split("e")[1]) + 1
    if 0 <= exponent <= digits:
        return f"{value:#.{digits - exponent}f}".rjust(width - 4) + "    "
    return exponential(value, width, digits)


def exponential(value: float, width: int, digits: int) -> str:
    """Format ``value`` with Fortran's descriptor ``Ewidth.digits``."""
    if value == 0 or not math.isfinite(value):
        return f"{abs(value):.{digits}f}E+00".rjust(width)
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    sign = "-" if value < 0 else ""
    return f"{sign}0.{mantissa.replace('.', '')}E{int(exponent) + 1:+03d}".rjust(width)


def _parse_row(line: str) -> tuple[int, Row]:
    label = int(line[:10])
    fields = [line[12 + 14 * i : 26 + 14 * i].strip() for i in range(4)]
    rest = line[68:].split()
    difference, error = (float(field) if field else None for field in fields[2:])
    entries = correlation = None
    for word in rest:
        if "." in word:
            correlation = float(word)
        else:
            entries = int(word)
    return label, Row(float(fields[0]), float(fields[1]), difference, error, entries, correlation)


def _format_row(label: int, row: Row) -> str:
    columns = (row.value, row.presigma, row.difference, row.error)
    text = f"{label:10d}  " + "".join(" " * 14 if column is None else fortran_g(column) for column in columns)
    if row.correlation is not None:
        text += f"{row.correlation:8.3f}"
    if row.entries is not None:
        text += f"{row.entries:12d}"
    elif row.difference is None:
        text = text[:40]
    elif row.error is None:
        text = text[:54]
    return text + "\n"
