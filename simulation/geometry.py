"""Compute the position of each sensor side, nominal or with alignment constants.

Lengths are in mm, angles in rad, in FASER's global frame (x horizontal, y vertical, z along the beam). Layers are
numbered 0-11 (3 * station + layer, station 0 is the IFT), modules 0-7 within a layer (rows 0-3 upwards at x > 0, then
4-7 at x < 0), sides 0 and 1. An *element* is one side: ``(layer * 8 + module) * 2 + side``, 0-191.

Sources: tables SCTBRLSENSOR, SCTBRLMODULE, SCTFASERGENERAL, SCTTOPLEVEL, DIPOLETOPLEVEL and DIPOLEGENERAL of Calypso's
geometry database (geomDB.sql, tags FASERNU-03 and -04), SCT_Module.cxx and SCT_Frame.cxx. The field is the constant
field of G4FaserFieldServices.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faser_align.alignment.parameters.constants import ZERO, Six

Floats = NDArray[np.float64]

LAYERS, MODULES, SIDES = 12, 8, 2
ELEMENTS = LAYERS * MODULES * SIDES

STATION_Z = np.array([-1860.15, 47.4, 1237.4, 2427.4])  # SCTTOPLEVEL: centres of IFT and stations 1-3
LAYER_PITCH = 31.5  # SCTFASERGENERAL
LAYER_Y = np.array([0.0, -5.0, 5.0])  # stagger of the three layers of a station
LAYER_Z = (STATION_Z[:, None] + LAYER_PITCH * np.array([-1.0, 0.0, 1.0])).ravel()

ROW_PITCH = 63.74  # SCTFASERGENERAL: rows at (-3, -1, 1, 3) * 31.87
COLUMN_X = 62.0
MODULE_Z = np.array([-1.9875, 5.9575, -1.9875, 5.9575, 1.9875, -5.9575, 1.9875, -5.9575])  # from the layer's plane
SIDE_Z = np.array([0.4425, -0.4425])  # side 0 downstream of side 1: gap 0.6 + sensor 0.285
STEREO = 0.020  # half of the stereo angle between the strips of the two sides
# Rotation of side 0 about the module's z axis; side 1 has the opposite sign. The sign alternates with the mounting of
# the modules.
STEREO_SIGN = np.array([-1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])

PITCH = 0.080  # SCTBRLSENSOR
STRIPS = 768
HALF_WIDTH = 0.5 * PITCH * STRIPS
SIGMA = PITCH / np.sqrt(12.0)  # binary readout: uniform over the pitch
WAFER_INNER, WAFER_OUTER = 1.0, 63.0  # |y| of the two active wafers of a side, about 2 mm apart
RADIATION_LENGTHS = 0.012  # per layer: sensors, base board and hybrids, averaged over the area

MAGNET_Z = np.array([-815.3, 637.4, 1837.4])  # DIPOLETOPLEVEL: centres
MAGNET_LENGTH = np.array([1500.0, 1000.0, 1000.0])  # DIPOLEGENERAL
MAGNET_RADIUS = 100.0
FIELD_T = 0.57  # along x
BENDING = 0.299792458e-3 * FIELD_T  # change of slope per mm for q/p = 1/GeV

REFERENCE_Z = -1910.0  # plane of the fitted parameters, upstream of everything (CKF2Alignment.cxx)

# Nominal module frame, axes as columns: x (across the strips) is the global y, y is the global x, so z is -z.
_MODULE_AXES = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


class Geometry(NamedTuple):
    """Position of each element: ``origin`` (192, 3) in mm, ``axes`` (192, 3, 3) with local x, y, z as columns."""

    origin: Floats
    axes: Floats


def rotation(angles: Floats) -> Floats:
    """Return the matrices Rz * Ry * Rx, shape (n, 3, 3), for ``angles`` (n, 3) about x, y, z in rad."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def build(constants: Mapping[str, Six]) -> Geometry:
    """Place all elements; layers and modules without constants keep their nominal position.

    A module moves in its own frame: translation after Rz * Ry * Rx about its centre. Its layer then moves in the global
    frame about (0, 0, z of the layer), as in TrackerAlignDBTool.cxx.

    Args:
        constants: key ``"<station><layer>"`` or ``"<station><layer><module>"``: x, y, z in mm, rx, ry, rz in rad.
    """
    layer_keys = [f"{station}{layer}" for station in range(4) for layer in range(3)]
    layers = _values(constants, layer_keys)
    modules = _values(constants, [f"{key}{module}" for key in layer_keys for module in range(MODULES)])

    axes = _MODULE_AXES @ rotation(modules[:, 3:])  # (96, 3, 3)
    centre = module_centres() + modules[:, :3] @ _MODULE_AXES.T

    turn = np.repeat(rotation(layers[:, 3:]), MODULES, axis=0)
    pivot = np.zeros((LAYERS * MODULES, 3))
    pivot[:, 2] = np.repeat(LAYER_Z, MODULES)
    axes = turn @ axes
    centre = pivot + np.repeat(layers[:, :3], MODULES, axis=0) + (turn @ (centre - pivot)[:, :, None])[:, :, 0]

    # SIDE_Z is along the global z; the module's z axis has the opposite direction.
    origin = centre[:, None] - SIDE_Z[:, None] * axes[:, None, :, 2]
    stereo = np.zeros((LAYERS * MODULES, SIDES, 3))
    stereo[..., 2] = np.tile(STEREO_SIGN, LAYERS)[:, None] * np.array([STEREO, -STEREO])
    side_axes = axes[:, None] @ rotation(stereo.reshape(-1, 3)).reshape(-1, SIDES, 3, 3)
    return Geometry(origin.reshape(ELEMENTS, 3), side_axes.reshape(ELEMENTS, 3, 3))


def module_centres() -> Floats:
    """Return the nominal centres of the 96 modules in mm, shape (96, 3)."""
    centre = np.empty((LAYERS, MODULES, 3))
    centre[..., 0] = np.repeat([COLUMN_X, -COLUMN_X], 4)
    centre[..., 1] = np.tile((np.arange(4) - 1.5) * ROW_PITCH, 2) + np.tile(LAYER_Y, 4)[:, None]
    centre[..., 2] = LAYER_Z[:, None] + MODULE_Z
    return centre.reshape(-1, 3)


def identifiers() -> NDArray[np.int64]:
    """Return Calypso's number of each element: 1000 * station + 100 * layer + 10 * module + side, shape (192,)."""
    element = np.arange(ELEMENTS)
    layer = element // (MODULES * SIDES)
    return 1000 * (layer // 3) + 100 * (layer % 3) + 10 * (element // SIDES % MODULES) + element % SIDES


def bending_at(z: Floats, fields: Sequence[float] = (1.0, 1.0, 1.0)) -> tuple[Floats, Floats]:
    """Return the deflection by the magnets between ``REFERENCE_Z`` and ``z`` (mm); ``fields`` are relative to the map.

    Returns the shift in y (mm) and the change of the slope dy/dz, each for q/p = 1/GeV. The magnets are boxes with a
    constant field. Simulation and reconstruction both neglect terms of second order in the slopes (below 1 um above 100
    GeV).
    """
    start, stop = MAGNET_Z - 0.5 * MAGNET_LENGTH, MAGNET_Z + 0.5 * MAGNET_LENGTH
    inside = np.clip(np.asarray(z)[..., None], start, stop)
    path = inside - start
    shift = path * (0.5 * path + (np.asarray(z)[..., None] - inside))
    return BENDING * shift @ np.array(fields), BENDING * path @ np.array(fields)


def _values(constants: Mapping[str, Six], keys: list[str]) -> Floats:
    return np.array([constants.get(key, ZERO) for key in keys], dtype=np.float64)
