"""Misalign the IFT's modules and compare constants with the truth, for demonstrations and tests."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.constants import ZERO, Constants, Six
from faser_align.alignment.parameters.labels import LAYERS, MODULES, constants_key

IFT = 0


class Distance(NamedTuple):
    """Rms distance of constants of the IFT's 24 modules from the truth; u and v are the module's x and y."""

    u_um: float
    v_um: float
    rz_urad: float


def misplace_ift(
    truth: Mapping[str, Six], seed: int, u_um: float = 24.0, v_um: float = 121.0, rz_urad: float = 380.0
) -> Constants:
    """Return ``truth`` with random displacements of the IFT's modules that have exactly the given rms.

    The mean shift across the strips and the mean rotation of each layer's modules stay zero. The solver's constraints
    assign these to the layers' parameters, so that an alignment of modules alone cannot find them.
    """
    rng = np.random.default_rng(seed)
    moves = _without_means(rng.standard_normal((len(LAYERS), len(MODULES), 3)))
    moves *= np.array([u_um * 1e-3, v_um * 1e-3, rz_urad * 1e-6]) / _rms(moves)
    constants = dict(truth)
    for layer in LAYERS:
        for module in MODULES:
            key = constants_key(IFT, layer, module)
            x, y, z, rx, ry, rz = constants.get(key, ZERO)
            u, v, turn = (float(value) for value in moves[layer, module])
            constants[key] = (x + u, y + v, z, rx, ry, rz + turn)
    return constants


def distance_to_truth(constants: Mapping[str, Six], truth: Mapping[str, Six]) -> Distance:
    """Compare the IFT's modules with the truth, without the modes that constraints fix (see ``misplace_ift``)."""
    u, v, rz = _rms(_without_means(_values(constants) - _values(truth))).tolist()
    return Distance(u * 1e3, v * 1e3, rz * 1e6)


def _without_means(values: FloatArray) -> FloatArray:
    """Subtract each layer's mean of u and rz from values (layers, modules, [u, v, rz])."""
    means: FloatArray = values.mean(axis=1, keepdims=True)
    means[..., 1] = 0.0
    return values - means


def _rms(values: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.mean(values**2, axis=(0, 1))))


def _values(constants: Mapping[str, Six]) -> FloatArray:
    sixes = [[constants.get(constants_key(IFT, layer, module), ZERO) for module in MODULES] for layer in LAYERS]
    return np.array(sixes)[:, :, [0, 1, 5]]
