"""Fit tracks through hits with the constants of the day, and differentiate what was fitted.

A least-squares fit of five parameters per track: x and y (mm), dx/dz and dy/dz, q/p (1/GeV) at
``geometry.REFERENCE_Z``. Multiple scattering is left out of the weights: every hit counts with the resolution of a
strip, which is what Millepede's own fit of the track does with the numbers written here. With the true constants chi2/ndf is
1.00 above 100 GeV, and residuals have an rms of 20.4 um with four stations and 19.5 um with three: 23.1 um, less what the five
parameters take of 23 and 17.7 hits.

Conventions of Calypso's CKF2Alignment.cxx: residual = measured - predicted in the local x of the sensor; derivatives
are those of the prediction, so that moving a sensor along its x has the derivative -1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faser_align.simulation import geometry as geo
from faser_align.simulation.geometry import Floats, Geometry
from faser_align.simulation.tracks import Hits

HITS_MIN = 15  # CKF2Alignment.cxx: tracks with fewer measurements are not kept
PARAMETERS = 5
ITERATIONS = 2  # the model is linear but for the sensors' tilts; a third step moves predictions by less than 1 nm

# Brings the parameters' effects on a hit to one size, for the condition of the normal equations.
_SCALE = np.array([1.0, 1.0, 3e-4, 3e-4, 1e-3])


class Fits(NamedTuple):
    """Fitted tracks, and their hits in one row of arrays, ``lengths`` says how many each has."""

    parameters: Floats  # (tracks, 5): x, y, dx/dz, dy/dz, q/p
    chi2: Floats  # (tracks,), with lengths - 5 degrees of freedom
    lengths: NDArray[np.int64]  # (tracks,), hits of each
    element: NDArray[np.int64]  # (hits,)
    measured: Floats  # (hits,), local x of the strip in mm
    residual: Floats  # (hits,), mm
    local: Floats  # (5, hits): derivatives by x, y, theta, phi, q/p of the track
    module: Floats  # (6, hits): by x, y, z, rx, ry, rz of the module, in the frame of its side 0
    layer: Floats  # (6, hits): the same of the layer, in the global frame, turning about (0, 0, z of the hit)


class _Prediction(NamedTuple):
    across: Floats  # (hits,), local x
    sensitivity: Floats  # (3, hits): derivative of it by the track's global position
    point: Floats  # (3, hits), where the track crosses the sensor
    jacobian: Floats  # (5, hits): derivatives by the fit's parameters


def reconstruct(hits: Hits, geometry: Geometry, stations: int) -> Fits:
    """Fit every track that has at least 15 hits.

    Args:
        hits: fired strips; which track they belong to is known, there is no search for patterns.
        geometry: the elements' places as they are believed to be.
        stations: 4, or 3 to leave the IFT out.
    """
    hits = _select(hits, first_layer=0 if stations == 4 else 3)
    _, track, lengths = np.unique(hits.track, return_inverse=True, return_counts=True)
    starts = np.cumsum(lengths) - lengths
    measured: Floats = (hits.strip.astype(np.float64) + 0.5) * geo.PITCH - geo.HALF_WIDTH
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


def _predict(parameters: Floats, layer: NDArray[np.int64], origin: Floats, axes: Floats) -> _Prediction:
    """Cross the tracks (5, hits) with the sensors' planes: straight lines within a station, exactly.

    ``axes`` (3, 3, hits) are [global component, local axis, hit].
    """
    x, y, slope_x, slope_y, q_over_p = parameters
    bend, kick = (values[layer] for values in geo.bending_at(geo.LAYER_Z))
    plane = geo.LAYER_Z[layer]
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


def _step(jacobian: Floats, residual: Floats, starts: NDArray[np.int64]) -> Floats:
    """Gauss-Newton step (tracks, 5) of all tracks at once; ``starts`` are the first hits of the tracks."""
    if not len(starts):
        return np.zeros((0, PARAMETERS))
    scaled = jacobian * _SCALE[:, None]
    matrix = np.empty((len(starts), PARAMETERS, PARAMETERS))
    for i in range(PARAMETERS):
        for j in range(i + 1):
            matrix[:, i, j] = matrix[:, j, i] = np.add.reduceat(scaled[i] * scaled[j], starts)
    vector = np.add.reduceat(scaled * residual, starts, axis=1).T
    step: Floats = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0] * _SCALE
    return step


def _by_angles(jacobian: Floats, parameters: Floats) -> Floats:
    """Turn the derivatives by the slopes into those by theta and phi of the track at the reference plane."""
    slope_x, slope_y = parameters[2:4]
    tangent = np.hypot(slope_x, slope_y)
    cos_phi, sin_phi = slope_x / tangent, slope_y / tangent
    by_x, by_y, by_slope_x, by_slope_y, by_q_over_p = jacobian
    by_theta = (cos_phi * by_slope_x + sin_phi * by_slope_y) * (1.0 + tangent**2)
    by_phi = slope_x * by_slope_y - slope_y * by_slope_x
    return np.stack([by_x, by_y, by_theta, by_phi, by_q_over_p])


def _by_module(prediction: _Prediction, geometry: Geometry, element: NDArray[np.int64]) -> Floats:
    """Derivatives by the module: it moves along and turns about the axes of its side 0, at that side's origin."""
    first = element - element % geo.SIDES
    axes = geometry.axes[first].transpose(1, 2, 0)
    arm = prediction.point - geometry.origin[first].T
    sensitivity = np.einsum("iax,ix->ax", axes, prediction.sensitivity)
    return _rigid(sensitivity, np.einsum("iax,ix->ax", axes, arm))


def _by_layer(prediction: _Prediction, hit_z: Floats) -> Floats:
    """Derivatives by the layer: global axes, turning about (0, 0, z of the hit).

    The constants turn a layer about its own z instead, 2 to 6 mm away and more if it is tilted. As Calypso does, this
    leaves out the larger part of what a rotation about x or y does, so that a fit which frees them drifts.
    """
    arm = prediction.point.copy()
    arm[2] -= hit_z
    return _rigid(prediction.sensitivity, arm)


def _rigid(sensitivity: Floats, arm: Floats) -> Floats:
    """Derivatives by a body's x, y, z, rx, ry, rz: a sensor that moves by d moves the prediction by -sensitivity * d.

    Both arguments (3, hits) are in the body's axes; ``arm`` leads from the pivot to the crossing.
    """
    # sensitivity . (axis x arm) for the three axes is arm x sensitivity.
    turns = [
        arm[1] * sensitivity[2] - arm[2] * sensitivity[1],
        arm[2] * sensitivity[0] - arm[0] * sensitivity[2],
        arm[0] * sensitivity[1] - arm[1] * sensitivity[0],
    ]
    return -np.stack([*sensitivity, *turns])
