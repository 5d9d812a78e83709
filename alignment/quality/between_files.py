"""Compare the raw files of an iteration: means of residuals, and tracks that are in two files.

An alignment assumes one detector for all its files. If a module moves while data are taken, or a file is of another run or
condition, means of residuals differ between files, and the constants are right for none of them. A file that is given
twice, under two names, counts its tracks twice, and the errors are too small.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.parameters.labels import MODULE_KEYS
from faser_align.alignment.quality.momenta import TrackArray, read_tracks
from faser_align.campaign.layout import raw_name
from faser_align.fsm.criteria_files import DIFFERENCE_MIN_UM
from faser_align.fsm.metrics import Agreement, Difference, Duplicates

HITS_MIN = 30  # hits of a side for a mean whose error is nearly Gaussian
GROUP_HITS = 100  # hits of the median side in a group of files
TOLERANCE_UM = DIFFERENCE_MIN_UM  # smaller differences are negligible, however significant
SHARE_MIN = 0.01  # of a file's tracks, for a pair of files to be named
NAMED_AT_MOST = 5


def agreement(residuals: IntArray, files: Sequence[int]) -> Agreement:
    """Return how well the means of residuals agree between files; empty if there is nothing to compare.

    The error of a side's mean is the rms of its residuals within files over the square root of its hits. Only the part
    of a difference above ``TOLERANCE_UM`` counts. ``sigma`` is corrected for the number of comparisons, of which one is
    always the largest. Files without residuals, from older conversions, do not count.

    Args:
        residuals: ``Counts.side_residuals`` of each file, shape (files, 12, 8, 2, 3).
        files: the numbers of the raw files, ascending.
    """
    sums = residuals.reshape(len(files), -1, 3) / np.array([1.0, 1e3, 1e6])  # hits, um, um^2
    known = sums[:, :, 0].any(axis=1)
    sums, names = sums[known], [file for file, is_known in zip(files, known.tolist(), strict=True) if is_known]
    if len(names) < 2:
        return {}
    total = sums.sum(axis=0)
    variance = _variance(sums)
    starts = _groups(sums[:, :, 0])
    groups = np.add.reduceat(sums, starts, axis=0)
    spans = [_span(names, start, stop) for start, stop in zip(starts, [*starts[1:], len(names)], strict=True)]
    before = np.cumsum(sums, axis=0)[:-1]
    rows = len(before) + len(groups)
    found = list(_largest("step", total - before, before, variance, [raw_name(file) for file in names[1:]], rows))
    if len(groups) > 2:
        found += _largest("file", groups, total - groups, variance, spans, rows)
    deviations, pulls = _deviations(groups, variance)
    ndf = np.maximum((pulls != 0).sum(axis=0) - 1, 0)
    if not found:
        return {}
    if len(groups) > 2:
        sigmas = _sigma((_beyond(deviations, pulls) ** 2).sum(axis=0), ndf)
        side = int(np.argmax(sigmas))
        group = int(np.argmax(np.abs(deviations[:, side])))
        sigma = _corrected(sigmas[side], int((ndf > 0).sum()))
        found.append(_difference("spread", side, spans[group], deviations[group, side], sigma))
    # A file that differs from all others explains more than a step or a spread of the same size.
    worst = max(found, key=lambda one: (round(one["sigma"], 3), one["kind"] == "file"))
    return {"chi2_per_ndf": float((pulls**2).sum() / ndf.sum()) if ndf.any() else None, "worst": worst}


def _variance(sums: FloatArray) -> FloatArray:
    """Return the variance (um^2) of each side's residuals within files; infinite without enough hits."""
    hits, totals, squares = sums[..., 0], sums[..., 1], sums[..., 2]
    within = (squares - totals**2 / np.maximum(hits, 1.0)).sum(axis=0)
    freedom = (hits - (hits > 0)).sum(axis=0)
    return np.where(freedom > 0, np.maximum(within / np.maximum(freedom, 1.0), 1e-6), np.inf)


def _groups(hits: FloatArray) -> list[int]:
    """Return the first file of each group of consecutive files with enough hits in the median side."""
    medians = np.median(hits[:, hits.any(axis=0)], axis=1)
    starts, filled = [0], 0.0
    for file, median in enumerate(medians.tolist()):
        if filled >= GROUP_HITS:
            starts.append(file)
            filled = 0.0
        filled += median
    return starts[:-1] if filled < GROUP_HITS and len(starts) > 1 else starts


def _span(names: Sequence[int], start: int, stop: int) -> str:
    first, last = raw_name(names[start]), raw_name(names[stop - 1])
    return first if first == last else f"{first} to {last}"


def _largest(
    kind: str, these: FloatArray, others: FloatArray, variance: FloatArray, names: Sequence[str], comparisons: int
) -> Iterator[Difference]:
    """Yield the most significant difference of a side's means, and that of all sides together.

    Each row of ``these`` and ``others``, (rows, sides, 3), is one of the comparisons; ``names`` are those of the rows. Tracks
    follow a module that moved, so that others differ less, but by as many standard deviations: the side of a row is the one
    with the largest difference.
    """
    hits, against = these[..., 0], others[..., 0]
    enough = (np.minimum(hits, against) >= HITS_MIN) & np.isfinite(variance)
    if not enough.any():
        return
    hits, against = np.maximum(hits, 1.0), np.maximum(against, 1.0)
    differences = np.where(enough, these[..., 1] / hits - others[..., 1] / against, 0.0)
    pulls = _beyond(differences, differences / np.sqrt(variance * (1 / hits + 1 / against)))
    largest = np.abs(pulls).max(axis=1)
    sigmas = [_corrected(value, comparisons * pulls.shape[1]) for value in largest.tolist()]
    together = [_corrected(value, comparisons) for value in _sigma((pulls**2).sum(axis=1), enough.sum(axis=1)).tolist()]
    for values, whole in ((sigmas, False), (together, True)):
        row = max(range(len(values)), key=values.__getitem__)
        clear = np.abs(pulls[row]) >= largest[row] / 2
        side = int(np.argmax(np.where(clear, np.abs(differences[row]), 0.0)))
        yield _difference(kind, side, names[row], differences[row, side], values[row], together=whole)


def _deviations(groups: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the deviation (um) of each group's means from the sides' weighted means, and its significance."""
    hits = groups[..., 0]
    enough = (hits >= HITS_MIN) & np.isfinite(variance)
    counted = np.where(enough[..., None], groups, 0.0).sum(axis=0)
    means = counted[:, 1] / np.maximum(counted[:, 0], 1.0)
    deviations = np.where(enough, groups[..., 1] / np.maximum(hits, 1.0) - means, 0.0)
    return deviations, deviations / np.sqrt(variance / np.maximum(hits, 1.0))


def _beyond(differences: FloatArray, pulls: FloatArray) -> FloatArray:
    """Return the significances of differences (um) without ``TOLERANCE_UM``."""
    sizes = np.abs(differences)
    return pulls * np.maximum(sizes - TOLERANCE_UM, 0.0) / np.maximum(sizes, TOLERANCE_UM)


def _sigma(chi2: FloatArray, ndf: FloatArray | IntArray) -> FloatArray:
    """Return the normal deviates of chi2 with ``ndf`` degrees of freedom (Wilson and Hilferty, PNAS 17 (1931) 684)."""
    freedom = np.maximum(ndf, 1.0)
    width = 2 / (9 * freedom)
    return np.where(ndf > 0, (np.cbrt(chi2 / freedom) - (1 - width)) / np.sqrt(width), 0.0)


def _corrected(sigma: float, comparisons: int) -> float:
    """Return the significance of the largest of some comparisons: its probability is about theirs times their number."""
    square = sigma**2 - 2 * math.log(max(comparisons, 1))
    return math.sqrt(square) if sigma > 0 and square > 0 else 0.0


def _difference(
    kind: str, side: int, files: str, deviation_um: float, sigma: float, *, together: bool = False
) -> Difference:
    return {
        "kind": kind,
        "together": together,
        "module": MODULE_KEYS[side // 2],
        "side": side % 2,
        "file": files,
        "deviation_um": float(deviation_um),
        "sigma": float(sigma),
    }


def read_duplicates(paths: Sequence[str], files: Sequence[int]) -> Duplicates:
    """Return ``duplicates`` of the raw files with these momenta files; empty if one cannot be read."""
    parts = read_tracks(paths)
    return duplicates(parts, files) if parts else {}


def duplicates(parts: Sequence[TrackArray], files: Sequence[int]) -> Duplicates:
    """Return which files share tracks, by the tracks' fingerprints.

    Args:
        parts: the tracks of each raw file.
        files: the numbers of the raw files.

    Returns:
        ``share``, the largest fraction of a file's tracks that are in another, and ``pairs``, the names of both files with
        this fraction, largest first. A file with tracks that occur in it twice makes a pair with itself.
    """
    hits = np.concatenate([part["hits"] for part in parts])
    tracks = np.array([len(part) for part in parts])
    order = np.argsort(hits, kind="stable")
    owners, hits = np.repeat(np.arange(len(parts)), tracks)[order], hits[order]
    same = (hits[1:] == hits[:-1]) & (hits[1:] != 0)
    pairs, numbers = np.unique(owners[:-1][same] * len(parts) + owners[1:][same], return_counts=True)
    of, file = np.divmod(pairs, len(parts))
    shares = numbers / np.minimum(tracks[of], tracks[file])
    listed = [at for at in np.argsort(-shares, kind="stable").tolist() if shares[at] > SHARE_MIN][:NAMED_AT_MOST]
    named: list[list[str | float]] = [
        [raw_name(files[file[at]]), raw_name(files[of[at]]), float(shares[at])] for at in listed
    ]
    return {"share": float(shares.max(initial=0.0)), "pairs": named}
