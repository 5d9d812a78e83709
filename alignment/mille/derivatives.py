"""Compute derivatives that the reconstruction does not write: by the track, and by rotations as constants apply them. Pure.

Older files lack the derivatives with respect to the track's parameters. To first order they follow from those with respect
to the layer: a shift of the track by +1 mm equals a shift of the layer by -1 mm. The effect of slope and curvature at the
hit's nominal z is geometry: x and y grow with z, and in a magnet y follows a parabola. Millepede eliminates the five
parameters of each track, so any five that span the same changes give the same alignment.

The reconstruction writes derivatives by rotations of layers about global axes through (0, 0, z of the hit)
(CKF2Alignment.cxx). The constants rotate a layer about (0, 0, z of the layer), shifted with the layer, by Rz * Ry * Rx
(TrackerAlignDBTool.cxx). With the position of a hit according to the constants, the former give the latter exactly: the
pivot moves by (x, y, dz), and the axis of rx turns with ry and rz. For layers that are tilted by 50 mrad, this term by rz
is larger than the derivative by rx itself.
"""

from collections.abc import Mapping

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.detector import (
    LAYERS_Z_MM,
    MODULE_AXES,
    MODULE_Z_MM,
    SIDE_RZ_RAD,
    SIDE_Z_MM,
    STATION_Z_MM,
    bending,
    constants_arrays,
    module_centres_mm,
    rotations,
)
from faser_align.alignment.parameters.constants import Six


def offset_z_mm(ids: IntArray) -> FloatArray:
    """Return the nominal z of hits relative to their layers (mm); ``ids`` as in ``Tracks.ids``."""
    return np.asarray(MODULE_Z_MM[ids // 10 % 10] + SIDE_Z_MM[ids % 10])


def designed_z_mm(ids: IntArray) -> FloatArray:
    """Return the nominal z of hits (mm); ``ids`` as in ``offset_z_mm``."""
    return np.asarray(LAYERS_Z_MM[ids // 1000 * 3 + ids // 100 % 10] + offset_z_mm(ids))


def track_derivatives(ids: IntArray, by_x: FloatArray, by_y: FloatArray) -> tuple[FloatArray, ...]:
    """Return the derivatives with respect to x, y (mm), dx/dz, dy/dz and q/p (1/GeV) of the track before the IFT.

    Args:
        ids: elements of the hits.
        by_x, by_y: derivatives of the prediction with respect to x and y of the hit's layer.
    """
    z = designed_z_mm(ids)
    from_start = z - STATION_Z_MM[0]
    return (-by_x, -by_y, -by_x * from_start, -by_y * from_start, -by_y * bending(z)[0].sum(axis=-1))


def constants_derivatives(
    written: Mapping[str, FloatArray], ids: IntArray, measured: FloatArray, constants: Mapping[str, Six]
) -> dict[str, FloatArray]:
    """Return the derivatives by rx, ry and rz of the constants of each hit's layer (mm/rad).

    Args:
        written: derivatives by x, y, z, rx, ry and rz of the layer, as the reconstruction writes them.
        ids: elements of the hits, as in ``Tracks.ids``.
        measured: measured positions in the sensor (mm).
        constants: constants of the reconstruction (mm, rad).
    """
    layer = ids // 1000 * 3 + ids // 100 % 10
    side = 2 * (8 * layer + ids // 10 % 10) + ids % 10
    layers, modules = constants_arrays(constants)
    x, y, _, _, ry, rz = layers[layer].T
    centre, slope = _heights(layers, modules)
    dz = centre[side] + slope[side] * measured
    by_x, by_y, by_z = (written[dof] for dof in ("x", "y", "z"))
    about_x = written["rx"] - dz * by_y - y * by_z
    about_y = written["ry"] + dz * by_x + x * by_z
    about_z = written["rz"] + y * by_x - x * by_y
    return {
        "rx": np.cos(ry) * (np.cos(rz) * about_x + np.sin(rz) * about_y) - np.sin(ry) * about_z,
        "ry": np.cos(rz) * about_y - np.sin(rz) * about_x,
        "rz": about_z,
    }


def _heights(layers: FloatArray, modules: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return z of each side's centre relative to its layer (mm), and its change along x of the sensor, shape (192,).

    The arguments are from ``constants_arrays``.
    """
    downwards = rotations(layers[:, 3:])[:, 2]  # of a vector in the layer its global z, (12, 3)
    axes = MODULE_AXES @ rotations(modules[..., 3:])
    centre = module_centres_mm() + modules[..., :3] @ MODULE_AXES.T
    # Sides are along the global z, opposite to the module's z axis.
    sides = centre[:, :, None] - SIDE_Z_MM[:, None] * axes[:, :, None, :, 2]
    across = (
        np.cos(SIDE_RZ_RAD)[..., None] * axes[:, :, None, :, 0]
        + np.sin(SIDE_RZ_RAD)[..., None] * axes[:, :, None, :, 1]
    )
    height, slope = (np.einsum("lmsx,lx->lms", vectors, downwards) for vectors in (sides, across))
    return height.ravel(), slope.ravel()
