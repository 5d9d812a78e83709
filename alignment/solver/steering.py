"""Read pede's steering texts for the built-in solver.

The grammar is pede's: a line is the name of an existing file, or a keyword with numbers, or numbers that continue the
last list, also after other keywords and in the next text. File names are relative to the steering file; the texts that
it names are read after its own lines.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.pede.keywords import (
    FILE_KINDS,
    METHODS,
    NOTED,
    SETTERS,
    UNSUPPORTED,
    BadNumbersError,
    find_keyword,
    find_method,
    matching,
)
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.pede.steering_words import Line, nearest, numbers_in, take_apart
from faser_align.alignment.solver.steering_data import Binary, SolverError, Steering
from faser_align.system.atomic import Name

__all__ = ["Binary", "SolverError", "SolverOptions", "Steering", "fix_rules", "parse_steering", "write_steering"]


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
        self._constraints: list[tuple[list[float], list[tuple[int, float]]]] = []
        self._measurements: list[tuple[list[float], list[tuple[int, float]]]] = []
        self._notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._list: str = ""  # keyword of the current list
        self._second = 0.0  # from the last line with two numbers

    def read_file_name(self, line: str) -> bool:
        """Return whether a line of the steering file itself names a file, or the kind of the files that follow."""
        if line.lower() in FILE_KINDS:
            self._read_kind(line.lower())
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
        keyword = find_keyword(line.word)
        if keyword is None and line.whole.lower() in FILE_KINDS:
            return
        if keyword is None:
            tab = "; a tab is a letter to pede, put blanks instead" if "\t" in line.whole else ""
            raise SolverError(f"{where}: {line.whole!r} is neither a keyword of pede nor an existing file{tab}", 13)
        if keyword in UNSUPPORTED:
            reason = UNSUPPORTED[keyword]
            raise SolverError(
                f"{where}: the built-in solver does not support {keyword} ({reason}); use pede, or remove the line", 40
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
            constraints=tuple((head[0], tuple(terms)) for head, terms in self._constraints),
            measurements=tuple((head[0], head[1], tuple(terms)) for head, terms in self._measurements),
            notes=tuple(self._notes),
            **self._values,
        )

    def _read_kind(self, kind: str) -> None:
        if kind == "rootfiles":
            raise SolverError("the built-in solver cannot read rootfiles; convert them to C binaries", 40)
        if kind == "closeandreopen":
            self._notes.append(f"{kind} has no effect here: {NOTED[kind]}")
        else:
            self._fortran = kind == "fortranfiles"

    def _take(self, keyword: str, line: Line) -> None:
        if keyword == "method":
            self._take_method(line)
        elif keyword in _NUMBERS_OF_LISTS:
            if len(line.numbers) not in _NUMBERS_OF_LISTS[keyword]:
                raise BadNumbersError(f"does not have {len(line.numbers)} numbers after it")
            self._list = keyword
            if keyword == "constraint":
                self._constraints.append((line.numbers, []))
            elif keyword == "measurement":
                self._measurements.append((line.numbers, []))
        elif keyword in NOTED:
            self._notes.append(f"{keyword} has no effect here: {NOTED[keyword]}")
        else:
            self._values |= SETTERS[keyword](line.numbers)

    def _take_method(self, line: Line) -> None:
        if not line.argument:
            raise BadNumbersError("needs a name")
        method = find_method(line.argument)
        if method is None:
            raise SolverError(f"{line.argument!r} is not a method of pede, which are {', '.join(METHODS)}", 36)
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
            self._add_comment(line, where)
            return
        if self._list == "parameter":
            if len(numbers) < 3 or not _is_label(numbers[0]):
                raise SolverError(f"{where}: {line.whole!r} is not 'label start presigma'", 13)
            self._add_parameter(round(numbers[0]), numbers[1], numbers[2])
            return
        if len(numbers) % 2 or not all(_is_label(label) for label in numbers[::2]):
            raise SolverError(f"{where}: {line.whole!r} is not a list of 'label factor' pairs", 13)
        terms = (self._constraints if self._list == "constraint" else self._measurements)[-1][1]
        terms += [(round(label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True) if factor]

    def _add_comment(self, line: Line, where: str) -> None:
        """Add a comment; pede takes one with a number for a wrong line, and skips it."""
        text = line.whole.partition(" ")[2]
        if len(line.numbers) != 1 or not _is_label(line.numbers[0]):
            self._notes.append(f"{where}: a comment is a label and words without numbers; {line.whole!r} is left out")
        elif text:
            self._comments[round(line.numbers[0])] = text

    def _add_parameter(self, label: int, start: float, presigma: float) -> None:
        """Add a parameter; zeros do not replace earlier numbers and do not make a label known."""
        self._presigmas += presigma > 0
        old = self._parameters.get(label, (0.0, 0.0))
        if start or presigma:
            self._parameters[label] = (start or old[0], presigma or old[1])


_NUMBERS_OF_LISTS = {
    "parameter": (0, 3),
    "comment": (0,),
    "constraint": (1, 2),
    "measurement": (2,),
}  # numbers that may follow the keyword on its line


def _is_label(number: float) -> bool:
    return 1 <= number < 2**31 and number == round(number)


def _is_text(name: str) -> bool:
    """Return whether pede takes a file for a text, by the last four letters of its name (NUFILE)."""
    return 2 in (matching("xt", name[-4:]), matching("tx", name[-4:]))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long, or contains a null character
        return False
