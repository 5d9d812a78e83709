"""The global system of equations: constraints, the solution of one step, and the covariance.

Constraints are handled by elimination: the step lies in the null space of their matrix A, ``d = Z y`` with
``(Z^T C Z) y = Z^T b``. The covariance is ``Z (Z^T C Z)^-1 Z^T``, which is also that of Lagrange multipliers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faser_align.alignment.localfit import invert_symmetric

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
    """

    covariance: FloatArray
    defect: int

    @staticmethod
    def make(matrix: FloatArray, constraints: Constraints) -> "Inverse":
        """Invert the matrix of the variable parameters under the constraints."""
        if not len(constraints.matrix):
            inverse, rank = invert_symmetric(matrix[None], _EPSILON)
            return Inverse(inverse[0], len(matrix) - int(rank[0]))
        z = constraints.null_space
        reduced, rank = invert_symmetric((z.T @ matrix @ z)[None], _EPSILON)
        return Inverse(z @ reduced[0] @ z.T, z.shape[1] - int(rank[0]))

    def step(self, gradient: FloatArray) -> FloatArray:
        """Newton step for the right-hand side ``gradient``."""
        return np.asarray(self.covariance @ gradient)

    def errors(self) -> FloatArray:
        """Errors of the parameters; negative where a diagonal element is."""
        diagonal = np.diagonal(self.covariance)
        return np.asarray(np.copysign(np.sqrt(np.abs(diagonal)), np.where(diagonal < 0, -1.0, 1.0)))
