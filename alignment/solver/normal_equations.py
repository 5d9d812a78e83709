"""The normal equations of an iteration with every parameter free: what the data know, whatever a step held fixed.

From one pass over the records come the matrix ``C`` and the gradient ``b`` of all labels, local fits eliminated, so that
the data prefer the parameters ``p`` with ``C p = b``, up to constraints. A step's own matrix is a part of this one.
Presigmas are left out: they damp steps and say nothing about the data.

Parameters are measured in micrometres here: a rotation by how far it moves a sensor at the rms distance from the axis.
"""

import dataclasses
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.solver.passes import run_pass
from faser_align.alignment.solver.problem import make_problem
from faser_align.alignment.solver.steering import parse_steering

FloatArray = npt.NDArray[np.float64]

# rms distances (mm): along a strip of +-63 mm; in x or y over the bore of 100 mm radius (SCTBRLSENSOR, DIPOLEGENERAL)
STRIP_LEVER_MM, LAYER_LEVER_MM = 36.4, 50.0


@dataclass(frozen=True)
class Normal:
    """Normal equations of the labels in the data.

    Attributes:
        labels: ascending; only those of the detector that have enough entries.
        matrix: shape (labels, labels), in 1/um^2.
        gradient: shape (labels,), in 1/um: of half the chi2, downhill, where all parameters are zero.
        constraints: shape (constraints, labels), of the parameters in um; their right-hand sides are zero.
    """

    labels: tuple[int, ...]
    matrix: FloatArray
    gradient: FloatArray
    constraints: FloatArray

    def __add__(self, other: "Normal") -> "Normal":
        """Normal equations of both data together; the constraints must be the same ones."""
        labels = tuple(sorted({*self.labels, *other.labels}))
        total = Normal(
            labels, np.zeros((len(labels),) * 2), np.zeros(len(labels)), np.zeros((len(self.constraints), len(labels)))
        )
        for part in (self, other):
            at = [labels.index(label) for label in part.labels]
            total.matrix[np.ix_(at, at)] += part.matrix
            total.gradient[at] += part.gradient
            total.constraints[:, at] = part.constraints
        return total

    def positions(self, labels: Collection[int]) -> list[int]:
        """Where these labels are among ours; those without data are left out."""
        return [at for at, label in enumerate(self.labels) if label in labels]

    def in_um(self, values: Mapping[int, float]) -> FloatArray:
        """Parameters ``values`` (mm, rad) by label as a vector of all labels in um; zero where missing."""
        return np.array([values.get(label, 0.0) / scale(label) for label in self.labels])

    def gradient_at(self, values: Mapping[int, float]) -> FloatArray:
        """The gradient where the parameters are ``values`` (mm, rad)."""
        return np.asarray(self.gradient - self.matrix @ self.in_um(values))

    def directions(self, labels: Collection[int]) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues (1/um^2, ascending) and directions (all labels, directions) when just ``labels`` are free.

        The directions are orthonormal and obey the constraints; the data determine one with the eigenvalue w to
        ``1 / sqrt(w)`` um.
        """
        at = self.positions(labels)
        rows = self.constraints[:, at]
        rows = rows[np.any(rows != 0, axis=1)]
        allowed = np.linalg.qr(rows.T, mode="complete")[0][:, len(rows) :] if len(rows) else np.eye(len(at))
        values, vectors = np.linalg.eigh(allowed.T @ self.matrix[np.ix_(at, at)] @ allowed)
        directions = np.zeros((len(self.labels), len(values)))
        directions[at] = allowed @ vectors
        return values, directions


def scale(label: int) -> float:
    """What of the parameter of a label (mm, rad) is 1 um: a rotation is measured at its lever (``STRIP_LEVER_MM``, ...)."""
    kind = PARAMETERS[label].kind
    if PARAMETERS[label].translation:
        return 1e-3
    return 1e-3 / (STRIP_LEVER_MM if kind.startswith("module") else LAYER_LEVER_MM)


def normal_equations(steering_path: str | os.PathLike[str]) -> Normal:
    """Normal equations of the binaries that a steering file names, under its constraints and cuts.

    Raises SolverError or MilleError, as the solver does, for a steering or a binary that is none.
    """
    steering = parse_steering(steering_path)
    free = dataclasses.replace(steering, parameters={}, constraints=(), measurements=(), presigma=0.0, downweighting=0)
    problem = make_problem(free)
    done = run_pass(
        problem.source,
        free,
        problem.parameters,
        problem.starts,
        free.chi2_cut[0],
        first=True,
        with_matrix=True,
    )
    assert done.matrix is not None
    variable = [int(problem.parameters.labels[at]) for at in problem.variable]
    known = [at for at, label in enumerate(variable) if label in PARAMETERS]
    labels = tuple(variable[at] for at in known)
    scales = np.array([scale(label) for label in labels])
    rows = np.zeros((len(steering.constraints), len(labels)))
    place = {label: at for at, label in enumerate(labels)}
    for row, (_, terms) in zip(rows, steering.constraints, strict=True):
        for label, factor in terms:
            if label in place:
                row[place[label]] += factor * scales[place[label]] * 1e3
    return Normal(
        labels, done.matrix[np.ix_(known, known)] * np.outer(scales, scales), done.gradient[known] * scales, rows
    )
