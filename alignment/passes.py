"""Data passes of the built-in solver: all records once, with the present parameters.

The first pass makes the matrix of the global parameters and the gradient, later ones the gradient only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from faser_align.alignment.equations import Equations
from faser_align.alignment.localfit import LocalFits, chi2_limit, fit_records, huber
from faser_align.alignment.normalmatrix import Sums
from faser_align.alignment.source import Source
from faser_align.alignment.steeringdata import Steering

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Observer = Callable[[Equations, LocalFits, FloatArray], None]

_TABLE_MAX = 1 << 20


@dataclass
class Pass:
    """Sums of one pass.

    Attributes:
        chi2: the function's value; ndf, weighted_ndf: degrees of freedom of records that have a fit.
        gradient: shape (variable parameters,): downhill.
        matrix: shape (variable, variable), or None.
        accepted: entries of each variable parameter in accepted records.
        rejects: records by reason: rank deficit or NaN, ndf = 0, huge chi2, large chi2.
    """

    gradient: FloatArray = field(default_factory=lambda: np.zeros(0))
    accepted: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    matrix: FloatArray | None = None
    chi2: float = 0.0
    ndf: int = 0
    weighted_ndf: float = 0.0
    rejects: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Parameters:
    """Which labels there are.

    Attributes:
        labels: ascending.
        variable: number of each among the variable ones, -1 for the others.
        n_variable: how many are variable.
    """

    labels: IntArray
    variable: IntArray
    n_variable: int
    _table: IntArray  # position of each label, for labels that are small enough for a table

    @staticmethod
    def make(labels: IntArray, free: BoolArray) -> "Parameters":
        """Number the labels; ``free`` says which are variable."""
        table = np.zeros(0, np.int64)
        if labels[-1] <= _TABLE_MAX:
            table = np.zeros(int(labels[-1]) + 1, np.int64)
            table[labels] = np.arange(len(labels))
        return Parameters(labels, np.where(free, np.cumsum(free) - 1, -1), int(free.sum()), table)

    def positions(self, labels: IntArray) -> IntArray:
        """Positions of labels, all of which must be there."""
        return self._table[labels] if len(self._table) else np.searchsorted(self.labels, labels)


def run_pass(
    source: Source,
    steering: Steering,
    parameters: Parameters,
    values: FloatArray,
    chi2_cut: float,
    *,
    first: bool,
    with_matrix: bool,
    observe: Observer | None = None,
) -> Pass:
    """Go through all records.

    Args:
        source: the records.
        steering: cuts, down-weighting, scales.
        parameters: the labels.
        values: present value of each label.
        chi2_cut: factor of the 3-sigma chi2; 0 for none, negative for none and no huge cut either.
        first: whether this is the first pass, which never down-weights.
        with_matrix: whether to make the matrix.
        observe: is shown all records with their fits and the errors of the equations.
    """
    labels = source.sets.labels
    positions = parameters.positions(labels)
    columns = np.where(labels > 0, parameters.variable[positions], -1)
    shifts = np.where(labels > 0, values[positions], 0.0)
    has_label = labels[0] > 0 if len(labels) else np.zeros(len(source.sets), np.bool_)
    sums = Sums(columns, parameters.n_variable, with_matrix=with_matrix)
    done = Pass()
    downweighting = 0 if first else steering.downweighting
    for chunk in source:
        # an error of zero makes infinities; the record's fit fails then, and is rejected for it
        with np.errstate(divide="ignore", invalid="ignore"):
            measured = _measured(chunk, shifts)
            sigmas = chunk.sigmas.astype(np.float64)
            if steering.error_scales != (1.0, 1.0):
                sigmas *= np.where(has_label[chunk.sets], *steering.error_scales)
            fits = fit_records(
                chunk,
                measured,
                sigmas,
                downweighting,
                projected=with_matrix,
                with_variances=observe is not None,
            )
            if observe is not None:
                observe(chunk, fits, sigmas)
            accepted = _judge(done, chunk, fits, steering, chi2_cut, downweighting)
            _add(done, sums, chunk, fits, sigmas, accepted, downweighting)
    done.gradient, done.accepted, done.matrix = sums.gradient(), sums.accepted(), sums.matrix()
    return done


def _measured(chunk: Equations, shifts: FloatArray) -> FloatArray:
    """Measured values less what the global parameters make of them."""
    measured = chunk.values.astype(np.float64)
    for factors, shift in zip(chunk.factors, shifts, strict=False):
        if shift.any():
            measured -= factors * shift[chunk.sets]
    return measured


def _add(
    done: Pass,
    sums: Sums,
    chunk: Equations,
    fits: LocalFits,
    sigmas: FloatArray,
    accepted: BoolArray,
    downweighting: int,
) -> None:
    """Add the accepted records."""
    kept = None if accepted.all() else np.repeat(accepted, np.diff(chunk.offsets))
    weights = 1.0 / sigmas**2
    if downweighting:
        weights, contributions = huber(weights, np.abs(fits.residuals) / sigmas)
        done.chi2 += chunk.weight * float((contributions if kept is None else contributions[kept]).sum())
    else:
        done.chi2 += chunk.weight * float(fits.chi2[accepted].sum())
    sums.add(chunk, fits, weights, kept)


def _judge(
    sums: Pass, chunk: Equations, fits: LocalFits, steering: Steering, chi2_cut: float, downweighting: int
) -> BoolArray:
    """Count degrees of freedom and rejects; which records are accepted."""
    there = chunk.n_locals != 0  # pede passes over records without local parameters
    fitted = there & ~fits.deficient & (fits.ndf > 0)
    sums.ndf += int(fits.ndf[fitted].sum())
    sums.weighted_ndf += chunk.weight * float(fits.ndf[fitted].sum())
    limit = chi2_limit(fits.ndf)
    huge = fitted & (chi2_cut >= 0) & (fits.chi2 > np.float32(steering.huge_cut) * limit)
    large = fitted & ~huge & (chi2_cut > 0) & (fits.chi2 > np.float32(chi2_cut) * limit)
    # a record beyond its limit still adds the limit, so that the function does not fall by rejecting
    sums.chi2 += chunk.weight * float((np.float32(chi2_cut) * limit)[large].astype(np.float64).sum())
    down = np.zeros_like(large)
    if steering.downweighting > 1 and steering.downweight_max and downweighting:
        down = fitted & ~huge & ~large & (fits.downweight > steering.downweight_max)
        sums.chi2 += chunk.weight * float(fits.chi2[down].sum())
    found = (there & fits.deficient, there & ~fits.deficient & (fits.ndf <= 0), huge, large | down)
    sums.rejects = tuple(  # type: ignore[assignment]
        old + int(new.sum()) for old, new in zip(sums.rejects, found, strict=True)
    )
    return fitted & ~huge & ~large & ~down
