"""Sum the normal equations of a Mille binary, with every label free and all parameters zero."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faser_align.alignment.arrays import FloatArray, Int32Array, IntArray
from faser_align.alignment.mille.blocks import iterate_blocks
from faser_align.alignment.solver.equations import Equations, selected
from faser_align.alignment.solver.local_fit import LocalFits, chi2_limit
from faser_align.alignment.solver.output.diagnostics import PassObserver
from faser_align.alignment.solver.output.histograms import SummedHistogram
from faser_align.alignment.solver.passes import Parameters, Pass, run_pass
from faser_align.alignment.solver.source import BLOCK_BYTES, Source
from faser_align.alignment.solver.steering import Binary, Steering
from faser_align.alignment.solver.sums.file import FileSums, fingerprint
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

MARGIN = 20.0  # errors, 0.5 mm for a strip; no records are stored to make the margin larger
NEAR_BYTES = 128 << 10  # of the records near a cut, about 60 FASER tracks: fitting them takes the Millepede job's time
BYTES_MAX = 2_000_000
_MARGIN_MAX = 1e6  # JSON has no infinity
_ROUNDING = 1e-6  # relative, of a cut: it is computed in single precision


def make_sums(
    binary: Name,
    huge_cut: float,
    *,
    has_chi2_cut: bool = False,
    turned: Name | None = None,
    near_bytes: int = NEAR_BYTES,
) -> FileSums:
    """Return the sums of a binary.

    Records near a cut are not summed but stored. The margin is at least ``MARGIN``, or smaller so that these
    records fit into ``near_bytes``.

    Args:
        binary: Mille binary in C format.
        huge_cut: ``hugecut`` of the steps.
        has_chi2_cut: whether a step has ``chisqcut``, which finally rejects all records beyond three standard deviations.
        turned: binary of the same tracks with derivatives about the layers' own z.
        near_bytes: limit of the stored records.

    Raises UserError if there is no label, or if the sums would be larger than ``BYTES_MAX``; MilleError as the solver.
    """
    steering, source, labels = _read(binary, huge_cut)
    size = (8 if turned else 4) * len(labels) * (len(labels) + 1)
    if size > BYTES_MAX - NEAR_BYTES:
        raise UserError(f"the normal equations of {len(labels)} labels would need {size / 1e6:.1f} MB")
    seen = _Seen(source, steering, has_chi2_cut=has_chi2_cut)
    done, upper = _pass(source, labels, steering, observe=seen)
    margin, near, near_words, near_lengths = _choose(binary, seen.margins, near_bytes)
    if len(near):
        done, upper = _pass(source, labels, steering, records=_without(source, near))
    of_turned, turned_labels, turned_upper = Pass(), np.zeros(0, np.int64), np.zeros(0)
    if turned:
        turned_steering, turned_source, turned_labels = _read(turned, huge_cut)
        of_turned, turned_upper = _pass(turned_source, turned_labels, turned_steering)
    return FileSums(
        binary=fingerprint(binary),
        huge_cut=huge_cut,
        has_chi2_cut=has_chi2_cut,
        margin=margin,
        chi2=done.chi2,
        ndf=done.ndf,
        rejects=done.rejects,
        records=source.records,
        equations=source.equations,
        locals_max=source.locals_max,
        equations_max=source.equations_max,
        doubles=source.doubles,
        labels=labels,
        upper=upper,
        gradient=done.gradient,
        accepted=done.accepted,
        sets=source.sets.labels,
        set_counts=source.set_counts,
        set_sigmas=source.set_sigmas,
        pulls_low=np.where(np.isfinite(seen.pulls_low), seen.pulls_low, 0.0),
        pulls_high=np.where(np.isfinite(seen.pulls_high), seen.pulls_high, 0.0),
        sizes=_pairs(source.sizes),
        not_stored=_pairs(source.not_stored),
        near_words=near_words,
        near_lengths=near_lengths,
        histograms=np.stack([histogram.fine for histogram in seen.histograms]).astype(np.int32),
        extremes=np.stack([histogram.extremes for histogram in seen.histograms]),
        first_labels=seen.monitor.labels,
        monitored=seen.monitor.counts.astype(np.int32),
        turned_labels=turned_labels,
        turned_upper=turned_upper,
        turned_gradient=of_turned.gradient,
    )


def _without(source: Source, left_out: IntArray) -> Iterator[Equations]:
    """Yield the records of a source without some of them."""
    for chunk in source:
        keep = ~np.isin(chunk.records, left_out)
        if keep.any():
            yield chunk if keep.all() else selected(chunk, keep)


def _read(binary: Name, huge_cut: float) -> tuple[Steering, Source, IntArray]:
    """Read a binary for the first time; also return all its labels."""
    steering = Steering(binaries=(Binary(Path(binary)),), huge_cut=huge_cut)
    source = Source(steering.binaries)
    source.count(by_record=False)
    labels = np.unique(source.sets.labels)
    labels = labels[labels > 0]
    if not len(labels):
        raise UserError("the records have no labels")
    return steering, source, labels


def _pass(source: Source, labels: IntArray, steering: Steering, **options: Any) -> tuple[Pass, FloatArray]:
    """Return the sums where all parameters are zero, and the upper triangle of their matrix."""
    values, free = np.zeros(len(labels)), Parameters.make(labels, np.ones(len(labels), np.bool_))
    done = run_pass(source, steering, free, values, 0.0, first=False, with_matrix=True, **options)
    assert isinstance(done.matrix, np.ndarray)
    return done, done.matrix[np.triu_indices(len(labels))]


class _Seen:
    """Observes the records of a source.

    Attributes:
        margins: of each record: infinite where no cut applies, zero if it is between the cuts.
        pulls_low, pulls_high: as in ``FileSums``; infinite beyond the labels of a set.
        monitor, histograms: of residuals and fits, as ``Diagnostics`` has them of the first pass.
    """

    def __init__(self, source: Source, steering: Steering, *, has_chi2_cut: bool) -> None:
        self.margins = np.full(source.records, np.inf)
        self.pulls_low = np.full(source.sets.labels.shape, np.inf)
        self.pulls_high = np.full(source.sets.labels.shape, -np.inf)
        self._observer = PassObserver(1, source, steering, SummedHistogram)
        self.monitor = self._observer.monitor
        self._huge_cut, self._has_chi2_cut = steering.huge_cut, has_chi2_cut

    @property
    def histograms(self) -> list[SummedHistogram]:
        return [histogram for histogram in self._observer.histograms if isinstance(histogram, SummedHistogram)]

    def __call__(self, chunk: Equations, fits: LocalFits, sigmas: FloatArray) -> None:
        self._observer(chunk, fits, sigmas)
        for low, high, factors in zip(self.pulls_low, self.pulls_high, chunk.factors, strict=False):
            # a record with an error of zero is always rejected
            pulls = np.divide(factors, sigmas, out=np.zeros(len(sigmas)), where=sigmas != 0)
            np.minimum.at(low, chunk.sets, pulls)
            np.maximum.at(high, chunk.sets, pulls)
        judged = (chunk.n_locals != 0) & ~fits.deficient & (fits.ndf > 0)
        limit, chi2 = np.sqrt(chi2_limit(fits.ndf).astype(np.float64)), np.sqrt(np.maximum(fits.chi2, 0.0))
        huge = np.sqrt(self._huge_cut) * limit
        accepted = np.minimum(huge, limit) if self._has_chi2_cut else huge
        # the chi2 is not a number in a damaged record: then none of the comparisons is true
        apart = np.where(chi2 <= accepted, accepted - chi2, np.where(chi2 > huge, chi2 - huge, 0.0))
        apart = np.maximum(apart - _ROUNDING * (huge + accepted), 0.0) / np.sqrt(np.diff(chunk.offsets))
        self.margins[chunk.records[judged]] = apart[judged]


def _choose(binary: Name, margins: FloatArray, bytes_max: int) -> tuple[float, IntArray, Int32Array, IntArray]:
    """Return the largest margin up to ``MARGIN`` for which the records with a smaller one fit, and these records.

    If no record has a margin below ``MARGIN``, the margin is the smallest of all. Of the records the numbers, contents
    and first words are returned.
    """
    order = np.argsort(margins, kind="stable")
    order = order[margins[order] < MARGIN]
    if not len(order):
        return float(np.min(margins, initial=_MARGIN_MAX)), order, np.zeros(0, np.int32), order
    sizes = np.zeros(len(margins), np.int64)
    for block in iterate_blocks(binary, BLOCK_BYTES):
        lengths = block.lengths
        sizes[block.first : block.first + len(lengths)] = 4 + 4 * np.where(lengths < 0, -3 * lengths // 2, lengths)
    count = int(np.searchsorted(np.cumsum(sizes[order]), bytes_max, side="right"))
    margin = MARGIN if count == len(order) else float(margins[order[count]])
    records = np.sort(order[margins[order] < margin])
    words: list[Int32Array] = [np.zeros(0, np.int32)]
    for block in iterate_blocks(binary, BLOCK_BYTES):
        for record in records[(records >= block.first) & (records < block.first + len(block.starts))].tolist():
            start = block.starts[record - block.first]
            words.append(block.words[start : start + sizes[record] // 4].copy())
    lengths = np.array([part[0] for part in words[1:]], np.int64)
    return margin, records, np.concatenate(words), lengths


def _pairs(counts: Counter[int]) -> IntArray:
    return np.array(sorted(counts.items()), np.int64).reshape(-1, 2)
