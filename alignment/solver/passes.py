"""Pass over all records once with the current parameters.

The first pass computes the matrix of the global parameters and the gradient, later ones only the gradient.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.solver.blas import one_blas_thread
from faser_align.alignment.solver.equations import Equations, joined, selected
from faser_align.alignment.solver.local_fit import LocalFits, chi2_limit, fit_records, huber, refit
from faser_align.alignment.solver.normal_matrix import Sums
from faser_align.alignment.solver.source import Source
from faser_align.alignment.solver.sparse_matrix import SparseMatrix
from faser_align.alignment.solver.steering import Steering

Observer = Callable[[Equations, LocalFits, FloatArray], None]

_BITS_MAX = 2048  # parameters that are counted per record
_NEAR, _NEAR_MAX = 0.01, 20_000  # fraction of records that may be near a cut, and about how many memory has room for
_MANY = 1000  # records, of which it is worth while to separate those near a cut


@dataclass
class Pass:
    """Sums of one pass.

    Attributes:
        chi2: value of the function; ndf, weighted_ndf: degrees of freedom of fitted records that are not huge.
        gradient: shape (variable parameters,): negative gradient of half the chi2.
        matrix: shape (variable, variable), or a sparse one, or None.
        accepted: entries of each variable parameter in accepted records.
        rejects: records by reason: rank deficit or NaN, ndf = 0, huge chi2, large chi2.
        globals_max: largest number of variable parameters in a record; ``records_free``: records that have any. Only in
            a first pass, and 0 if there are too many parameters to count.
        files: by number of the binary: accepted records, and the sums of their chi2/ndf and of their ndf.
        margin: change of all measurements of a record, in units of their errors, that cannot move its chi2 across the cut; the
            smallest of all records, 0 where another function than the sum of chi2 is minimised. ``pulls_max``, shape (places, sets): largest derivative over error of each label of a set.
            The latter only in a pass with matrix.
        accepted_set: hash of the set of accepted records.
        equations_min: smallest number of equations of a record.
        near: records near a cut, if the pass separated them; ``far``: the sums of the others, None without any.
    """

    gradient: FloatArray = field(default_factory=lambda: np.zeros(0))
    accepted: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    matrix: FloatArray | SparseMatrix | None = None
    chi2: float = 0.0
    ndf: int = 0
    weighted_ndf: float = 0.0
    rejects: tuple[int, int, int, int] = (0, 0, 0, 0)
    globals_max: int = 0
    records_free: int = 0
    files: dict[int, FloatArray] = field(default_factory=dict)
    margin: float = np.inf
    accepted_set: int = 0
    pulls_max: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    equations_min: int = 1 << 30
    near: tuple[Equations, ...] = ()
    far: "Pass | None" = None

    def __add__(self, other: "Pass") -> "Pass":
        """Return the sums of both; the matrix is None unless both have a dense one."""
        both = replace(self, files=dict(self.files))
        both.add(other)
        both.gradient, both.accepted = self.gradient + other.gradient, self.accepted + other.accepted
        both.matrix = None
        if isinstance(self.matrix, np.ndarray) and isinstance(other.matrix, np.ndarray):
            both.matrix = self.matrix + other.matrix
        return both

    def add(self, other: "Pass") -> None:
        """Add another pass's chi2, degrees of freedom, rejects, sums of binaries, and extremes."""
        self.chi2 += other.chi2
        self.ndf += other.ndf
        self.weighted_ndf += other.weighted_ndf
        self.globals_max = max(self.globals_max, other.globals_max)
        self.records_free += other.records_free
        self.margin = min(self.margin, other.margin)
        self.accepted_set ^= other.accepted_set
        self.equations_min = min(self.equations_min, other.equations_min)
        if len(other.pulls_max):
            self.pulls_max = np.maximum(self.pulls_max, other.pulls_max) if len(self.pulls_max) else other.pulls_max
        for binary, sums in other.files.items():
            self.files[binary] = self.files.get(binary, 0.0) + sums
        a, b, c, d = (mine + its for mine, its in zip(self.rejects, other.rejects, strict=True))
        self.rejects = (a, b, c, d)


@dataclass(frozen=True)
class Parameters:
    """Labels of all parameters, and which of them are variable.

    Attributes:
        labels: ascending.
        variable: index of each label among the variable ones, -1 for the others.
        n_variable: number of variable labels.
    """

    labels: IntArray
    variable: IntArray
    n_variable: int

    @staticmethod
    def make(labels: IntArray, free: BoolArray) -> "Parameters":
        """Number the labels; ``free`` says which are variable."""
        return Parameters(labels, np.where(free, np.cumsum(free) - 1, -1), int(free.sum()))

    def positions(self, labels: IntArray) -> IntArray:
        """Return the positions of labels, all of which must be known."""
        return np.searchsorted(self.labels, labels)


@one_blas_thread()
def run_pass(
    source: Source,
    steering: Steering,
    parameters: Parameters,
    values: FloatArray,
    chi2_cut: float,
    *,
    first: bool,
    with_matrix: bool,
    records: Iterable[Equations] | None = None,
    sparse_bytes: int = 0,
    observe: Observer | None = None,
    also: Sequence[tuple[FloatArray, Observer]] = (),
    near: Sequence[Equations] | None = None,
) -> Pass:
    """Pass over the records of a source.

    Args:
        steering: cuts, down-weighting, scales.
        values: current value of each label.
        chi2_cut: factor of the 3-sigma chi2; 0 for no cut, negative for no huge cut either.
        first: whether this is the first pass, which never down-weights.
        with_matrix: whether to compute the matrix; ``sparse_bytes``: memory for a sparse one, 0 for a dense one.
        records: some of the source's records, instead of all.
        observe: called with all records, their fits and the errors of the equations.
        also: other values, with which the records are only fitted, and their observers.
        near: records to separate, from an earlier pass; if empty, of many records about one percent, those nearest to the
            cut; None for none.
    """
    labels = source.sets.labels
    positions = parameters.positions(labels)
    columns = np.where(labels > 0, parameters.variable[positions], -1)

    def shifts(of: FloatArray) -> FloatArray:
        return np.where(labels > 0, of[positions], 0.0)

    separate: dict[int, IntArray] = {}
    for chunk in near or ():
        separate[chunk.binary] = np.append(separate.get(chunk.binary, np.zeros(0, np.int64)), chunk.records)
    work = _Work(
        steering,
        shifts(values),
        source.sets.has_label,
        chi2_cut,
        0 if first else steering.downweighting,
        with_matrix,
        observe is not None,
        _bits(columns, parameters.n_variable) if first else None,
        tuple(shifts(of) for of, _ in also),
        separate,
    )
    if near is not None and not near and chi2_cut == 0 and not steering.downweighting:
        work = work._replace(margin_min=work.margin_of_near(source))

    def sums() -> Sums:
        return Sums(columns, parameters.n_variable, with_matrix=with_matrix, sparse_bytes=sparse_bytes)

    done, total = Pass(), sums()
    separated: list[Equations] = []
    chunks = source if records is None else records
    for chunk, result in _in_order(lambda chunk: work(chunk, sums()), chunks, steering.threads):
        if observe is not None:
            observe(chunk, result.fits, result.sigmas)
        for (_, observe_also), fits in zip(also, result.also, strict=True):
            observe_also(chunk, fits, result.sigmas)
        if result.near is not None:
            separated.append(result.near)
        done.add(result.done)
        total.merge(result.sums)
    done.gradient, done.accepted, done.matrix = total.gradient(), total.accepted(), total.matrix()
    if not separated:
        return done
    near = tuple(joined(separated))
    of_near = run_pass(
        source, steering, parameters, values, chi2_cut, first=False, with_matrix=with_matrix, records=near
    )
    return replace(done + of_near, far=done, near=near)


class _Result(NamedTuple):
    """Result of a chunk: its fits, their sums, the fits with the other values, and the records near a cut."""

    fits: LocalFits
    sigmas: FloatArray
    done: Pass
    sums: Sums
    also: list[LocalFits]
    near: Equations | None


class _Work(NamedTuple):
    """The computation for each chunk, in any thread.

    Attributes:
        steering: cuts, scales.
        shifts: shape (places, sets): value of each parameter.
        has_label: shape (sets,): whether a set has any label.
        chi2_cut, with_matrix: of the pass.
        downweighting: iterations of the local fits.
        with_variances: whether to compute the variances of the fits.
        bits: shape (sets, words): a bit for each variable parameter of a set; None if they are not counted.
        shifts_also: with the other values.
        near: numbers of the records to separate, by binary. ``margin_min``: records with a smaller margin are, too.
    """

    steering: Steering
    shifts: FloatArray
    has_label: BoolArray
    chi2_cut: float
    downweighting: int
    with_matrix: bool
    with_variances: bool
    bits: npt.NDArray[np.uint64] | None
    shifts_also: tuple[FloatArray, ...] = ()
    near: Mapping[int, IntArray] = {}
    margin_min: float = 0.0

    def __call__(self, chunk: Equations, sums: Sums) -> _Result:
        # an error of zero gives infinities; the record's fit then fails, and it is rejected
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            sigmas = self._sigmas(chunk)
            fits = self._fits(chunk, self.shifts, sigmas)
            simple = fits.projection is not None and not fits.doubtful and not self.downweighting
            also = [
                refit(fits, chunk, _measured(chunk, shifts), sigmas) if simple else self._fits(chunk, shifts, sigmas)
                for shifts in self.shifts_also
            ]
            counts = np.diff(chunk.offsets)
            margins = self._margins(fits, counts)
            far = margins >= self.margin_min
            if chunk.binary in self.near:
                far = ~np.isin(chunk.records, self.near[chunk.binary])
            done = Pass()
            accepted = self._judge(done, chunk, fits, far)
            self._add(done, sums, chunk, fits, sigmas, accepted)
            done.margin, done.equations_min = float(np.min(margins[far], initial=np.inf)), int(np.min(counts))
            where = f"{chunk.binary} {chunk.records[0]} ".encode()
            done.accepted_set = int.from_bytes(blake2b(where + accepted.tobytes(), digest_size=16).digest(), "big")
            if self.with_matrix:
                done.pulls_max = np.zeros(self.shifts.shape)
                for largest, pulls in zip(done.pulls_max, np.abs(chunk.factors / sigmas), strict=False):
                    np.maximum.at(largest, chunk.sets, pulls)
            if self.bits is not None:
                there = np.bitwise_or.reduceat(self.bits[chunk.sets], chunk.offsets[:-1], axis=0)
                numbers = np.unpackbits(there.view(np.uint8), axis=1).sum(axis=1)
                done.globals_max, done.records_free = int(np.max(numbers)), int((numbers > 0).sum())
            ndf = fits.ndf[accepted]
            done.files[chunk.binary] = np.array([len(ndf), (fits.chi2[accepted] / ndf).sum(), ndf.sum()])
        return _Result(fits, sigmas, done, sums, also, None if far.all() else selected(chunk, ~far))

    def _judge(self, done: Pass, chunk: Equations, fits: LocalFits, considered: BoolArray) -> BoolArray:
        """Count degrees of freedom and rejects of the records considered; return which are accepted."""
        there = (chunk.n_locals != 0) & considered  # pede skips records without local parameters
        fitted = there & ~fits.deficient & (fits.ndf > 0)
        limit = chi2_limit(fits.ndf)
        huge = fitted & (self.chi2_cut >= 0) & (fits.chi2 > np.float32(self.steering.huge_cut) * limit)
        # pede's LOOPBF leaves a huge record before it adds the degrees of freedom, and a large one afterwards
        ndf = int(fits.ndf[fitted & ~huge].sum())
        done.ndf += ndf
        done.weighted_ndf += chunk.weight * float(ndf)
        large = fitted & ~huge & (self.chi2_cut > 0) & (fits.chi2 > np.float32(self.chi2_cut) * limit)
        # a record beyond its limit still adds the limit, so that rejecting does not decrease the function
        done.chi2 += chunk.weight * float((np.float32(self.chi2_cut) * limit)[large].astype(np.float64).sum())
        down = np.zeros_like(large)
        if self.downweighting > 1 and self.steering.downweight_max:
            down = fitted & ~huge & ~large & (fits.downweight > self.steering.downweight_max)
            done.chi2 += chunk.weight * float(fits.chi2[down].sum())
        rejected = (there & fits.deficient, there & ~fits.deficient & (fits.ndf <= 0), huge, large | down)
        deficit, freedom, of_huge, of_large = (int(reason.sum()) for reason in rejected)
        done.rejects = (deficit, freedom, of_huge, of_large)
        return np.asarray(fitted & ~huge & ~large & ~down)

    def _add(
        self, done: Pass, sums: Sums, chunk: Equations, fits: LocalFits, sigmas: FloatArray, accepted: BoolArray
    ) -> None:
        """Add the accepted records."""
        kept = None if accepted.all() else np.repeat(accepted, np.diff(chunk.offsets))
        weights = 1.0 / sigmas**2
        if self.downweighting:
            weights, contributions = huber(weights, np.abs(fits.residuals) / sigmas)
            done.chi2 += chunk.weight * float((contributions if kept is None else contributions[kept]).sum())
        else:
            done.chi2 += chunk.weight * float(fits.chi2[accepted].sum())
        sums.add(chunk, fits, weights, kept)

    def margin_of_near(self, source: Source) -> float:
        """Estimate from the first records the margin below which a record counts as near a cut."""
        chunk = next(iter(source), None)
        if chunk is None or len(chunk.records) < _MANY:
            return 0.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            margins = self._margins(self._fits(chunk, self.shifts, self._sigmas(chunk)), np.diff(chunk.offsets))
        fraction = min(_NEAR, _NEAR_MAX / max(source.records, 1))
        return float(np.sort(margins)[int(fraction * len(margins))])

    def _sigmas(self, chunk: Equations) -> FloatArray:
        sigmas = chunk.sigmas.astype(np.float64)
        if self.steering.error_scales != (1.0, 1.0):
            sigmas *= np.where(self.has_label[chunk.sets], *self.steering.error_scales)
        return sigmas

    def _fits(self, chunk: Equations, shifts: FloatArray, sigmas: FloatArray) -> LocalFits:
        return fit_records(
            chunk,
            _measured(chunk, shifts),
            sigmas,
            self.downweighting,
            projected=self.with_matrix,
            with_variances=self.with_variances,
        )

    def _margins(self, fits: LocalFits, equations: IntArray) -> FloatArray:
        """Return the margin of each record from the huge cut; with any other cut the function is not quadratic."""
        if self.steering.downweighting or self.chi2_cut > 0:
            return np.zeros(len(equations))
        limit = np.sqrt(self.steering.huge_cut * chi2_limit(fits.ndf))
        margins = np.abs(np.sqrt(np.maximum(fits.chi2, 0.0)) - limit) / np.sqrt(equations)
        return np.where(fits.deficient | (fits.ndf <= 0) | (self.chi2_cut < 0), np.inf, margins)


def _bits(columns: IntArray, n: int) -> npt.NDArray[np.uint64] | None:
    """Return a bit for each variable parameter of a set, shape (sets, words); None for too many words."""
    if n > _BITS_MAX:
        return None
    bits = np.zeros((columns.shape[1], n // 64 + 1), np.uint64)
    for row in columns:
        sets = np.flatnonzero(row >= 0)
        np.bitwise_or.at(bits, (sets, row[sets] // 64), np.uint64(1) << (row[sets] % 64).astype(np.uint64))
    return bits


def _in_order(
    work: Callable[[Equations], _Result], chunks: Iterable[Equations], threads: int
) -> Iterator[tuple[Equations, _Result]]:
    """Yield chunks with their results in order, whatever the threads do, so that sums are reproducible."""
    if threads == 1:
        for chunk in chunks:
            yield chunk, work(chunk)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Equations, Future[_Result]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, chunk)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _measured(chunk: Equations, shifts: FloatArray) -> FloatArray:
    """Return the measured values minus the effect of the global parameters."""
    measured = chunk.values.astype(np.float64)
    for factors, shift in zip(chunk.factors, shifts, strict=False):
        if shift.any():
            measured -= factors * shift[chunk.sets]
    return measured
