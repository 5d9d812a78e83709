"""Generate the true tracks of a raw file and the strips that they fire.

Run and file number seed the generator: a raw file always has the same tracks and, for the same true detector, the same
strips, whatever constants reconstruct them later.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.detector import LAYER_Y_MM, LAYERS_Z_MM, ROW_PITCH_MM
from faser_align.simulation import geometry as geo
from faser_align.simulation.geometry import Geometry

BEAM_Z = 300.0  # mm, where the beam profile fills the magnets' bore
MOMENTUM_MIN, MOMENTUM_MAX = 20.0, 5000.0
NOISE_WINDOW = 6  # strips within which a track takes a noise hit, about 0.5 mm
OUTLIER_STRIPS = 12  # maximum distance of an outlier from the crossing, about 1 mm
BATCH = 5000  # tracks per batch
OVERLAP = 4.0  # mm about x = 0 where hits of both columns are simulated: 1 mm of overlap plus room for misalignment


class Tracks(NamedTuple):
    """True tracks at ``geometry.REFERENCE_Z``: x, y in mm, slopes dx/dz, dy/dz, charge over momentum in 1/GeV."""

    x: FloatArray
    y: FloatArray
    slope_x: FloatArray
    slope_y: FloatArray
    q_over_p: FloatArray


class Hits(NamedTuple):
    """Fired strips, sorted by track and then along the beam; the arrays have equal length."""

    track: IntArray
    element: IntArray  # element number of geometry.py, 0-191
    strip: IntArray  # 0-767


class Beam(NamedTuple):
    """Muons from the interaction point 480 m away, with their halo.

    Attributes:
        radius: largest distance from the axis at ``BEAM_Z`` (mm).
        slope_rms: rms of dx/dz and of dy/dz.
        momentum_median: in GeV.
        momentum_width: standard deviation of the momentum's natural logarithm.
    """

    radius: float = geo.MAGNET_RADIUS
    slope_rms: float = 0.003
    momentum_median: float = 550.0
    momentum_width: float = 0.9


class Response(NamedTuple):
    """Response of the sensors to tracks.

    Attributes:
        inefficiency: fraction of crossings without a hit.
        noise: fraction of the strips with a noise hit. Where a sensor has no true hit, a noise hit within NOISE_WINDOW
            of the crossing becomes the track's hit; elsewhere the true hit is closer.
        outliers: fraction of the hits that are up to OUTLIER_STRIPS away from the crossing, such as those of delta rays
            and wrongly split clusters.
    """

    inefficiency: float = 0.005
    noise: float = 0.0
    outliers: float = 0.0


USUAL, USUAL_BEAM = Response(), Beam()


def generate(rng: np.random.Generator, count: int, beam: Beam = USUAL_BEAM) -> Tracks:
    """Generate ``count`` muons: uniform over the bore, nearly parallel to it, log-normal momenta (20 GeV to 5 TeV)."""
    radius = beam.radius * np.sqrt(rng.random(count))
    angle = 2.0 * np.pi * rng.random(count)
    slope_x, slope_y = beam.slope_rms * rng.standard_normal((2, count))
    momentum = beam.momentum_median * np.exp(beam.momentum_width * rng.standard_normal(count))
    charge = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    q_over_p = charge / np.clip(momentum, MOMENTUM_MIN, MOMENTUM_MAX)
    bend, kick = geo.bending_at(np.array(BEAM_Z))
    lever = BEAM_Z - geo.REFERENCE_Z
    # Position and direction are generated in the middle of the detector and extrapolated back to its entrance.
    slope_y -= kick * q_over_p
    x = radius * np.cos(angle) - lever * slope_x
    y = radius * np.sin(angle) - lever * slope_y - bend * q_over_p
    return Tracks(x, y, slope_x, slope_y, q_over_p)


def simulate_file(
    truth: Geometry,
    count: int,
    seed: int,
    run: int,
    number: int,
    response: Response = USUAL,
    beam: Beam = USUAL_BEAM,
    fields: Sequence[float] = (1.0, 1.0, 1.0),
) -> Iterator[Hits]:
    """Yield the strips that the tracks of raw file ``number`` of ``run`` fire in ``truth``, in batches that bound the memory.

    ``fields`` are the true fields of the magnets relative to the map. Another ``seed`` gives other tracks. A track fires the
    one strip that it crosses (binary readout) if the sensor is efficient, and none between the wafers.
    """
    for batch, first in enumerate(range(0, count, BATCH)):
        size = min(BATCH, count - first)
        rng = np.random.default_rng([seed, run, number, batch])
        tracks = generate(rng, size, beam)
        kicks = scattering_angle(tracks.q_over_p)[:, None] * rng.standard_normal((2, size, geo.LAYERS))
        responds = rng.random((2, size, geo.LAYERS, geo.SIDES)) < 1.0 - response.inefficiency
        beside = np.zeros(responds.shape, np.int8)
        if response.noise or response.outliers:
            # A separate random stream, so that the response does not change the tracks and the other hits of a raw file.
            _disturb(np.random.default_rng([seed, run, number, batch, 1]), response, responds, beside)
        layers = [
            _layer_hits(truth, responds[:, :, layer], beside[:, :, layer], layer, state)
            for layer, state in _states(tracks, kicks, fields)
        ]
        track, element, strip = (np.concatenate(column) for column in zip(*layers, strict=True))
        order = np.argsort(track, kind="stable")  # keeps the order of the layers within a track
        yield Hits(track[order], element[order], strip[order])


def _disturb(rng: np.random.Generator, response: Response, responds: BoolArray, beside: NDArray[np.int8]) -> None:
    """Add outliers and noise to ``beside``, the distance of each hit from the crossing in strips."""
    outlier = responds & (rng.random(responds.shape) < response.outliers)
    beside[outlier] = rng.integers(-OUTLIER_STRIPS, OUTLIER_STRIPS, int(outlier.sum()), endpoint=True)
    seen = 1.0 - (1.0 - response.noise) ** (2 * NOISE_WINDOW + 1)
    noise = ~responds & (rng.random(responds.shape) < seen)
    beside[noise] = rng.integers(-NOISE_WINDOW, NOISE_WINDOW, int(noise.sum()), endpoint=True)
    responds |= noise


def scattering_angle(q_over_p: FloatArray) -> FloatArray:
    """Return the rms projected scattering angle (rad) of one layer: Highland, PDG review 34.3, beta = 1."""
    thickness = geo.RADIATION_LENGTHS
    per_momentum = 13.6e-3 * np.sqrt(thickness) * (1.0 + 0.038 * np.log(thickness))
    return np.asarray(per_momentum * np.abs(q_over_p))


def _states(tracks: Tracks, kicks: FloatArray, fields: Sequence[float]) -> Iterator[tuple[int, list[FloatArray]]]:
    """Yield each layer with x, y and the slopes of the tracks in its plane.

    ``kicks`` (2, tracks, layers) are the changes of slope downstream of each layer.
    """
    bend, kick = geo.bending_at(LAYERS_Z_MM, fields)
    x, y, slope_x, slope_y, q_over_p = tracks
    z, bend_before, kick_before = geo.REFERENCE_Z, 0.0, 0.0
    for layer in range(geo.LAYERS):
        step = LAYERS_Z_MM[layer] - z
        x = x + step * slope_x
        y = y + step * slope_y + (bend[layer] - bend_before - step * kick_before) * q_over_p
        slope_y = slope_y + (kick[layer] - kick_before) * q_over_p
        yield layer, [x, y, slope_x, slope_y]
        slope_x = slope_x + kicks[0, :, layer]
        slope_y = slope_y + kicks[1, :, layer]
        z, bend_before, kick_before = LAYERS_Z_MM[layer], bend[layer], kick[layer]


def _layer_hits(
    truth: Geometry, responds: BoolArray, beside: NDArray[np.int8], layer: int, state: list[FloatArray]
) -> Hits:
    """Return the hits of one layer.

    ``responds`` (2, tracks, sides) says whether a sensor is efficient, for the near and the far column; ``beside`` is
    the distance of the hit from the crossing in strips.
    """
    x, y = state[:2]
    near = np.arange(len(x))
    far = np.flatnonzero(np.abs(x) < OVERLAP)
    row = np.clip(np.rint((y - LAYER_Y_MM[layer % 3]) / ROW_PITCH_MM + 1.5), 0, 3).astype(np.int64)
    left = x < 0.0
    track = np.concatenate([near, far])
    module = row[track] + 4 * np.concatenate([left, ~left[far]])
    answers, away = (np.concatenate([values[0], values[1, far]]) for values in (responds, beside))

    element = ((layer * geo.MODULES + module) * geo.SIDES)[:, None] + np.arange(geo.SIDES)
    line = [values[track][:, None] for values in state]
    across, along = _local(truth, element, LAYERS_Z_MM[layer], line)
    strip = np.floor((across + geo.HALF_WIDTH) / geo.PITCH).astype(np.int64) + away
    wafer = np.abs(along)
    fires = answers & (strip >= 0) & (strip < geo.STRIPS) & (wafer > geo.WAFER_INNER) & (wafer < geo.WAFER_OUTER)
    return Hits(np.broadcast_to(track[:, None], element.shape)[fires], element[fires], strip[fires])


def _local(truth: Geometry, element: IntArray, z: float, line: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return local x and y where straight lines (x, y, slopes at ``z``) cross the planes of ``element``."""
    origin, axes = truth.origin[element], truth.axes[element]
    x, y, slope_x, slope_y = line
    delta = np.stack(np.broadcast_arrays(x - origin[..., 0], y - origin[..., 1], z - origin[..., 2]), axis=-1)
    direction = np.stack(np.broadcast_arrays(slope_x, slope_y, np.ones_like(x)), axis=-1)
    start = np.einsum("...i,...ij->...j", delta, axes)
    slope = np.einsum("...i,...ij->...j", direction, axes)
    path = -start[..., 2] / slope[..., 2]
    return start[..., 0] + path * slope[..., 0], start[..., 1] + path * slope[..., 1]
