"""Make the parts of an iteration's figure data from counts and normal equations."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from faser_align.alignment.histograms import Bins, Categories, Histogram, Profile
from faser_align.alignment.mille.counts import MOMENTUM_EDGES_GEV, Counts, read_counts
from faser_align.alignment.mille.distributions import CHARGE, MODULE, SIDE
from faser_align.alignment.parameters.constants import ZERO, Six
from faser_align.alignment.parameters.labels import LAYER_KEYS, PARAMETERS
from faser_align.alignment.quality.constant_errors import errors_of, merged
from faser_align.alignment.quality.figure_data import ROWS_MAX, Correction, Files, Mode, ParameterRow, Spectrum
from faser_align.alignment.quality.metrics import Step
from faser_align.alignment.quality.mode_names import distinct
from faser_align.alignment.quality.weak_modes import UNDETERMINED, WEAK, errors_um, name
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.campaign.layout import raw_name

CUT = Categories("cut", "hits by cut", ("used", "residual", "derivative", "chi2"))
MOMENTUM = Bins("momentum", "momentum [GeV]", tuple(MOMENTUM_EDGES_GEV.tolist()))
_MERGED = 4  # bins of momentum
_UM_OR_URAD = (1e3, 1e3, 1e3, 1e6, 1e6, 1e6)


def counted(counts: Counts) -> dict[str, Histogram | Profile]:
    """Return the histograms that the counts of conversions contain."""
    means = counts.side_residuals.reshape(len(MODULE), len(SIDE), 3) * np.array([1.0, 1e-3, 1e-6])  # nm to um
    hits = [counts.modules[..., 0], counts.modules[..., 1], counts.modules_cut_derivative, counts.modules_cut_chi2]
    return {
        "residual_means": Profile((MODULE, SIDE), means, "residual [µm]"),
        "hits": Histogram((MODULE, CUT), np.stack(hits, axis=-1).reshape(len(MODULE), len(CUT))),
        "momentum": Histogram((CHARGE, MOMENTUM), counts.momentum_bins).rebin(_MERGED),
    }


def rows_of_files(
    mille_file: Callable[[int], str], files: Sequence[int], each: Callable[[Counts], Any] | None = None
) -> tuple[Counts, list[Files]]:
    """Return the sum of the conversions' counts, and rows of raw files; of many files a row has several.

    ``each`` is called with the counts of each file. Raises UserError if the counts cannot be read.
    """
    total, rows = Counts(), []
    for group in np.array_split(np.array(files), min(len(files), ROWS_MAX) or 1):
        of_group = Counts()
        for file in group.tolist():
            counts = read_counts(f"{mille_file(file)}.json")
            of_group += counts
            if each is not None:
                each(counts)
        total += of_group
        if len(group):
            rows.append(_row([raw_name(file) for file in group.tolist()], of_group))
    return total, rows


def _row(names: Sequence[str], counts: Counts) -> Files:
    """Return the row of consecutive raw files with these names, and the sum of their counts."""
    residuals = counts.module_residuals.sum(axis=1)
    means = {
        key: round(total / hits / 1000, 4) if hits else None
        for key, (hits, total, _) in zip(LAYER_KEYS, residuals.tolist(), strict=True)
    }
    chi2_per_ndf = counts.chi2_per_ndf()
    return Files(
        first=names[0],
        last=names[-1],
        files=len(names),
        tracks=int(counts.momentum_bins.sum()),
        chi2_per_ndf=None if chi2_per_ndf is None else round(chi2_per_ndf, 5),
        hits=counts.hits_read,
        hits_cut=counts.hits_cut_residual + counts.hits_cut_derivative,
        mean_um=means,
    )


def corrections(
    steps: Sequence[Step], correction: Mapping[str, Six], normal: Normal | None, factor: float
) -> dict[str, Correction]:
    """Return the correction of each key with a free constant, with errors.

    Args:
        steps: steps of the iteration; a later one's errors take precedence for the constants that it frees.
        correction: sum of all steps (mm, rad).
        normal: normal equations; without them errors are unknown.
        factor: scale of errors, ``error_scale.factor`` of the metrics.
    """
    unknown: list[float | None] = [None] * 6
    found = merged(
        errors_of(normal, step.free)[1] if normal else {PARAMETERS[label].key: unknown for label in step.free}
        for step in steps
    )
    return {
        key: Correction(
            tuple(_short(value * unit) for value, unit in zip(correction.get(key, ZERO), _UM_OR_URAD, strict=True)),
            tuple(None if error is None else _short(error * factor) for error in errors),
        )
        for key, errors in sorted(found.items())
    }


def parameters(steps: Sequence[Step], normal: Normal | None, factor: float) -> tuple[ParameterRow, ...]:
    """Return the free parameters of all steps that the data contain; arguments as of ``corrections``."""
    rows = []
    for number, step in enumerate(steps, start=1):
        errors = errors_of(normal, step.free)[0] if normal else {}
        correlations = _global_correlations(normal, step) if normal else {}
        moved = step.moved
        for label in sorted(label for label in step.free if math.isfinite(moved.get(label, math.nan))):
            error, correlation = errors.get(label), correlations.get(label)
            rows.append(
                ParameterRow(
                    label,
                    number,
                    _short(moved[label]),
                    None if error is None else _short(error * factor),
                    None if correlation is None else round(correlation, 6),
                )
            )
    return tuple(rows)


def _global_correlations(normal: Normal, step: Step) -> dict[int, float]:
    """Return the global correlation of each parameter: sqrt(1 - 1 / (C_ii N_ii)) with the covariance C and the matrix N."""
    values, directions = normal.directions(step.free)
    at = normal.positions(step.free)
    covariance = (directions[at] ** 2 / np.maximum(values, 1e-30)).sum(axis=1)
    diagonal = np.diag(normal.matrix)[at]
    found = np.sqrt(np.clip(1 - 1 / np.maximum(covariance * diagonal, 1.0), 0.0, 1.0))
    return {normal.labels[place]: float(value) for place, value in zip(at, found, strict=True)}


def spectra(steps: Sequence[Step], normal: Normal | None, factor: float) -> tuple[Spectrum, ...]:
    """Return the spectrum of each step; arguments as of ``corrections``."""
    return tuple(_spectrum(step, normal, factor) for step in steps if normal and normal.positions(step.free))


def _spectrum(step: Step, normal: Normal, factor: float) -> Spectrum:
    values, directions = normal.directions(step.free)
    values = np.maximum(values, 1e-30) / factor**2
    median = float(np.median(errors_um(values)))
    weak, undetermined = (1 / (limit * median) ** 2 for limit in (WEAK, UNDETERMINED))
    along = np.nan_to_num(directions.T @ normal.in_um(step.moved), posinf=0.0, neginf=0.0)
    names = distinct(name(normal.labels, direction) for direction in directions.T[values < weak])
    names += [""] * (len(values) - len(names))
    modes = tuple(
        Mode(_short(value), _short(moved), words)
        for value, moved, words in zip(values.tolist(), along.tolist(), names, strict=True)
    )
    return Spectrum(step.name, _short(weak), _short(undetermined), modes)


def _short(value: float) -> float:
    """Return a number with six digits, which keeps the file small."""
    return float(f"{value:.6g}")
