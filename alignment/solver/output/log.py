"""Write the built-in solver's ``millepede.log``: short, with pede's lines that programs read.

The memory is that of the whole process.
"""

import resource

from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.pede.results import exponential
from faser_align.alignment.pede.solution import IterationRow, Solution
from faser_align.alignment.solver.steering import Steering
from faser_align.alignment.solver.undetermined import in_words
from faser_align.system.atomic import Name, write_text

_HEADER = (
    " it fc   fcn_value dfcn_exp  slpr costh  iit st ls  step cutf rejects hhmmss FMS",
    " -- -- ----------- --------  ---- -----  --- -- -- ----- ---- ------- ------ ---",
)

_LOOP1 = (
    ("NTGB", "total number NTGB of labels/parameters"),
    ("NPRESG", "number of pre-sigmas"),
    ("NVGB", "number NVGB of variable parameters"),
    ("NTPGRP", "total number NTPGRP of label/parameter groups"),
)
_NUMBERS = (
    ("NREC", "number of records"),
    ("NRECD", "number of records containing doubles"),  # pede prints the number of all records there too
    ("MREQENF", "required number of entries ({} in binary files)"),
    ("ITEREN", "iterate cut for parameters with less entries"),
    ("MREQENA", "required number of entries (from accepted fits)"),
    ("NTGB", "total number of parameters"),
    ("NVGB", "number of variable parameters"),
    ("NAGB", "number of all parameters"),
    ("NTPGRP", "total number of parameter groups"),
    ("NVPGRP", "number of variable parameter groups"),
    ("NFGB", "number of fit parameters"),
    ("NOFF", "max number of off-diagonal elements"),
    ("NCGB", "number of constraints"),
    ("NAGBN", "max number of global parameters in an event"),
    ("NALCN", "max number of local parameters in an event"),
    ("NAEQN", "max number of equations in an event"),
    ("NRECE", "number of records without variable parameters"),
)  # as in LOOP1 and LOOP2 of pede
_NOT_ZERO = ("NRECD", "ITEREN", "NRECE")  # omitted if zero

HUBER_RATIO = 0.9326  # chi2/ndf of normal data with down-weighting (XLOOPN of pede)


def write_log(path: Name, steering_path: Name, solution: Solution, steering: Steering) -> None:
    """Write the log of a run."""
    lines = [f" Built-in solver of faser-align; steering file {steering_path}", " "]
    if solution.message:
        lines += [f" {solution.message}", " "]
    lines += [f" Note: {note}" for note in solution.notes]
    if solution.n_variable:
        lines += _sizes(solution, steering.count_records)
    if solution.iterations:
        lines += [*_solving(solution, steering), *_HEADER, *(_row(row) for row in solution.iterations), " "]
    if solution.expected_decrease is not None:
        lines += [f" Expected decrease of the first solution = {solution.expected_decrease:.10g}", " "]
    if solution.result:
        weighted = any(binary.weight != 1 for binary in steering.binaries)
        of_weights, per_weight = ("W*", "/<W>") if weighted else ("", "")
        lines += [
            f" Sum({of_weights}Chi^2)/Sum(Ndf){per_weight} = {solution.chi2:.13f}",
            f"                     / ( {solution.ndf + solution.n_fit:d} - {solution.n_fit:d} )",
            *([f"                     / {solution.mean_weight:.13f}"] if of_weights else []),
            f"                     = {solution.chi2_per_ndf or 0.0:.13g}",
            " ",
        ]
        if steering.downweighting and len(solution.iterations) > 1:
            corrected = (solution.chi2_per_ndf or 0.0) / HUBER_RATIO
            lines.append(f"             with correction for down-weighting   {corrected:14.8f}")
    if solution.rejects.total:
        deficit, freedom, huge, large = solution.rejects
        lines += [
            " Data rejected in last iteration:",
            f"    {deficit:12d}  (rank deficit/NaN) {freedom:12d}  (Ndf=0)   {huge:12d}  (huge)   {large:12d}  (large)",
            " ",
        ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-6
    lines += [f"      Peak dynamic memory allocation: {peak:11.6f} GB", " "]
    lines += [f" {kind:>5} pass {seconds:10.3f} s" for kind, seconds in solution.passes_s]
    lines.append(f" {solution.end_code:d} {solution.end_text}")
    write_text(path, "\n".join(lines) + "\n")


def _solving(solution: Solution, steering: Steering) -> list[str]:
    """Return how the system of equations is solved, and its rank defect."""
    method = METHODS[steering.method]
    lines = [
        f"      METSOL = {method.number:d}:  {method.title}",
        f"                   with {steering.iterations:12d}  iterations",
    ]
    if solution.cg_iterations:
        counts = " ".join(map(str, solution.cg_iterations))
        lines.append(f" Sparse matrix of {solution.elements} elements; iterations of conjugate gradients: {counts}")
    elif steering.method != "inversion":
        lines.append(" The matrix is inverted whatever the method; the solution is the same")
    subito = [] if steering.force or steering.subito else ["         --> enforcing SUBITO mode"]
    if solution.constraints:
        how = "Lagrange multipliers" if steering.multipliers else "elimination"
        lines.append(f" Constraints handled by {how}")
        rank = f"{solution.constraint_rank:d} for {solution.constraints:d}"
        lines.append(f" Rank of product matrix of constraints is {rank} constraint equations")
        if solution.constraint_rank is not None and solution.constraint_rank < solution.constraints:
            lines += [" Warning: insufficient constraint equations!", *subito]
            subito = []
    n, defect = solution.n_fit, solution.rank_defect
    if defect == 0:
        lines.append(" No rank defect of the symmetric matrix")
    elif defect:
        lines.append(
            f" Warning: the rank defect of the symmetric {n:d} -by- {n:d} matrix is {defect:d} (should be zero)."
        )
        lines += subito
        lines += [f" Undetermined: {in_words(direction)}" for direction in solution.undetermined]
    return [*lines, " "]


def _sizes(solution: Solution, by_record: bool) -> list[str]:
    """Return sizes in pede's lines, without unknown ones."""
    known = {**solution.sizes, "NREC": solution.records, "NVGB": solution.n_variable, "NFGB": solution.n_fit}
    known["NCGB"] = solution.constraints
    lines = [f" LOOP1:{known[name]:12d}  is {meaning}" for name, meaning in _LOOP1 if name in known]
    of_entries = "recs" if by_record else "eqns"
    for name, meaning in _NUMBERS:
        if known.get(name) or (name in known and name not in _NOT_ZERO):
            lines.append(f" {name:>8} ={known[name]:10d} = {meaning.format(of_entries)}")
    if solution.entries_fixed:
        lines.append(" Fixed for too few entries: " + " ".join(str(label) for label in solution.entries_fixed))
    return [*lines, " "]


def _row(row: IterationRow) -> str:
    """Return a row of the table in pede's columns, without slopes, angles and times."""
    if row.evaluation > 1 and row.expected_decrease is None:  # a further step of a line search
        return f"   {row.evaluation:3d}{exponential(row.chi2, 12, 5)}{'':44}{row.rejects:7d}  00000 F"
    expected = "" if row.expected_decrease is None else f" {exponential(row.expected_decrease, 8, 2)}"
    kind = "FMS" if row.evaluation == 1 else "F"
    return (
        f"{row.iteration:3d}{row.evaluation:3d}{exponential(row.chi2, 12, 5)}{expected:<38}{row.cut_factor:5.1f} "
        f"{row.rejects:7d}  00000 {kind}"
    )
