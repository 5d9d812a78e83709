"""Steering texts of pede: reading them for the built-in solver; fix rules and writing are here by name too.

The grammar is pede's: ``*`` begins a comment line and ``!`` a comment; a line is the name of an existing file, or a
keyword with numbers, or numbers that go on with the list of the keyword before. Files are looked for beside the
steering file; the texts that it names are read behind its own lines.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faser_align.alignment.fixrules import fix_rules
from faser_align.alignment.keywords import (
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
from faser_align.alignment.steeringdata import Binary, SolverError, Steering, Terms
from faser_align.alignment.steeringtext import SolverOptions, write_steering

__all__ = ["Binary", "SolverError", "SolverOptions", "Steering", "fix_rules", "parse_steering", "write_steering"]


def parse_steering(path: str | os.PathLike[str]) -> Steering:
    """Read a steering file with the texts that it names.

    Raises SolverError with pede's code: 16 if a file cannot be opened, 13 for a line that is neither a keyword
    nor an existing file, 14 without a binary, 36 for a method that does not exist; and 40 for a keyword that pede
    understands and the built-in solver cannot do.
    """
    path = Path(path)
    reader = _Reader(path.parent)
    own = [(at, line) for at, line in _lines(path) if not reader.read_file_name(line)]
    if not reader.binaries:
        raise SolverError(f"{path} names no Mille binary that exists; add one, or correct its name", 14)
    for source, lines in [(path, iter(own)), *((text, _lines(text)) for text in reader.texts)]:
        for number, line in lines:
            reader.read(line, f"{source}, line {number}")
        reader.end_list()
    return reader.finish()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbers and texts of the lines up to ``end`` without comments."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SolverError(f"cannot open {path}: {error.strerror}", 16) from error
    for number, raw in enumerate(text.split("\n"), start=1):
        line = " ".join(raw.split("!", 1)[0].split())
        if line.lower() == "end":
            return
        if line and not raw.startswith("*"):
            yield number, line


class _Reader:
    """Takes the lines of all texts in order; a list of numbers belongs to the keyword before it.

    ``binaries`` and ``texts`` are those found so far.
    """

    def __init__(self, folder: Path) -> None:
        self.binaries: list[Binary] = []
        self.texts: list[Path] = []
        self._folder = folder
        self._fortran = False
        self._parameters: dict[int, tuple[float, float]] = {}
        self._comments: dict[int, str] = {}
        self._constraints: list[tuple[float, Terms]] = []
        self._measurements: list[tuple[float, float, Terms]] = []
        self._notes: list[str] = []
        self._values: dict[str, Any] = {}
        self._list: str = ""  # keyword whose list goes on
        self._head: list[float] = []
        self._terms: list[tuple[int, float]] = []

    def read_file_name(self, line: str) -> bool:
        """Whether a line of the steering file itself names a file, or the kind of the files that follow."""
        if line.lower() in FILE_KINDS:
            self._read_kind(line.lower())
            return True
        name, _, option = line.partition(" -- ")
        file = self._folder / name.strip()
        if not _is_file(file):
            return False
        if 2 in (matching("xt", name[-4:]), matching("tx", name[-4:])):
            self.texts.append(file)
        else:
            weight = [number for number in _numbers(option) if math.isfinite(number)]
            self.binaries.append(Binary(file, weight[0] if weight else 1.0, self._fortran))
        return True

    def read(self, line: str, where: str) -> None:
        """Take a line that names no file."""
        match = _NUMBER.search(line)
        words = line[: match.start()].split() if match else line.split()
        numbers = _numbers(line)
        if not all(map(math.isfinite, numbers)):
            raise SolverError(f"{where}: {line!r} has a number that is too large", 13)
        if not words:
            self._continue(numbers, line, where)
            return
        self.end_list()
        keyword = find_keyword(words[0])
        if keyword is None and line.lower() in FILE_KINDS:
            return
        if keyword is None:
            raise SolverError(f"{where}: {line!r} is neither a keyword of pede nor an existing file", 13)
        if keyword in UNSUPPORTED:
            reason = UNSUPPORTED[keyword]
            raise SolverError(
                f"{where}: the built-in solver cannot do {keyword} ({reason}); use pede, or remove the line", 40
            )
        try:
            self._take(keyword, words, numbers)
        except (ValueError, OverflowError) as error:
            raise SolverError(f"{where}: {line!r} is not understood: {keyword} {error}", 13) from error
        if keyword == "parameter" and numbers:
            self._continue(numbers, line, where)

    def finish(self) -> Steering:
        """Everything that was read."""
        return Steering(
            binaries=tuple(self.binaries),
            parameters=self._parameters,
            comments=self._comments,
            constraints=tuple(self._constraints),
            measurements=tuple(self._measurements),
            notes=tuple(self._notes),
            **self._values,
        )

    def end_list(self) -> None:
        """The list of the last keyword is complete."""
        terms = tuple(self._terms)
        if self._list == "constraint":
            self._constraints.append((self._head[0], terms))
        elif self._list == "measurement":
            self._measurements.append((self._head[0], self._head[1], terms))
        self._list, self._terms = "", []

    def _read_kind(self, kind: str) -> None:
        if kind == "rootfiles":
            raise SolverError("the built-in solver cannot read rootfiles; convert them to C binaries", 40)
        if kind == "closeandreopen":
            self._notes.append(f"{kind} has no effect here: {NOTED[kind]}")
        else:
            self._fortran = kind == "fortranfiles"

    def _take(self, keyword: str, words: list[str], numbers: list[float]) -> None:
        if keyword == "method":
            self._take_method(words[1:], numbers)
        elif keyword in _NUMBERS_OF_LISTS:
            if len(numbers) not in _NUMBERS_OF_LISTS[keyword]:
                raise BadNumbersError(f"does not have {len(numbers)} numbers behind it")
            self._list, self._head = keyword, numbers
        elif keyword in NOTED:
            self._notes.append(f"{keyword} has no effect here: {NOTED[keyword]}")
        else:
            self._values |= SETTERS[keyword](numbers)

    def _take_method(self, names: list[str], numbers: list[float]) -> None:
        if not names:
            raise BadNumbersError("needs a name")
        method = find_method(names[0])
        if method is None:
            raise SolverError(f"{names[0]!r} is no method of pede; it knows {', '.join(METHODS)}", 36)
        self._values["method"] = method
        if len(numbers) > 1:
            self._values["delta_f_max"] = numbers[1]
        if numbers and numbers[0] >= 0.5:
            self._values["iterations"] = round(numbers[0])

    def _continue(self, numbers: list[float], line: str, where: str) -> None:
        if not self._list:
            raise SolverError(f"{where}: {line!r} stands before any keyword with a list", 13)
        if self._list == "comment":
            label, _, text = line.partition(" ")
            if label.isdecimal():
                self._comments[int(label)] = text
            return
        if self._list == "parameter":
            if len(numbers) < 3 or not _is_label(numbers[0]):
                raise SolverError(f"{where}: {line!r} is not 'label start presigma'", 13)
            label_, start, presigma = round(numbers[0]), numbers[1], numbers[2]
            old = self._parameters.get(label_, (0.0, 0.0))
            # zeros are not stored: they never undo a number given before
            self._parameters[label_] = (start or old[0], presigma or old[1])
            return
        if len(numbers) % 2 or not all(_is_label(label) for label in numbers[::2]):
            raise SolverError(f"{where}: {line!r} is no list of 'label factor' pairs", 13)
        self._terms += [(round(label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True)]


_NUMBERS_OF_LISTS = {
    "parameter": range(1000),
    "comment": (0,),
    "constraint": (1, 2),
    "measurement": (2,),
}  # numbers that may stand behind the keyword itself
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]+)?")


def _numbers(text: str) -> list[float]:
    return [float(word.replace("d", "e").replace("D", "e")) for word in _NUMBER.findall(text)]


def _is_label(number: float) -> bool:
    return 1 <= number < 2**31 and number == round(number)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
