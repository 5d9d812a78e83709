"""Solve the global equations of thousands of parameters by conjugate gradients.

Parameters are multiplied by the roots of their diagonal elements, and every vector is projected onto the space that the
constraints allow. With the matrix C and an error d of the solution, each parameter is wrong by at most ``sqrt(d C d)``
times its statistical error (Cauchy and Schwarz). ``d C d`` is the amount by which the remaining iterations reduce chi2, so their
sum measures it (M. R. Hestenes and E. Stiefel, J. Res. Nat. Bur. Stand. 49 (1952) 409).
"""

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.solver.local_constraints import LocalConstraints
from faser_align.alignment.solver.sparse_matrix import SparseMatrix

ERROR_MAX = 1e-6  # of parameters, in units of their statistical errors
_ROUNDING = 1e-24  # relative to the whole decrease
_CURVATURE_MIN = 1e-10  # relative to single parameters; below it a direction is undetermined, as for pede's pivots
_NOISE = 1e-12  # of residuals, relative to the largest right-hand side
_AHEAD = 20  # iterations over which the remaining decrease is measured
_ITERATIONS_MAX = 10_000


class IterativeSolution:
    """Solutions of one matrix, as ``global_fit.Inverse`` without errors of the parameters.

    Args:
        matrix: of the variable parameters.
        constraints: of the same parameters.

    Attributes:
        iterations: of each solution.
        elements: number of elements of the matrix.
        trouble: why the last solution is not exact, in one clause; empty if it is.
        defect, undetermined: none, since the method cannot tell which directions are undetermined.
    """

    def __init__(self, matrix: SparseMatrix, constraints: LocalConstraints) -> None:
        self.iterations: list[int] = []
        self.elements = len(matrix.values)
        self.trouble = ""
        self.defect, self.undetermined = 0, np.zeros((0, 0))
        self.correlations = np.full(len(matrix), -1.0)
        self._matrix = matrix
        self._scales = np.sqrt(np.where(matrix.diagonal > 0, matrix.diagonal, 1.0))
        self._project = constraints.projection(self._scales)
        self._largest = 0.0  # square of a right-hand side

    def step(self, gradient: FloatArray) -> FloatArray:
        """Return the Newton step for the right-hand side ``gradient``."""
        # removes rounding errors of the constraints' large forces
        residual = self._project(self._project(gradient / self._scales))
        solution = np.zeros(len(gradient))
        direction = residual.copy()
        square = float(residual @ residual)
        self._largest = max(self._largest, square)
        gains: list[float] = []
        self.trouble = ""
        while not _is_end(gains) and square:
            if len(gains) == _ITERATIONS_MAX:
                self.trouble = f"{_ITERATIONS_MAX} conjugate gradients did not reach a solution"
                break
            product = self._project((self._matrix @ (direction / self._scales)) / self._scales)
            curvature = float(direction @ product)
            if not curvature > _CURVATURE_MIN * float(direction @ direction):
                if square > _NOISE**2 * self._largest and not (gains and gains[-1] < ERROR_MAX**2):
                    self.trouble = "the data do not determine all directions, or the matrix is not positive definite"
                break
            length = square / curvature
            solution += length * direction
            residual -= length * product
            gains.append(length * square)
            before, square = square, float(residual @ residual)
            direction *= square / before
            direction += residual
        self.iterations.append(len(gains))
        return np.asarray(self._project(solution) / self._scales)

    def errors(self) -> FloatArray:
        """Return no errors of the parameters: not numbers."""
        return np.full(len(self._scales), np.nan)


def _is_end(gains: list[float]) -> bool:
    """Return whether the last decreases of chi2 are negligible."""
    if len(gains) < _AHEAD:
        return False
    return sum(gains[-_AHEAD:]) < max(ERROR_MAX**2, _ROUNDING * sum(gains))
