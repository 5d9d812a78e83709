"""Compute the normal equations of an iteration with every parameter free.

One pass over the records gives the matrix ``C`` and the gradient ``b`` of all labels, with local fits eliminated: the
solution ``p`` satisfies ``C p = b``, up to constraints. A step's own matrix is a submatrix. Presigmas are omitted: they
damp steps and contain no information from the data.

Parameters are in micrometres: a rotation is the shift of a sensor at the rms distance from the axis.
"""

import dataclasses
import zipfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.labels import LAYER_LEVER_MM, PARAMETERS, STRIP_LEVER_MM
from faser_align.alignment.solver.blas import one_blas_thread
from faser_align.alignment.solver.passes import Pass, run_pass
from faser_align.alignment.solver.problem import Problem, make_problem
from faser_align.alignment.solver.steering import Steering, parse_steering
from faser_align.alignment.solver.sums.total import NotExactError, Total, symmetric
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, replacing


@dataclass(frozen=True)
class Normal:
    """Normal equations of the labels in the data.

    Attributes:
        labels: the detector's labels that have enough entries, ascending.
        matrix: shape (labels, labels), in 1/um^2.
        gradient: shape (labels,), in 1/um: negative gradient of half the chi2 where all parameters are zero.
        constraints: shape (constraints, labels), of the parameters in um; their right-hand sides are zero.
    """

    labels: tuple[int, ...]
    matrix: FloatArray
    gradient: FloatArray
    constraints: FloatArray
    _known: dict[tuple[int, ...], tuple[FloatArray, FloatArray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # directions by positions of the free labels

    def __add__(self, other: "Normal") -> "Normal":
        """Return the normal equations of both data sets; the constraints must be equal."""
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
        """Return the positions of these labels, without labels that have no data."""
        return [at for at, label in enumerate(self.labels) if label in labels]

    def in_um(self, values: Mapping[int, float]) -> FloatArray:
        """Convert ``values`` (mm, rad) by label to a vector of all labels in um; zero where missing."""
        return np.array([values.get(label, 0.0) / scale(label) for label in self.labels])

    def chi2_increase(self, values: Mapping[int, float]) -> float:
        """Return the increase of chi2 from its minimum to a displacement ``values`` (mm, rad)."""
        displacement = self.in_um(values)
        return float(displacement @ self.matrix @ displacement)

    def directions(self, labels: Collection[int]) -> tuple[FloatArray, FloatArray]:
        """Return eigenvalues (1/um^2, ascending) and directions (all labels, directions) with only ``labels`` free.

        The directions are orthonormal and satisfy the constraints; the data determine a direction with eigenvalue w to
        ``1 / sqrt(w)`` um. They are computed once for each set of labels.
        """
        at = self.positions(labels)
        if tuple(at) not in self._known:
            self._known[tuple(at)] = self._directions(at)
        return self._known[tuple(at)]

    @one_blas_thread()
    def _directions(self, at: list[int]) -> tuple[FloatArray, FloatArray]:
        rows = self.constraints[:, at]
        rows = rows[np.any(rows != 0, axis=1)]
        allowed = np.linalg.qr(rows.T, mode="complete")[0][:, len(rows) :] if len(rows) else np.eye(len(at))
        values, vectors = np.linalg.eigh(allowed.T @ self.matrix[np.ix_(at, at)] @ allowed)
        directions = np.zeros((len(self.labels), len(values)))
        directions[at] = allowed @ vectors
        return values, directions


def write_normal(path: str, normal: Normal) -> None:
    """Write normal equations atomically as a NumPy archive: the arrays of ``Normal``, the matrix as its upper triangle."""
    with replacing(path) as file:
        np.savez(  # compression would save a third and take as long as the rest of a replay
            file,
            labels=np.array(normal.labels, np.int64),
            matrix=normal.matrix[np.triu_indices(len(normal.labels))],
            gradient=normal.gradient,
            constraints=normal.constraints,
        )


def read_normal(path: str) -> Normal:
    """Read normal equations; raise UserError if the file is not what ``write_normal`` wrote."""
    try:
        with open(path, "rb") as file, np.load(file) as found:
            labels, upper, gradient, constraints = (found[k] for k in ("labels", "matrix", "gradient", "constraints"))
        matrix = symmetric(len(labels), upper)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read the normal equations {path}: {error}; restore the file from a copy") from error
    return Normal(tuple(map(int, labels)), matrix, gradient, constraints)


def scale(label: int) -> float:
    """Return the change of a label's parameter (mm, rad) that corresponds to 1 um."""
    kind = PARAMETERS[label].kind
    if PARAMETERS[label].translation:
        return 1e-3
    return 1e-3 / (STRIP_LEVER_MM if kind.startswith("module") else LAYER_LEVER_MM)


def normal_equations(steering_path: Name, total: Total | None = None) -> Normal:
    """Return the normal equations of a steering file's binaries, under its constraints and cuts.

    Args:
        total: the sums of the binaries; without them, and where they are not exact, the binaries are read.

    Raises SolverError or MilleError, as the solver does, for a malformed steering file or binary.
    """
    steering = parse_steering(steering_path)
    free = dataclasses.replace(steering, parameters={}, constraints=(), measurements=(), presigma=0.0, downweighting=0)
    problem, done = _first_pass(free, total)
    assert isinstance(done.matrix, np.ndarray)
    variable = problem.parameters.labels[problem.variable].tolist()
    return in_um(variable, done.matrix, done.gradient, steering)


def _first_pass(free: Steering, total: Total | None) -> tuple[Problem, Pass]:
    if total is not None:
        with suppress(NotExactError):
            total.check(free)
            problem = make_problem(free, total)
            return problem, total.at(problem, problem.starts, free.chi2_cut[0], first=True, with_matrix=True)
    problem = make_problem(free)
    source, parameters = problem.source, problem.parameters
    return problem, run_pass(source, free, parameters, problem.starts, free.chi2_cut[0], first=True, with_matrix=True)


def in_um(variable: Sequence[int], matrix: FloatArray, gradient: FloatArray, steering: Steering) -> Normal:
    """Return the normal equations of the detector's labels in um, under the constraints of ``steering``.

    Args:
        variable: label of each row, ascending.
        matrix, gradient: of these labels, in mm and rad.
        steering: defines the constraints.
    """
    known = [at for at, label in enumerate(variable) if label in PARAMETERS]
    labels = tuple(variable[at] for at in known)
    scales = np.array([scale(label) for label in labels])
    rows = np.zeros((len(steering.constraints), len(labels)))
    place = {label: at for at, label in enumerate(labels)}
    for row, (_, terms) in zip(rows, steering.constraints, strict=True):
        for label, factor in terms:
            if label in place:
                row[place[label]] += factor * scales[place[label]] * 1e3
    return Normal(labels, matrix[np.ix_(known, known)] * np.outer(scales, scales), gradient[known] * scales, rows)
