"""Writing the steering texts of one Millepede step: parameters, constraints, and the steering file itself."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from faser_align.alignment.labels import LAYERS, MODULES, PARAMETERS, SIDES, STATIONS, module_rz_label, module_x_label

PARAMETERS_FILE, CONSTRAINTS_FILE, STEERING_FILE = "par.txt", "con.txt", "str.txt"


@dataclass(frozen=True)
class SolverOptions:
    """How a step is solved; the keys of the configuration's ``[solver]``.

    Attributes:
        method: of pede's ``method`` line: name, iterations, limit of the expected decrease.
        hugecut: records are rejected above so many times the 3-sigma chi2.
        entries: a parameter with fewer entries is fixed.
        presigma_mm, presigma_rad: by which free translations and rotations are damped.
        threads: of pede.
        options: the expert's own lines, before ``end``.
    """

    method: str = "inversion 3 0.001"
    hugecut: float = 2000.0
    entries: int = 25
    presigma_mm: float = 0.05
    presigma_rad: float = 0.005
    threads: int = 1
    options: tuple[str, ...] = ()


def write_steering(
    folder: str | os.PathLike[str],
    binaries: Sequence[str | os.PathLike[str]],
    fixed: Collection[int],
    start_values: Mapping[int, float],
    options: SolverOptions,
) -> Path:
    """Write the texts of a step into ``folder`` and return the steering file's path.

    Args:
        folder: an existing folder, where the solver's output will be too.
        binaries: Mille files, in their order.
        fixed: labels that stay at their start value.
        start_values: of labels (mm, rad), zero where missing; a later step has the values of the one before.
        options: how to solve.
    """
    folder = Path(folder)
    _write(folder / PARAMETERS_FILE, ["Parameter", *_parameter_lines(fixed, start_values, options)])
    _write(folder / CONSTRAINTS_FILE, _constraint_lines())
    lines = ["Cfiles", PARAMETERS_FILE, CONSTRAINTS_FILE, *(os.path.abspath(binary) for binary in binaries)]
    lines += ["skipemptycons", f"hugecut {options.hugecut:g}", f"method {options.method}", f"entries {options.entries}"]
    if options.threads > 1:
        lines.append(f"threads {options.threads}")
    lines += ["printcounts", "monitorresiduals", *options.options, "end"]
    steering = folder / STEERING_FILE
    _write(steering, lines)
    return steering


def _parameter_lines(
    fixed: Collection[int], start_values: Mapping[int, float], options: SolverOptions
) -> Iterable[str]:
    for label, parameter in PARAMETERS.items():
        free = options.presigma_mm if parameter.translation else options.presigma_rad
        presigma = -1.0 if label in fixed else free
        yield f"{label:8d} {start_values.get(label, 0.0):.10g} {presigma:g}"


def _constraint_lines() -> Iterable[str]:
    """24 sums that are zero: in each layer, x of all modules' sides, and rz of all modules.

    Without them a shift or a turn of all modules would be one of their layer.
    """
    for station in STATIONS:
        for layer in LAYERS:
            sides = [module_x_label(station, layer, module, side) for module in MODULES for side in SIDES]
            rotations = [module_rz_label(station, layer, module) for module in MODULES]
            for labels in (sides, rotations):
                yield "Constraint 0.0"
                yield from (f"{label:8d} 1.0" for label in labels)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
