"""Split corrections into weak modes, which the data hardly constrain, and the rest. Pure.

Every step has directions in the space of its parameters that the tracks hardly constrain. With two layers fixed, for
example, the tracks' momenta absorb a displacement of the layers along the bending direction. A correction along them is
not an error of the solver, and no convergence criterion detects it, but the constants drift. So it is measured
separately from the part that the data determine, and named.

A direction is weak if its error is more than ``WEAK`` times the median error of the step's directions, which does not
depend on the number of tracks; undetermined if it is more than ``UNDETERMINED`` times. Already above ``MEASURED``
times, the data do not determine it: global rotations in particular are constrained only by errors of the linearisation.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from faser_align.alignment.arrays import BoolArray, FloatArray
from faser_align.alignment.parameters.labels import LAYER_KINDS, PARAMETERS
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.fsm.metrics import Part, Parts

WEAK, MEASURED, UNDETERMINED = 10.0, 100.0, 1000.0
NAMED_MAX = 5
_LAYER_Z_MM = np.array([z + pitch for z in (-1860.15, 47.4, 1237.4, 2427.4) for pitch in (-31.5, 0.0, 31.5)])
_SHAPES = ("shift", "slope along z", "curvature")
# names of shapes of a layer's degree of freedom; the others are "<kind> <shape>"
_NAMES = {
    ("layer.y", "curvature"): "curvature in y",
    ("layer.x", "curvature"): "curvature in x",
    ("layer.y", "slope along z"): "tilt in y",
    ("layer.x", "slope along z"): "tilt in x",
    ("layer.rz", "slope along z"): "twist about z",
    ("layer.rz", "shift"): "rotation about z as a whole",
    ("module v", "shift"): "mean module v, which is layer x",
    ("module v", "slope along z"): "mean module v growing along z, which is a tilt in x",
    ("module v", "curvature"): "curvature in x by mean module v",
}
_BY_ONE_STATION = (("layer.x", "curvature"), ("layer.y", "curvature"))


def split(normal: Normal, free: Collection[int], moved: Mapping[int, float]) -> Parts:
    """Split a step's correction into its part along weak directions and the rest.

    Args:
        normal: normal equations of all parameters.
        free: labels that the step could move.
        moved: by how much it moved them (mm, rad).

    Returns:
        ``significant`` and ``weak`` (number of directions, rms over all free parameters, decrease of chi2 by this part),
        ``undetermined`` (number of undetermined weak directions), and
        ``modes``: the weak directions with the largest moves, with name, error (None if infinite) and move.
    """
    values, directions = normal.directions(free)
    if not len(values):
        nothing: Part = {"directions": 0, "rms_um": 0.0, "expected_decrease": 0.0}
        return {"significant": nothing, "weak": nothing, "undetermined": 0, "modes": []}
    errors = _errors(values)
    median = float(np.median(errors))
    weak = errors > WEAK * median
    lost = errors > UNDETERMINED * median
    along = directions.T @ normal.in_um(moved)
    modes = sorted(np.flatnonzero(weak), key=lambda at: -abs(along[at]))[:NAMED_MAX]
    return {
        "significant": _part(along, values, ~weak, len(normal.positions(free))),
        "weak": _part(along, values, weak, len(normal.positions(free))),
        "undetermined": int(lost.sum()),
        "modes": [
            {
                "name": name(normal.labels, directions[:, at]),
                "error_um": None if lost[at] else float(errors[at]),
                "moved_um": abs(float(along[at])),
            }
            for at in modes
        ],
    }


def determined(values: FloatArray) -> BoolArray:
    """Return which directions the data determine, by eigenvalue: errors up to ``MEASURED`` times the median."""
    errors = _errors(values)
    return np.asarray(errors <= MEASURED * np.median(errors)) if len(errors) else np.zeros(0, np.bool_)


def name(labels: Sequence[int], direction: FloatArray) -> str:
    """Name a direction by its dominant degree of freedom and its shape along z.

    Args:
        labels: labels of the parameters.
        direction: weight of each (um), shape (labels,).
    """
    kinds: dict[str, FloatArray] = {kind: np.zeros(12) for kind in (*LAYER_KINDS, "module v")}
    module_v, shares = np.zeros((12, 16)), {"module u": 0.0, "module rz": 0.0}
    for label, value in zip(labels, direction, strict=True):
        parameter = PARAMETERS[label]
        layer = 3 * parameter.station + parameter.layer
        if parameter.kind == "module.x":
            module_v[layer, 2 * parameter.module + parameter.side] = value * parameter.along_strips
        elif parameter.kind == "module.rz":
            shares["module rz"] += float(value**2)
        else:
            kinds[parameter.kind][layer] = value
    kinds["module v"] = 4.0 * module_v.mean(axis=1)  # its square is the share of the 16 sides
    shares |= {kind: float(course @ course) for kind, course in kinds.items()}
    shares["module u"] = float((module_v**2).sum()) - shares["module v"]
    kind = max(shares, key=lambda key: shares[key])
    if kind not in kinds:
        return f"pattern of {kind}"
    stations = sorted({layer // 3 for layer in np.flatnonzero(np.abs(kinds[kind]) > 0.1 * np.abs(kinds[kind]).max())})
    shape = _shape(kinds[kind])
    # a single station between fixed ones can follow a curvature, but not a rotation
    if shape is None or (len(stations) == 1 and (kind, shape) not in _BY_ONE_STATION):
        return f"{kind} of station{'s' * (len(stations) > 1)} {', '.join(str(station) for station in stations)}"
    return _NAMES.get((kind, shape), f"{kind} {shape}")


def _shape(course: FloatArray) -> str | None:
    """Return constant, linear or quadratic along z if that is more than half of the direction."""
    used = np.flatnonzero(np.repeat(np.add.reduceat(np.abs(course), np.arange(0, 12, 3)) > 0, 3))
    # fixed layers are zero and count, from the first to the last station
    span = np.arange(3 if used[0] >= 3 else 0, 12)
    basis = np.linalg.qr(np.vander(_LAYER_Z_MM[span] / 2500.0, 3, increasing=True))[0]
    parts = (basis.T @ course[span]) ** 2 / float(course @ course)
    best = int(np.argmax(parts))
    return _SHAPES[best] if parts[best] > 0.5 else None


def _errors(values: FloatArray) -> FloatArray:
    return np.asarray(1.0 / np.sqrt(np.maximum(values, 1e-30)))


def _part(along: FloatArray, values: FloatArray, chosen: BoolArray, parameters: int) -> Part:
    size = along[chosen]
    return {
        "directions": int(chosen.sum()),
        "rms_um": float(np.sqrt(size @ size / max(parameters, 1))),
        "expected_decrease": float(np.maximum(values[chosen], 0.0) @ size**2),
    }
