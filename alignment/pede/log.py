"""Read pede's ``millepede.log``: sizes, the table of iterations, chi2 and rejects; and ``millepede.his``."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from faser_align.alignment.pede.results import END_TEXTS, HISTOGRAMS
from faser_align.alignment.pede.solution import IterationRow, Rejects, Solution
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

_VALUES = re.compile(r"^ *XY-Data +1 +version.*\n.*\n.*\n *x-y-dx-dy *\n((?s:.*?))^ *end of", re.MULTILINE)
_FLOAT = r"[-+]?\d*\.\d*(?:[ED][-+]?\d+)?"
_SIZE = re.compile(r"^\s*(NREC|NVGB|NFGB|NCGB)\s*=\s*(\d+)", re.MULTILINE)
_SUM = re.compile(
    rf"Sum\((?:W\*)?Chi\^2\)/Sum\(Ndf\)(?:/<W>)? =\s*({_FLOAT})\s*/ \(\s*(\d+)\s*-\s*(\d+)\s*\)(?:\s*/\s*({_FLOAT}))?",
    re.MULTILINE,
)
# one line with four reasons; since V04-16-05 a line for each reason that occurs
_REJECTS = re.compile(r"Data (?:records )?rejected in last iteration:\s*?\n((?:[ \t]*\d+[ \t]+\(.*\)[ \t]*\n)+)")
_REASONS = ("Ndf=0", "huge", "large")  # words of the reasons after the first of Rejects, in its order
_ROW = re.compile(r"^([ \d]{3})([ \d]{3})([ .\dE+-]{12})(.{38})([ .\d*-]{5})([ \d]{8}) ", re.MULTILINE)
_FIRST_SLOPE = re.compile(rf"^\s*0\s+0\.000000\s.*?\s({_FLOAT})\s+0\.000000\s+ratio", re.MULTILINE)
_SAID = re.compile(r"Expected decrease of the first solution = (\S+)")  # only from the built-in solver
_CONSTRAINT_RANK = re.compile(r"Rank of product matrix of constraints is\s+(\d+)\s+for")
_DEFECT = re.compile(r"rank defect of the symmetric\s+\d+\s+-by-\s+\d+\s+matrix is\s+(\d+)")
_NO_DEFECT = "No rank defect of the symmetric matrix"
_MEMORY = re.compile(rf"Peak dynamic memory allocation:\s*({_FLOAT})\s*GB")


def read_log(path: Name) -> Solution:
    """Return the attributes of a solution that a log contains; the others are missing or have defaults.

    Raises UserError if the log cannot be read. A log that ends early has fewer values.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pede did not run there") from error
    sizes = {name: int(value) for name, value in _SIZE.findall(text)}
    sums, memory, rank, defect = (of.search(text) for of in (_SUM, _MEMORY, _CONSTRAINT_RANK, _DEFECT))
    rows = _rows(text)
    return Solution(
        -1,
        END_TEXTS[-1],
        "",
        {},
        records=sizes.get("NREC", 0),
        rejects=_rejects(text),
        chi2=float(sums[1]) if sums else 0.0,
        ndf=int(sums[2]) - int(sums[3]) if sums else 0,
        mean_weight=float(sums[4]) if sums and sums[4] else 1.0,
        n_variable=sizes.get("NVGB", 0),
        n_fit=sizes.get("NFGB", 0),
        expected_decrease=_first_decrease(text, rows, Path(path).with_name(HISTOGRAMS)),
        iterations=rows,
        memory_mb=1000 * float(memory[1]) if memory else None,
        constraints=sizes.get("NCGB", 0),
        constraint_rank=int(rank[1]) if rank else None,
        rank_defect=int(defect[1]) if defect else 0 if _NO_DEFECT in text else None,
    )


def first_decrease(histograms: Path) -> float | None:
    """Return the expected decrease of chi2 by the first solution, with seven digits instead of the log's two.

    ``millepede.his`` has as XY data 1 the function value of each evaluation, with the decrease as error of y
    (mphistab.f90). None if the file or the number is missing.
    """
    try:
        block = _VALUES.search(histograms.read_text(encoding="utf-8", errors="replace"))
        return float(block[1].splitlines()[1].split()[3]) if block else None
    except (OSError, IndexError, ValueError):
        return None


def _rejects(text: str) -> Rejects:
    lines = _REJECTS.search(text)
    counts = [0, 0, 0, 0]
    for number, reason in re.findall(r"(\d+)\s+\((.*?)\)", lines[1] if lines else ""):
        counts[next((at for at, word in enumerate(_REASONS, start=1) if word in reason), 0)] += int(number)
    return Rejects(*counts)


def _rows(text: str) -> tuple[IterationRow, ...]:
    rows: list[IterationRow] = []
    for match in _ROW.finditer(text):
        iteration, evaluation, chi2, _, cut, rejects = (field.strip() for field in match.groups())
        if not evaluation or not chi2:
            continue
        expected = match[4][1:9].strip() if iteration else ""
        before = rows[-1] if rows else None
        # sub-iterations have neither an iteration nor a cut factor: those of their iteration apply
        number = iteration or (before.iteration if before else 0)
        try:
            factor = _number(cut) if iteration else before.cut_factor if before else 0.0
            decrease = _number(expected) if expected else None
            rows.append(IterationRow(int(number), int(evaluation), _number(chi2), decrease, factor, int(rejects)))
        except ValueError:  # not a row after all
            continue
    return tuple(rows)


def _number(text: str) -> float:
    """Parse a Fortran number: stars mean overflow, and three-digit exponents lack the E."""
    if "*" in text:
        return math.inf
    return float(re.sub(r"(?<=\d)([+-]\d{3})$", r"E\1", text))


def _first_decrease(text: str, rows: Sequence[IterationRow], histograms: Path) -> float | None:
    """Return the expected decrease of the first solution; the table has two digits, all other sources more."""
    first = re.search(r"^  1 {1,2}\d", text, re.MULTILINE)
    slope = _FIRST_SLOPE.search(text, 0, first.start() if first else len(text))
    if slope and first:
        return -float(slope[1])
    printed = _SAID.search(text)
    if printed:
        return float(printed[1])
    of_table = (row.expected_decrease for row in rows if row.iteration == 1 and row.expected_decrease)
    return first_decrease(histograms) or next(of_table, None)
