"""Compute derivatives with respect to the track's parameters, which older kfalignment files lack.

To first order they follow from those with respect to the layer: a shift of the track by +1 mm equals a shift of the
layer by -1 mm. The effect of slope and curvature at the hit's nominal z is geometry: x and y grow with z, and in a
magnet y follows a parabola. Millepede eliminates the five parameters of each track, so any five that span the same
changes give the same alignment.
"""

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.detector import (
    KICK_PER_MM,
    LAYERS_Z_MM,
    MAGNETS_MM,
    MODULE_Z_MM,
    SIDE_Z_MM,
    STATION_Z_MM,
)


def offset_z_mm(ids: IntArray) -> FloatArray:
    """Return the nominal z of hits relative to their layers (mm); ``ids`` as in ``Tracks.ids``."""
    return np.asarray(MODULE_Z_MM[ids // 10 % 10] + SIDE_Z_MM[ids % 10])


def designed_z_mm(ids: IntArray) -> FloatArray:
    """Return the nominal z of hits (mm); ``ids`` as in ``offset_z_mm``."""
    return np.asarray(LAYERS_Z_MM[ids // 1000 * 3 + ids // 100 % 10] + offset_z_mm(ids))


def bending_mm_gev(z_mm: FloatArray) -> FloatArray:
    """Return the change of y (mm GeV) at z for q/p = 1/GeV, for a track parallel to z before the magnets."""
    total = np.zeros_like(z_mm)
    for magnet in range(len(MAGNETS_MM)):
        total += bending_of_mm_gev(z_mm, magnet)
    return total


def bending_of_mm_gev(z_mm: FloatArray, magnet: int) -> FloatArray:
    """Return the part of ``bending_mm_gev`` that is due to one of the magnets, 0 to 2 along the beam."""
    entrance, end = MAGNETS_MM[magnet]
    inside = np.clip(z_mm - entrance, 0.0, end - entrance)
    behind = np.maximum(z_mm - end, 0.0)
    return np.asarray(KICK_PER_MM * (inside**2 / 2 + (end - entrance) * behind))


def track_derivatives(ids: IntArray, by_x: FloatArray, by_y: FloatArray) -> tuple[FloatArray, ...]:
    """Return the derivatives with respect to x, y (mm), dx/dz, dy/dz and q/p (1/GeV) of the track before the IFT.

    Args:
        ids: elements of the hits.
        by_x, by_y: derivatives of the prediction with respect to x and y of the hit's layer.
    """
    z = designed_z_mm(ids)
    from_start = z - STATION_Z_MM[0]
    return (-by_x, -by_y, -by_x * from_start, -by_y * from_start, -by_y * bending_mm_gev(z))
