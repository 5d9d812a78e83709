"""Steering texts of pede: reading them for the built-in solver; fix rules and writing are here by name too.

The grammar is pede's: ``*`` begins a comment line and ``!`` a comment; a line is the name of an existing file, or a
keyword with numbers, or numbers that go on with the list of the keyword before. Letter case does not matter, and a
keyword may be misspelt in one letter of five. Files are looked for beside the steering file.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faser_align.alignment.fixrules import fix_rules
from faser_align.alignment.millepede import END_TEXTS
from faser_align.alignment.steeringtext import SolverOptions, write_steering
from faser_align.fsm.errors import UserError

__all__ = ["SolverError", "SolverOptions", "Steering", "fix_rules", "parse_steering", "write_steering"]

Terms = tuple[tuple[int, float], ...]
"""(label, factor) pairs of a linear form."""


class SolverError(UserError):
    """The solver cannot go on; ``code`` is the end code with which pede stops for the same reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.end_text = END_TEXTS[code]


@dataclass(frozen=True)
class Steering:
    """What a steering text asks for; pede's defaults.

    Attributes:
        binaries: Mille files, each with the weight of its records.
        parameters: start value and presigma by label (mm, rad); presigma < 0 fixes, 0 frees, > 0 damps.
        constraints: right-hand side and terms of each linear equality.
        measurements: value, sigma and terms of each extra measurement.
        iterations: of the method, with ``delta_f_max`` the expected decrease that ends them.
        entries_min: a parameter with fewer entries in the binaries is fixed.
        accepted_min: a free parameter with fewer entries in accepted records makes a severe warning.
        huge_cut, chi2_cut: records are rejected above so many times the 3-sigma chi2; ``chi2_cut`` for the first
            and second iteration, (0, 0) for none.
        downweighting: iterations of the local fit, 0 for none; ``downweight_max`` the largest fraction.
        presigma: for parameters without one.
        regularisation: factor of presigma as a penalty; 0 for none.
        matrix_iterations: the matrix is made anew up to this iteration.
        line_search: 0 never, 1 in the last iteration, 2 with the final chi2 cut, 3 always.
        counts: 0, or 1 to print accepted entries, 2 to print those in the binaries.
        error_scales: of measurements with and without global derivatives.
        notes: keywords that were understood and have no meaning for the built-in solver.
    """

    binaries: tuple[tuple[Path, float], ...] = ()
    parameters: dict[int, tuple[float, float]] = field(default_factory=dict)
    constraints: tuple[tuple[float, Terms], ...] = ()
    measurements: tuple[tuple[float, float, Terms], ...] = ()
    iterations: int = 1
    delta_f_max: float = 0.01
    entries_min: int = 25
    accepted_min: int = 10
    count_records: bool = False
    huge_cut: float = 50.0
    chi2_cut: tuple[float, float] = (0.0, 0.0)
    downweighting: int = 0
    downweight_max: float = 0.0
    presigma: float = 0.0
    regularisation: float = 0.0
    skip_empty_constraints: bool = False
    multipliers: bool = False
    subito: bool = False
    force: bool = False
    matrix_iterations: int = 0
    line_search: int = 2
    counts: int = 0
    error_scales: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()


def parse_steering(path: str | os.PathLike[str]) -> Steering:
    """Read a steering file with the texts that it names.

    Raises SolverError with pede's code: 16 if a file cannot be opened, 13 for a line that is neither a keyword
    nor an existing file, 14 without a binary.
    """
    path = Path(path)
    reader = _Reader()
    texts: list[Path] = []
    own = [line for line in _lines(path, 16) if not reader.read_file_name(line, path, texts)]
    if not reader.binaries:
        raise SolverError(f"{path} names no Mille binary that exists; add one, or correct its name", 14)
    for source, lines in [(path, iter(own)), *((text, _lines(text, 16)) for text in texts)]:
        for line in lines:
            reader.read(line, source)
    return reader.finish()


def _lines(path: Path, code: int) -> Iterator[str]:
    """Lines up to ``end`` without comments."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SolverError(f"cannot open {path}: {error.strerror}", code) from error
    for raw in text.splitlines():
        line = raw.split("!", 1)[0].strip()
        if line.lower() == "end":
            return
        if line and not raw.lstrip().startswith("*"):
            yield line


class _Reader:
    """Takes the lines of all texts in order; a list of numbers belongs to the keyword before it.

    ``binaries`` are those found so far.
    """

    def __init__(self) -> None:
        self.binaries: list[tuple[Path, float]] = []
        self._parameters: dict[int, tuple[float, float]] = {}
        self._constraints: list[tuple[float, Terms]] = []
        self._measurements: list[tuple[float, float, Terms]] = []
        self._notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._list: str = ""  # keyword whose list goes on
        self._head: list[float] = []
        self._terms: list[tuple[int, float]] = []

    def read_file_name(self, line: str, path: Path, texts: list[Path]) -> bool:
        """Whether a line of the steering file itself names a file, or the kind of the files that follow."""
        if line.lower() in ("cfiles", "fortranfiles"):
            if line.lower() == "fortranfiles":
                self._notes.append("fortranfiles: only C binaries are read")
            return True
        name, _, option = line.partition(" -- ")
        file = path.parent / name.strip()
        if not file.is_file():
            return False
        if re.search(r"[xt]t", name.strip()[-4:].lower()):
            texts.append(file)
        else:
            weight = _numbers(option)
            self.binaries.append((file, weight[0] if weight else 1.0))
        return True

    def read(self, line: str, source: Path) -> None:
        """Take a line that names no file."""
        match = _KEYWORD.match(line)
        words = match[0].strip() if match else ""
        numbers = _numbers(line[len(match[0]) if match else 0 :])
        if not words:
            if not self._list:
                raise SolverError(f"{source}: {line!r} stands before any keyword", 13)
            self._continue(numbers, line, source)
            return
        self._end_list()
        keyword = _find_keyword(words)
        if keyword is None:
            raise SolverError(f"{source}: {line!r} is neither a keyword of pede nor an existing file", 13)
        if keyword in _LISTS:
            self._list, self._head = keyword, numbers
            if keyword == "parameter" and numbers:
                self._continue(numbers, line, source)
        elif keyword in _IGNORED:
            self._notes.append(words)
        else:
            self._values |= _SETTERS[keyword](numbers)
            if keyword == "method" and "inv" not in words.lower():
                self._notes.append(f"{words}: solved by inversion")

    def finish(self) -> Steering:
        """Everything that was read."""
        self._end_list()
        return Steering(
            binaries=tuple(self.binaries),
            parameters=self._parameters,
            constraints=tuple(self._constraints),
            measurements=tuple(self._measurements),
            notes=tuple(self._notes),
            **self._values,
        )

    def _end_list(self) -> None:
        terms = tuple(self._terms)
        if self._list == "constraint":
            self._constraints.append((self._head[0] if self._head else 0.0, terms))
        elif self._list == "measurement":
            value, sigma = (*self._head, 0.0, 0.0)[:2]
            self._measurements.append((value, sigma, terms))
        self._list, self._terms = "", []

    def _continue(self, numbers: list[float], line: str, source: Path) -> None:
        if self._list == "parameter":
            if len(numbers) not in (2, 3) or numbers[0] < 1 or numbers[0] != int(numbers[0]):
                raise SolverError(f"{source}: {line!r} is not 'label start presigma'", 13)
            label, start, presigma = int(numbers[0]), numbers[1], (numbers[2] if len(numbers) == 3 else 0.0)
            old = self._parameters.get(label, (0.0, 0.0))
            # zeros are not stored: they never undo a number given before
            self._parameters[label] = (start or old[0], presigma or old[1])
            return
        if len(numbers) % 2 or any(label < 1 or label != int(label) for label in numbers[::2]):
            raise SolverError(f"{source}: {line!r} is no list of 'label factor' pairs", 13)
        self._terms += [(int(label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True)]


_KEYWORD = re.compile(r"[A-Za-z][A-Za-z\-_ ]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?")

_IGNORED = (
    "threads", "monitorresiduals", "monitorpulls", "monitorprogress", "printrecord", "maxrecord", "cache", "errlabels",
    "histprint", "pairentries", "bandwidth", "mrestol", "mrestranscond", "mresmode", "wolfe", "closeandreopen",
    "readerroraseof", "globalcorr", "resolveredundancycons", "checkparametergroups", "sortconstraints", "debug",
    "localfit", "compress", "errors", "fullstorage", "maxlocalbandwidth",
)  # fmt: skip


Numbers = list[float]
Values = dict[str, Any]  # of attributes of Steering


def _method(numbers: Numbers) -> Values:
    values: Values = {"iterations": int(numbers[0]) if numbers else 1}
    return values | ({"delta_f_max": numbers[1]} if len(numbers) > 1 else {})


def _entries(numbers: Numbers) -> Values:
    return dict(zip(("entries_min", "accepted_min"), (int(number) for number in numbers), strict=False))


def _chi2_cut(numbers: Numbers) -> Values:
    first = numbers[0] if numbers else 0.0
    second = numbers[1] if len(numbers) > 1 else 1.0
    # a first factor below 1 means no cut at all in the first pass, which the solver knows by a negative one
    return {"chi2_cut": (-1.0 if 0 < first < 1 else first, max(second, 1.0) if first else 0.0)}


def _regularisation(numbers: Numbers) -> Values:
    values: Values = {"regularisation": numbers[0] if numbers else 1.0}
    return values | ({"presigma": numbers[1]} if len(numbers) > 1 else {})


def _scales(numbers: Numbers) -> Values:
    first = numbers[0] if numbers else 1.0
    return {"error_scales": (first, numbers[1] if len(numbers) > 1 else first)}


def _set(name: str, kind: type, default: float) -> Callable[[Numbers], Values]:
    return lambda numbers: {name: kind(numbers[0] if numbers else default)}


_SETTERS: dict[str, Callable[[Numbers], Values]] = {
    "method": _method,
    "entries": _entries,
    "chisqcut": _chi2_cut,
    "regularisation": _regularisation,
    "regularization": _regularisation,
    "scaleerrors": _scales,
    "countrecords": _set("count_records", bool, 1),
    "hugecut": lambda numbers: {"huge_cut": max(1.0, numbers[0] if numbers else 50.0)},
    "outlierdownweighting": _set("downweighting", int, 0),
    "dwfractioncut": lambda numbers: {"downweight_max": min(0.5, numbers[0] if numbers else 0.0)},
    "presigma": _set("presigma", float, 0),
    "skipemptycons": _set("skip_empty_constraints", bool, 1),
    "withmultipliers": _set("multipliers", bool, 1),
    "withelimination": lambda _: {"multipliers": False},
    "subito": _set("subito", bool, 1),
    "force": _set("force", bool, 1),
    "matiter": _set("matrix_iterations", int, 0),
    "linesearch": _set("line_search", int, 2),
    "printcounts": _set("counts", int, 1),
}
_LISTS = ("parameter", "constraint", "measurement")
_KEYWORDS = (*_LISTS, *_SETTERS, *_IGNORED)


def _numbers(text: str) -> list[float]:
    return [float(word.replace("d", "e").replace("D", "e")) for word in _NUMBER.findall(text)]


def _find_keyword(words: str) -> str | None:
    """The keyword that a line's words mean: the same letters, or at least 80 % of them in order."""
    word = words.split()[0].lower()
    if word in _KEYWORDS:
        return word
    best = max(_KEYWORDS, key=lambda keyword: _common(keyword, word) / max(len(keyword), len(word)))
    return best if _common(best, word) >= 0.8 * max(len(best), len(word)) else None


def _common(first: str, second: str) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for a in first:
        before = 0
        for j, b in enumerate(second, start=1):
            before, row[j] = row[j], before + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]
