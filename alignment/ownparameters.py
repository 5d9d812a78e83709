"""An expert's own text of parameters for a step, in pede's form: what it fixes, frees and starts from."""

from faser_align.alignment.labels import PARAMETERS
from faser_align.fsm.errors import UserError


def parse_parameters(text: str, source: str) -> dict[int, tuple[float, float]]:
    """Start value (mm, rad) and presigma of each label in the lists that begin with ``Parameter``.

    Of a label that is given twice the later number other than zero counts, as in pede. Lists of other keywords, such as
    constraints, are left to the solver. Raises UserError with file, line and cure for a line that is no
    ``label start presigma`` or a label that the tracker does not have.
    """
    found: dict[int, tuple[float, float]] = {}
    within = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("!", 1)[0].strip()
        if not line or line.startswith("*"):
            continue
        if line[0].isalpha():
            within = line.split()[0].lower()
            if within == "end":
                break
            line = line[len(within) :].strip()
        elif not within:
            raise UserError(f"{source}: line {number} stands before any keyword; begin with a line `Parameter`")
        if within != "parameter" or not line:
            continue
        label, start, presigma = _entry(line, f"{source}: line {number}")
        before = found.get(label, (0.0, 0.0))
        found[label] = (start or before[0], presigma or before[1])
    return found


def _entry(line: str, where: str) -> tuple[int, float, float]:
    words = line.split()
    try:
        label, start, *rest = int(words[0]), float(words[1]), *(float(word) for word in words[2:])
        if len(rest) > 1:
            raise ValueError(line)
    except (ValueError, IndexError):
        raise UserError(f"{where}, {line[:60]!r}, is not `label start presigma`; correct it") from None
    if label not in PARAMETERS:
        raise UserError(f"{where}: label {label} is no parameter of the tracker; see docs/alignment.md for labels")
    return label, start, rest[0] if rest else 0.0
