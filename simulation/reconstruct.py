"""Fit tracks with the current constants, and compute residuals and derivatives.

The least-squares fit has five parameters per track: x and y (mm), dx/dz and dy/dz, q/p (1/GeV) at
``geometry.REFERENCE_Z``. The weights ignore multiple scattering: every hit has the resolution of a strip, as in
Millepede's own local fit of these numbers. With the true constants chi2/ndf is 1.00 above 100 GeV. Residuals then have
an rms of 20.4 um with four stations and 19.5 um with three: 23.1 um, reduced by five fitted parameters for 23 and 17.7
hits.

Conventions of Calypso's CKF2Alignment.cxx: residual = measured - predicted in the local x of the sensor; derivatives
are those of the prediction, so that the derivative with respect to the sensor's own x is -1.
"""

from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.detector import LAYERS_Z_MM
from faser_align.simulation import geometry as geo
from faser_align.simulation.geometry import Geometry
from faser_align.simulation.tracks import Hits

HITS_MIN = 15  # CKF2Alignment.cxx rejects tracks with fewer measurements
PARAMETERS = 5
ITERATIONS = 2  # the model is linear apart from the sensors' tilts; a third step moves predictions by less than 1 nm

# Scales the parameters to similar effects on a hit, which improves the condition of the normal equations.
_SCALE = np.array([1.0, 1.0, 3e-4, 3e-4, 1e-3])


class Fits(NamedTuple):
    """Fitted tracks and their hits; ``lengths`` is the number of hits per track."""

    parameters: FloatArray  # (tracks, 5): x, y, dx/dz, dy/dz, q/p
    chi2: FloatArray  # (tracks,), with lengths - 5 degrees of freedom
    lengths: IntArray  # (tracks,), hits per track
    element: IntArray  # (hits,)
    measured: FloatArray  # (hits,), local x of the strip in mm
    residual: FloatArray  # (hits,), mm
    local: FloatArray  # (5, hits): derivatives with respect to x, y, theta, phi, q/p of the track
    module: FloatArray  # (6, hits): with respect to x, y, z, rx, ry, rz of the module, in the frame of its side 0
    layer: FloatArray  # (6, hits): the same for the layer, in the global frame, rotating about (0, 0, z of the hit)


class _Prediction(NamedTuple):
    across: FloatArray  # (hits,), local x
    sensitivity: FloatArray  # (3, hits): its derivative with respect to the track's global position
    point: FloatArray  # (3, hits): where the track crosses the sensor
    jacobian: FloatArray  # (5, hits): its derivatives with respect to the fit parameters


def reconstruct(hits: Hits, geometry: Geometry, stations: int) -> Fits:
    """Fit every track that has at least 15 hits.

    Args:
        hits: fired strips, already assigned to tracks; there is no pattern recognition.
        geometry: positions of the elements according to the current constants.
        stations: 4, or 3 to leave out the IFT.
    """
    hits = _select(hits, first_layer=0 if stations == 4 else 3)
    _, track, lengths = np.unique(hits.track, return_inverse=True, return_counts=True)
    starts = np.cumsum(lengths) - lengths
    measured: FloatArray = (hits.strip.astype(np.float64) + 0.5) * geo.PITCH - geo.HALF_WIDTH
    origin = np.ascontiguousarray(geometry.origin[hits.element].T)
    axes = np.ascontiguousarray(geometry.axes[hits.element].transpose(1, 2, 0))
    layer = hits.element // (geo.MODULES * geo.SIDES)

    parameters = np.zeros((len(lengths), PARAMETERS))
    for _ in range(ITERATIONS):
        prediction = _predict(parameters.T[:, track], layer, origin, axes)
        parameters += _step(prediction.jacobian, measured - prediction.across, starts)
    prediction = _predict(parameters.T[:, track], layer, origin, axes)
    residual = measured - prediction.across
    chi2 = np.add.reduceat((residual / geo.SIGMA) ** 2, starts) if len(starts) else np.zeros(0)
    return Fits(
        parameters,
        chi2,
        lengths,
        hits.element,
        measured,
        residual,
        _by_angles(prediction.jacobian, parameters.T[:, track]),
        _by_module(prediction, geometry, hits.element),
        _by_layer(prediction, origin[2] + measured * axes[2, 0]),
    )


def _select(hits: Hits, first_layer: int) -> Hits:
    if first_layer:
        kept = hits.element >= first_layer * geo.MODULES * geo.SIDES
        hits = Hits(*(values[kept] for values in hits))
    kept = np.bincount(hits.track)[hits.track] >= HITS_MIN if len(hits.track) else np.zeros(0, dtype=bool)
    return Hits(*(values[kept] for values in hits))


def _predict(parameters: FloatArray, layer: IntArray, origin: FloatArray, axes: FloatArray) -> _Prediction:
    """Intersect the tracks (5, hits) with the sensor planes; exact for straight lines within a station.

    The axes of ``axes`` (3, 3, hits) are [global component, local axis, hit].
    """
    x, y, slope_x, slope_y, q_over_p = parameters
    bend, kick = (values[layer] for values in geo.bending_at(LAYERS_Z_MM))
    plane = LAYERS_Z_MM[layer]
    lever = plane - geo.REFERENCE_Z
    slope_y_here = slope_y + kick * q_over_p
    dx = x + lever * slope_x - origin[0]
    dy = y + lever * slope_y + bend * q_over_p - origin[1]
    dz = plane - origin[2]

    across, normal = axes[:, 0], axes[:, 2]
    fall = normal[0] * slope_x + normal[1] * slope_y_here + normal[2]
    drift = -(normal[0] * dx + normal[1] * dy + normal[2] * dz) / fall  # dz from the layer's plane to the crossing
    dx += drift * slope_x
    dy += drift * slope_y_here
    dz += drift
    local_x = across[0] * dx + across[1] * dy + across[2] * dz

    sensitivity = across - (across[0] * slope_x + across[1] * slope_y_here + across[2]) / fall * normal
    lever += drift
    jacobian = np.stack(
        [
            sensitivity[0],
            sensitivity[1],
            sensitivity[0] * lever,
            sensitivity[1] * lever,
            sensitivity[1] * (bend + kick * drift),
        ]
    )
    return _Prediction(local_x, sensitivity, np.stack([dx, dy, dz]) + origin, jacobian)


def _step(jacobian: FloatArray, residual: FloatArray, starts: IntArray) -> FloatArray:
    """Return the Gauss-Newton step (tracks, 5) of all tracks; ``starts`` is the first hit of each track."""
    if not len(starts):
        return np.zeros((0, PARAMETERS))
    scaled = jacobian * _SCALE[:, None]
    matrix = np.empty((len(starts), PARAMETERS, PARAMETERS))
    for i in range(PARAMETERS):
        for j in range(i + 1):
            matrix[:, i, j] = matrix[:, j, i] = np.add.reduceat(scaled[i] * scaled[j], starts)
    vector = np.add.reduceat(scaled * residual, starts, axis=1).T
    return np.asarray(np.linalg.solve(matrix, vector[:, :, None])[:, :, 0] * _SCALE)


def _by_angles(jacobian: FloatArray, parameters: FloatArray) -> FloatArray:
    """Convert the derivatives with respect to slopes to theta and phi of the track at the reference plane."""
    slope_x, slope_y = parameters[2:4]
    tangent = np.hypot(slope_x, slope_y)
    cos_phi, sin_phi = slope_x / tangent, slope_y / tangent
    by_x, by_y, by_slope_x, by_slope_y, by_q_over_p = jacobian
    by_theta = (cos_phi * by_slope_x + sin_phi * by_slope_y) * (1.0 + tangent**2)
    by_phi = slope_x * by_slope_y - slope_y * by_slope_x
    return np.stack([by_x, by_y, by_theta, by_phi, by_q_over_p])


def _by_module(prediction: _Prediction, geometry: Geometry, element: IntArray) -> FloatArray:
    """Return the derivatives with respect to the module: shifts along and rotations about the axes of its side 0."""
    first = element - element % geo.SIDES
    axes = geometry.axes[first].transpose(1, 2, 0)
    arm = prediction.point - geometry.origin[first].T
    sensitivity = np.einsum("iax,ix->ax", axes, prediction.sensitivity)
    return _rigid(sensitivity, np.einsum("iax,ix->ax", axes, arm))


def _by_layer(prediction: _Prediction, hit_z: FloatArray) -> FloatArray:
    """Return the derivatives with respect to the layer: global axes, rotations about (0, 0, z of the hit).

    As in Calypso, they lack the larger part of the effect of the constants' rotations about x and y
    (``mille.derivatives``), so that a fit that frees these rotations drifts.
    """
    arm = prediction.point.copy()
    arm[2] -= hit_z
    return _rigid(prediction.sensitivity, arm)


def _rigid(sensitivity: FloatArray, arm: FloatArray) -> FloatArray:
    """Return the derivatives with respect to x, y, z, rx, ry, rz of a rigid body.

    A shift of the sensor by d moves the prediction by -sensitivity * d. Both arguments (3, hits) are in the body's
    axes; ``arm`` points from the pivot to the crossing.
    """
    # sensitivity . (axis x arm) equals (arm x sensitivity) . axis.
    turns = [
        arm[1] * sensitivity[2] - arm[2] * sensitivity[1],
        arm[2] * sensitivity[0] - arm[0] * sensitivity[2],
        arm[0] * sensitivity[1] - arm[1] * sensitivity[0],
    ]
    return -np.stack([*sensitivity, *turns])
