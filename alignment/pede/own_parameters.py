"""Parse an expert's own parameter text for a step: fixed, free and start values, in pede's format."""

import math

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.keywords import FILE_KINDS, LISTS, find_keyword
from faser_align.alignment.pede.steering_words import take_apart
from faser_align.fsm.errors import UserError


def parse_parameters(text: str, source: str) -> dict[int, tuple[float, float]]:
    """Return start value (mm, rad) and presigma of each label in the lists that begin with ``Parameter``.

    If a label is given twice, the later number other than zero counts, as in pede. The solver handles lists of other
    keywords, such as constraints.

    Args:
        text: the expert's text.
        source: its name, for the message.

    Raises UserError with file, line and fix for a line that is not ``label start presigma`` or an unknown label.
    """
    parameters: dict[int, tuple[float, float]] = {}
    within = ""  # keyword of the current list
    for number, raw in enumerate(text.splitlines(), start=1):
        line = take_apart(raw)
        if line.whole.lower() == "end":
            break
        where = f"{source}: line {number}"
        keyword = find_keyword(line.word) if line.word else None
        if line.word and keyword is None and line.whole.lower() not in FILE_KINDS:
            raise UserError(f"{where}, {line.whole[:60]!r}, does not begin with a keyword of pede; correct it")
        if keyword in LISTS:
            within = str(keyword)
        if not line.numbers or (line.word and keyword != "parameter"):
            continue
        if not within:
            raise UserError(f"{where} comes before any keyword; begin with a line `Parameter`")
        if within != "parameter":
            continue
        label, start, presigma = _entry(line.whole, line.numbers, where)
        before = parameters.get(label, (0.0, 0.0))
        parameters[label] = (start or before[0], presigma or before[1])
    return parameters


def _entry(line: str, numbers: list[float], where: str) -> tuple[int, float, float]:
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}, {line[:60]!r}, is not `label start presigma`; correct it")
    label, start, presigma = numbers
    if label not in PARAMETERS:
        raise UserError(f"{where}: label {label:g} is not a parameter of the tracker; see docs/alignment.md for labels")
    return int(label), start, presigma
