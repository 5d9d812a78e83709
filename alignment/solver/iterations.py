"""Iterate the built-in solver, as pede's XLOOPN does.

The matrix is computed and inverted once. Each iteration takes a Newton step with a new gradient, along which a line
search minimises the slope. Cuts on the records' chi2 become tighter from iteration to iteration.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.pede.solution import IterationRow
from faser_align.alignment.solver.conjugate_gradients import IterativeSolution
from faser_align.alignment.solver.equations import Equations
from faser_align.alignment.solver.global_fit import Constraints, Inverse
from faser_align.alignment.solver.line_search import LineSearch, line_search
from faser_align.alignment.solver.local_constraints import LocalConstraints
from faser_align.alignment.solver.local_fit import EPSILON
from faser_align.alignment.solver.output.diagnostics import Diagnostics
from faser_align.alignment.solver.passes import Pass, run_pass
from faser_align.alignment.solver.problem import Problem
from faser_align.alignment.solver.quadratic import Quadratic
from faser_align.alignment.solver.sparse_matrix import SparseMatrix
from faser_align.alignment.solver.steering import SolverError
from faser_align.alignment.solver.sums.total import Total

_TIGHT, _LOOSE = 1e-12, 1e-6  # accuracy of constraints: at the start, later
_CUT_FINAL = 2.25  # below its square root, the next iteration's cut is 1
_SMALL = 2048  # parameters; with more, no records are separated
_OBSERVED = 2  # number of initial passes that the diagnostics observe
_ITERATIONS_MORE = 30  # additional ones for cuts and constraints to settle; pede has no such limit


@dataclass
class Iterations:
    """A run of iterations; ``run`` executes it, and the attributes are its results.

    Attributes:
        problem: the problem to solve. ``diagnostics``: observes the first passes.
        total: sums from which the passes follow instead of from the records; None without sums.
        values: values of all labels (mm, rad).
        last: sums of the last pass.
        inverse: inverse of the matrix, or the iterative solver in its place.
        first_decrease: decrease of chi2 expected of the first solution; None if there was none.
        rows: the table.
        globals_max, records_free: from the first pass.
        passes_s: kind and wall time of each pass (s): FMS with matrix, F without, Q without records, his for the histograms.
        matrix_doubts: rank defects of matrix and constraints, and steps that do not reduce the function.
        entries_few: which variable parameters had too few accepted entries in any pass.
    """

    problem: Problem
    diagnostics: Diagnostics
    total: Total | None = None
    values: FloatArray = field(init=False)
    last: Pass = field(init=False)
    inverse: Inverse | IterativeSolution = field(init=False)
    first_decrease: float | None = None
    rows: list[IterationRow] = field(default_factory=list)
    matrix_doubts: int = 0
    entries_few: BoolArray = field(init=False)
    globals_max: int = 0
    records_free: int = 0
    passes_s: list[tuple[str, float]] = field(default_factory=list)
    _seen: FloatArray = field(init=False)  # values of the last pass
    _entries: IntArray = field(init=False)  # accepted entries of the last pass
    _iteration: int = 0
    _cut: float = 0.0
    _searched: bool = False
    _quadratic: Quadratic | None = None
    _unobserved: list[tuple[int, FloatArray]] = field(default_factory=list)  # without records

    def run(self) -> None:
        """Iterate until the expected decrease is small or the steering's number of iterations is reached.

        Raises SolverError (26) if more than a third of the records is rejected, (25) if a parameter is not a number.
        """
        steering, constraints = self.problem.steering, self.problem.constraints
        self._cut = steering.chi2_cut[0]
        self.values = self.problem.starts.copy()
        if steering.feasible_start:
            self._set(constraints.feasible(self._mine, _TIGHT)[0])
        self.matrix_doubts = len(constraints) - constraints.rank
        self._make_matrix()
        repeated = False
        while True:
            step, decrease, significant = self._solve()
            if decrease <= -significant:
                if repeated or decrease <= -1e-3:
                    self.matrix_doubts += 1
                    return
                repeated = True
                self._make_matrix()
                continue
            repeated = False
            if steering.subito or (self.matrix_doubts > 0 and not steering.force):
                self._set(self._mine + step)
                return
            self._iteration += 1
            search = self._search(decrease, significant)
            feasible = self._go(step, decrease, search)
            if feasible and self._cut <= 1.0 and self._is_end(decrease):
                return
            if self._iteration >= steering.iterations + _ITERATIONS_MORE:
                return
            if self._iteration < min(steering.matrix_iterations, steering.iterations):
                self._make_matrix()

    @property
    def _mine(self) -> FloatArray:
        return np.asarray(self.values[self.problem.variable])

    def _set(self, mine: FloatArray) -> None:
        if not np.isfinite(mine).all():
            raise SolverError(
                "a parameter of the solution is not a number; look for records with impossible errors", 25
            )
        self.values[self.problem.variable] = mine

    def _is_end(self, decrease: float) -> bool:
        steering = self.problem.steering
        return decrease <= steering.delta_f_max or self._iteration >= steering.iterations

    def _solve(self) -> tuple[FloatArray, float, float]:
        """Return the step, its expected decrease of chi2, and the smallest significant decrease."""
        gradient = self.last.gradient
        moved, _ = self.problem.constraints.feasible(self._mine + self.inverse.step(gradient), _LOOSE)
        self.matrix_doubts += bool(self.inverse.trouble)
        step = moved - self._mine
        decrease = float(step @ gradient)
        if self.first_decrease is None:
            self.first_decrease = decrease
        size = max(float(step @ step), float(gradient @ gradient))
        return step, decrease, EPSILON * float(np.sqrt(size))

    def _search(self, decrease: float, significant: float) -> LineSearch | None:
        """Return a line search, if one is due with the previous iteration's cut."""
        mode, final = self.problem.steering.line_search, self._cut < _CUT_FINAL
        wanted = mode > 2 or (final and (mode == 2 or (mode == 1 and self._is_end(decrease))))
        if not wanted or decrease <= significant:
            return None
        search = line_search(self.problem.steering.method, first=not self._searched)
        self._searched = True
        return search

    def _go(self, step: FloatArray, decrease: float, search: LineSearch | None) -> bool:
        """Take the step; return whether the constraints are satisfied at its end."""
        self._tighten()
        if search is None:
            self._set(self._mine + step)
            self._evaluate(decrease)
        else:
            length, ended = search.advance(self.last.gradient, step)
            while not ended:
                self._set(self._mine + length * step)
                self._evaluate(decrease)
                length, ended = search.advance(self.last.gradient, step)
            self._set(self._mine + length * step)
        mine, moved = self.problem.constraints.feasible(self._mine, _LOOSE)
        self._set(mine)
        return not moved

    def _tighten(self) -> None:
        """Set the chi2 cut of a new iteration: the second factor, then square roots, finally 1."""
        if self._iteration == 1:
            self._cut = self.problem.steering.chi2_cut[1]
        elif self._cut > 0:
            self._cut = float(np.sqrt(np.float32(self._cut)))
            if self._cut < 1.5 or not sum(self.last.rejects):
                self._cut = 1.0

    def _make_matrix(self) -> None:
        self._evaluate(None, with_matrix=True)
        matrix, constraints = self.last.matrix, self.problem.constraints
        assert matrix is not None
        if not (matrix.is_finite() if isinstance(matrix, SparseMatrix) else np.isfinite(matrix).all()):
            raise SolverError("the sums over the records are not finite; look for impossible errors or derivatives", 25)
        if isinstance(matrix, SparseMatrix):
            assert isinstance(constraints, LocalConstraints)
            self.inverse = IterativeSolution(matrix, constraints)
        else:
            assert isinstance(constraints, Constraints)
            self.inverse = Inverse.make(matrix, constraints)
        self.matrix_doubts += self.inverse.defect
        if not self.inverse.defect:  # a presigma may hide that the records do not determine a parameter
            self.matrix_doubts += int((self._entries == 0).sum())

    def observe_last(self) -> None:
        """Read the records for the diagnostics: of the last pass, and of an earlier pass that did not read them."""
        number = len(self.rows)
        if self.total is not None or (number <= _OBSERVED and not self._unobserved):
            return
        started = time.perf_counter()
        earlier = [(values, self.diagnostics.observer(at)) for at, values in self._unobserved if at < number]
        self.last = self._over_records(
            self._seen, first=False, with_matrix=False, observe=self.diagnostics.observer(number), also=earlier
        )
        self.problem.add_penalties(self.last, self._seen)
        self.passes_s.append(("his", time.perf_counter() - started))

    def _pass(self, number: int, *, with_matrix: bool, observed: bool) -> Pass:
        if self.total is not None:
            return self.total.at(self.problem, self.values, self._cut, first=number == 1, with_matrix=with_matrix)
        # a second matrix, which must be dense, needs room
        separates = with_matrix and self.problem.parameters.n_variable <= _SMALL and not self.problem.sparse_bytes
        near = () if separates else self._quadratic.near or None if self._quadratic else None
        return self._over_records(
            self.values,
            first=number == 1,
            with_matrix=with_matrix,
            sparse_bytes=self.problem.sparse_bytes,
            observe=self.diagnostics.observer(number) if observed else None,
            near=near,
        )

    def _over_records(self, values: FloatArray, **options: Any) -> Pass:
        problem = self.problem
        return run_pass(problem.source, problem.steering, problem.parameters, values, self._cut, **options)

    def _fit(self, records: Sequence[Equations], values: FloatArray) -> Pass:
        return self._over_records(values, first=False, with_matrix=False, records=records)

    def _about_here(self) -> Quadratic | None:
        """Return the function about the point of the last pass, if it is quadratic at all."""
        last, problem = self.last, self.problem
        if (last.far or last).margin <= 0:
            return None
        assert last.matrix is not None
        if last.far is None and isinstance(last.matrix, np.ndarray):  # presigmas will be added to the matrix
            last = replace(last, matrix=last.matrix.copy())
        places = problem.parameters.positions(problem.source.sets.labels)
        weight_min = min((binary.weight for binary in problem.steering.binaries), default=1.0)
        return Quadratic(last, self.values, self._cut, problem.variable, places, weight_min, self._fit)

    def _evaluate(self, decrease: float | None, *, with_matrix: bool = False) -> None:
        problem, first = self.problem, not self.rows
        number = len(self.rows) + 1
        started = time.perf_counter()
        self._seen = self.values.copy()
        observed = number <= _OBSERVED
        without_records = None if with_matrix or self._quadratic is None else self._quadratic.at(self.values, self._cut)
        if observed and without_records:
            self._unobserved.append((number, self._seen))
        self.last = without_records or self._pass(number, with_matrix=with_matrix, observed=observed)
        kind = "FMS" if with_matrix else "Q" if without_records else "F"
        self.passes_s.append((kind, time.perf_counter() - started))
        if with_matrix:
            self._quadratic = self._about_here()
        elif self._quadratic and not without_records:
            self._quadratic = self._quadratic.moved(self.last, self.values)
        self._entries = self.last.accepted.copy()  # excluding the steering's own measurements
        if first:
            self.globals_max, self.records_free = self.last.globals_max, self.last.records_free
        few = self._entries < problem.steering.accepted_min
        self.entries_few = few if first else self.entries_few | few
        problem.add_penalties(self.last, self.values)
        rejects = sum(self.last.rejects)
        expected = None if first or self.rows[-1].iteration == self._iteration else decrease
        self.rows.append(IterationRow(self._iteration, number, self.last.chi2, expected, self._cut, rejects))
        if 3 * rejects > problem.source.records:
            deficit, freedom, huge, large = self.last.rejects
            raise SolverError(
                f"{rejects} of {problem.source.records} records are rejected ({deficit} rank deficit, {freedom} "
                f"without degrees of freedom, {huge + large} by chi2); more than a third ends the run",
                26,
            )
