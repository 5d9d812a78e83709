"""``millepede.log`` of the built-in solver: short, with those of pede's lines that programs look for."""

import os
from pathlib import Path

from faser_align.alignment.solution import IterationRow, Solution

_HEADER = (
    " it fc   fcn_value dfcn_exp  slpr costh  iit st ls  step cutf rejects hhmmss FMS",
    " -- -- ----------- --------  ---- -----  --- -- -- ----- ---- ------- ------ ---",
)


def write_log(path: str | os.PathLike[str], steering: str | os.PathLike[str], solution: Solution) -> None:
    """Write the log of a run."""
    lines = [f" Built-in solver of faser-align; steering file {steering}", " "]
    if solution.message:
        lines += [f" {solution.message}", " "]
    if solution.n_variable:
        lines += _sizes(solution)
    if solution.iterations:
        lines += [*_HEADER, *(_row(row) for row in solution.iterations), " "]
    if solution.expected_decrease is not None:
        lines += [f" Expected decrease of the first solution = {solution.expected_decrease:.10g}", " "]
    if solution.result:
        lines += [
            f" Sum(Chi^2)/Sum(Ndf) = {solution.chi2:.13g}",
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
    lines.append(f" {solution.end_code:d} {solution.end_text}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


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
