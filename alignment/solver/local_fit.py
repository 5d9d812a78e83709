"""Fit many records at once, with the results that pede gets one by one (LOOPBF and SQMINV of mpnum).

A record's local parameters are fitted by weighted least squares to its measurements minus the effect of the global
parameters. Matrices are inverted with pede's pivots: the largest diagonal element first, and none below 16 epsilon of
its original value, so that the same records have a rank deficit.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.solver.equations import Equations

EPSILON = 16 * float(np.finfo(np.float64).eps)
_PIVOT_MIN = 1e-7  # relative to the diagonal element; below it, pede's own order of pivots decides on the rank
_HUBER, _CAUCHY = 1.345, 2.3849  # pede's constants of down-weighting

# chi2/ndf at three standard deviations (probability 0.0027), ndf = 1 ... 30: CHINDL of pede's mpnum.
_CHI2_3_SIGMA = np.array(
    [
        9.0000, 5.9146, 4.7184, 4.0628, 3.6410, 3.3436, 3.1209, 2.9468, 2.8063, 2.6902,
        2.5922, 2.5082, 2.4352, 2.3711, 2.3143, 2.2635, 2.2178, 2.1764, 2.1386, 2.1040,
        2.0722, 2.0428, 2.0155, 1.9901, 1.9665, 1.9443, 1.9235, 1.9040, 1.8855, 1.8681,
    ],
    np.float32,
)  # fmt: skip


class LocalFits(NamedTuple):
    """Fits of the records of some equations.

    Attributes:
        residuals: residual of each equation after the fit.
        chi2, ndf: of each record; chi2 includes down-weighting if used.
        deficient: whether a record's parameters cannot be determined.
        downweight: fraction by which a record's measurements were down-weighted.
        projection: Q, shape (n, equations): derivatives with respect to those combinations of a record's parameters
            whose covariance is the unit matrix; with weights W of the fit, the fit's residuals are ``y - Q (Q^T W y)``.
            None unless requested.
        plain_residuals: those of the first iteration, without down-weighting.
        variances: shape (equations,): variances of the plain fit's predictions. None unless requested.
        doubtful: whether pede's pivots decided on the rank of a record.
    """

    residuals: FloatArray
    chi2: FloatArray
    ndf: IntArray
    deficient: BoolArray
    downweight: FloatArray
    projection: FloatArray | None
    plain_residuals: FloatArray
    variances: FloatArray | None
    doubtful: bool


def fit_records(
    equations: Equations,
    measured: FloatArray,
    sigmas: FloatArray,
    downweighting: int = 0,
    *,
    projected: bool = False,
    with_variances: bool = False,
) -> LocalFits:
    """Fit every record.

    Args:
        measured: value of each equation minus the effect of the global parameters.
        sigmas: its error.
        downweighting: iterations with down-weighted outliers (Huber in the second and third, then Cauchy).
        projected: whether to compute the projection.
        with_variances: whether to compute the variances.
    """
    starts, counts = equations.offsets[:-1], np.diff(equations.offsets)
    derivatives = equations.locals.astype(np.float64)
    plain = 1.0 / sigmas**2
    weights, residuals = plain, measured
    for iteration in range(1, max(downweighting, 1) + 1):
        if iteration > 1:
            weights = _downweighted(plain, np.abs(residuals) / sigmas, iteration)[0]
        fit = _solve(derivatives, weights, measured, starts, equations.n_locals)
        residuals = measured.copy()
        for derivative, parameter in zip(derivatives, fit.solution, strict=True):
            residuals -= derivative * np.repeat(parameter, counts)
        contributions = plain * residuals**2
        if iteration == 1:
            projection = _project(derivatives, fit, counts) if projected or with_variances else None
            variances = _variances(derivatives, fit, projection, counts) if with_variances else None
            plain_residuals = residuals
        else:
            weights, contributions = _downweighted(plain, np.abs(residuals) / sigmas, iteration)
    downweight = np.zeros(len(counts))
    if downweighting > 1:
        downweight = 1.0 - np.add.reduceat(sigmas * np.sqrt(weights), starts) / counts
    return LocalFits(
        residuals,
        np.add.reduceat(contributions, starts),
        counts - fit.rank,
        (fit.rank != np.abs(equations.n_locals)) | ~np.isfinite(fit.solution).all(axis=0),
        downweight,
        _project(derivatives, fit, counts) if projected and downweighting > 1 else projection,
        plain_residuals,
        variances,
        len(fit.doubtful) > 0,
    )


def refit(fits: LocalFits, equations: Equations, measured: FloatArray, sigmas: FloatArray) -> LocalFits:
    """Return the plain fits of the same records to other measured values, from fits with projection, none of them doubtful."""
    assert fits.projection is not None
    starts, counts = equations.offsets[:-1], np.diff(equations.offsets)
    weights = 1.0 / sigmas**2
    weighted, residuals = weights * measured, measured.copy()
    for projection in fits.projection:
        residuals -= projection * np.repeat(np.add.reduceat(projection * weighted, starts), counts)
    return fits._replace(
        residuals=residuals, plain_residuals=residuals, chi2=np.add.reduceat(weights * residuals**2, starts)
    )


def huber(weights: FloatArray, pulls: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weights and chi2 contributions with Huber's function, as in pede's LOOPBF.

    Args:
        weights: ``1 / error^2``, shape (equations,).
        pulls: absolute residuals divided by errors, shape (equations,).
    """
    outside = pulls > _HUBER
    scaled = np.where(outside, _HUBER / np.where(outside, pulls, 1.0), 1.0)
    return weights * scaled, np.where(outside, 2 * _HUBER * (pulls - 0.5 * _HUBER), pulls**2)


def chi2_limit(ndf: IntArray) -> npt.NDArray[np.float32]:
    """Return chi2 (not chi2/ndf) at three standard deviations in single precision, as in pede's CHINDL."""
    n = np.maximum(ndf, 1).astype(np.float32)
    table = _CHI2_3_SIGMA[np.clip(ndf, 1, 30) - 1]
    large = (np.float32(2.782170) + np.sqrt(n + n - 1)) ** 2 / (n + n)
    return np.asarray(np.where(ndf <= 30, table, large) * n, np.float32)


def invert_symmetric(
    matrices: FloatArray, epsilon: float = EPSILON, *, equal: float = 0.0
) -> tuple[FloatArray, IntArray]:
    """Invert a stack of symmetric matrices, shape (stack, n, n), with pivots on the diagonal.

    The pivot is the largest diagonal element, and must exceed ``epsilon`` times its original value. If several are the
    largest up to rounding, within ``equal`` times their original values, rounding would decide which parameter has no
    pivot: then the last one is taken, and the first of exactly equal ones. Returns the inverses and the ranks; rows and
    columns without a pivot are zero in the inverse.
    """
    work = matrices.copy()
    stack, n, _ = work.shape
    every = np.arange(stack)
    diagonal = np.abs(np.diagonal(work, axis1=1, axis2=2)).copy()
    free = np.ones((stack, n), np.bool_)
    rank = np.zeros(stack, np.int64)
    for _ in range(n):
        candidates = np.abs(np.diagonal(work, axis1=1, axis2=2))
        candidates = np.where(free & (candidates > epsilon * diagonal), candidates, -1.0)
        pivot = np.argmax(candidates, axis=1)
        if equal:
            largest = candidates[every, pivot][:, None]
            alike = (candidates > 0) & (candidates >= largest - equal * diagonal)
            unique = (candidates == largest).sum(axis=1) == 1
            pivot = np.where(unique, n - 1 - np.argmax(alike[:, ::-1], axis=1), pivot)
        has_pivot = candidates[every, pivot] > 0
        if not has_pivot.any():
            break
        value = np.where(has_pivot, work[every, pivot, pivot], 1.0)
        column = np.where(has_pivot[:, None], work[every, :, pivot], 0.0)
        scaled = column / value[:, None]
        work -= column[:, :, None] * scaled[:, None, :]
        at, k = every[has_pivot], pivot[has_pivot]
        work[at, :, k] = scaled[has_pivot]
        work[at, k, :] = scaled[has_pivot]
        work[at, k, k] = -1.0 / value[has_pivot]
        free[at, k] = False
        rank += has_pivot
    work = -work
    work[np.broadcast_to(free[:, :, None], work.shape) | np.broadcast_to(free[:, None, :], work.shape)] = 0.0
    return work, rank


class _Fit(NamedTuple):
    """Solutions, shape (n, records), and the decompositions used.

    ``factor`` is the lower triangle of the Cholesky decomposition, shape (n, n, records). Where that is not accurate,
    ``doubtful`` lists the records, ``inverses``, shape (doubtful, n, n), has their inverses as pede computes them, and
    ``roots``, same shape, their roots R with inverse R R^T.
    """

    solution: FloatArray
    rank: IntArray
    factor: FloatArray
    doubtful: IntArray
    inverses: FloatArray
    roots: FloatArray


def _solve(
    derivatives: FloatArray, weights: FloatArray, measured: FloatArray, starts: IntArray, n_locals: IntArray
) -> _Fit:
    """Solve the normal equations of all records, by Cholesky decomposition or as pede does for small pivots."""
    n, records = len(derivatives), len(starts)
    matrix = np.empty((n, n, records))
    vector = np.empty((n, records))
    for i in range(n):
        weighted = weights * derivatives[i]
        vector[i] = np.add.reduceat(weighted * measured, starts)
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = np.add.reduceat(weighted * derivatives[j], starts)
    known = np.abs(n_locals)
    absent = np.arange(n)[:, None] >= np.where(known > n, 0, known)
    diagonal = np.einsum("iir->ir", matrix)
    diagonal[absent] = 1.0  # completes the decomposition without affecting other parameters
    factor, small = _cholesky(matrix)
    solution = vector.copy()
    for i in range(n):
        solution[i] /= factor[i, i]
        solution[i + 1 :] -= factor[i + 1 :, i] * solution[i]
    for i in range(n - 1, -1, -1):
        solution[i] /= factor[i, i]
        solution[:i] -= factor[i, :i] * solution[i]
    rank = n_locals.copy()
    doubtful = np.flatnonzero(small | (n_locals < 0))
    inverse = roots = np.zeros((len(doubtful), n, n))
    if len(doubtful):
        counts = np.diff(starts, append=len(weights))
        sums = _sums_in_order(derivatives, weights, measured, starts[doubtful], counts[doubtful])
        inverse, solution[:, doubtful], rank[doubtful] = _invert_as_pede(*sums)
        useful = (rank == known) & (counts > rank)
        good = np.flatnonzero(useful[doubtful] & np.isfinite(inverse).all(axis=(1, 2)))
        values, vectors = np.linalg.eigh(inverse[good])
        roots = np.zeros_like(inverse)
        roots[good] = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return _Fit(solution, rank, factor, doubtful, inverse, roots)


def _sums_in_order(
    derivatives: FloatArray, weights: FloatArray, measured: FloatArray, starts: IntArray, counts: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return normal equations of some records, summed from the first equation to the last: matrices and vectors."""
    n = len(derivatives)
    matrices, vectors = np.zeros((len(starts), n, n)), np.zeros((len(starts), n))
    for place in range(int(np.max(counts))):
        there = np.flatnonzero(counts > place)
        at = starts[there] + place
        by = derivatives[:, at].T
        weighted = weights[at, None] * by
        # the factor of the later parameter comes first
        terms = np.tril(weighted[:, :, None] * by[:, None, :])
        matrices[there] += terms + np.swapaxes(np.tril(terms, -1), 1, 2)
        vectors[there] += (weights[at] * measured[at])[:, None] * by
    return matrices, vectors


def _invert_as_pede(matrices: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return inverses, solutions, shape (n, stack), and ranks, bit for bit as SQMINV of mpnum.

    With fewer equations than parameters, or parallel ones, the rest of a diagonal element is rounding alone, and often
    exceeds pede's limit for zero: such a record then has full rank, and no degree of freedom.
    """
    work, solution = matrices.copy(), vectors.copy()
    stack, n, _ = work.shape
    every = np.arange(stack)
    limits = EPSILON * np.abs(np.diagonal(work, axis1=1, axis2=2))
    free = np.ones((stack, n), np.bool_)
    for _ in range(n):
        candidates = np.abs(np.diagonal(work, axis1=1, axis2=2))
        candidates = np.where(free & (candidates > limits), candidates, -1.0)
        pivot = np.argmax(candidates, axis=1)
        at = np.flatnonzero(candidates[every, pivot] > 0)
        k = pivot[at]
        inverse = 1.0 / work[at, k, k]
        column = work[at, :, k]
        scaled = inverse[:, None] * column
        terms = np.tril(column[:, :, None] * scaled[:, None, :])
        work[at] -= terms + np.swapaxes(np.tril(terms, -1), 1, 2)
        work[at, :, k] = work[at, k, :] = scaled
        work[at, k, k] = -inverse
        share = solution[at, k] * inverse
        solution[at] -= share[:, None] * column
        solution[at, k] = share
        free[at, k] = False
    work = -work
    work[np.broadcast_to(free[:, :, None], work.shape) & np.broadcast_to(free[:, None, :], work.shape)] = 0.0
    solution[free] = 0.0
    return work, solution.T, n - free.sum(axis=1)


def _cholesky(matrix: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Decompose matrices of shape (n, n, records); also return which records have a pivot that is too small."""
    n, _, records = matrix.shape
    work = matrix.copy()
    small = np.zeros(records, np.bool_)
    for i in range(n):
        small |= ~(work[i, i] > _PIVOT_MIN * matrix[i, i])
        work[i, i][small] = 1.0
        work[i:, i] /= np.sqrt(work[i, i])
        for j in range(i + 1, n):
            work[j:, j] -= work[j:, i] * work[j, i]
    return work, small


def _variances(derivatives: FloatArray, fit: _Fit, projection: FloatArray | None, counts: IntArray) -> FloatArray:
    assert projection is not None
    variances = np.einsum("ij,ij->j", projection, projection)
    sizes = counts[fit.doubtful]
    first = np.cumsum(counts)[fit.doubtful] - np.cumsum(sizes)
    at = np.repeat(first, sizes) + np.arange(int(sizes.sum()))
    by = derivatives[:, at].T
    variances[at] = np.einsum("ei,eij,ej->e", by, np.repeat(fit.inverses, sizes, axis=0), by)
    return np.asarray(variances)


def _project(derivatives: FloatArray, fit: _Fit, counts: IntArray) -> FloatArray:
    projection = np.empty_like(derivatives)
    for i, derivative in enumerate(derivatives):
        rest = derivative.copy()
        for j in range(i):
            rest -= np.repeat(fit.factor[i, j], counts) * projection[j]
        np.divide(rest, np.repeat(fit.factor[i, i], counts), out=projection[i])
    ends = np.cumsum(counts)
    for record, root in zip(fit.doubtful.tolist(), fit.roots, strict=True):
        of = slice(ends[record] - counts[record], ends[record])
        projection[:, of] = root.T @ derivatives[:, of]
    return projection


def _downweighted(weights: FloatArray, pulls: FloatArray, iteration: int) -> tuple[FloatArray, FloatArray]:
    if iteration <= 3:
        return huber(weights, pulls)
    ratio = 1.0 + (pulls / _CAUCHY) ** 2
    return weights / ratio, np.log(ratio) * _CAUCHY**2
