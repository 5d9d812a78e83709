"""Solve as ``pede steering.txt`` does with ``method inversion``, in numpy.

The computation follows pede (V04-16) step by step: which parameters are variable, which records are rejected and when,
line search and iterations, end codes. Values agree with pede's to the printed digits. Errors are those of the
covariance, also where pede's elimination of constraints prints wrong ones.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faser_align.alignment.mille.blocks import MilleError
from faser_align.alignment.parameters.labels import describe_all
from faser_align.alignment.pede import results
from faser_align.alignment.pede.solution import GOOD_CODES, Rejects, Solution
from faser_align.alignment.pede.steering_words import nearest
from faser_align.alignment.solver.blas import one_blas_thread
from faser_align.alignment.solver.conjugate_gradients import IterativeSolution
from faser_align.alignment.solver.iterations import Iterations
from faser_align.alignment.solver.output.diagnostics import Diagnostics
from faser_align.alignment.solver.output.listing import listing
from faser_align.alignment.solver.output.log import HUBER_RATIO, write_log
from faser_align.alignment.solver.problem import Problem, make_problem
from faser_align.alignment.solver.steering import SolverError, Steering, parse_steering
from faser_align.alignment.solver.sums.total import NotExactError, Total
from faser_align.alignment.solver.undetermined import in_words
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name


def solve(steering_path: Name, total: Total | None = None, *, why_no_sums: str = "") -> Solution:
    """Solve the problem of a steering file, from the sums of its binaries where these are exact.

    Writes ``millepede.res``, ``.end``, ``.log``, ``.his`` and, if requested, ``.mon`` beside the steering file. Older
    ones are removed first, so that all files are from this run. A failure for which pede has an end code is returned as
    that end code and not raised; a missing steering file gives code 16, in ``millepede.end`` only.

    Args:
        total: the sums; without them, and where they are not exact, all passes read the binaries.
        why_no_sums: why there are no sums, for the log.

    Raises UserError if the steering file's folder does not exist.
    """
    path = Path(steering_path)
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"{path} does not exist; give a steering file")
    if not path.exists():  # so that a mistyped name does not delete results
        results.write_end(folder / results.END, 16)
        return Solution(16, results.END_TEXTS[16], f"{path} does not exist; give a steering file", {})
    for name in (results.RESULT, results.END, results.LOG, results.HISTOGRAMS, results.MONITOR):
        (folder / name).unlink(missing_ok=True)
    results.write_end(folder / results.END, -1)
    steering = Steering()
    try:
        steering = parse_steering(path)
        # numbers of damaged records may overflow; the record is then rejected, or ends the run as not a number
        with one_blas_thread(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            solution = _solve_from(steering, folder, total, why_no_sums)
    except SolverError as error:
        solution = Solution(error.code, error.end_text, str(error), {})
    except MemoryError as error:
        fix = "request more memory, or fix parameters"
        solution = Solution(30, results.END_TEXTS[30], f"the memory is not enough: {error or 'an array'}; {fix}", {})
    except MilleError as error:
        number = f" {error.binary:7d}" if error.code == 18 else ""  # pede names the binary in the same way
        solution = Solution(error.code, results.END_TEXTS[error.code] + number, str(error), {})
    solution = replace(solution, notes=(*steering.notes, *solution.notes))
    write_log(folder / results.LOG, path, solution, steering)
    results.write_end(folder / results.END, solution.end_code, solution.end_text)
    return solution


def _solve_from(steering: Steering, folder: Path, total: Total | None, why: str) -> Solution:
    """Solve from the sums, or from the binaries if there are none or they are not exact."""
    if total is not None:
        try:
            total.check(steering)
            solution = _solve(steering, folder, total)
            near = f"; {total.near} records near a cut are fitted again" if total.near else ""
            note = f"the solution is from the sums of {len(steering.binaries)} binaries{near}"
            return replace(solution, from_sums=True, notes=(note, *solution.notes))
        except NotExactError as error:
            why = str(error)
    solution = _solve(steering, folder, None)
    if not why:
        return solution
    note = f"the solution is from the binaries, not from their sums: {why}"
    return replace(solution, from_sums=False, why_not_sums=why, notes=(note, *solution.notes))


def _solve(steering: Steering, folder: Path, total: Total | None) -> Solution:
    started = time.perf_counter()
    problem = make_problem(steering, total)
    constraints = problem.constraints
    facts: dict[str, Any] = {
        "records": problem.source.records,
        "measurements": problem.source.equations,
        "n_variable": problem.parameters.n_variable,
        "n_fit": problem.n_fit,
        "entries_fixed": problem.entries_fixed,
        "constraints": len(constraints),
        "constraint_rank": constraints.rank,
        "sizes": problem.sizes,
        "notes": tuple(
            f"{steering.binaries[number].path}: the {size} bytes after its last record are left out, as pede does"
            for number, size in problem.source.leftovers.items()
        ),
    }
    if steering.check_level > 0:
        results.write_listing(folder / results.RESULT, listing(problem, steering.check_level))
        return Solution(0, results.END_TEXTS[0], "the input was only checked, as the steering requests", {}, **facts)
    if problem.empty and not steering.skip_empty_constraints:
        if total is not None:
            raise NotExactError("the listing needs the records")
        results.write_listing(folder / results.RESULT, listing(problem, 2))
        message = f"constraint {problem.empty[0] + 1} has no variable parameter; free one, or add skipemptycons"
        return Solution(5, results.END_TEXTS[5], message, {}, **facts)
    if not steering.multipliers and constraints.singular:
        raise SolverError("a constraint is given twice or follows from others; remove it, or use withmultipliers", 27)
    passes = [("count", time.perf_counter() - started)]
    diagnostics = Diagnostics(problem)
    if total is not None:
        diagnostics.take(total.histograms, total.extremes, total.monitored)
    run = Iterations(problem, diagnostics, total)
    try:
        run.run()
    except SolverError as error:
        return Solution(error.code, error.end_text, str(error), {}, iterations=tuple(run.rows), **facts)
    if run.globals_max:
        facts["sizes"] |= {"NAGBN": run.globals_max, "NRECE": problem.source.records - run.records_free}
    run.observe_last()
    diagnostics.write(folder, tuple(run.rows), run.last)
    code = _end_code(problem, run)
    iterative = run.inverse if isinstance(run.inverse, IterativeSolution) else None
    result = _result(problem, run)
    results.write_result(folder / results.RESULT, result, steering.comments)
    return Solution(
        code,
        results.END_TEXTS[code],
        _message(code, problem, run),
        result,
        rejects=Rejects(*run.last.rejects),
        chi2=run.last.chi2,
        ndf=run.last.ndf - problem.n_fit,
        mean_weight=run.last.weighted_ndf / max(run.last.ndf, 1) or 1.0,
        expected_decrease=run.first_decrease,
        iterations=tuple(run.rows),
        rank_defect=None if iterative else run.inverse.defect,
        cg_iterations=tuple(iterative.iterations) if iterative else (),
        elements=iterative.elements if iterative else 0,
        undetermined=_undetermined(problem, run),
        passes_s=(*passes, *run.passes_s),
        **facts,
    )


def _undetermined(problem: Problem, run: Iterations) -> tuple[dict[int, float], ...]:
    labels = problem.parameters.labels[problem.variable].tolist()
    return tuple(
        {label: float(weight) for label, weight in zip(labels, direction, strict=True) if weight}
        for direction in run.inverse.undetermined
    )


def _message(code: int, problem: Problem, run: Iterations) -> str:
    """Return the severe warning about a result in one sentence; empty if there is none."""
    if code in GOOD_CODES:
        return ""
    reason = results.END_TEXTS[code]
    if code == 4:
        names = ", ".join(str(problem.steering.binaries[number].path) for number in sorted(problem.source.truncated))
        return f"{reason}; truncated: {names}"
    if len(run.inverse.undetermined):
        first = in_words(_undetermined(problem, run)[0])
        return f"{reason}; the data do not determine {run.inverse.defect} direction(s), the first is {first}"
    if run.inverse.trouble:
        return f"{reason}; {run.inverse.trouble}"
    labels = problem.parameters.labels[problem.variable][run.entries_few]
    if len(labels):
        limit = f"fewer than {problem.steering.accepted_min} entries in accepted records"
        return f"{reason}; {limit}: {describe_all(labels.tolist())}"
    count = len(problem.constraints)
    if problem.constraints.rank < count:
        return f"{reason}; look at the constraints, of which {problem.constraints.rank} of {count} are independent"
    return (
        f"{reason}; a step led uphill: the matrix is not positive definite, or the start does not meet the constraints; "
        "look for tracks whose parameters are hardly determined, such as those with all hits in one station"
    )


def _result(problem: Problem, run: Iterations) -> results.Result:
    steering = problem.steering
    errors, correlations = run.inverse.errors(), run.inverse.correlations
    prints_correlations = steering.correlations and steering.with_errors and not steering.counts
    rows: results.Result = {}
    for at, label in enumerate(problem.parameters.labels.tolist()):
        value, presigma = float(run.values[at]), float(problem.presigmas[at])
        entries = problem.entries.get(label, 0)
        number = int(problem.parameters.variable[at])
        if number < 0:
            rows[label] = results.Row(
                value, presigma, entries=None if not steering.counts else entries if steering.counts > 1 else 0
            )
            continue
        accepted = int(run.last.accepted[number])
        counts = entries if steering.counts > 1 else accepted
        if accepted < steering.accepted_min:
            counts = -(counts + 1)
        rows[label] = results.Row(
            value,
            presigma,
            value - float(problem.starts[at]),
            float(errors[number]) if steering.with_errors else None,
            counts if steering.counts else None,
            float(correlations[number]) if prints_correlations else None,
        )
    return rows


def _end_code(problem: Problem, run: Iterations) -> int:
    """Return 0, or pede's end code of the most severe problem."""
    if problem.source.truncated:
        return 4
    if run.matrix_doubts:
        return 3
    if run.entries_few.any():
        return 2
    ndf = max(run.last.ndf, 1)
    ratio = run.last.chi2 / (run.last.weighted_ndf / ndf) / max(ndf - problem.n_fit, 1)
    if problem.steering.downweighting and len(run.rows) > 1:
        ratio /= HUBER_RATIO
    rejected = nearest(10000 * sum(run.last.rejects) / problem.source.records)
    unusual = not 90 <= nearest(100 * ratio) <= 110
    return 1 if unusual or rejected > problem.steering.rejected_max or problem.empty else 0
