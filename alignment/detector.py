"""Define the nominal positions of FASER's sensors and magnets, for the engine and the simulation.

Sources: tables SCTBRLMODULE, SCTFASERGENERAL, SCTTOPLEVEL, DIPOLETOPLEVEL and DIPOLEGENERAL of Calypso's geometry
database (geomDB.sql, tags FASERNU-03 and -04), SCT_Module.cxx and SCT_Frame.cxx. The field is the constant field of
G4FaserFieldServices.
"""

from collections.abc import Mapping

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.constants import STEREO_RAD, ZERO, Six
from faser_align.alignment.parameters.labels import LAYER_KEYS, MODULE_KEYS

STATION_Z_MM = np.array([-1860.15, 47.4, 1237.4, 2427.4])  # centres of the IFT and of stations 1 to 3
LAYER_Z_MM = np.array([-31.5, 0.0, 31.5])  # from the station's centre
LAYERS_Z_MM = (STATION_Z_MM[:, None] + LAYER_Z_MM).ravel()  # of all layers, in the order of ``Tracks.layers``
LAYER_Y_MM = np.array([0.0, -5.0, 5.0])  # stagger of the three layers of a station

COLUMN_X_MM, ROW_PITCH_MM = 62.0, 63.74  # of modules: rows 0 to 3 upwards at x > 0, then 4 to 7 at x < 0
MODULE_Z_MM = np.array([-1.9875, 5.9575, -1.9875, 5.9575, 1.9875, -5.9575, 1.9875, -5.9575])  # from the layer's plane
# Axes of a module as columns: x (across the strips) is the global y, y is the global x, so z is -z.
MODULE_AXES = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
SIDE_Z_MM = np.array([0.4425, -0.4425])  # along the global z: gap 0.6 and sensor 0.285
# Sign of the rotation of a module's side 0 about the module's z axis; that of side 1 is opposite.
STEREO_SIGN = np.array([-1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
SIDE_RZ_RAD = 0.5 * STEREO_RAD * STEREO_SIGN[:, None] * np.array([1.0, -1.0])  # shape (modules, sides)

MAGNETS_MM = ((-1565.3, -65.3), (137.4, 1137.4), (1337.4, 2337.4))  # entrances and exits along z
FIELD_T = 0.57  # along x, so that tracks bend in y
KICK_PER_MM = 0.299792458e-3 * FIELD_T  # change of slope for q/p = 1/GeV


def bending(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the change of y (mm) and of dy/dz by each magnet at z (mm) for q/p = 1/GeV, shape (..., magnets).

    Tracks are parallel to z before the magnets, which are boxes with a constant field.
    """
    entrance, end = np.array(MAGNETS_MM).T
    z = z[..., None]
    inside = np.clip(z - entrance, 0.0, end - entrance)
    shift = inside**2 / 2 + (end - entrance) * np.maximum(z - end, 0.0)
    return KICK_PER_MM * shift, KICK_PER_MM * inside


def module_centres_mm() -> FloatArray:
    """Return the centres of all modules, z relative to their layer, shape (12 layers, 8 modules, 3)."""
    centres = np.empty((12, 8, 3))
    centres[..., 0] = np.repeat([COLUMN_X_MM, -COLUMN_X_MM], 4)
    centres[..., 1] = np.tile((np.arange(4) - 1.5) * ROW_PITCH_MM, 2) + np.tile(LAYER_Y_MM, 4)[:, None]
    centres[..., 2] = MODULE_Z_MM
    return centres


def constants_arrays(constants: Mapping[str, Six]) -> tuple[FloatArray, FloatArray]:
    """Return the constants of layers, shape (12, 6), and of modules, shape (12, 8, 6)."""
    layers, modules = (np.array([constants.get(key, ZERO) for key in keys]) for keys in (LAYER_KEYS, MODULE_KEYS))
    return layers, modules.reshape(12, 8, 6)


def rotations(angles: FloatArray) -> FloatArray:
    """Return the matrices Rz * Ry * Rx, shape (..., 3, 3), for ``angles`` (..., 3) about x, y, z in rad."""
    (cx, cy, cz), (sx, sy, sz) = (np.moveaxis(of(angles), -1, 0) for of in (np.cos, np.sin))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))
