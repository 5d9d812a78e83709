"""The global system of equations: constraints, the solution of one step, and the covariance.

Constraints are handled by elimination: the step lies in the null space of their matrix A, ``d = Z y`` with
``(Z^T C Z) y = Z^T b``. The covariance is ``Z (Z^T C Z)^-1 Z^T``, which is also that of Lagrange multipliers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faser_align.alignment.localfit import invert_symmetric
from faser_align.alignment.undetermined import directions

FloatArray = npt.NDArray[np.float64]

_EPSILON = 1e-10  # of pivots of the global matrix, as in pede's SQMINL


@dataclass(frozen=True)
class Constraints:
    """Linear equalities ``matrix @ p = values`` of the variable parameters.

    Attributes:
        matrix: shape (constraints, parameters).
        values: right-hand sides, less what fixed parameters contribute.
        projector: shape (parameters, constraints): ``A^T (A A^T)^-1``.
        null_space: shape (parameters, parameters - constraints): orthonormal columns.
        rank: of the product matrix, as pede counts it.
    """

    matrix: FloatArray
    values: FloatArray
    projector: FloatArray
    null_space: FloatArray
    rank: int

    @staticmethod
    def make(matrix: FloatArray, values: FloatArray) -> "Constraints":
        """Prepare constraints; ``matrix`` may have no rows."""
        n = matrix.shape[1]
        if not len(matrix):
            return Constraints(matrix, values, np.zeros((n, 0)), np.eye(n), 0)
        inverse, rank = invert_symmetric((matrix @ matrix.T)[None], _EPSILON)
        complete = np.linalg.qr(matrix.T, mode="complete")[0]
        return Constraints(matrix, values, matrix.T @ inverse[0], complete[:, len(matrix) :], int(rank[0]))

    def feasible(self, parameters: FloatArray, tolerance: float) -> tuple[FloatArray, bool]:
        """The nearest parameters that satisfy the constraints, and whether they are others than these."""
        moved = False
        for _ in range(2):
            differences = self.values - self.matrix @ parameters
            if not len(differences) or np.abs(differences).max() <= tolerance:
                break
            parameters, moved = parameters + self.projector @ differences, True
        return parameters, moved


@dataclass(frozen=True)
class Inverse:
    """The inverted matrix of the fit parameters.

    Attributes:
        covariance: shape (parameters, parameters), in the space of the variable parameters.
        defect: fit parameters that the matrix does not determine; they are left where they are.
        undetermined: shape (defect, parameters): directions in which they are.
        correlations: shape (parameters,): global correlation of each, that with the best combination of all others;
            -1 where it has no meaning.
    """

    covariance: FloatArray
    defect: int
    undetermined: FloatArray
    correlations: FloatArray

    @staticmethod
    def make(matrix: FloatArray, constraints: Constraints) -> "Inverse":
        """Invert the matrix of the variable parameters under the constraints."""
        z = constraints.null_space
        reduced, rank = invert_symmetric((z.T @ matrix @ z if len(constraints.matrix) else matrix)[None], _EPSILON)
        covariance = z @ reduced[0] @ z.T if len(constraints.matrix) else reduced[0]
        defect = z.shape[1] - int(rank[0])
        found = directions(matrix, z, defect) if defect else np.zeros((0, len(matrix)))
        return Inverse(covariance, defect, found, _correlations(matrix, covariance))

    def step(self, gradient: FloatArray) -> FloatArray:
        """Newton step for the right-hand side ``gradient``."""
        return np.asarray(self.covariance @ gradient)

    def errors(self) -> FloatArray:
        """Errors of the parameters; negative where a diagonal element is."""
        diagonal = np.diagonal(self.covariance)
        return np.asarray(np.copysign(np.sqrt(np.abs(diagonal)), np.where(diagonal < 0, -1.0, 1.0)))


def _correlations(matrix: FloatArray, covariance: FloatArray) -> FloatArray:
    """``sqrt(1 - 1/(C_ii V_ii))``, as pede has it."""
    product = np.diagonal(matrix) * np.diagonal(covariance)
    square = 1.0 - 1.0 / np.where(product > 0, product, np.inf)
    return np.where((product > 0) & (square >= 0), np.sqrt(np.maximum(square, 0.0)), -1.0)


def is_singular(matrix: FloatArray) -> bool:
    """Whether pede's elimination of constraints stops: its QL decomposition meets an element that is exactly zero.

    The decomposition is repeated with Householder's reflections in pede's order and rounding (QLDEC of mpqldec),
    since constraints that depend on each other mostly leave an element that is tiny, and then a solution is found.
    """
    n_constraints, n = matrix.shape
    work = matrix.copy()
    for k in range(n_constraints - 1, -1, -1):
        end = n + k - n_constraints + 1
        normal = work[k, :end].copy()
        norm = np.sqrt(_dot(normal, normal))
        if norm == 0.0:
            return True
        normal[-1] += norm if normal[-1] >= 0 else -norm
        normal /= np.sqrt(_dot(normal, normal))
        for i in range(k + 1):
            work[i, :end] -= 2.0 * normal * _dot(normal, work[i, :end])
        if work[k, end - 1] == 0.0:
            return True
    return False


def _dot(a: FloatArray, b: FloatArray) -> float:
    """Scalar product, summed from the first element to the last one."""
    return float(np.cumsum(a * b)[-1]) if len(a) else 0.0
