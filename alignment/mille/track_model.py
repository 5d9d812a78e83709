"""Derivatives by the track's parameters for files that do not have them: older kfalignment files.

How a hit's prediction changes with the track follows, to first order, from how it changes with the layer: a track that is
moved by +1 mm is a layer that is moved by -1 mm. What a track's slope and curvature move at the hit's designed z is
geometry: x and y grow with z, and in a magnet y bends away as a parabola does. Millepede fits and forgets the five
parameters of each track, so that any five which span the same changes give the same alignment.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Designed z of stations and layers, of modules in their layer and of sides in their module (mm); SCTTOPLEVEL and
# SCTFASERGENERAL of Calypso's geometry, SCT_Frame.cxx, SCT_Module.cxx.
STATION_Z_MM = np.array([-1860.15, 47.4, 1237.4, 2427.4])
LAYER_Z_MM = np.array([-31.5, 0.0, 31.5])
MODULE_Z_MM = np.array([-1.9875, 5.9575, -1.9875, 5.9575, 1.9875, -5.9575, 1.9875, -5.9575])
SIDE_Z_MM = np.array([0.4425, -0.4425])
# Entrances and exits of the magnets (mm), DIPOLETOPLEVEL; the field along x (T) bends in y.
MAGNETS_MM = ((-1565.3, -65.3), (137.4, 1137.4), (1337.4, 2337.4))
FIELD_T = 0.57
_KICK_PER_MM = 0.299792458e-3 * FIELD_T  # rad GeV for a unit charge


def offset_z_mm(ids: npt.NDArray[np.int64]) -> FloatArray:
    """z of hits from their layers' by design; ``ids`` are 1000*station + 100*layer + 10*module + side."""
    return np.asarray(MODULE_Z_MM[ids // 10 % 10] + SIDE_Z_MM[ids % 10])


def designed_z_mm(ids: npt.NDArray[np.int64]) -> FloatArray:
    """z (mm) of hits by design; ``ids`` as those of ``offset_z_mm``."""
    return np.asarray(STATION_Z_MM[ids // 1000] + LAYER_Z_MM[ids // 100 % 10] + offset_z_mm(ids))


def bending_mm_gev(z_mm: FloatArray) -> FloatArray:
    """Change of y at z (mm) for q/p of 1/GeV at the first layer, for a track that goes along z in front of the magnets."""
    total = np.zeros_like(z_mm)
    for entrance, end in MAGNETS_MM:
        inside = np.clip(z_mm - entrance, 0.0, end - entrance)
        behind = np.maximum(z_mm - end, 0.0)
        total += _KICK_PER_MM * (inside**2 / 2 + (end - entrance) * behind)
    return total


def track_derivatives(ids: npt.NDArray[np.int64], by_x: FloatArray, by_y: FloatArray) -> tuple[FloatArray, ...]:
    """Derivatives of the prediction by x, y (mm), the slopes in x and y, and q/p (1/GeV) of the track in front of the IFT.

    Args:
        ids: elements of the hits.
        by_x, by_y: derivatives of the prediction by x and y of the hit's layer.
    """
    z = designed_z_mm(ids)
    from_start = z - STATION_Z_MM[0]
    return (-by_x, -by_y, -by_x * from_start, -by_y * from_start, -by_y * bending_mm_gev(z))
