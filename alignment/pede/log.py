"""Read pede's ``millepede.log``: sizes, the table of iterations, chi2 and rejects."""

import math
import re
from pathlib import Path
from typing import NamedTuple

from faser_align.alignment.pede.solution import IterationRow, Rejects
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name


class PedeLog(NamedTuple):
    """Content of a log; zeros and None where unknown.

    Attributes:
        records, n_variable, n_fit: NREC, NVGB, NFGB.
        chi2, ndf: final sums; ndf is reduced by the parameters. chi2 includes the mean weight ``mean_weight`` of the
            degrees of freedom if files have weights.
        rejects: rejected records of the last pass.
        expected_decrease: decrease of chi2 by the first solution; with the digits of the line search if there was one.
        iterations: the table, without rows of solutions.
        memory_mb: peak of pede's own memory, including 100 MB of cache.
        labels: NTGB; ``constraints``: NCGB, of which ``constraint_rank`` are independent.
        elimination: whether constraints were eliminated instead of using multipliers.
        rank_defect: of the matrix.
        subito: whether pede stopped after the first solution because of a rank defect.
        method: METSOL in words.
        warnings: lines that begin with *Warning*.
        decrease_is_exact: whether ``expected_decrease`` has six digits instead of the table's two.
    """

    records: int = 0
    n_variable: int = 0
    n_fit: int = 0
    chi2: float = 0.0
    ndf: int = 0
    rejects: Rejects = Rejects()
    expected_decrease: float | None = None
    iterations: tuple[IterationRow, ...] = ()
    memory_mb: float | None = None
    labels: int = 0
    constraints: int = 0
    constraint_rank: int | None = None
    elimination: bool | None = None
    rank_defect: int | None = None
    subito: bool = False
    method: str = ""
    warnings: tuple[str, ...] = ()
    decrease_is_exact: bool = False
    mean_weight: float = 1.0


_FLOAT = r"[-+]?\d*\.\d*(?:[ED][-+]?\d+)?"
_SIZE = re.compile(r"^\s*(NREC|NTGB|NVGB|NFGB|NCGB)\s*=\s*(\d+)", re.MULTILINE)
_SUM = re.compile(
    rf"Sum\((?:W\*)?Chi\^2\)/Sum\(Ndf\)(?:/<W>)? =\s*({_FLOAT})\s*/ \(\s*(\d+)\s*-\s*(\d+)\s*\)(?:\s*/\s*({_FLOAT}))?",
    re.MULTILINE,
)
_REJECTS = re.compile(
    r"Data rejected in last iteration:.*?\n\s*(\d+)\s+\(rank deficit/NaN\)\s+(\d+)\s+\(Ndf=0\)"
    r"\s+(\d+)\s+\(huge\)\s+(\d+)\s+\(large\)"
)
# since V04-16-05 there is a line for each reason that occurs
_REJECTS_NEWER = re.compile(r"Data records rejected in last iteration:\s*?\n((?:\s*\d+\s+\(local .*\)[ \t]*\n)+)")
_REASONS = {
    "solution contains NaNs": 0,
    "matrix with rank deficit": 0,
    "matrix with ill condition": 0,
    "fit with Ndf=0": 1,
    "fit with huge": 2,
    "fit with large": 3,
}  # indices in Rejects
_ROW = re.compile(r"^([ \d]{3})([ \d]{3})([ .\dE+-]{12})(.{38})([ .\d*-]{5})([ \d]{8}) ", re.MULTILINE)
_FIRST_SLOPE = re.compile(rf"^\s*0\s+0\.000000\s.*?\s({_FLOAT})\s+0\.000000\s+ratio", re.MULTILINE)
_SAID = re.compile(r"Expected decrease of the first solution = (\S+)")  # only from the built-in solver
_CONSTRAINTS = re.compile(r"Constraints handled by (elimination|Lagrange multipliers)")
_CONSTRAINT_RANK = re.compile(r"Rank of product matrix of constraints is\s+(\d+)\s+for")
_DEFECT = re.compile(r"rank defect of the symmetric\s+\d+\s+-by-\s+\d+\s+matrix is\s+(\d+)")
_NO_DEFECT = "No rank defect of the symmetric matrix"
_METHOD = re.compile(r"METSOL = *\d+: *(.*?) *$", re.MULTILINE)
_WARNING = re.compile(r"^\s*(Warning\b.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_MEMORY = re.compile(rf"Peak dynamic memory allocation:\s*({_FLOAT})\s*GB")


def read_log(path: Name) -> PedeLog:
    """Read a log; raise UserError if the file cannot be read. A log that ends early has fewer values."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pede did not run there") from error
    sizes = {name: int(value) for name, value in _SIZE.findall(text)}
    sums = _SUM.search(text)
    memory = _MEMORY.search(text)
    rows = _rows(text)
    decrease, exact = _first_decrease(text, rows)
    handled, rank, method = _CONSTRAINTS.search(text), _CONSTRAINT_RANK.search(text), _METHOD.search(text)
    return PedeLog(
        records=sizes.get("NREC", 0),
        n_variable=sizes.get("NVGB", 0),
        n_fit=sizes.get("NFGB", 0),
        chi2=float(sums[1]) if sums else 0.0,
        ndf=int(sums[2]) - int(sums[3]) if sums else 0,
        mean_weight=float(sums[4]) if sums and sums[4] else 1.0,
        rejects=_rejects(text),
        expected_decrease=decrease,
        iterations=rows,
        memory_mb=1000 * float(memory[1]) if memory else None,
        labels=sizes.get("NTGB", 0),
        constraints=sizes.get("NCGB", 0),
        constraint_rank=int(rank[1]) if rank else None,
        elimination=handled[1] == "elimination" if handled else None,
        rank_defect=_rank_defect(text),
        subito="enforcing SUBITO" in text,
        method=method[1] if method else "",
        decrease_is_exact=exact,
        warnings=tuple(" ".join(line.split()) for line in _WARNING.findall(text)),
    )


def _rejects(text: str) -> Rejects:
    match = _REJECTS.search(text)
    if match:
        return Rejects(*(int(value) for value in match.groups()))
    newer = _REJECTS_NEWER.search(text)
    counts = [0, 0, 0, 0]
    for number, reason in re.findall(r"(\d+)\s+\(local (.*)\)", newer[1] if newer else ""):
        counts[next((at for words, at in _REASONS.items() if reason.startswith(words)), 0)] += int(number)
    return Rejects(*counts)


def _rank_defect(text: str) -> int | None:
    match = _DEFECT.search(text)
    if match:
        return int(match[1])
    return 0 if _NO_DEFECT in text else None


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


def _first_decrease(text: str, rows: tuple[IterationRow, ...]) -> tuple[float | None, bool]:
    """Return the expected decrease of the first solution, and whether it has more digits than the table."""
    first = re.search(r"^  1 {1,2}\d", text, re.MULTILINE)
    slope = _FIRST_SLOPE.search(text, 0, first.start() if first else len(text))
    if slope and first:
        return -float(slope[1]), True
    printed = _SAID.search(text)
    if printed:
        return float(printed[1]), True
    return next((row.expected_decrease for row in rows if row.iteration == 1 and row.expected_decrease), None), False
