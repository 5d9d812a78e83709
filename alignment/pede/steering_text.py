"""Write the steering texts of one Millepede step: parameters, constraints, and the steering file itself.

An expert's own parameter text for a step is in pede's format: fixed, free and start values.
"""

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import (
    MODULES,
    PARAMETERS,
    PLACES,
    SIDES,
    describe_all,
    module_rz_label,
    module_x_label,
)
from faser_align.alignment.pede.keywords import FILE_KINDS, LISTS, find_keyword
from faser_align.alignment.pede.steering_words import take_apart
from faser_align.config.stages import UsedStage, UsedStep
from faser_align.config.stored_types import Solver
from faser_align.config.values import FRAME
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, write_text

FRAME_LAYERS = ((1, 1), (3, 1))  # station and layer: 21 and 41
PARAMETERS_FILE, CONSTRAINTS_FILE, OWN_FILE, STEERING_FILE = "par.txt", "con.txt", "own.txt", "str.txt"


class Frozen(NamedTuple):
    """A direction in which a step must not move: the sum of factor x parameter (mm, rad) is ``value``."""

    name: str
    value: float
    factors: Mapping[int, float]


@dataclass(frozen=True)
class SolverOptions:
    """Options of a step, from the configuration's ``[solver]`` and from the step itself.

    Attributes:
        method: pede's ``method`` line: name, iterations, limit of the expected decrease.
        hugecut: records with a larger multiple of the 3-sigma chi2 are rejected.
        entries: a parameter with fewer entries is fixed.
        presigma_mm, presigma_rad: presigmas that damp free translations and rotations.
        presigma: presigmas of single kinds of parameters, which take precedence (mm, rad).
        threads: number of pede's threads.
        options: the expert's own lines, before ``end``.
        parameters: the expert's own text with parameters, read after the generated one.
        frame: whether constraints also keep the mean shift along the strips of the modules of ``FRAME_LAYERS``.
        frozen: directions in which the step must not move.
    """

    method: str = "inversion 3 0.001"
    hugecut: float = 2000.0
    entries: int = 25
    presigma_mm: float = 0.05
    presigma_rad: float = 0.005
    presigma: Mapping[str, float] = field(default_factory=dict)
    threads: int = 1
    options: tuple[str, ...] = ()
    parameters: str = ""
    frame: bool = False
    frozen: tuple[Frozen, ...] = ()


def solver_options(solver: Solver, step: UsedStep) -> SolverOptions:
    """Return the options of a step.

    Args:
        solver: the table ``[solver]`` of the configuration.
        step: step of the manifest: ``presigma``, ``extra_lines`` and ``parameters_text`` may be missing.
    """
    return SolverOptions(
        method=solver["method"],
        hugecut=solver["hugecut"],
        entries=solver["entries"],
        presigma_mm=solver["presigma_mm"],
        presigma_rad=solver["presigma_rad"],
        threads=solver["threads"],
        presigma=_by_kind(solver.get("presigma", {})) | _by_kind(step.get("presigma", {})),
        options=(*solver["options"], *step.get("extra_lines", ())),
        parameters=step.get("parameters_text", ""),
        frame=FRAME in step["fix"],
    )


def _by_kind(table: Mapping[str, Any]) -> dict[str, float]:
    """Convert keys such as ``layer_rx`` to kinds of parameters; zeros are dropped."""
    return {name.replace("_", ".", 1): value for name, value in table.items() if value}


def step_fixed(step: UsedStep, stations: int) -> frozenset[int]:
    """Return the labels that a step of the manifest keeps fixed: by its fix rules, then by its own parameters.

    As in pede, a presigma other than zero in the expert's own text takes precedence over the one from ``fix``.

    Args:
        step: with ``fix``, and ``parameters_text`` if there are own parameters.
        stations: 4, or 3 without the IFT.

    Raises UserError for an unknown item or line, or if nothing could move.
    """
    source = step.get("parameters", "the step's parameters")
    own = parse_parameters(step.get("parameters_text", ""), source)
    freed = {label for label, (_, presigma) in own.items() if presigma > 0}
    fixed = (fix_rules(step["fix"], stations) - freed) | {label for label, (_, presigma) in own.items() if presigma < 0}
    rules = f"fix = [{', '.join(map(str, step['fix']))}]{f' with {source}' if own else ''}"
    free = PARAMETERS.keys() - fixed
    if not free:
        raise UserError(f"{rules} fixes every parameter; leave a parameter free")
    of_sums = [free & set(labels) for labels in chain.from_iterable(map(_sums, PLACES))]
    if free <= set().union(*(labels for labels in of_sums if len(labels) == 1)):
        raise UserError(
            f"{rules} frees only {describe_all(sorted(free))}, which a constraint keeps in place, because the sum over the "
            "layer is zero; free another module of the layer as well"
        )
    return fixed


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


def labels_freed(stages: Iterable[UsedStage], stations: int) -> set[int]:
    """Return the labels that any step of some stages frees; ``stations`` is for stages without this key."""
    return {
        label
        for stage in stages
        for step in stage["steps"]
        for label in PARAMETERS.keys() - step_fixed(step, stage.get("stations", stations))
    }


def step_texts(
    binaries: Sequence[Name],
    fixed: Collection[int],
    start_values: Mapping[int, float],
    options: SolverOptions,
    weights: Sequence[float] = (),
) -> dict[str, str]:
    """Return the texts of a step by file name; arguments as for ``write_steering``."""
    texts = [PARAMETERS_FILE, CONSTRAINTS_FILE, *([OWN_FILE] if options.parameters else [])]
    weighted = zip(map(os.path.abspath, binaries), weights or [1.0] * len(binaries), strict=True)
    lines = ["Cfiles", *texts, *(path if weight == 1.0 else f"{path} -- {weight:g}" for path, weight in weighted)]
    lines += ["skipemptycons", f"hugecut {options.hugecut:g}", f"method {options.method}", f"entries {options.entries}"]
    if options.threads > 1:
        lines.append(f"threads {options.threads}")
    lines += ["printcounts", "monitorresiduals", *options.options, "end"]
    written = {
        PARAMETERS_FILE: _joined(["Parameter", *_parameter_lines(fixed, start_values, options)]),
        CONSTRAINTS_FILE: _joined(_constraint_lines(options.frame, options.frozen)),
        STEERING_FILE: _joined(lines),
    }
    if options.parameters:
        written[OWN_FILE] = options.parameters.rstrip("\n") + "\n"
    return written


def write_steering(
    folder: Name,
    binaries: Sequence[Name],
    fixed: Collection[int],
    start_values: Mapping[int, float],
    options: SolverOptions,
    weights: Sequence[float] = (),
) -> Path:
    """Write the texts of a step into ``folder`` and return the steering file's path.

    Args:
        folder: an existing folder, which will also have the solver's output.
        binaries: Mille files, in order.
        fixed: labels that keep their start value.
        start_values: start value by label (mm, rad), default zero; a later step starts from the previous result.
        weights: weights of the binaries, in order; empty: 1 each.
    """
    for name, text in step_texts(binaries, fixed, start_values, options, weights).items():
        write_text(Path(folder) / name, text)
    return Path(folder) / STEERING_FILE


def _parameter_lines(
    fixed: Collection[int], start_values: Mapping[int, float], options: SolverOptions
) -> Iterable[str]:
    for label, parameter in PARAMETERS.items():
        usual = options.presigma_mm if parameter.translation else options.presigma_rad
        presigma = -1.0 if label in fixed else options.presigma.get(parameter.kind, usual)
        yield f"{label:8d} {start_values.get(label, 0.0):.10g} {presigma:g}"


def _constraint_lines(frame: bool, frozen: Sequence[Frozen]) -> Iterable[str]:
    """Yield 24 constraints: in each layer the sums of x of all sides and of rz of all modules are zero.

    Without them a common shift or rotation of all modules would be equivalent to one of their layer. With ``frame`` two
    more keep the layers ``FRAME_LAYERS`` in place along x, which is the mean shift of their modules along the strips. Each
    direction in ``frozen`` is one more.
    """
    for labels in chain.from_iterable(map(_sums, PLACES)):
        yield "Constraint 0.0"
        yield from (f"{label:8d} 1.0" for label in labels)
    for place in FRAME_LAYERS if frame else ():
        yield "Constraint 0.0"
        yield from (f"{label:8d} {PARAMETERS[label].along_strips:.1f}" for label in _sums(place)[0])
    for direction in frozen:
        yield from (f"* frozen: {direction.name}", f"Constraint {direction.value:.10g}")
        yield from (f"{label:8d} {factor:.10g}" for label, factor in direction.factors.items())


def _sums(place: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Return the labels of a layer's x of all sides, and of rz of all modules, whose sums are zero."""
    sides = [module_x_label(*place, module, side) for module in MODULES for side in SIDES]
    return sides, [module_rz_label(*place, module) for module in MODULES]


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
