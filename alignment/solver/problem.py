"""Combine steering options and labels of the binaries into the problem that the built-in solver solves."""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.solver.elimination import groups
from faser_align.alignment.solver.global_fit import Constraints
from faser_align.alignment.solver.local_constraints import Form, LocalConstraints
from faser_align.alignment.solver.passes import Parameters, Pass
from faser_align.alignment.solver.source import Source
from faser_align.alignment.solver.sparse_matrix import SparseMatrix, SparseSums
from faser_align.alignment.solver.steering import SolverError, Steering, Terms
from faser_align.system.memory import memory_limit, memory_used

_DENSE_MAX = 1000  # parameters; with more, MINRES uses a sparse matrix
# Bytes that need no check: whether a job uses more than it requested is between HTCondor and the job.
_ALWAYS = 100 << 20
_DENSE_COPIES = 5  # matrix with and without presigmas, inverse, and two while constraints are eliminated


@dataclass(frozen=True)
class Problem:
    """A problem that is ready to be solved.

    Attributes:
        steering: options of the steering file.
        source: the records.
        parameters: all labels, and which are variable.
        variable: positions of the variable ones among the labels.
        starts, presigmas: of all labels (mm, rad).
        entries: entries in the binaries, by label.
        entries_fixed: labels that should be free and have too few entries.
        constraints: constraints that have a variable parameter.
        empty: numbers (from 0) of those that have none.
        sparse_bytes: memory for a sparse matrix; 0 if the matrix is dense.
    """

    steering: Steering
    source: Source
    parameters: Parameters
    variable: IntArray
    starts: FloatArray
    presigmas: FloatArray
    entries: dict[int, int]
    entries_fixed: tuple[int, ...]
    constraints: Constraints | LocalConstraints
    empty: tuple[int, ...]
    sparse_bytes: int = 0

    @property
    def n_fit(self) -> int:
        """Number of fit parameters as pede counts them: elimination removes parameters, multipliers add some."""
        count = len(self.constraints)
        return self.parameters.n_variable + (count if self.steering.multipliers else -count)

    @property
    def groups(self) -> IntArray:
        """Group of each label, from 1; 0 for labels without data.

        A group has neighbouring labels that always occur together.
        """
        with_label = self.source.sets.by_label()
        group_of = np.zeros(len(self.parameters.labels), np.int64)
        before = nothing = np.zeros(0, np.int64)
        count = 0
        for at, label in enumerate(self.parameters.labels.tolist()):
            sets = with_label.get(label, nothing)
            if len(sets):
                count += not np.array_equal(sets, before)
                group_of[at] = count
            before = sets
        return group_of

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes by their names in pede's log."""
        count = len(self.constraints)
        total = self.parameters.n_variable + (count if self.steering.multipliers else 0)
        groups = self.groups
        of_variable = groups[self.variable]
        return {
            "NTGB": len(groups),
            "NPRESG": self.steering.presigmas_given,
            "NRECD": self.source.records if self.source.doubles else 0,
            "MREQENF": self.steering.entries_min,
            "ITEREN": self.steering.entries_iterated if _iterates(self.steering) else 0,
            "MREQENA": self.steering.accepted_min,
            "NAGB": total,
            "NTPGRP": int(np.max(groups, initial=0)),
            "NVPGRP": int((np.diff(of_variable, prepend=-1) != 0).sum()),
            "NOFF": total * (total - 1) // 2,
            "NALCN": self.source.locals_max,
            "NAEQN": self.source.equations_max,
        }

    def add_penalties(self, done: Pass, values: FloatArray) -> None:
        """Add presigmas, regularisation and the steering's own measurements to the sums of a pass (LOOPN of pede).

        Args:
            done: sums, which are changed.
            values: current value of each label (mm, rad), shape (labels,).
        """
        self._add_presigmas(done, values)
        sparse = SparseSums(self.parameters.n_variable)
        for value, sigma, terms in self.steering.measurements:
            row = _row(self.parameters, terms)
            mine = row[self.variable]
            weight = float(1.0 / np.float64(sigma) ** 2) if sigma > 0 else 0.0
            difference = float(row @ values) - value
            done.gradient -= weight * difference * mine
            done.chi2 += weight * difference**2
            done.ndf += 1
            done.weighted_ndf += 1
            of_labels = self.parameters.positions(np.array([label for label, _ in terms], np.int64))
            numbers = self.parameters.variable[of_labels]
            np.add.at(done.accepted, numbers[numbers >= 0], 1)
            at = np.flatnonzero(mine)
            product = weight * np.outer(mine[at], mine[at])
            if isinstance(done.matrix, SparseMatrix):
                sparse.add(at, product)
            elif done.matrix is not None:
                done.matrix[np.ix_(at, at)] += product
        if isinstance(done.matrix, SparseMatrix) and self.steering.measurements:
            done.matrix = done.matrix.plus(sparse.matrix())

    def _add_presigmas(self, done: Pass, values: FloatArray) -> None:
        presigmas = self.presigmas[self.variable]
        presigmas = np.where(presigmas > 0, presigmas, self.steering.presigma)
        weights = np.where(presigmas > 0, 1.0 / np.where(presigmas > 0, presigmas, 1.0) ** 2, 0.0)
        if self.steering.regularisation is not None:
            # only then a presigma pulls to zero; otherwise it only damps steps
            weights = weights * self.steering.regularisation
            done.gradient -= weights * values[self.variable]
            done.chi2 += float(weights @ values[self.variable] ** 2)
        if isinstance(done.matrix, SparseMatrix):
            done.matrix = done.matrix.plus_diagonal(weights)
        elif done.matrix is not None:
            done.matrix[np.diag_indices_from(done.matrix)] += weights


def make_problem(steering: Steering, source: Source | None = None) -> Problem:
    """Read the binaries of ``steering`` for the first time, unless there are sums, and decide what is variable.

    Raises SolverError (21, 22, 28) if there are no parameters, none is variable, or no record has local ones, and
    MilleError for a malformed binary.
    """
    if source is None:
        source = Source(
            steering.binaries, records_max=steering.records_max, read_error_is_end=steering.read_error_is_end
        )
    entries = source.count(steering.count_records)
    named = set(steering.parameters) | set(steering.comments) | set(entries)
    named |= {label for _, terms in steering.constraints for label, _ in terms}
    named |= {label for _, _, terms in steering.measurements for label, _ in terms}
    if not named:
        raise SolverError("neither the steering nor the binaries name a parameter", 21)
    labels = np.array(sorted(named), np.int64)
    given = [steering.parameters.get(int(label), (0.0, 0.0)) for label in labels]
    starts, presigmas = (np.array(column) for column in zip(*given, strict=True))
    enough = np.array([entries.get(int(label), 0) >= steering.entries_min for label in labels])
    asked = presigmas >= 0
    free = asked & enough
    if _iterates(steering):
        # the entries in equations without labels that the entries cut fixes (LOOP1I of pede)
        again = source.entries(~np.any(np.isin(source.sets.labels, labels[asked & ~enough]), axis=0))
        free &= np.array(
            [
                again.get(label, 0) >= steering.entries_min or entries.get(label, 0) >= steering.entries_iterated
                for label in labels.tolist()
            ]
        )
    if not free.any():
        raise SolverError("no parameter is both free and has enough entries in the binaries", 22)
    if not source.locals_max:
        raise SolverError("no record of the binaries has local parameters; a track needs some", 28)
    parameters = Parameters.make(labels, free)
    sparse_bytes = _sparse_bytes(steering, parameters.n_variable)
    constraints, empty = _constraints(steering, parameters, starts, sparse=sparse_bytes > 0)
    return Problem(
        steering=steering,
        source=source,
        parameters=parameters,
        variable=np.flatnonzero(free),
        starts=starts,
        presigmas=presigmas,
        entries=entries,
        entries_fixed=tuple(labels[asked & ~free].tolist()),
        constraints=constraints,
        empty=empty,
        sparse_bytes=sparse_bytes,
    )


def _sparse_bytes(steering: Steering, n: int) -> int:
    """Return the memory for a sparse matrix of ``n`` parameters; 0 for a dense one.

    Raises SolverError (30) if there is not enough memory for a dense one.
    """
    limit = memory_limit()
    left = max(limit.nbytes - memory_used(), 0)
    if "MINRES" in steering.method and n > _DENSE_MAX:
        return max(left, _ALWAYS)
    needed = _DENSE_COPIES * 8 * n**2
    if needed > max(left, _ALWAYS):
        raise SolverError(
            f"method {steering.method} needs {needed >> 20:,} MB for {n:,} variable parameters, and {limit.origin} "
            f"{limit.nbytes >> 20:,} MB, of which {left >> 20:,} MB are left; use method sparseMINRES, request more memory, or "
            "fix parameters",
            30,
        )
    return 0


def _iterates(steering: Steering) -> bool:
    """Return whether entries are counted again."""
    return steering.entries_iterated > steering.entries_min and not steering.count_records


def _constraints(
    steering: Steering, parameters: Parameters, starts: FloatArray, *, sparse: bool
) -> tuple[Constraints | LocalConstraints, tuple[int, ...]]:
    variable = parameters.variable >= 0
    free = set(parameters.labels[variable].tolist())
    labels = [[label for label, factor in terms if factor] for _, terms in steering.constraints]
    rows, values, empty = [], [], []
    for number in chain.from_iterable(groups(labels)):
        value, terms = steering.constraints[number]
        if free.isdisjoint(labels[number]):
            empty.append(number)
            continue
        row = _row(parameters, terms)
        mine = row[variable]
        at = np.flatnonzero(mine)
        rows.append(Form(at, mine[at]))
        values.append(value - float(row[~variable] @ starts[~variable]))
    if sparse:
        return LocalConstraints.make(parameters.n_variable, rows, np.array(values)), tuple(sorted(empty))
    matrix = np.zeros((len(rows), parameters.n_variable))
    for line, form in zip(matrix, rows, strict=True):
        line[form.columns] = form.factors
    return Constraints.make(matrix, np.array(values), multipliers=steering.multipliers), tuple(sorted(empty))


def _row(parameters: Parameters, terms: Terms) -> FloatArray:
    """Return a linear form as a vector over all labels."""
    row = np.zeros(len(parameters.labels))
    labels = np.array([label for label, _ in terms], np.int64)
    np.add.at(row, parameters.positions(labels), [factor for _, factor in terms])
    return row
