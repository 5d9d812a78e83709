"""The built-in solver: what ``pede steering.txt`` does with ``method inversion``, in numpy.

The computation follows pede (V04-16) step by step: which parameters are variable, which records are rejected and
when, line search and iterations, end codes. Values agree with pede's to the digits that it prints; the errors are
those of the covariance, also for the last parameters where pede's elimination prints wrong ones.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faser_align.alignment.globalfit import Constraints, Inverse
from faser_align.alignment.linesearch import LineSearch
from faser_align.alignment.millepede import (
    END,
    END_TEXTS,
    LOG,
    RESULT,
    Result,
    Row,
    write_end,
    write_listing,
    write_result,
)
from faser_align.alignment.passes import Parameters, Pass, Source, run_pass
from faser_align.alignment.records import MilleError
from faser_align.alignment.solution import NO_REJECTS, IterationRow, Rejects, Solution
from faser_align.alignment.solverlog import write_log
from faser_align.alignment.steering import SolverError, Steering, parse_steering

__all__ = ["Solution", "solve"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_TIGHT, _LOOSE = 1e-12, 1e-6  # accuracy of constraints: at the start, later
_HUBER_RATIO, _CAUCHY_RATIO = 0.9326, 0.8228  # chi2/ndf of down-weighted normal data


def solve(steering_path: str | os.PathLike[str]) -> Solution:
    """Solve what a steering file describes.

    Writes ``millepede.res``, ``millepede.end`` and ``millepede.log`` beside the steering file; older ones are
    removed first, so that what is there is of this run. Every failure that pede has an end code for is an end code
    of the returned solution; nothing is raised for it.
    """
    path = Path(steering_path)
    folder = path.parent
    for name in (RESULT, END, LOG):
        (folder / name).unlink(missing_ok=True)
    write_end(folder / END, -1)
    listing: list[str] = []
    try:
        solution = _Run(parse_steering(path), listing).solve()
    except (SolverError, MilleError) as error:
        solution = Solution(error.code, END_TEXTS[error.code], str(error), {})
    if solution.result:
        write_result(folder / RESULT, solution.result)
    elif listing:
        write_listing(folder / RESULT, listing)
    write_log(folder / LOG, path, solution)
    write_end(folder / END, solution.end_code, solution.end_text)
    return solution


@dataclass
class _State:
    """Where the iterations are."""

    values: FloatArray  # of all labels
    iteration: int = -1
    cut: float = 0.0
    evaluations: int = 0
    table_iteration: int = -1  # iteration of the last row


class _Run:
    """One run; the steps of pede's LOOP1 and XLOOPN."""

    def __init__(self, steering: Steering, listing: list[str]) -> None:
        self._steering = steering
        self._listing = listing
        self._source = Source(steering.binaries)
        self._rows: list[IterationRow] = []
        self._doubts = {"matrix": 0, "empty": 0}

    def solve(self) -> Solution:
        """The whole computation."""
        self._prepare_parameters()
        empty = self._prepare_constraints()
        if empty and not self._steering.skip_empty_constraints:
            self._list_parameters()
            number = empty[0] + 1
            message = f"constraint {number} has no variable parameter; free one or add skipemptycons to the steering"
            return self._finish(5, message, None)
        return self._iterate()

    def _prepare_parameters(self) -> None:
        steering = self._steering
        self._entries = self._source.count(steering.count_records)
        named = set(steering.parameters) | {label for _, terms in steering.constraints for label, _ in terms}
        named |= {label for _, _, terms in steering.measurements for label, _ in terms}
        labels = np.array(sorted(named | set(self._entries)), np.int64)
        if not len(labels):
            raise SolverError("neither the steering nor the binaries name a parameter", 21)
        given = [steering.parameters.get(int(label), (0.0, 0.0)) for label in labels]
        self._starts = np.array([start for start, _ in given])
        self._presigmas = np.array([presigma for _, presigma in given])
        asked = self._presigmas >= 0
        enough = np.array([self._entries.get(int(label), 0) >= steering.entries_min for label in labels])
        free = asked & enough
        self._entries_fixed = tuple(labels[asked & ~enough].tolist())
        if not free.any():
            raise SolverError("no parameter is both free and has enough entries in the binaries", 22)
        variable = np.where(free, np.cumsum(free) - 1, -1)
        self._parameters = Parameters(labels, variable, int(free.sum()))
        self._variable = np.flatnonzero(free)

    def _prepare_constraints(self) -> list[int]:
        """Set up the constraints that have variable parameters; the numbers of the others."""
        rows, values, empty = [], [], []
        for number, (value, terms) in enumerate(self._steering.constraints):
            row = np.zeros(len(self._parameters.labels))
            for label, factor in terms:
                row[self._parameters.of(np.array([label]))] += factor
            fixed = self._parameters.variable < 0
            if not row[self._variable].any():
                empty.append(number)
                continue
            rows.append(row[self._variable])
            values.append(value - float(row[fixed] @ self._starts[fixed]))
        self._doubts["empty"] = len(empty)
        shape = (len(rows), self._parameters.n_variable)
        self._constraints = Constraints.make(np.array(rows).reshape(shape), np.array(values))
        self._doubts["matrix"] += len(rows) - self._constraints.rank
        n_constraints = len(rows)
        sign = 1 if self._steering.multipliers else -1
        self._n_fit = self._parameters.n_variable + sign * n_constraints
        return empty

    def _iterate(self) -> Solution:
        steering = self._steering
        state = _State(self._starts.copy(), cut=steering.chi2_cut[0])
        state.values[self._variable], _ = self._constraints.feasible(state.values[self._variable], _TIGHT)
        current = self._evaluate(state, with_matrix=True)
        inverse = self._invert(current)
        subito = steering.subito or (bool(self._doubts["matrix"]) and not steering.force)
        first_decrease: float | None = None
        points_min, again = 1, 0
        while True:
            state.iteration += 1
            start = state.values[self._variable]
            moved, _ = self._constraints.feasible(start + inverse.step(current.gradient), _LOOSE)
            step = moved - start
            decrease = float(step @ current.gradient)
            if first_decrease is None:
                first_decrease = decrease
            significant = self._significance(step, current.gradient)
            if decrease <= -significant:
                again += 1
                if again > 1 or decrease <= -1e-3:
                    self._doubts["matrix"] += 1
                    break
                current = self._evaluate(state, with_matrix=True)
                inverse = self._invert(current)
                continue
            again = 0
            search = self._line_search(state, decrease, significant, points_min)
            points_min = 3 if search else points_min
            if subito:
                state.values[self._variable] = moved
                break
            current, feasible = self._go(state, current, step, search, decrease)
            if (
                feasible
                and state.cut <= 1.0
                and (decrease <= steering.delta_f_max or state.iteration >= steering.iterations)
            ):
                break
            if state.iteration < steering.matrix_iterations:
                current = self._evaluate(state, with_matrix=True)
                inverse = self._invert(current)
        return self._finish(None, "", current, state, inverse, first_decrease)

    def _line_search(self, state: _State, decrease: float, significant: float, points_min: int) -> LineSearch | None:
        mode, final = self._steering.line_search, state.cut < 2.25
        last = decrease <= self._steering.delta_f_max or state.iteration >= self._steering.iterations
        wanted = mode > 2 or (mode == 2 and final) or (mode == 1 and final and last)
        return LineSearch(points_min) if wanted and decrease > significant else None

    def _go(
        self, state: _State, current: Pass, step: FloatArray, search: LineSearch | None, decrease: float
    ) -> tuple[Pass, bool]:
        """Go along the step; the last pass, and whether the parameters satisfied the constraints there."""
        state.iteration = max(state.iteration, 1)
        self._update_cut(state, current)
        if search is None:
            state.values[self._variable] += step
            current = self._evaluate(state, decrease=decrease)
        else:
            length, ended = search.advance(current.gradient, step)
            while True:
                state.values[self._variable] += length * step
                if ended:
                    break
                current = self._evaluate(state, decrease=decrease)
                length, ended = search.advance(current.gradient, step)
        state.values[self._variable], changed = self._constraints.feasible(state.values[self._variable], _LOOSE)
        return current, not changed

    def _update_cut(self, state: _State, current: Pass) -> None:
        """The chi2 cut of a new iteration: the second factor, then roots, and at last 1."""
        if state.iteration == 1:
            state.cut = self._steering.chi2_cut[1]
        elif state.cut > 0:
            state.cut = float(np.sqrt(state.cut))
            if state.cut < 1.5 or not sum(current.rejects):
                state.cut = 1.0

    def _evaluate(self, state: _State, *, with_matrix: bool = False, decrease: float | None = None) -> Pass:
        state.evaluations += 1
        done = run_pass(
            self._source,
            self._steering,
            self._parameters,
            state.values,
            state.cut,
            first=state.evaluations == 1,
            with_matrix=with_matrix,
        )
        self._add_penalties(done, state.values)
        rejects = sum(done.rejects)
        iteration = max(state.iteration, 0)
        new = iteration != state.table_iteration
        self._rows.append(
            IterationRow(iteration, state.evaluations, done.chi2, decrease if new else None, state.cut, rejects)
        )
        state.table_iteration = iteration
        if 3 * rejects > self._source.records:
            raise SolverError(
                f"{rejects} of {self._source.records} records are rejected "
                f"({done.rejects[0]} rank deficit, {done.rejects[1]} without degrees of freedom, "
                f"{done.rejects[2] + done.rejects[3]} by chi2); more than a third ends the run",
                26,
            )
        return done

    def _add_penalties(self, done: Pass, values: FloatArray) -> None:
        """presigmas, regularisation and measurements of the steering."""
        steering = self._steering
        presigmas = self._presigmas[self._variable]
        presigmas = np.where(presigmas > 0, presigmas, steering.presigma)
        weights = np.where(presigmas > 0, 1.0 / np.where(presigmas > 0, presigmas, 1.0) ** 2, 0.0)
        mine = values[self._variable]
        if steering.regularisation:
            weights = weights * steering.regularisation
            done.gradient -= weights * mine
            done.chi2 += float(weights @ mine**2)
        if done.matrix is not None:
            done.matrix[np.diag_indices_from(done.matrix)] += weights
        for value, sigma, terms in steering.measurements:
            row = np.zeros(len(values))
            for label, factor in terms:
                row[self._parameters.of(np.array([label]))] += factor
            weight = 1.0 / sigma**2 if sigma > 0 else 0.0
            difference = float(row @ values) - value
            done.gradient -= weight * difference * row[self._variable]
            done.chi2 += weight * difference**2
            done.ndf += 1
            done.weighted_ndf += 1
            if done.matrix is not None:
                done.matrix += weight * np.outer(row[self._variable], row[self._variable])

    def _invert(self, current: Pass) -> Inverse:
        assert current.matrix is not None
        inverse = Inverse.make(current.matrix, self._constraints)
        self._doubts["matrix"] += inverse.defect
        return inverse

    @staticmethod
    def _significance(step: FloatArray, gradient: FloatArray) -> float:
        largest = max(float(step @ step), float(gradient @ gradient))
        return 16.0 * float(np.sqrt(largest)) * float(np.finfo(np.float64).eps)

    def _list_parameters(self) -> None:
        self._listing.append("     Label       Value     Pre-sigma         Entries  Status")
        for at, label in enumerate(self._parameters.labels.tolist()):
            fixed = "fixed by pre-sigma" if self._presigmas[at] < 0 else "fixed by entries cut"
            status = "variable" if self._parameters.variable[at] >= 0 else fixed
            self._listing.append(
                f"{label:10d} {self._starts[at]:12.5g} {self._presigmas[at]:12.5g} "
                f"{self._entries.get(label, 0):12d}  {status}"
            )

    def _finish(
        self,
        code: int | None,
        message: str,
        current: Pass | None,
        state: _State | None = None,
        inverse: Inverse | None = None,
        first_decrease: float | None = None,
    ) -> Solution:
        result: Result = {}
        low = 0
        if current is not None and state is not None and inverse is not None:
            result, low = self._result(current, state, inverse)
            code = self._end_code(current, low) if code is None else code
        assert code is not None
        return Solution(
            end_code=code,
            end_text=END_TEXTS[code],
            message=message,
            result=result,
            records=self._source.records,
            rejects=Rejects(*current.rejects) if current else NO_REJECTS,
            chi2=current.chi2 if current else 0.0,
            ndf=current.ndf - self._n_fit if current else 0,
            n_variable=self._parameters.n_variable,
            n_fit=self._n_fit,
            measurements=self._source.equations,
            expected_decrease=first_decrease,
            entries_fixed=self._entries_fixed,
            iterations=tuple(self._rows),
        )

    def _result(self, current: Pass, state: _State, inverse: Inverse) -> tuple[Result, int]:
        steering = self._steering
        errors = inverse.errors()
        low = 0
        rows: Result = {}
        for at, label in enumerate(self._parameters.labels.tolist()):
            value, presigma = float(state.values[at]), float(self._presigmas[at])
            number = int(self._parameters.variable[at])
            in_binaries = self._entries.get(label, 0)
            if number < 0:
                counts = {0: None, 1: 0}.get(steering.counts, in_binaries)
                rows[label] = Row(value, presigma, entries=counts)
                continue
            accepted = int(current.accepted[number])
            too_few = accepted < steering.accepted_min
            low += too_few
            shown = in_binaries if steering.counts == 2 else accepted
            counts = None if not steering.counts else -(accepted + 1) if too_few else shown
            rows[label] = Row(value, presigma, value - float(self._starts[at]), float(errors[number]), counts)
        return rows, low

    def _end_code(self, current: Pass, low: int) -> int:
        ratio = current.chi2 / (current.weighted_ndf / current.ndf) / (current.ndf - self._n_fit)
        if self._steering.downweighting:
            ratio /= _HUBER_RATIO if self._steering.downweighting <= 3 else _CAUCHY_RATIO
        percent = round(100 * ratio)
        rejected = round(10000 * sum(current.rejects) / self._source.records)
        if self._doubts["matrix"]:
            return 3
        if low:
            return 2
        return 1 if percent < 90 or percent > 110 or rejected > 100 or self._doubts["empty"] else 0
