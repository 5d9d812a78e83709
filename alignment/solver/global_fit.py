"""Solve the global equations: constraints, the step, and the covariance.

Constraints are eliminated: the step is in the null space of their matrix A, ``d = Z y`` with ``(Z^T C Z) y = Z^T b``.
The covariance is ``Z (Z^T C Z)^-1 Z^T``, the same as with Lagrange multipliers.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.solver.cholesky import invert_positive, pivots
from faser_align.alignment.solver.elimination import basis, compact, reflectors
from faser_align.alignment.solver.local_fit import invert_symmetric
from faser_align.alignment.solver.undetermined import directions, directions_of

_EPSILON = 1e-10  # minimum of pivots of the global matrix, as in pede's SQMINL
_CLEAR = 100 * _EPSILON  # pivots above it leave no doubt about the rank
_SMALL = 512  # parameters; with more, a matrix with few pivots is inverted by blocks, too
_EQUAL = 1e-12  # relative to the original pivot: pivots closer than this differ only by rounding


@dataclass(frozen=True)
class Constraints:
    """Linear equalities ``matrix @ p = values`` of the variable parameters.

    Attributes:
        matrix: shape (constraints, parameters).
        values: right-hand sides minus the contribution of fixed parameters.
        projector: shape (parameters, constraints): ``A^T (A A^T)^-1``.
        normals: shape (constraints, parameters): reflectors that eliminate the constraints; none if ``basis`` replaces them.
        basis: shape (parameters, parameters - rank): orthonormal columns, of redundant constraints; else None.
        rank: rank of the product matrix, as pede counts it.
        singular: whether the elimination meets an element that is exactly zero, with which pede ends (code 27).
    """

    matrix: FloatArray
    values: FloatArray
    projector: FloatArray
    normals: FloatArray
    basis: FloatArray | None
    rank: int
    singular: bool = False

    @staticmethod
    def make(matrix: FloatArray, values: FloatArray, *, multipliers: bool = False) -> "Constraints":
        """Prepare constraints in the order of elimination; ``matrix`` may have no rows.

        Args:
            matrix, values: the constraints.
            multipliers: use Lagrange multipliers, with which a redundant constraint removes no direction.
        """
        n = matrix.shape[1]
        if not len(matrix):
            return Constraints(matrix, values, np.zeros((n, 0)), np.zeros((0, n)), None, 0)
        inverse, ranks = invert_symmetric((matrix @ matrix.T)[None])
        rank, normals = int(ranks[0]), reflectors(matrix)
        singular, orthonormal = normals is None, None
        if normals is None or (multipliers and rank < len(matrix)):
            normals, orthonormal = np.zeros((0, n)), np.linalg.svd(matrix)[2][rank:].T
        return Constraints(matrix, values, matrix.T @ inverse[0], normals, orthonormal, rank, singular)

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def null_space(self) -> FloatArray:
        """Orthonormal columns that the constraints allow, shape (parameters, directions)."""
        return basis(self.normals) if self.basis is None else self.basis

    def reduce(self, matrix: FloatArray) -> FloatArray:
        """Return ``Z^T C Z`` of a matrix C, with the null space Z."""
        if self.basis is not None:
            return np.asarray(self.basis.T @ matrix @ self.basis)
        if not len(self.normals):
            return matrix
        count, triangle = len(matrix) - len(self.normals), compact(self.normals)
        reflected = _change(matrix @ self.normals.T @ triangle, self.normals, triangle)
        reflected += matrix
        return reflected[:count, :count]

    def lift(self, vectors: FloatArray) -> FloatArray:
        """Return ``Z y`` of columns y, with the null space Z."""
        if self.basis is not None:
            return np.asarray(self.basis @ vectors)
        padded = np.concatenate([vectors, np.zeros((len(self.normals), vectors.shape[1]))])
        return np.asarray(padded - self.normals.T @ (compact(self.normals) @ (self.normals @ padded)))

    def expand(self, reduced: FloatArray) -> FloatArray:
        """Return ``Z R Z^T`` of a matrix R, with the null space Z."""
        if self.basis is not None:
            return np.asarray(self.basis @ reduced @ self.basis.T)
        if not len(self.normals):
            return reduced
        count, triangle = len(reduced), compact(self.normals).T
        left = np.zeros(self.normals.T.shape)
        left[:count] = reduced @ self.normals[:, :count].T
        expanded = _change(left @ triangle, self.normals, triangle)
        expanded[:count, :count] += reduced
        return expanded

    def feasible(self, parameters: FloatArray, tolerance: float) -> tuple[FloatArray, bool]:
        """Return the nearest parameters that satisfy the constraints, and whether they differ from the given ones.

        The parameters stay unchanged if they satisfy the constraints within ``tolerance``, rms.
        """
        differences = self.values - self.matrix @ parameters
        if not len(differences) or np.sqrt(np.mean(differences**2)) < tolerance:
            return parameters, False
        parameters = parameters + self.projector @ differences
        return parameters + self.projector @ (self.values - self.matrix @ parameters), True


@dataclass(frozen=True)
class Inverse:
    """The inverted matrix of the fit parameters.

    Attributes:
        covariance: shape (parameters, parameters), in the space of the variable parameters.
        defect: number of fit parameters that the matrix does not determine; they keep their values.
        undetermined: shape (defect, parameters): their directions.
        correlations: shape (parameters,): global correlation of each, with the best combination of all others; -1 where
            undefined.
        trouble: empty, because every solution is exact.
    """

    covariance: FloatArray
    defect: int
    undetermined: FloatArray
    correlations: FloatArray
    trouble: str = ""

    @staticmethod
    def make(matrix: FloatArray, constraints: Constraints) -> "Inverse":
        """Invert the matrix of the variable parameters under the constraints."""
        reduced = constraints.reduce(matrix)
        inverse, rank = _invert(reduced)
        defect = len(reduced) - rank
        undetermined = np.zeros((0, len(matrix)))
        if defect and len(reduced) <= _SMALL:
            undetermined = directions(matrix, constraints.null_space, defect)
        elif defect:
            without = np.flatnonzero(np.diagonal(inverse) == 0)
            vectors = -(inverse @ reduced[:, without])
            vectors[without, np.arange(len(without))] += 1.0
            undetermined = directions_of(matrix, constraints.lift(vectors))
        covariance = constraints.expand(inverse)
        return Inverse(covariance, defect, undetermined, _correlations(matrix, covariance))

    def step(self, gradient: FloatArray) -> FloatArray:
        """Return the Newton step for the right-hand side ``gradient``."""
        return np.asarray(self.covariance @ gradient)

    def errors(self) -> FloatArray:
        """Return the errors of the parameters; negative where a diagonal element is."""
        diagonal = np.diagonal(self.covariance)
        return np.asarray(np.copysign(np.sqrt(np.abs(diagonal)), np.where(diagonal < 0, -1.0, 1.0)))


def _change(left: FloatArray, normals: FloatArray, triangle: FloatArray) -> FloatArray:
    """Return ``Q^T C Q - C`` of a symmetric C with ``Q = I - V T V^T``, V having the columns ``normals``.

    Args:
        left: ``C V T``, which is changed.
        normals: the columns of V as rows.
        triangle: T.
    """
    left -= normals.T @ (0.5 * (triangle.T @ (normals @ left)))
    product = left @ normals
    product += product.T  # numpy copies it first
    return np.asarray(np.negative(product, out=product))


def _invert(matrix: FloatArray) -> tuple[FloatArray, int]:
    """Return inverse and rank: by LAPACK, or with pede's pivots where these decide about the rank.

    A pivot is the diagonal element that remains after some other parameters were eliminated. Whatever their order, it is at
    least 1 / V_ii, what remains after all others were. If this is far above pede's limit, pede finds full rank.
    """
    with suppress(np.linalg.LinAlgError):  # pede's pivots also invert matrices that are not positive definite
        inverse = invert_positive(matrix)
        if np.all(np.diagonal(matrix) * np.diagonal(inverse) * _CLEAR < 1.0):
            return inverse, len(matrix)
    at = pivots(matrix, _EPSILON, _EQUAL) if len(matrix) > _SMALL else None
    if at is not None:
        at.sort()
        with suppress(np.linalg.LinAlgError):
            inverse = np.zeros_like(matrix)
            inverse[np.ix_(at, at)] = invert_positive(matrix[np.ix_(at, at)])
            return inverse, len(at)
    stack, ranks = invert_symmetric(matrix[None], _EPSILON, equal=_EQUAL)
    return stack[0], int(ranks[0])


def _correlations(matrix: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return ``sqrt(1 - 1/(C_ii V_ii))``, as pede defines it."""
    product = np.diagonal(matrix) * np.diagonal(covariance)
    square = 1.0 - 1.0 / np.where(product > 0, product, np.inf)
    return np.where((product > 0) & (square >= 0), np.sqrt(np.maximum(square, 0.0)), -1.0)
