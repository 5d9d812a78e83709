"""Test the fields of the magnets: residuals of a layer that depend on charge and momentum.

If the field of one magnet is wrong, tracks bend there by another angle than the fit assumes. The fit absorbs what the
track's position, slope and momentum can; the rest is a residual along y that is proportional to q/p. Its mean over both
charges is zero, so neither an alignment nor a mean residual shows it. A field that is wrong by the same factor in all
magnets changes only momenta, and no residual.
"""

import math

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.detector import LAYERS_Z_MM, bending
from faser_align.alignment.mille.counts import Counts
from faser_align.fsm import metrics

HITS_MIN = 100  # hits of a layer
SEEN = 1e-3  # minimum fraction of a magnet's bending that the tracks' positions, slopes and momenta do not absorb


def magnets(counts: Counts) -> dict[str, metrics.Magnet]:
    """Return by how much the field of each magnet deviates if only this one is wrong; empty if it is unknown.

    The slope of a layer's residuals (um GeV) against q/p is fitted by position, slope and total bending of the tracks,
    and the bending of one magnet. Errors are scaled by the square root of chi2/ndf with all magnets, if this is above 1.
    """
    units = np.array([1.0, 1e-3, 1e-6, 1e-12, 1e-9, 1e-6, 1.0])  # um, 1/GeV and mm GeV
    columns = np.ascontiguousarray((counts.curvature_residuals * units).T)
    hits, residual, curvature, squares, product, residual2, bends = columns
    spread = squares - curvature**2 / np.maximum(hits, 1.0)
    used = (hits >= HITS_MIN) & (spread > 0)
    if used.sum() < 5 or counts.ndf <= 0:
        return {}
    hits, residual, curvature, spread, product, residual2, bends = (
        column[used] for column in (hits, residual, curvature, spread, product, residual2, bends)
    )
    z = LAYERS_Z_MM[used]
    variance = float((residual2 - residual**2 / hits).sum() / hits.sum()) * counts.hits_read / counts.ndf
    weight = np.sqrt(spread / variance) if variance > 0 else np.zeros(len(z))
    fields = 1e3 * bending(z)[0]  # um GeV
    tracks = _orthonormal(np.stack([np.ones(len(z)), z / 1e3, fields.sum(axis=1)], axis=-1) * weight[:, None])
    pulls = _rest((product - residual * curvature / hits) / spread * weight, tracks)
    templates = _rest(fields * weight[:, None], tracks)
    seen = np.linalg.norm(templates, axis=0) > SEEN * np.linalg.norm(fields * weight[:, None], axis=0)
    if not seen.any():
        return {}
    all_together, rank = _explained(templates[:, seen], pulls)
    ndf = len(z) - 3 - rank
    scale = max(1.0, (float(pulls @ pulls) - all_together) / ndf) if ndf > 0 else 1.0
    by_magnet: dict[str, metrics.Magnet] = {}
    for at in np.flatnonzero(seen).tolist():
        size = float(templates[:, at] @ templates[:, at])
        deviation = float(templates[:, at] @ pulls) / size * _sign(fields.sum(axis=1), bends / hits, z)
        by_magnet[str(at + 1)] = {
            "deviation": deviation,
            "error": math.sqrt(scale / size),
            "chi2": max(all_together - deviation**2 * size, 0.0) / scale,
        }
    return by_magnet


def _orthonormal(columns: FloatArray) -> FloatArray:
    left, values, _ = np.linalg.svd(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300), full_matrices=False)
    return np.asarray(left[:, values > 1e-9])


def _rest(columns: FloatArray, basis: FloatArray) -> FloatArray:
    return np.asarray(columns - basis @ (basis.T @ columns))


def _explained(templates: FloatArray, pulls: FloatArray) -> tuple[float, int]:
    """Return the chi2 that all templates together explain, and their rank."""
    left, values, _ = np.linalg.svd(templates / np.linalg.norm(templates, axis=0), full_matrices=False)
    basis = left[:, values > 1e-6]
    return float(((basis.T @ pulls) ** 2).sum()), basis.shape[1]


def _sign(nominal: FloatArray, bends: FloatArray, z: FloatArray) -> float:
    """Return -1 if the tracks of positive charge bend the other way than in the nominal field, else 1."""
    line = _orthonormal(np.stack([np.ones(len(z)), z / 1e3], axis=-1))
    return -1.0 if _rest(nominal, line) @ bends < 0 else 1.0
