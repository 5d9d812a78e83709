"""``millepede.log`` of the built-in solver: short, with those of pede's lines that programs look for."""

import os
from pathlib import Path

from faser_align.alignment.solution import IterationRow, Solution
from faser_align.alignment.steeringdata import Steering
from faser_align.alignment.undetermined import in_words

_HEADER = (
    " it fc   fcn_value dfcn_exp  slpr costh  iit st ls  step cutf rejects hhmmss FMS",
    " -- -- ----------- --------  ---- -----  --- -- -- ----- ---- ------- ------ ---",
)


def write_log(
    path: str | os.PathLike[str],
    steering_path: str | os.PathLike[str],
    solution: Solution,
    steering: Steering,
) -> None:
    """Write the log of a run."""
    lines = [f" Built-in solver of faser-align; steering file {steering_path}", " "]
    if solution.message:
        lines += [f" {solution.message}", " "]
    lines += [f" Note: {note}" for note in solution.notes]
    if solution.n_variable:
        lines += _sizes(solution)
    if solution.iterations:
        lines += [*_solving(solution, steering), *_HEADER, *(_row(row) for row in solution.iterations), " "]
    if solution.expected_decrease is not None:
        lines += [f" Expected decrease of the first solution = {solution.expected_decrease:.10g}", " "]
    if solution.result:
        lines += [
            f" Sum(Chi^2)/Sum(Ndf) = {solution.chi2:.13f}",
            f"                     / ( {solution.ndf + solution.n_fit:d} - {solution.n_fit:d} )",
            f"                     = {solution.chi2 / max(solution.ndf, 1):.13g}",
            " ",
        ]
    if solution.rejects.total:
        deficit, freedom, huge, large = solution.rejects
        lines += [
            " Data rejected in last iteration:",
            f"    {deficit:12d}  (rank deficit/NaN) {freedom:12d}  (Ndf=0)   {huge:12d}  (huge)   {large:12d}  (large)",
            " ",
        ]
    lines += [f" {kind:>5} pass {seconds:10.3f} s" for kind, seconds in solution.passes_s]
    lines.append(f" {solution.end_code:d} {solution.end_text}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _solving(solution: Solution, steering: Steering) -> list[str]:
    """How the system of equations is solved, and what it leaves open."""
    lines = [f" Method {steering.method} with {steering.iterations} iterations, solved by inversion"]
    if solution.constraints:
        how = "Lagrange multipliers" if steering.multipliers else "elimination"
        lines.append(f" Constraints handled by {how}")
        rank = f"{solution.constraint_rank:d} for {solution.constraints:d}"
        lines.append(f" Rank of product matrix of constraints is {rank} constraint equations")
    n, defect = solution.n_fit, solution.rank_defect
    if defect == 0:
        lines.append(" No rank defect of the symmetric matrix")
    elif defect:
        lines.append(
            f" Warning: the rank defect of the symmetric {n:d} -by- {n:d} matrix is {defect:d} (should be zero)."
        )
        if not steering.force:
            lines.append("         --> enforcing SUBITO mode")
        lines += [f" Undetermined: {in_words(direction)}" for direction in solution.undetermined]
    return [*lines, " "]


def _sizes(solution: Solution) -> list[str]:
    names = [
        ("NREC", solution.records, "number of records"),
        ("NVGB", solution.n_variable, "number of variable parameters"),
        ("NFGB", solution.n_fit, "number of fit parameters"),
    ]
    lines = [f" {name:>8} = {value:9d} = {meaning}" for name, value, meaning in names]
    if solution.entries_fixed:
        lines.append(" Fixed for too few entries: " + " ".join(str(label) for label in solution.entries_fixed))
    return [*lines, " "]


def _row(row: IterationRow) -> str:
    new = row.expected_decrease is not None or row.evaluation == 1
    expected = "" if row.expected_decrease is None else f"{row.expected_decrease:9.2E}"
    iteration = f"{row.iteration:3d}" if new else "   "
    kind = "FMS" if row.evaluation == 1 else "F  "
    return (
        f"{iteration}{row.evaluation:3d}{row.chi2:12.5E}{expected:<9}{'':29}{row.cut_factor:5.1f}{row.rejects:8d}"
        f"  00000 {kind}"
    )
