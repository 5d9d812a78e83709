"""Split corrections into weak modes, which the data hardly constrain, and the rest. Pure.

Every step has directions in the space of its parameters that the tracks hardly constrain. With two layers fixed, for
example, the tracks' momenta absorb a displacement of the layers along the bending direction. A correction along them is
not an error of the solver, and no convergence criterion detects it, but the constants drift. So it is measured
separately from the part that the data determine, and named.

A direction is weak if its error is more than ``WEAK`` times the median error of the step's directions, which does not
depend on the number of tracks; undetermined if it is more than ``UNDETERMINED`` times.

An alignment converges under the condition of its fixed parameters. The normal equations of all parameters give, without
applying a solution, the expected decrease of chi2 from freeing each group of fixed parameters, beyond that of the free
ones (a score test). Chance alone gives about 1 per parameter. Directions count up to ``MEASURED`` times the median only:
errors of the linearisation alone seem to constrain others, such as global rotations.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from faser_align.alignment.arrays import BoolArray, FloatArray
from faser_align.alignment.detector import LAYERS_Z_MM
from faser_align.alignment.parameters.constants import Six, parameters_from_correction
from faser_align.alignment.parameters.labels import LAYER_KINDS, PARAMETERS, constants_key
from faser_align.alignment.quality.mode_names import LARGEST, distinct
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.fsm.metrics import HeldFixed, Part, Parts

WEAK, MEASURED, UNDETERMINED = 10.0, 100.0, 1000.0
NAMED_MAX = 5
PAIR_MIN = 0.15  # share above which the two largest modules of a pattern are named
MODULE_CONSTANTS = ("module.x", "module.y", "module.rz")  # across the strips, along them, about z
_SHAPES = ("shift", "slope along z", "curvature")
# names of shapes of a layer's degree of freedom; the others are "<kind> <shape>"
_NAMES = {
    ("layer.y", "shift"): "shift in y as a whole",
    ("layer.x", "shift"): "shift in x as a whole",
    ("layer.y", "curvature"): "curvature in y",
    ("layer.x", "curvature"): "curvature in x",
    ("layer.y", "slope along z"): "tilt in y",
    ("layer.x", "slope along z"): "tilt in x",
    ("layer.rz", "slope along z"): "twist about z",
    ("layer.rz", "shift"): "rotation about z as a whole",
    ("module.y", "shift"): "mean module.y, which is layer.x",
    ("module.y", "slope along z"): "mean module.y growing along z, which is a tilt in x",
    ("module.y", "curvature"): "curvature in x by mean module.y",
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
    errors = errors_um(values)
    median = float(np.median(errors))
    weak = errors > WEAK * median
    lost = errors > UNDETERMINED * median
    along = directions.T @ normal.in_um(moved)
    modes = sorted(np.flatnonzero(weak), key=lambda at: -abs(along[at]))[:NAMED_MAX]
    names = distinct(name(normal.labels, direction) for direction in directions.T[weak])
    return {
        "significant": _part(along, values, ~weak, len(normal.positions(free))),
        "weak": _part(along, values, weak, len(normal.positions(free))),
        "undetermined": int(lost.sum()),
        "modes": [
            {"name": names[at], "error_um": None if lost[at] else float(errors[at]), "moved_um": abs(float(along[at]))}
            for at in modes
        ],
    }


def repetition(
    normal: Normal, free: Collection[int], values: Mapping[int, float], before: Mapping[str, Six]
) -> float | None:
    """Return the cosine of the angle between two corrections along well-determined directions, in units of their errors.

    It is 1 for a correction in the direction of the one before, and about 0 for the noise of tracks and hits that pass the
    cuts in one iteration and not in the next.

    Args:
        normal: normal equations of all parameters.
        free: labels that any step could move.
        values: the correction's parameters (mm, rad).
        before: the correction before, as constants (mm, rad).

    Returns:
        None if one of the corrections is zero.
    """
    eigenvalues, directions = normal.directions(free)
    chosen = determined(eigenvalues, WEAK)
    scaled = directions[:, chosen] * np.sqrt(eigenvalues[chosen])
    now, then = (normal.in_um(one) @ scaled for one in (values, parameters_from_correction(before)))
    size = float(np.sqrt((now @ now) * (then @ then)))
    return float(now @ then) / size if size > 0 else None


def held_fixed(
    normal: Normal, free: Collection[int], values: Mapping[int, float], among: Collection[int] = PARAMETERS
) -> dict[str, HeldFixed]:
    """Return the expected decrease of chi2 from freeing each fixed group, and all of them (``all``).

    Args:
        normal: normal equations of all parameters.
        free: labels that any step of the iteration could move.
        values: the iteration's solution (mm, rad), so that the decrease from the free parameters is not counted.
        among: only these labels count as fixed.

    Returns:
        By group (part and kind, as in ``3ST layer.y``): ``parameters`` (directions that the data determine, beyond
        those of the free ones), ``expected_decrease``, and ``delta_chi2_per_parameter``, their ratio (also under its
        deprecated name). A group without such a direction, such as x of layers whose modules are free, is omitted.
    """
    groups: dict[str, set[int]] = {}
    for label in normal.labels:
        if label in among and label not in free:
            parameter = PARAMETERS[label]
            part = "IFT" if parameter.station == 0 else "3ST"
            groups.setdefault(f"{part} {parameter.kind}", set()).add(label)
    if not groups:
        return {}
    if len(groups) > 1:
        groups["all"] = set().union(*groups.values())
    gradient = normal.gradient - normal.matrix @ normal.in_um(values)
    before = _decrease(normal, set(free), gradient)
    gains: dict[str, HeldFixed] = {}
    for name, labels in groups.items():
        decrease, parameters = _decrease(normal, labels | set(free), gradient)
        gained, more = max(decrease - before[0], 0.0), parameters - before[1]
        if more > 0:
            per_parameter = gained / more
            gains[name] = {
                "parameters": more,
                "expected_decrease": gained,
                "delta_chi2_per_parameter": per_parameter,
                "significance": per_parameter,
            }
    return gains


def _decrease(normal: Normal, labels: set[int], gradient: FloatArray) -> tuple[float, int]:
    """Return the expected decrease of chi2 with ``labels`` free, and the number of directions that the data determine."""
    values, directions = normal.directions(labels)
    kept = determined(values)
    along = directions[:, kept].T @ gradient
    return float(along**2 @ (1.0 / values[kept])), int(kept.sum())


def determined(values: FloatArray, limit: float = MEASURED) -> BoolArray:
    """Return which directions the data determine, by eigenvalue: errors up to ``limit`` times the median."""
    errors = errors_um(values)
    return np.asarray(errors <= limit * np.median(errors)) if len(errors) else np.zeros(0, np.bool_)


def name(labels: Sequence[int], direction: FloatArray) -> str:
    """Name a direction by its dominant degree of freedom and its shape along z.

    Args:
        labels: labels of the parameters.
        direction: weight of each (um), shape (labels,).
    """
    kinds: dict[str, FloatArray] = {kind: np.zeros((12, 8)) for kind in (*LAYER_KINDS, *MODULE_CONSTANTS)}
    for label, value in zip(labels, direction, strict=True):
        parameter = PARAMETERS[label]
        at = 3 * parameter.station + parameter.layer, max(parameter.module, 0)
        if parameter.kind == "module.x":  # sum and difference of the sides, each with the square that it has
            kinds["module.x"][at] += value / math.sqrt(2)
            kinds["module.y"][at] += value * parameter.along_strips / math.sqrt(2)
        else:
            kinds[parameter.kind][at] = value
    return named(kinds)[0]


def named(kinds: Mapping[str, FloatArray]) -> tuple[str, float]:
    """Return the name of a direction and the direction's overlap with the named movement, from 0 to 1.

    Args:
        kinds: part of the direction by kind of constant, ``LAYER_KINDS`` and ``MODULE_CONSTANTS``, shape (12 layers, 8
            modules); of a layer only the first column counts.
    """
    courses: dict[str, FloatArray] = {kind: kinds[kind][:, 0] for kind in LAYER_KINDS}
    courses["module.y"] = math.sqrt(8) * kinds["module.y"].mean(axis=1)  # its square is the share of the 8 modules
    shares = {kind: float(course @ course) for kind, course in courses.items()}
    for kind in MODULE_CONSTANTS:
        shares[f"pattern of {kind}"] = float((kinds[kind] ** 2).sum()) - shares.get(kind, 0.0)
    total = sum(shares.values())
    kind = max(shares, key=lambda key: shares[key])
    if kind not in courses:
        return _pattern(kind, kinds[kind.removeprefix("pattern of ")], total)
    course = courses[kind]
    stations = sorted({layer // 3 for layer in np.flatnonzero(np.abs(course) > 0.1 * np.abs(course).max())})
    shape, share = _shape(course)
    # a single station between fixed ones can follow a curvature, but not a rotation
    if share <= 0.5 or (len(stations) == 1 and (kind, shape) not in _BY_ONE_STATION):
        listed = ", ".join(str(station) for station in stations)
        return f"{kind} of station{'s' * (len(stations) > 1)} {listed}", shares[kind] / total
    return _NAMES.get((kind, shape), f"{kind} {shape}"), share * shares[kind] / total


def _pattern(name: str, part: FloatArray, total: float) -> tuple[str, float]:
    """Return the name and the overlap of a pattern, with the module, the two modules or the station of most of it."""
    squares: FloatArray = np.square(part)
    order = np.argsort(squares, axis=None)[::-1].tolist()
    keys = [constants_key(at // 24, at // 8 % 3, at % 8) for at in order[:2]]
    largest, second = squares.flat[order[:2]].tolist()
    if largest > 0.5 * total:
        return f"{name.removeprefix('pattern of ')} of module {keys[0]}", largest / total
    overlap = float(squares.sum()) / total
    if largest + second > PAIR_MIN * total:
        return f"{name}{LARGEST}{' and '.join(sorted(keys))}", overlap
    stations = [float(part.sum()) for part in np.split(squares, 4)]
    if max(stations) > 0.5 * total:
        return f"{name}{LARGEST}station {stations.index(max(stations))}", overlap
    return name, overlap


def _shape(course: FloatArray) -> tuple[str, float]:
    """Return which of constant, linear and quadratic along z is most of a direction, and its share."""
    used = np.flatnonzero(np.repeat(np.add.reduceat(np.abs(course), np.arange(0, 12, 3)) > 0, 3))
    # fixed layers are zero and count, from the first to the last station
    span = np.arange(3 if used[0] >= 3 else 0, 12)
    basis = np.linalg.qr(np.vander(LAYERS_Z_MM[span] / 2500.0, 3, increasing=True))[0]
    parts = (basis.T @ course[span]) ** 2 / float(course @ course)
    best = int(np.argmax(parts))
    return _SHAPES[best], float(parts[best])


def errors_um(values: FloatArray) -> FloatArray:
    """Return the errors (um) of directions with these eigenvalues (1/um^2)."""
    return np.asarray(1.0 / np.sqrt(np.maximum(values, 1e-30)))


def _part(along: FloatArray, values: FloatArray, chosen: BoolArray, parameters: int) -> Part:
    size = along[chosen]
    return {
        "directions": int(chosen.sum()),
        "rms_um": float(np.sqrt(size @ size / max(parameters, 1))),
        "expected_decrease": float(np.maximum(values[chosen], 0.0) @ size**2),
    }
