"""Estimate the factor between the real errors of an iteration's constants and those that the errors of hits give. Pure.

Normal equations give errors under two assumptions, which data need not meet:

- Hits scatter about their tracks as their errors say. Otherwise the gradient has chi2/ndf times the expected variance. For
  this reason the Particle Data Group scales errors of averages by the square root of chi2/ndf (Review of Particle Physics,
  Introduction, 5.2.2), if it is above 1. Here it applies in both directions, since errors of hits may also be too large.
- The cut on residuals selects the same hits wherever the constants are. But a displacement moves hits across the cut, and
  the solution follows it only in part. Errors grow by the inverse of this part, the response: the variance of such an
  estimator is that of its gradient over the square of its response (Huber, Annals of Mathematical Statistics 35 (1964) 73).

Both numbers use hits within the cut, so that outliers beyond it change neither.
"""

import math

import numpy as np

from faser_align.alignment.arrays import IntArray
from faser_align.alignment.mille.counts import RESIDUAL_EDGES_MM, Counts
from faser_align.fsm.metrics import ErrorScale

NEAR_MM = 0.004  # distance from the cut of the residuals that give the density there
BEYOND = 1.5  # multiple of the cut beyond which only outliers and the tracks that they bend have hits
RESPONSE_MIN = 0.2  # smaller ones belong to constants far from the truth


def error_scale(counts: Counts, residual_max_mm: float, chi2_per_ndf: float | None) -> ErrorScale:
    """Return the factor of the errors, and its two parts; empty if it is unknown.

    Args:
        counts: sum over the files of the iteration.
        residual_max_mm: cut on the residuals of hits.
        chi2_per_ndf: of the solution, from the hits within the cut.
    """
    if chi2_per_ndf is None or not 0 < chi2_per_ndf < math.inf or not counts.ndf:
        return {}
    scatter, response = math.sqrt(chi2_per_ndf), _response(counts, residual_max_mm)
    return {"factor": scatter / response, "scatter": scatter, "response": response}


def _response(counts: Counts, cut_mm: float) -> float:
    """Return the part of a small displacement that the solution follows: ``1 - 2 cut f hits / ndf``.

    ``f`` is the density of residuals at the cut over the number of hits within it. A hit pulls its track by its leverage, on
    average 1 - ndf / hits, so that its distance from the other hits' track is its residual times hits / ndf. Hits of tracks
    that an outlier bends cross the cut as well, but are close to the track of the hits that remain, so that they do not count.
    They are as many farther away, where other tracks have none.
    """
    inside = counts.residual_bins.sum(axis=0)[1:-1]
    width = RESIDUAL_EDGES_MM[1] - RESIDUAL_EDGES_MM[0]
    distance = np.abs(RESIDUAL_EDGES_MM[:-1] + width / 2)
    hits = int(inside[distance < cut_mm].sum())
    density = _mean(inside[np.abs(distance - cut_mm) < NEAR_MM]) - _mean(
        inside[np.abs(distance - BEYOND * cut_mm) < 2 * NEAR_MM]
    )
    lost = 2 * cut_mm * max(density, 0.0) / width / max(hits, 1) * counts.hits_read / counts.ndf
    return max(1.0 - float(lost), RESPONSE_MIN)


def _mean(values: IntArray) -> float:
    return float(values.mean()) if len(values) else 0.0
