"""Write ``millepede.mon``: normalised residuals by their measurement's first label (MONRES of pede).

Residuals are counted in bins of 0.1, which give median and spread. The spread is 1.4826 times the median distance from
the median's bin, which is the standard deviation of normal residuals.
"""

import numpy as np

from faser_align.alignment.arrays import FloatArray, Int32Array, IntArray
from faser_align.alignment.pede.results import fortran_g
from faser_align.alignment.solver.source import Source

BIN, BINS = 0.1, 100  # pede's
_MAD = 1.4826
HEAD = """*** {} grouped by first global label (per local fit cycle) ***
! LFC     Label   Entries        Median  RMS(MAD)          <error>"""


class Monitor:
    """Counts of one pass over the records of a source.

    Attributes:
        labels: those that come first in an equation, ascending.
        counts: residuals of each label in bins, shape (labels, bins).
    """

    def __init__(self, source: Source, bins: int, *, pulls: bool) -> None:
        sets = source.sets
        first = sets.labels[0] if len(sets.labels) else np.zeros(len(sets), np.int64)
        labels, which = np.unique(first, return_inverse=True)
        sigmas, counts = (np.bincount(which, of, len(labels)) for of in (source.set_sigmas, source.set_counts))
        skip = int(len(labels) > 0 and labels[0] == 0)  # of equations without labels
        self.labels: IntArray = labels[skip:]
        self._of_set = which - skip
        self._errors = (sigmas / np.maximum(counts, 1))[skip:]  # mean error of a label's measurements (mm)
        self._bins, self._pulls = bins, pulls
        self.counts = np.zeros((len(self.labels), bins), np.int64)

    def add(self, sets: Int32Array, pulls: FloatArray, sigmas: FloatArray) -> None:
        """Count equations.

        Args:
            sets: number of each equation's set of labels, shape (equations,).
            pulls: residuals divided by their expected errors, shape (equations,).
            sigmas: errors of the measurements (mm), shape (equations,).
        """
        group = self._of_set[sets]
        values = pulls if self._pulls else pulls * sigmas / self._errors[group]
        good = (group >= 0) & np.isfinite(values)
        places = np.clip((values[good] / BIN + 0.5 * self._bins).astype(np.int64), 1, self._bins) - 1
        size = self.counts.size
        self.counts += np.bincount(group[good] * self._bins + places, minlength=size).reshape(self.counts.shape)

    def lines(self, number: int) -> list[str]:
        """Return the rows of pass ``number``, one per label."""
        formatted = []
        rows = zip(self.labels.tolist(), self.counts, self._errors.tolist(), strict=True)
        for label, counts, error in rows:
            median, spread = _median(counts) if counts.any() else (0.0, 0.0)
            numbers = "".join(fortran_g(value) for value in (median, _MAD * spread, error))
            formatted.append(f"{number:5d}{label:10d}{int(counts.sum()):10d}{numbers}")
        return formatted


def _median(counts: IntArray) -> tuple[float, float]:
    """Return the median, and the median distance from it."""
    bins, total = len(counts), int(counts.sum())
    sums = np.cumsum(counts)
    at = _half(sums, total)
    median = at + 1 + _fraction(sums, at, total)
    distances = np.zeros(bins, np.int64)
    distances[: bins - at] += counts[at:]
    distances[:at] += counts[:at][::-1]
    sums = np.cumsum(distances)
    apart = _half(sums, total)
    return BIN * (median - bins // 2), BIN * (apart + _fraction(sums, apart, total))


def _half(sums: IntArray, total: int) -> int:
    """Return the bin that contains the median entry, never the first one."""
    reached = np.flatnonzero(2 * sums[1:] > total)
    return int(reached[0]) + 1 if len(reached) else len(sums) - 1


def _fraction(sums: IntArray, at: int, total: int) -> float:
    inside = int(sums[at] - sums[at - 1])
    return (total - 2 * int(sums[at - 1])) / (2 * inside) if inside > 0 else 0.0
