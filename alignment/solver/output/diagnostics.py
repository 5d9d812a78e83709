"""Collect pede's diagnostics of passes: histograms of residuals and fits, residuals by label.

They cover the first, second and last pass. The histograms are those of pede that apply here: 1 words per record, 8
measurements that its writer omitted, 2 entries per label, 15 parameters per group, 3 and 12 normalised residuals of
measurements with and without labels, 13 and 14 their pulls, 4 chi2/ndf, 5 degrees of freedom, 11 local parameters, 6
down-weight fraction; also the function's value per iteration and, with several binaries, each one's results in the last
pass.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.pede.results import HISTOGRAMS, MONITOR
from faser_align.alignment.pede.solution import IterationRow
from faser_align.alignment.solver.equations import Equations
from faser_align.alignment.solver.local_fit import LocalFits
from faser_align.alignment.solver.output.histograms import Histogram, LogHistogram, SummedHistogram, points
from faser_align.alignment.solver.output.monitor import HEAD, Monitor
from faser_align.alignment.solver.passes import Pass
from faser_align.alignment.solver.problem import Problem
from faser_align.alignment.solver.source import Source
from faser_align.alignment.solver.steering import Steering
from faser_align.system.atomic import write_text

_BINARY_TITLES = {
    6: "log10(#records) vs file number",
    7: "final rejection fraction vs file number",
    8: "final <Chi^2/Ndf> from accepted local fits vs file number",
    9: "<Ndf> from accepted local fits vs file number",
}
_LEFT = 0.999999  # fraction of a measurement's variance; a fit that uses more leaves no pull


class PassObserver:
    """Histograms and residuals by label of one pass; call it with the pass's records. ``number`` is from 1."""

    def __init__(self, number: int, source: Source, steering: Steering, histogram: type[Histogram] = Histogram) -> None:
        self.number = number
        self.monitor = Monitor(source, steering.monitor_bins, pulls=steering.monitor_pulls)
        self._has_label = source.sets.has_label
        self._downweighted = bool(steering.downweighting)
        reach = steering.pull_range
        self._singles = {
            (title, has): histogram(
                at, f"{title} of single ({'global' if has else 'local'}) measurement", -reach, reach
            )
            for title, at_labelled, at_plain in (("Normalized residuals", 3, 12), ("Pulls", 13, 14))
            for has, at in ((True, at_labelled), (False, at_plain))
        }
        self._chi2 = histogram(4, "Chi^2/Ndf after local fit")
        self._ndf = histogram(5, "Number of degrees of freedom")
        self._locals = histogram(11, "Number of local parameters")
        self._downweight = histogram(6, "Down-weight fraction")

    def __call__(self, chunk: Equations, fits: LocalFits, sigmas: FloatArray) -> None:
        """Add records with their fits and the errors of their equations."""
        assert fits.variances is not None
        counts = np.diff(chunk.offsets)
        known = np.repeat(chunk.n_locals != 0, counts)
        # records with very many parameters and few equations are not fitted and would have no residuals
        exact = np.repeat(np.abs(chunk.n_locals) > len(chunk.locals), counts)
        labelled = self._has_label[chunk.sets]
        residuals = fits.plain_residuals
        with np.errstate(divide="ignore", invalid="ignore"):
            left = sigmas**2 - fits.variances
            pulls = np.where((left > (1 - _LEFT) * sigmas**2) & ~exact, residuals / np.sqrt(left), np.nan)
            normalised = np.where(exact, 0.0, residuals / sigmas)
            chi2 = np.add.reduceat(normalised**2, chunk.offsets[:-1]) / fits.ndf
        for title, values in (("Normalized residuals", normalised), ("Pulls", pulls)):
            self._singles[title, True].fill(values[labelled & known])
            self._singles[title, False].fill(values[known & ~labelled])
        self.monitor.add(chunk.sets[labelled & known], pulls[labelled & known], sigmas[labelled & known])
        there = chunk.n_locals != 0
        fitted = ~fits.deficient & there & (fits.ndf > 0)
        self._chi2.fill(chi2[fitted])
        self._ndf.fill(fits.ndf[there])
        self._locals.fill(np.abs(chunk.n_locals)[there])
        # pede rejects a record after the first iteration of its fit, which is the last one without down-weighting
        self._downweight.fill(fits.downweight[fitted if self._downweighted else there])

    @property
    def histograms(self) -> list[Histogram]:
        """The histograms of the first pass."""
        return [*self._singles.values(), self._chi2, self._ndf, self._locals]

    def lines(self) -> list[str]:
        """Return the pass's part of the histogram file."""
        version = self.number - 1
        labelled, plain, *pulls = self._singles.values()
        written = [line for of in (labelled, plain, self._chi2, *pulls) for line in of.lines(version)]
        single = {1: (self._ndf, self._locals), 2: (self._downweight,)}.get(self.number, ())
        return written + [line for histogram in single for line in histogram.lines(0)]


class Diagnostics:
    """Observers of passes, and the files made from them."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._observers: dict[int, PassObserver] = {}

    def observer(self, number: int) -> PassObserver:
        """Return a new observer of a pass, which replaces an earlier one."""
        self._observers[number] = PassObserver(number, self._problem.source, self._problem.steering)
        return self._observers[number]

    def take(self, histograms: IntArray, extremes: FloatArray, monitored: IntArray) -> None:
        """Use the stored sums of the first pass instead of observing it.

        Args:
            histograms, extremes: of each ``SummedHistogram`` of an observer.
            monitored: residuals by label, of all labels that come first in an equation.
        """
        observer = PassObserver(1, self._problem.source, self._problem.steering, SummedHistogram)
        observer.monitor.counts = monitored
        for histogram, fine, ends in zip(observer.histograms, histograms, extremes, strict=True):
            assert isinstance(histogram, SummedHistogram)
            histogram.fine, histogram.extremes = fine, ends
        self._observers = {1: observer}

    def write(self, folder: Path, rows: tuple[IterationRow, ...], last: Pass) -> None:
        """Write ``millepede.his``, and ``millepede.mon`` if the steering requests it; ``last`` is the last pass."""
        source = self._problem.source
        of_label = source.entries()  # in equations, also with countrecords
        per_label = Counter(of_label.get(label, 0) for label in self._problem.parameters.labels.tolist())
        groups = Histogram(15, "Number of parameters per group", 0.0, 120.0)
        groups.fill(np.bincount(self._problem.groups)[1:])
        not_stored = Histogram(8, "not_stored data per record", 0.0, 60.0)
        counts = sorted(source.not_stored.items())
        not_stored.fill(np.repeat(*np.array(counts, np.int64).reshape(-1, 2).T))
        lines = [
            *LogHistogram(1, "Number of words/record in binary file", source.sizes).lines(0),
            *not_stored.lines(0),
            *LogHistogram(2, "Number of entries per label", per_label).lines(0),
            *groups.lines(0),
        ]
        for observer in self._observers.values():
            lines += observer.lines()
        values = [(float(row.evaluation), row.chi2, 0.5, row.expected_decrease or 0.0) for row in rows]
        lines += [*points(1, "Function value in iterations", values), *_of_binaries(self._problem, last)]
        write_text(folder / HISTOGRAMS, "\n".join(lines) + "\n")
        monitor = self._problem.steering.monitor
        if monitor:
            parts: list[str] = []
            for number, observer in self._observers.items():
                if (number == 1 and monitor & 1) or (number == max(self._observers) and monitor & 2):
                    parts += observer.monitor.lines(number)
            what = "Pulls" if self._problem.steering.monitor_pulls else "Normalized residuals"
            write_text(folder / MONITOR, "\n".join([HEAD.format(what), *parts]) + "\n")


def _of_binaries(problem: Problem, last: Pass) -> list[str]:
    """Return records, rejects, chi2/ndf and ndf of each binary, if there are several."""
    counts = problem.source.records_in
    if len(counts) < 2:
        return []
    rows: dict[int, list[tuple[float, float]]] = {6: [], 7: [], 8: [], 9: []}
    for number, records in enumerate(counts):
        accepted, chi2, ndf = last.files.get(number, np.zeros(3)).tolist()
        if records:
            rows[6].append((number + 1.0, math.log10(records)))
            rows[7].append((number + 1.0, (records - accepted) / records))
        if accepted:
            rows[8].append((number + 1.0, chi2 / accepted))
            rows[9].append((number + 1.0, ndf / accepted))
    titled = [(number, title, rows[number]) for number, title in _BINARY_TITLES.items() if rows[number]]
    return [line for row in titled for line in points(*row, errors=False)]
