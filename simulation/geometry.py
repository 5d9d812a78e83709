"""Compute the position of each sensor side, nominal or with alignment constants.

Lengths are in mm, angles in rad, in FASER's global frame (x horizontal, y vertical, z along the beam). Layers are
numbered 0-11 (3 * station + layer, station 0 is the IFT), modules 0-7 within a layer (rows 0-3 upwards at x > 0, then
4-7 at x < 0), sides 0 and 1. An *element* is one side: ``(layer * 8 + module) * 2 + side``, 0-191.

``alignment.detector`` has the nominal positions and their sources.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.detector import (
    LAYERS_Z_MM,
    MODULE_AXES,
    SIDE_RZ_RAD,
    SIDE_Z_MM,
    bending,
    constants_arrays,
    module_centres_mm,
    rotations,
)
from faser_align.alignment.parameters.constants import Six

LAYERS, MODULES, SIDES = 12, 8, 2
ELEMENTS = LAYERS * MODULES * SIDES

PITCH = 0.080  # SCTBRLSENSOR
STRIPS = 768
HALF_WIDTH = 0.5 * PITCH * STRIPS
SIGMA = PITCH / np.sqrt(12.0)  # binary readout: uniform over the pitch
WAFER_INNER, WAFER_OUTER = 1.0, 63.0  # |y| of the two active wafers of a side, about 2 mm apart
RADIATION_LENGTHS = 0.012  # per layer: sensors, base board and hybrids, averaged over the area

MAGNET_RADIUS = 100.0  # DIPOLEGENERAL

REFERENCE_Z = -1910.0  # plane of the fitted parameters, upstream of everything (CKF2Alignment.cxx)


class Geometry(NamedTuple):
    """Position of each element: ``origin`` (192, 3) in mm, ``axes`` (192, 3, 3) with local x, y, z as columns."""

    origin: FloatArray
    axes: FloatArray


def build(constants: Mapping[str, Six]) -> Geometry:
    """Place all elements; layers and modules without constants keep their nominal position.

    A module moves in its own frame: translation after Rz * Ry * Rx about its centre. Its layer then moves in the global
    frame about (0, 0, z of the layer), as in TrackerAlignDBTool.cxx.

    Args:
        constants: key ``"<station><layer>"`` or ``"<station><layer><module>"``: x, y, z in mm, rx, ry, rz in rad.
    """
    layers, modules = constants_arrays(constants)
    axes = MODULE_AXES @ rotations(modules[..., 3:])
    pivot = np.zeros((LAYERS, 1, 3))
    pivot[..., 2] = LAYERS_Z_MM[:, None]
    centre = module_centres_mm() + pivot + modules[..., :3] @ MODULE_AXES.T

    turn = np.ascontiguousarray(rotations(layers[:, None, 3:]))  # numpy multiplies other arrays without BLAS
    axes = turn @ axes
    centre = pivot + layers[:, None, :3] + (turn @ (centre - pivot)[..., None])[..., 0]

    # Sides are along the global z; the module's z axis has the opposite direction.
    origin = centre[..., None, :] - SIDE_Z_MM[:, None] * axes[..., None, :, 2]
    stereo = np.zeros((MODULES, SIDES, 3))
    stereo[..., 2] = SIDE_RZ_RAD
    side_axes = axes[..., None, :, :] @ rotations(stereo)
    return Geometry(origin.reshape(ELEMENTS, 3), side_axes.reshape(ELEMENTS, 3, 3))


def identifiers() -> IntArray:
    """Return Calypso's number of each element: 1000 * station + 100 * layer + 10 * module + side, shape (192,)."""
    element = np.arange(ELEMENTS)
    layer = element // (MODULES * SIDES)
    return 1000 * (layer // 3) + 100 * (layer % 3) + 10 * (element // SIDES % MODULES) + element % SIDES


def bending_at(z: FloatArray, fields: Sequence[float] = (1.0, 1.0, 1.0)) -> tuple[FloatArray, FloatArray]:
    """Return the deflection by the magnets between ``REFERENCE_Z`` and ``z`` (mm); ``fields`` are relative to the map.

    Returns the shift in y (mm) and the change of the slope dy/dz, each for q/p = 1/GeV. Simulation and reconstruction
    both neglect terms of second order in the slopes (below 1 um above 100 GeV).
    """
    shift, kick = bending(z)
    return shift @ np.array(fields), kick @ np.array(fields)
