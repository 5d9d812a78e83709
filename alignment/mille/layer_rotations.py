"""Compute derivatives by the rotations of layers as the constants apply them. Pure.

The reconstruction writes derivatives by rotations about global axes through (0, 0, z of the hit) (CKF2Alignment.cxx).
The constants rotate a layer about (0, 0, z of the layer), shifted with the layer, by Rz * Ry * Rx (TrackerAlignDBTool.cxx).
With the position of a hit according to the constants, the former give the latter exactly: the pivot moves by (x, y, dz),
and the axis of rx turns with ry and rz. For layers that are tilted by 50 mrad, this term by rz is larger than the
derivative by rx itself.
"""

from collections.abc import Mapping

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.mille.track_model import MODULE_Z_MM, SIDE_Z_MM
from faser_align.alignment.parameters.constants import ZERO, Six
from faser_align.alignment.parameters.labels import LAYERS, MODULES, STATIONS, constants_key

# Nominal centres of modules in their layer and rotation of their sides (mm, rad): SCTFASERGENERAL of Calypso's geometry,
# SCT_Frame.cxx, SCT_Module.cxx.
_COLUMN_X_MM, _ROW_Y_MM = 62.0, 63.74 * (np.arange(4) - 1.5)
_LAYER_Y_MM = np.array([0.0, -5.0, 5.0])
_SIDE_RZ = 0.02 * np.array([-1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])[:, None] * np.array([1.0, -1.0])
_MODULE_AXES = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # x of a module is the global y


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
    x, y, _, _, ry, rz = _layers(constants)[layer].T
    centre, slope = _heights(constants)
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


def _layers(constants: Mapping[str, Six]) -> FloatArray:
    """Return the constants of all layers, shape (12, 6)."""
    return np.array([constants.get(constants_key(s, layer), ZERO) for s in STATIONS for layer in LAYERS])


def _heights(constants: Mapping[str, Six]) -> tuple[FloatArray, FloatArray]:
    """Return z of each side's centre relative to its layer (mm), and its change along x of the sensor, shape (192,)."""
    modules = np.array(
        [constants.get(constants_key(s, layer, m), ZERO) for s in STATIONS for layer in LAYERS for m in MODULES]
    ).reshape(12, 8, 6)
    downwards = _rotations(_layers(constants)[:, 3:])[:, 2]  # of a vector in the layer its global z, (12, 3)
    axes = _MODULE_AXES @ _rotations(modules[..., 3:])
    nominal = np.empty((12, 8, 3))
    nominal[..., 0] = np.repeat([_COLUMN_X_MM, -_COLUMN_X_MM], 4)
    nominal[..., 1] = np.tile(_ROW_Y_MM, 2) + np.tile(_LAYER_Y_MM, 4)[:, None]
    nominal[..., 2] = MODULE_Z_MM
    centre = nominal + modules[..., :3] @ _MODULE_AXES.T
    # Sides are along the global z, opposite to the module's z axis.
    sides = centre[:, :, None] - SIDE_Z_MM[:, None] * axes[:, :, None, :, 2]
    across = np.cos(_SIDE_RZ)[..., None] * axes[:, :, None, :, 0] + np.sin(_SIDE_RZ)[..., None] * axes[:, :, None, :, 1]
    height, slope = (np.einsum("lmsx,lx->lms", vectors, downwards) for vectors in (sides, across))
    return height.ravel(), slope.ravel()


def _rotations(angles: FloatArray) -> FloatArray:
    """Return the matrices Rz * Ry * Rx, shape (..., 3, 3), for ``angles`` (..., 3) about x, y, z in rad."""
    (cx, cy, cz), (sx, sy, sz) = (np.moveaxis(of(angles), -1, 0) for of in (np.cos, np.sin))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
