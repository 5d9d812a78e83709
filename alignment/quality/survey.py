"""Compare the constants with a survey along directions that tracks hardly determine, and with a truth along others. Pure.

A survey gives each constant an accuracy. In units of it all parameters are comparable, and the eigenvalues of the normal
equations are the errors of directions by the tracks, in standard deviations of the survey. A direction is *weak* here if
this error exceeds ``[survey].weak``: the survey knows more than the tracks, and constants that move along it do so by
accident. Where the x of a layer is fixed, the common shift of its modules takes its place.

The distance to the constants of a simulated detector counts along the directions that the data determine. Along all others
(constraints, fixed parameters, weak modes) it stays as it was at the start.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.constants import (
    DOFS,
    Six,
    on_constants,
    parameters_from_correction,
    subtract_constants,
)
from faser_align.alignment.parameters.labels import LAYER_KINDS, PARAMETERS
from faser_align.alignment.pede.steering_text import Frozen
from faser_align.alignment.quality.mode_names import distinct
from faser_align.alignment.quality.weak_modes import MODULE_CONSTANTS, determined, errors_um, named
from faser_align.alignment.solver.blas import one_blas_thread
from faser_align.alignment.solver.normal_equations import Normal, scale
from faser_align.config.stored_types import Survey
from faser_align.fsm.metrics import SurveyedMode, Truth, WeakModes

LISTED_MAX = 8
UNKNOWN = 1e4  # errors above it (standard deviations of the survey) count as infinite
_OF_MODULES = dict(zip(("x", "y", "rz"), MODULE_CONSTANTS, strict=True))
Constant = tuple[str, str]  # key of a layer or module, and kind: LAYER_KINDS or MODULE_CONSTANTS


@dataclass(frozen=True)
class Spectrum:
    """The directions in which a step's free parameters may move.

    Attributes:
        labels: the free labels with data.
        errors: errors of the directions by the tracks, in standard deviations of the survey, largest first.
        directions: shape (labels, directions): displacement of the parameters (um) by one standard deviation.
        rows: shape (labels, directions): products with a displacement (um) are its standard deviations along each.
        constants: the constants that the labels move.
        moves: shape (constants, labels): displacement of the constants (um) by that of the labels.
        accuracies: of the survey, of each constant (um).
    """

    labels: tuple[int, ...]
    errors: FloatArray
    directions: FloatArray
    rows: FloatArray
    constants: tuple[Constant, ...]
    moves: FloatArray
    accuracies: FloatArray

    def names(self, count: int) -> list[tuple[str, float]]:
        """Return distinct names of the ``count`` directions with the largest errors, and their overlaps."""
        found = []
        for direction in self.directions.T[:count]:
            kinds = {kind: np.zeros((12, 8)) for kind in (*LAYER_KINDS, *MODULE_CONSTANTS)}
            for (key, kind), size in zip(self.constants, self.moves @ direction / self.accuracies, strict=True):
                kinds[kind][3 * int(key[0]) + int(key[1]), int(key[2:] or 0)] = size
            found.append(named(kinds))
        names = distinct(name for name, _ in found)
        return [(name, overlap) for name, (_, overlap) in zip(names, found, strict=True)]

    def displacements_um(self, moved_um: FloatArray) -> dict[str, float]:
        """Return by how much each layer and module moves (um) by a displacement of the labels."""
        squares: dict[str, float] = {}
        for (key, _), size in zip(self.constants, self.moves @ moved_um, strict=True):
            squares[key] = squares.get(key, 0.0) + float(size) ** 2
        return {key: math.sqrt(square) for key, square in squares.items()}


@one_blas_thread()
def spectrum(normal: Normal, free: Collection[int], survey: Survey) -> Spectrum:
    """Return the directions of the ``free`` labels, under the constraints, in units of the survey."""
    at = normal.positions(free)
    labels = tuple(normal.labels[one] for one in at)
    constants, moves, accuracies, covariance = _constants(labels, survey)
    precision = moves.T @ np.linalg.solve(covariance, moves)
    unit = np.linalg.inv(np.linalg.cholesky(precision)).T  # displacements with the survey's covariance
    rows = normal.constraints[:, at]
    rows = rows[np.any(rows != 0, axis=1)] @ unit
    if len(rows):
        unit = unit @ np.linalg.qr(rows.T, mode="complete")[0][:, len(rows) :]
    values, vectors = np.linalg.eigh(unit.T @ normal.matrix[np.ix_(at, at)] @ unit)
    directions = unit @ vectors
    return Spectrum(labels, errors_um(values), directions, precision @ directions, constants, moves, accuracies)


def weak_modes(
    normal: Normal, free: Collection[int], now: Mapping[str, Six], first: Mapping[str, Six], survey: Survey
) -> WeakModes:
    """Return the spectrum of a stage and how far the constants have moved along its weak modes.

    Args:
        normal: normal equations of all parameters.
        free: labels that any step of the stage could move.
        now, first: constants that follow from the iteration, and those at the start of the campaign (mm, rad).
        survey: accuracies of the constants.
    """
    found = spectrum(normal, free, survey)
    moved = found.rows.T @ displacement_um(found.labels, now, first)
    weak = found.errors > survey["weak"]
    along = found.directions[:, weak] @ moved[weak]
    shifts = found.displacements_um(along)
    order = sorted(range(len(moved)), key=lambda at: (not weak[at], -abs(moved[at]) if weak[at] else at))
    listed = order[:LISTED_MAX]
    names = found.names(max(listed, default=-1) + 1)
    return {
        "directions": len(moved),
        "weak": int(weak.sum()),
        "errors": [_error(error) for error in found.errors.tolist()],
        "drift_sigma": float(np.abs(moved[weak]).max(initial=0.0)),
        "drift_um": float(np.sqrt(np.mean(np.square(list(shifts.values()))))) if shifts else 0.0,
        "modes": [_mode(found, at, *names[at], float(moved[at]), weak=bool(weak[at])) for at in listed],
    }


def freeze(
    normal: Normal,
    free: Collection[int],
    now: Mapping[str, Six],
    first: Mapping[str, Six],
    survey: Survey,
    above: float,
) -> tuple[Frozen, ...]:
    """Return the directions that a step freezes, as constraints: along them the constants return to the campaign's start.

    They change no other direction, since the errors of different directions are independent.

    Args:
        normal: normal equations of all parameters.
        free: labels that the step can move.
        now, first: constants with which the iteration reconstructed, and those at the start of the campaign (mm, rad).
        survey: accuracies of the constants.
        above: freeze directions with larger errors by the tracks (standard deviations of the survey).
    """
    if not normal.positions(free):
        return ()
    found = spectrum(normal, free, survey)
    moved = found.rows.T @ displacement_um(found.labels, now, first)
    frozen = []
    for at, (name, _) in enumerate(found.names(int((found.errors > above).sum()))):
        row = found.rows[:, at] / [scale(label) for label in found.labels]
        largest = float(np.abs(row).max())
        factors = {
            label: factor for label, factor in zip(found.labels, row / largest, strict=True) if abs(factor) > 1e-9
        }
        frozen.append(Frozen(name, float(-moved[at]) / largest, factors))
    return tuple(frozen)


def distance_to_truth(
    normal: Normal, free: Collection[int], constants: Mapping[str, Six], truth: Mapping[str, Six]
) -> Truth:
    """Return the distance in statistical errors, and as rms of each degree of freedom; empty without a direction.

    Args:
        normal: normal equations of all parameters, with the factor of the errors.
        free: labels that the iteration could move.
        constants, truth: the constants, and those of the simulated detector (mm, rad).
    """
    values, directions = normal.directions(free)
    known = determined(values)
    if not known.any():
        return {}
    labels = [normal.labels[at] for at in normal.positions(free)]
    rows = directions[normal.positions(free)][:, known]
    along = rows.T @ displacement_um(labels, constants, truth)
    order = [f"{of}{dof}" for of in ("", "layer ") for dof in DOFS]
    squares: dict[str, list[float]] = {}
    units = [1.0 if PARAMETERS[label].translation else 1e6 * scale(label) for label in labels]  # um or urad per um
    for (key, dof), moved in on_constants(dict(zip(labels, (rows @ along * units).tolist(), strict=True))).items():
        squares.setdefault(dof if len(key) == 3 else f"layer {dof}", []).append(moved**2)
    return {
        "sigma": float(np.sqrt(np.mean(np.maximum(values[known], 0.0) * along**2))),
        "directions": int(known.sum()),
        "dofs": {
            dof: {"rms": float(np.sqrt(np.mean(of))), "unit": "urad" if dof.rpartition(" ")[2][0] == "r" else "um"}
            for dof, of in sorted(squares.items(), key=lambda one: order.index(one[0]))
        },
    }


def _mode(found: Spectrum, at: int, name: str, overlap: float, moved: float, *, weak: bool) -> SurveyedMode:
    shifts = found.displacements_um(found.directions[:, at] * moved)
    where = max(shifts, key=lambda key: shifts[key])
    return {
        "name": name,
        "overlap": round(overlap, 2),
        "weak": weak,
        "error_sigma": _error(float(found.errors[at])),
        "drift_sigma": abs(moved),
        "drift_um": shifts[where],
        "where": where,
    }


def _error(error: float) -> float | None:
    return float(f"{error:.3g}") if error < UNKNOWN else None


def _constants(
    labels: tuple[int, ...], survey: Survey
) -> tuple[tuple[Constant, ...], FloatArray, FloatArray, FloatArray]:
    """Return the constants that labels move, by how much (um per um), and their accuracies and covariance (um)."""
    rows = on_constants(dict(zip(labels, np.eye(len(labels)), strict=True)))
    constants = tuple((key, _OF_MODULES[dof] if len(key) == 3 else f"layer.{dof}") for key, dof in rows)
    moves = np.array(list(rows.values())) + 0.0  # + 0.0 turns -0.0 into 0.0
    firsts = np.argmax(moves != 0, axis=1).tolist()
    accuracies = np.array(
        [_accuracy(kind, labels[first], survey) for (_, kind), first in zip(constants, firsts, strict=True)]
    )
    covariance = np.diag(accuracies**2)
    for layer in {key[:2] for key, kind in constants if kind == "module.y"}:
        if (layer, "layer.x") not in constants:
            modules = [at for at, (key, kind) in enumerate(constants) if kind == "module.y" and key[:2] == layer]
            covariance[np.ix_(modules, modules)] += (1e3 * survey["layer_x"]) ** 2
    return constants, moves, accuracies, covariance


def _accuracy(kind: str, label: int, survey: Survey) -> float:
    """Return the survey's accuracy of a constant in um, as ``Normal`` counts rotations."""
    lengths = {"module.x": survey["module_x"], "module.y": survey["module_y"]}
    if kind in lengths:
        return 1e3 * lengths[kind]
    accuracy: Any = survey
    return float(accuracy[kind.replace(".", "_").replace(" ", "_")] / scale(label))


def displacement_um(labels: Sequence[int], now: Mapping[str, Six], first: Mapping[str, Six]) -> FloatArray:
    """Return the displacement of labels (um) between two sets of constants."""
    moved = parameters_from_correction(subtract_constants(now, first))
    return np.array([moved[label] / scale(label) for label in labels])
