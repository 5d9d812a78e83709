"""Read pede's steering texts for the built-in solver.

The grammar is pede's: a line is the name of an existing file, or a keyword with numbers, or numbers that continue the
last list, also after other keywords and in the next text. File names are relative to the steering file; the texts that
it names are read after its own lines.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.alignment.pede import keywords
from faser_align.alignment.pede.results import END_TEXTS
from faser_align.alignment.pede.steering_words import Line, nearest, numbers_in, take_apart
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

Terms = tuple[tuple[int, float], ...]
"""(label, factor) pairs of a linear form."""


class SolverError(UserError):
    """The solver must stop; ``code`` is pede's end code for the same reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.end_text = END_TEXTS[code]


class Binary(NamedTuple):
    """A Mille binary: path, weight of its records, and whether Fortran wrote it."""

    path: Path
    weight: float = 1.0
    fortran: bool = False


@dataclass(frozen=True)
class Steering:
    """Options of a steering text; defaults are pede's.

    Attributes:
        binaries: Mille files.
        parameters: start value and presigma by label (mm, rad); presigma < 0 fixes, 0 frees, > 0 damps.
        presigmas_given: number of positive ones in the lists of parameters, including those without effect.
        comments: comments of labels, which the result repeats.
        constraints: right-hand side and terms of each linear equality.
        measurements: value, sigma and terms of each extra measurement.
        method: of pede's list; ``with_errors`` if it gives errors.
        iterations: maximum number of iterations, which end at an expected decrease below ``delta_f_max``.
        entries_min: a parameter with fewer entries in the binaries is fixed.
        entries_iterated: a parameter with fewer entries than this needs ``entries_min`` of them in equations without
            parameters that ``entries_min`` fixes; 0 disables this.
        accepted_min: a free parameter with fewer entries in accepted records causes a severe warning.
        count_records: entries are records instead of equations.
        records_max: maximum number of records; 0 for all.
        huge_cut, chi2_cut: records with a larger multiple of the 3-sigma chi2 are rejected; ``chi2_cut`` for the first
            and second iteration, (0, 0) for none.
        downweighting: iterations of the local fit, 0 for none; ``downweight_max`` is the largest fraction.
        rejected_max: records rejected in the last pass, in units of 1e-4 of all, above which the end code is 1.
        presigma: default for parameters.
        regularisation: factor of presigma as a penalty; None for damped steps without a penalty.
        skip_empty_constraints: skip constraints without a variable parameter, which otherwise forbid a solution.
        multipliers: use Lagrange multipliers instead of eliminating constraints.
        subito: stop after one step. ``force``: continue in spite of a rank defect.
        feasible_start: change start values to satisfy the constraints.
        matrix_iterations: recompute the matrix up to this iteration.
        line_search: 0 never, 1 in the last iteration, 2 with the final chi2 cut, 3 always.
        check_level: above 0 list the input instead of solving; above 1 also list where labels occur.
        counts: 0, or 1 to print accepted entries, 2 to print those in the binaries.
        correlations: whether to print global correlations, which need errors and do not go with ``counts``.
        error_scales: factors for errors of measurements with and without global derivatives.
        monitor: bit 0 for residuals by label in the first pass, bit 1 for those in the last; ``monitor_bins`` for the
            medians; ``monitor_pulls`` for pulls instead; ``pull_range`` of histograms, 0 for pede's choice.
        threads: for the passes.
        read_error_is_end: a truncated binary ends where it is truncated.
        notes: keywords without effect on the built-in solver, with the reason.
    """

    binaries: tuple[Binary, ...] = ()
    parameters: dict[int, tuple[float, float]] = field(default_factory=dict)
    presigmas_given: int = 0
    comments: dict[int, str] = field(default_factory=dict)
    constraints: tuple[tuple[float, Terms], ...] = ()
    measurements: tuple[tuple[float, float, Terms], ...] = ()
    method: str = "sparseMINRES"
    iterations: int = 1
    delta_f_max: float = 0.01
    entries_min: int = 25
    entries_iterated: int = 0
    accepted_min: int = 10
    count_records: bool = False
    records_max: int = 0
    huge_cut: float = 50.0
    chi2_cut: tuple[float, float] = (0.0, 0.0)
    downweighting: int = 0
    downweight_max: float = 0.0
    rejected_max: float = 100.0
    presigma: float = 0.0
    regularisation: float | None = None
    skip_empty_constraints: bool = False
    multipliers: bool = False
    feasible_start: bool = True
    subito: bool = False
    force: bool = False
    matrix_iterations: int = 0
    line_search: int = 2
    check_level: int = 0
    counts: int = 0
    correlations: bool = False
    error_scales: tuple[float, float] = (1.0, 1.0)
    monitor: int = 0
    monitor_pulls: bool = False
    monitor_bins: int = 100
    pull_range: float = 0.0
    threads: int = 1
    read_error_is_end: bool = False
    notes: tuple[str, ...] = ()

    @property
    def with_errors(self) -> bool:
        """Whether the method gives errors of the parameters."""
        return keywords.METHODS[self.method].with_errors


def parse_steering(path: Name) -> Steering:
    """Read a steering file with the texts that it names.

    Raises SolverError with pede's code: 16 if a file cannot be opened or its name is not that of a text, 13 for a line
    that is neither a keyword nor an existing file, 14 without a binary, 36 for an unknown method; and 40 for a keyword
    of pede that the built-in solver does not support.
    """
    path = Path(path)
    if _is_file(path) and not _is_text(str(path)):
        raise SolverError(f"the name of {path} does not end like that of a text; rename it to {path.name}.txt", 16)
    reader = _Reader(path.parent)
    own = [(at, line) for at, line in _lines(path) if not reader.read_file_name(line.whole)]
    if not reader.binaries:
        raise SolverError(f"{path} names no Mille binary that exists; add one, or correct its name", 14)
    for source, lines in [(path, iter(own)), *((text, _lines(text)) for text in reader.texts)]:
        for number, line in lines:
            reader.read(line, f"{source}, line {number}")
    return reader.finish()


def _lines(path: Path) -> Iterator[tuple[int, Line]]:
    """Yield numbers and contents of the lines up to ``end``, without comment lines."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SolverError(f"cannot open {path}: {error.strerror}", 16) from error
    for number, raw in enumerate(text.split("\n"), start=1):
        line = take_apart(raw)
        if line.whole.lower() == "end":
            return
        if line.word or line.numbers:
            yield number, line


class _Reader:
    """Reads the lines of all texts in order; a list of numbers belongs to the previous keyword.

    ``binaries`` and ``texts`` are those found so far.
    """

    def __init__(self, folder: Path) -> None:
        self.binaries: list[Binary] = []
        self.texts: list[Path] = []
        self._folder = folder
        self._fortran = False
        self._parameters: dict[int, tuple[float, float]] = {}
        self._presigmas = 0
        self._comments: dict[int, str] = {}
        self._forms: dict[str, list[tuple[list[float], list[tuple[int, float]]]]] = {
            "constraint": [],
            "measurement": [],
        }
        self._notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._list: str = ""  # keyword of the current list
        self._second = 0.0  # from the last line with two numbers

    def read_file_name(self, line: str) -> bool:
        """Return whether a line of the steering file itself names a file, or the kind of the files that follow."""
        if line.lower() in keywords.FILE_KINDS:
            if line.lower() == "rootfiles":
                raise SolverError("the built-in solver cannot read rootfiles; convert them to C binaries", 40)
            if line.lower() == "closeandreopen":
                reason = "it is about open files, and here there is one at a time"
                self._notes.append(f"closeandreopen has no effect here: {reason}")
            else:
                self._fortran = line.lower() == "fortranfiles"
            return True
        name, _, option = line.partition(" -- ")
        file = self._folder / name.strip(" ")
        if not _is_file(file):
            return False
        if _is_text(name):
            self.texts.append(file)
        else:
            weight = [number for number in numbers_in(option) if math.isfinite(number)]
            self.binaries.append(Binary(file, weight[0] if weight else 1.0, self._fortran))
        return True

    def read(self, line: Line, where: str) -> None:
        """Read a line that names no file."""
        if not all(map(math.isfinite, line.numbers)):
            raise SolverError(f"{where}: {line.whole!r} has a number that is too large", 13)
        if len(line.numbers) > 1:
            self._second = line.numbers[1]
        if not line.word:
            self._continue(line, where)
            return
        keyword = keywords.find_keyword(line.word)
        if keyword is None and line.whole.lower() in keywords.FILE_KINDS:
            return
        if keyword is None:
            tab = "; a tab is a letter to pede, put blanks instead" if "\t" in line.whole else ""
            raise SolverError(f"{where}: {line.whole!r} is neither a keyword of pede nor an existing file{tab}", 13)
        does = keywords.KEYWORDS[keyword]
        if isinstance(does, keywords.Unsupported):
            raise SolverError(
                f"{where}: the built-in solver does not support {keyword} ({does}); use pede, or remove the line", 40
            )
        try:
            self._take(keyword, line)
        except (ValueError, OverflowError) as error:
            raise SolverError(f"{where}: {line.whole!r} is not understood: {keyword} {error}", 13) from error
        if keyword == "parameter" and line.numbers:
            self._continue(line, where)

    def finish(self) -> Steering:
        """Return everything that was read."""
        if self._values.get("method") == "decomposition" and self._values.pop("multipliers", False):
            self._notes.append("withmultipliers has no effect here: decomposition eliminates constraints")
        return Steering(
            binaries=tuple(self.binaries),
            parameters=self._parameters,
            presigmas_given=self._presigmas,
            comments=self._comments,
            constraints=tuple((head[0], tuple(terms)) for head, terms in self._forms["constraint"]),
            measurements=tuple((head[0], head[1], tuple(terms)) for head, terms in self._forms["measurement"]),
            notes=tuple(self._notes),
            **self._values,
        )

    def _take(self, keyword: str, line: Line) -> None:
        if keyword == "method":
            self._take_method(line)
        elif keyword in _NUMBERS_OF_LISTS:
            if len(line.numbers) not in _NUMBERS_OF_LISTS[keyword]:
                raise ValueError(f"does not have {len(line.numbers)} numbers after it")
            self._list = keyword
            if keyword in self._forms:
                self._forms[keyword].append((line.numbers, []))
        elif isinstance(does := keywords.KEYWORDS[keyword], str):
            self._notes.append(f"{keyword} has no effect here: {does}")
        elif does is not None:
            self._values |= does(line.numbers)

    def _take_method(self, line: Line) -> None:
        if not line.argument:
            raise ValueError("needs a name")
        method = keywords.find_method(line.argument)
        if method is None:
            raise SolverError(f"{line.argument!r} is not a method of pede, which are {', '.join(keywords.METHODS)}", 36)
        self._list = ""
        self._values["method"] = method
        # without a limit pede uses the value left over from the last line with two numbers
        self._values["delta_f_max"] = self._second
        if line.numbers and nearest(line.numbers[0]) >= 1:
            self._values["iterations"] = nearest(line.numbers[0])

    def _continue(self, line: Line, where: str) -> None:
        numbers = line.numbers
        if not self._list:
            raise SolverError(f"{where}: {line.whole!r} comes before any keyword with a list", 13)
        if self._list == "comment":
            text = line.whole.partition(" ")[2]
            if len(numbers) != 1 or not _is_label(numbers[0]):  # pede takes a comment with a number for a wrong line
                self._notes.append(
                    f"{where}: a comment is a label and words without numbers; {line.whole!r} is left out"
                )
            elif text:
                self._comments[round(numbers[0])] = text
            return
        if self._list == "parameter":
            if len(numbers) < 3 or not _is_label(numbers[0]):
                raise SolverError(f"{where}: {line.whole!r} is not 'label start presigma'", 13)
            label, (start, presigma) = round(numbers[0]), numbers[1:3]
            self._presigmas += presigma > 0
            if start or presigma:  # zeros do not replace earlier numbers and do not make a label known
                before = self._parameters.get(label, (0.0, 0.0))
                self._parameters[label] = (start or before[0], presigma or before[1])
            return
        if len(numbers) % 2 or not all(_is_label(label) for label in numbers[::2]):
            raise SolverError(f"{where}: {line.whole!r} is not a list of 'label factor' pairs", 13)
        terms = self._forms[self._list][-1][1]
        terms += [(round(label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True) if factor]


# Numbers that may follow the keyword on its line.
_NUMBERS_OF_LISTS = {"parameter": (0, 3), "comment": (0,), "constraint": (1, 2), "measurement": (2,)}


def _is_label(number: float) -> bool:
    return 1 <= number < 2**31 and number == round(number)


def _is_text(name: str) -> bool:
    """Return whether pede takes a file for a text, by the last four letters of its name (NUFILE)."""
    return 2 in (keywords.matching("xt", name[-4:]), keywords.matching("tx", name[-4:]))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long, or contains a null character
        return False
