"""Data passes of the built-in solver: all records once, with the present parameters.

The first pass makes the matrix of the global parameters and the gradient, later ones the gradient only. Decoded
binaries are kept in memory as long as there is room below a limit; the others are read again in each pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faser_align.alignment.equations import Equations, decode
from faser_align.alignment.localfit import LocalFits, chi2_limit, fit_records, huber
from faser_align.alignment.records import iterate_records
from faser_align.alignment.steering import Steering

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CHUNK_BYTES = 2 << 20  # about a thousand FASER tracks
CACHE_BYTES = 384 << 20
_TABLE_MAX = 1 << 20


class Source:
    """The records of all binaries as equations, chunk by chunk, as often as needed.

    Attributes:
        records, equations: how many there are; known after ``count``.
    """

    def __init__(self, binaries: Sequence[tuple[Path, float]]) -> None:
        self._binaries = binaries
        self._kept: dict[int, list[Equations]] = {}  # by number of the binary
        self.records = 0
        self.equations = 0

    def count(self, by_record: bool) -> dict[int, int]:
        """Entries of each label: equations with it, or records; reads everything for the first time."""
        entries: dict[int, int] = {}
        self.records = self.equations = used = 0
        for number, (path, weight) in enumerate(self._binaries):
            chunks: list[Equations] | None = []
            for records in iterate_records(path, CHUNK_BYTES):
                chunk = decode(records, weight)
                self.records += len(records.offsets) - 1
                self.equations += len(chunk.values)
                for label, count in _entries(chunk, by_record):
                    entries[label] = entries.get(label, 0) + count
                if chunks is not None and used + chunk.nbytes <= CACHE_BYTES:
                    used += chunk.nbytes
                    chunks.append(chunk)
                elif chunks is not None:
                    used -= sum(kept.nbytes for kept in chunks)
                    chunks = None
            if chunks is not None:
                self._kept[number] = chunks
        return entries

    def __iter__(self) -> Iterator[Equations]:
        for number, (path, weight) in enumerate(self._binaries):
            if number in self._kept:
                yield from self._kept[number]
            else:
                yield from (decode(records, weight) for records in iterate_records(path, CHUNK_BYTES))


def _entries(chunk: Equations, by_record: bool) -> list[tuple[int, int]]:
    labels = chunk.labels
    if by_record:
        owner = np.searchsorted(chunk.offsets, chunk.at, side="right")
        labels = np.unique(np.stack([owner, labels]), axis=1)[1]
    found, counts = np.unique(labels, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


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

    gradient: FloatArray
    accepted: IntArray
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
    """
    n = parameters.n_variable
    sums = Pass(np.zeros(n), np.zeros(n, np.int64), np.zeros((n, n)) if with_matrix else None)
    downweighting = 0 if first else steering.downweighting
    for chunk in source:
        if len(chunk.values):
            # an error of zero makes infinities; the record's fit fails then, and is rejected for it
            with np.errstate(divide="ignore", invalid="ignore"):
                _add_chunk(sums, chunk, steering, parameters, values, chi2_cut, downweighting)
    if sums.matrix is not None:
        sums.matrix = np.tril(sums.matrix) + np.tril(sums.matrix, -1).T
    return sums


def _add_chunk(
    sums: Pass,
    chunk: Equations,
    steering: Steering,
    parameters: Parameters,
    values: FloatArray,
    chi2_cut: float,
    downweighting: int,
) -> None:
    at = parameters.positions(chunk.labels)
    n_equations = len(chunk.values)
    measured = chunk.values - np.bincount(chunk.at, weights=chunk.factors * values[at], minlength=n_equations)
    sigmas = _sigmas(chunk, steering.error_scales)
    fits = fit_records(chunk, measured, sigmas, downweighting)
    accepted = _judge(sums, chunk, fits, steering, chi2_cut, downweighting)

    owner = np.repeat(np.arange(len(chunk.weights)), np.diff(chunk.offsets))
    weights = 1.0 / sigmas**2
    contributions = weights * fits.residuals**2
    if downweighting:
        weights, contributions = huber(weights, np.abs(fits.residuals) / sigmas)
    weights = weights * chunk.weights[owner]
    kept = accepted[owner]
    sums.chi2 += float((contributions * chunk.weights[owner])[kept].sum())

    variable = parameters.variable[at]
    words = (variable >= 0) & kept[chunk.at]
    variable, equation, factors = variable[words], chunk.at[words], chunk.factors[words]
    n = parameters.n_variable
    sums.gradient += np.bincount(variable, weights=(weights * fits.residuals)[equation] * factors, minlength=n)
    sums.accepted += np.bincount(variable, minlength=n)
    if sums.matrix is not None:
        _add_global(sums.matrix, variable, equation, factors, weights)
        _subtract_local(sums.matrix, chunk, fits.inverse, accepted, variable, equation, factors * weights[equation])


def _sigmas(chunk: Equations, scales: tuple[float, float]) -> FloatArray:
    if scales == (1.0, 1.0):
        return chunk.sigmas
    has_global = np.bincount(chunk.at, minlength=len(chunk.values)) > 0
    return chunk.sigmas * np.where(has_global, scales[0], scales[1])


def _judge(
    sums: Pass, chunk: Equations, fits: LocalFits, steering: Steering, chi2_cut: float, downweighting: int
) -> BoolArray:
    """Count degrees of freedom and rejects; which records are accepted."""
    fitted = ~fits.deficient & (fits.ndf > 0)
    sums.ndf += int(fits.ndf[fitted].sum())
    sums.weighted_ndf += float((fits.ndf * chunk.weights)[fitted].sum())
    limit = chi2_limit(fits.ndf)
    huge = fitted & (chi2_cut >= 0) & (fits.chi2 > np.float32(steering.huge_cut) * limit)
    large = fitted & ~huge & (chi2_cut > 0) & (fits.chi2 > np.float32(chi2_cut) * limit)
    # a record beyond its limit still adds the limit, so that the function does not fall by rejecting
    sums.chi2 += float((np.float32(chi2_cut) * limit * chunk.weights)[large].sum())
    down = np.zeros_like(large)
    if steering.downweighting > 1 and steering.downweight_max and downweighting:
        down = fitted & ~huge & ~large & (fits.downweight > steering.downweight_max)
        sums.chi2 += float((fits.chi2 * chunk.weights)[down].sum())
    found = (fits.deficient, ~fits.deficient & (fits.ndf <= 0), huge, large | down)
    sums.rejects = tuple(  # type: ignore[assignment]
        old + int(new.sum()) for old, new in zip(sums.rejects, found, strict=True)
    )
    return fitted & ~huge & ~large & ~down


def _add_global(
    matrix: FloatArray, variable: IntArray, equation: IntArray, factors: FloatArray, weights: FloatArray
) -> None:
    """Add ``G^T W G`` to the lower triangle; words of an equation stand together."""
    if not len(equation):
        return
    n = len(matrix)
    begins = np.flatnonzero(np.diff(equation, prepend=-1))
    counts = np.diff(begins, append=len(equation))
    place = np.arange(len(equation)) - np.repeat(begins, counts)
    width = int(counts.max())
    row = np.repeat(np.arange(len(begins)), counts)
    columns = np.full((width, len(begins)), -1)
    values = np.zeros((width, len(begins)))
    columns[place, row] = variable
    values[place, row] = factors
    weight = weights[equation[begins]]
    flat = matrix.reshape(-1)
    for i in range(width):
        for j in range(i + 1):
            both = columns[i] >= 0  # j <= i is there if i is
            a, b = columns[i][both], columns[j][both]
            product = (weight * values[i] * values[j])[both]
            if i != j:
                product = np.where(a == b, 2 * product, product)
            flat += np.bincount(np.maximum(a, b) * n + np.minimum(a, b), weights=product, minlength=n * n)


def _subtract_local(
    matrix: FloatArray,
    chunk: Equations,
    inverse: FloatArray,
    accepted: BoolArray,
    variable: IntArray,
    equation: IntArray,
    weighted: FloatArray,
) -> None:
    """Subtract ``(G^T W L)(L^T W L)^-1(L^T W G)`` of all accepted records."""
    n, n_locals = len(matrix), len(chunk.locals)
    records = int(accepted.sum())
    number = np.cumsum(accepted) - 1
    owner = np.repeat(np.arange(len(accepted)), np.diff(chunk.offsets))
    # each record gives its weight twice here, and its matrix has it once less
    key = number[owner[equation]] * n + variable
    mixed = np.empty((records, n_locals, n))
    for i in range(n_locals):
        sums = np.bincount(key, weights=weighted * chunk.locals[i][equation], minlength=records * n)
        mixed[:, i, :] = sums.reshape(records, n)
    unweighted = inverse[accepted] / chunk.weights[accepted][:, None, None]
    solved = unweighted @ mixed
    matrix -= mixed.reshape(-1, n).T @ solved.reshape(-1, n)
