"""Add the sums of files, and evaluate the function that the solver minimises from them."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.mille.blocks import Block
from faser_align.alignment.solver.equations import Equations, decode
from faser_align.alignment.solver.output.monitor import BINS
from faser_align.alignment.solver.passes import Pass, run_pass
from faser_align.alignment.solver.problem import Problem
from faser_align.alignment.solver.source import Source
from faser_align.alignment.solver.steering import Binary, Steering
from faser_align.alignment.solver.sums.file import FileSums, read_sums
from faser_align.fsm.errors import UserError

_ROUNDING = 1e-6  # relative, far above the errors of float32 factors


class NotExactError(UserError):
    """The sums do not give the result that the records would give."""


class Form:
    """A quadratic form of some labels, and its gradient at zero; both grow by those of further files.

    Attributes:
        labels: ascending.
        upper: upper triangle of the matrix, row by row.
        gradient: shape (labels,).
    """

    def __init__(self) -> None:
        self.labels: IntArray = np.zeros(0, np.int64)
        self.upper: FloatArray = np.zeros(0)
        self.gradient: FloatArray = np.zeros(0)

    def add(self, labels: IntArray, upper: FloatArray, gradient: FloatArray, weight: float) -> IntArray:
        """Add a form; return the positions of its labels."""
        if not np.array_equal(self.labels, labels):
            union = np.union1d(self.labels, labels)
            grown = np.zeros(len(union) * (len(union) + 1) // 2)
            grown[_triangle(np.searchsorted(union, self.labels), len(union))] = self.upper
            self.gradient = _grown(self.gradient, self.labels, union)
            self.labels, self.upper = union, grown
        at = np.searchsorted(self.labels, labels)
        if len(at) == len(self.labels):
            self.upper += weight * upper
        else:
            self.upper[_triangle(at, len(self.labels))] += weight * upper
        self.gradient[at] += weight * gradient
        return at

    @cached_property
    def matrix(self) -> FloatArray:
        """The symmetric matrix, when all forms are added."""
        return symmetric(len(self.labels), self.upper)


class Total(Source):
    """Sums of the records of several binaries; to the solver they are the source of the records.

    Iterating yields only the records near a cut, which are not in the sums.

    Args:
        binaries: the binaries of the steering, with their weights; each must have its sums.

    Attributes:
        binaries: the same. The others are as in ``Source``.
        form: matrix and gradient. ``turned``: those about the layers' own z; None if a file has none.
        near: number of records near a cut.
        histograms, extremes, monitored: of all records where all parameters are zero, as ``Diagnostics.take`` needs them.

    Raises UserError with the reason if a file has no sums that can be used, or if they were made for different cuts.
    """

    def __init__(self, binaries: Sequence[Binary]) -> None:
        super().__init__(())
        self.binaries = tuple(binaries)
        self.form, self._chi2, self._ndf, self._weighted_ndf = Form(), 0.0, 0, 0.0
        self.turned: Form | None = Form()
        self._cuts: tuple[float, bool] | None = None
        self._accepted: IntArray = np.zeros(0, np.int64)
        self._rejects: IntArray = np.zeros(4, np.int64)
        self._margin = np.inf
        self._pulls: FloatArray = np.zeros((2, 0, 0))  # lowest and highest
        self._near: list[Equations] = []
        self.histograms: IntArray = np.zeros((0, 0), np.int64)
        self.extremes: FloatArray = np.zeros((0, 2))
        self._first_labels: IntArray = np.zeros(0, np.int64)
        self.monitored: IntArray = np.zeros((0, 0), np.int64)
        self.near = 0
        for number, binary in enumerate(self.binaries):
            self._add(read_sums(binary.path), binary, number)

    def __iter__(self) -> Iterator[Equations]:
        yield from self._near

    def count(self, by_record: bool) -> dict[int, int]:
        """Return the entries of each label in equations, which are known already."""
        assert not by_record
        return self.entries()

    def check(self, steering: Steering) -> None:
        """Raise NotExactError if the sums were made from other records than the steering's, or with other cuts."""
        if steering.binaries != self.binaries:
            raise NotExactError("other binaries or weights")
        if steering.downweighting:
            raise NotExactError("outlierdownweighting changes the weights in every iteration")
        huge_cut, has_chi2_cut = self._cuts or (0.0, False)
        if steering.huge_cut != huge_cut:
            raise NotExactError(f"hugecut is {steering.huge_cut:g}, and the sums were made with {huge_cut:g}")
        if steering.chi2_cut != (0.0, 0.0) and (not has_chi2_cut or steering.chi2_cut[0] < 0):
            raise NotExactError("chisqcut was not known when the sums were made, or disables all cuts at first")
        for keyword, needs in {
            "countrecords": steering.count_records,
            "maxrecord": steering.records_max > 0,
            "scaleerrors": steering.error_scales != (1.0, 1.0),
            "checkinput": steering.check_level > 0,
            "pullrange": steering.pull_range > 0,
            "monitorpulls": steering.monitor > 0 and steering.monitor_pulls,
            "the number of bins of monitorresiduals": steering.monitor > 0 and steering.monitor_bins != BINS,
        }.items():
            if needs:
                raise NotExactError(f"{keyword} needs the records")

    def at(self, problem: Problem, values: FloatArray, chi2_cut: float, *, first: bool, with_matrix: bool) -> Pass:
        """Return the result of a pass over the records.

        Args:
            problem: the problem, of which these are the sums.
            values: value of each of its labels.
            chi2_cut, first, with_matrix: as for ``run_pass``.

        Raises NotExactError if the values might move a record across a cut.
        """
        if problem.sparse_bytes:
            raise NotExactError("a sparse matrix needs the records")
        parameters = problem.parameters
        places = parameters.positions(self.sets.labels)
        # each label changes a measurement by a value between two products; changes by different labels may cancel
        products = values[places] * self._pulls
        changes = np.abs([products.min(axis=0).sum(axis=0), products.max(axis=0).sum(axis=0)])
        change = float(np.max(changes, initial=0.0))
        if not change * (1.0 + _ROUNDING) < self._margin:
            raise NotExactError(
                f"the corrections change measurements by up to {change:.3g} of their errors, and the sums are exact up "
                f"to {self._margin:.3g}"
            )
        of_labels = parameters.positions(self.form.labels)
        mine = values[of_labels]
        product = self.form.matrix @ mine
        done = run_pass(self, problem.steering, parameters, values, chi2_cut, first=first, with_matrix=with_matrix)
        numbers = parameters.variable[of_labels]
        free = numbers >= 0
        numbers = numbers[free]
        done.gradient[numbers] += (self.form.gradient - product)[free]
        done.accepted[numbers] += self._accepted[free]
        if isinstance(done.matrix, np.ndarray):
            done.matrix[np.ix_(numbers, numbers)] += self.form.matrix[np.ix_(free, free)]
        done.chi2 += self._chi2 - float(mine @ (2.0 * self.form.gradient - product))
        done.ndf += self._ndf
        done.weighted_ndf += self._weighted_ndf
        a, b, c, d = (int(mine) + its for mine, its in zip(self._rejects, done.rejects, strict=True))
        done.rejects = (a, b, c, d)
        done.globals_max = done.records_free = 0  # unknown
        done.margin = 0.0  # no pass needs the records anyway
        return done

    def _add(self, sums: FileSums, binary: Binary, number: int) -> None:
        cuts = (sums.huge_cut, sums.has_chi2_cut)
        if self._cuts not in (None, cuts):
            raise UserError("the files' sums were made with different cuts")
        self._cuts = cuts
        before = self.form.labels
        at = self.form.add(sums.labels, sums.upper, sums.gradient, binary.weight)
        self._accepted = _grown(self._accepted, before, self.form.labels)
        self._accepted[at] += sums.accepted
        if not len(sums.turned_labels):
            self.turned = None
        elif self.turned is not None:
            self.turned.add(sums.turned_labels, sums.turned_upper, sums.turned_gradient, binary.weight)
        self._chi2 += binary.weight * sums.chi2
        self._ndf += sums.ndf
        self._weighted_ndf += binary.weight * sums.ndf
        self._rejects += np.array(sums.rejects)
        self._margin = min(self._margin, sums.margin)
        self._add_sets(sums)
        self._add_counts(sums)
        self._add_histograms(sums)
        starts = np.cumsum(np.where(sums.near_lengths < 0, -3 * sums.near_lengths // 2, sums.near_lengths) + 1)
        if len(starts):
            self.near += len(starts)
            block = Block(sums.near_words, np.append(0, starts[:-1]), sums.near_lengths, 0)
            self._near += (chunk for chunk, _ in decode(block, self.sets, binary.path, binary.weight, number))

    def _add_sets(self, sums: FileSums) -> None:
        numbers = self.sets.number(sums.sets.astype(np.int32))
        missing = len(self.sets) - len(self.set_counts)
        self.set_counts = np.append(self.set_counts, np.zeros(missing, np.int64))
        self.set_sigmas = np.append(self.set_sigmas, np.zeros(missing))
        self.set_counts[numbers] += sums.set_counts
        self.set_sigmas[numbers] += sums.set_sigmas
        pulls = np.stack([np.full(self.sets.labels.shape, np.inf), np.full(self.sets.labels.shape, -np.inf)])
        _, places, known = self._pulls.shape
        pulls[:, :places, :known] = self._pulls
        low, high = pulls[:, : len(sums.sets)]
        low[:, numbers] = np.minimum(low[:, numbers], sums.pulls_low)
        high[:, numbers] = np.maximum(high[:, numbers], sums.pulls_high)
        self._pulls = np.where(np.isfinite(pulls), pulls, 0.0)

    def _add_histograms(self, sums: FileSums) -> None:
        if not len(self.histograms):
            self.histograms, self.extremes = np.zeros(sums.histograms.shape, np.int64), sums.extremes
            self.monitored = np.zeros((0, sums.monitored.shape[1]), np.int64)
        self.histograms += sums.histograms
        both = np.stack([self.extremes, sums.extremes])
        self.extremes = np.stack([both[..., 0].min(axis=0), both[..., 1].max(axis=0)], axis=1)
        labels = np.union1d(self._first_labels, sums.first_labels)
        self.monitored, self._first_labels = _grown(self.monitored, self._first_labels, labels), labels
        self.monitored[np.searchsorted(self._first_labels, sums.first_labels)] += sums.monitored

    def _add_counts(self, sums: FileSums) -> None:
        self.records += sums.records
        self.records_in.append(sums.records)
        self.equations += sums.equations
        self.locals_max = max(self.locals_max, sums.locals_max)
        self.equations_max = max(self.equations_max, sums.equations_max)
        self.doubles |= sums.doubles
        self.sizes.update(dict(sums.sizes.tolist()))
        self.not_stored.update(dict(sums.not_stored.tolist()))


def symmetric(n: int, upper: FloatArray) -> FloatArray:
    """Return a symmetric matrix of n rows from its upper triangle, row by row."""
    matrix = np.zeros((n, n))
    triangle = np.tri(n, dtype=np.bool_).T
    matrix[triangle] = matrix.T[triangle] = upper
    return matrix


def _triangle(at: IntArray, n: int) -> IntArray:
    """Return the positions of some rows' and columns' upper triangle in that of n rows; ``at`` is ascending."""
    rows, columns = np.triu_indices(len(at))
    first, second = at[rows], at[columns]
    return np.asarray(first * n - first * (first - 1) // 2 + second - first)


def _grown(rows: npt.NDArray[Any], labels: IntArray, union: IntArray) -> npt.NDArray[Any]:
    """Return the rows of ``labels`` as rows of more labels, with zeros for the others."""
    if len(labels) == len(union):
        return rows
    grown = np.zeros((len(union), *rows.shape[1:]), rows.dtype)
    grown[np.searchsorted(union, labels)] = rows
    return grown
