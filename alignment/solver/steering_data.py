"""Define the options of a steering text for the built-in solver."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.pede.results import END_TEXTS
from faser_align.fsm.errors import UserError

Terms = tuple[tuple[int, float], ...]
"""(label, factor) pairs of a linear form."""


class SolverError(UserError):
    """The solver must stop; ``code`` is pede's end code for the same reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.end_text = END_TEXTS[code]


class Binary(NamedTuple):
    """A Mille binary: path, weight of its records, and whether Fortran wrote it."""

    path: Path
    weight: float = 1.0
    fortran: bool = False


@dataclass(frozen=True)
class Steering:
    """Options of a steering text; defaults are pede's.

    Attributes:
        binaries: Mille files.
        parameters: start value and presigma by label (mm, rad); presigma < 0 fixes, 0 frees, > 0 damps.
        presigmas_given: number of positive ones in the lists of parameters, including those without effect.
        comments: comments of labels, which the result repeats.
        constraints: right-hand side and terms of each linear equality.
        measurements: value, sigma and terms of each extra measurement.
        method: of pede's list; ``with_errors`` if it gives errors.
        iterations: maximum number of iterations, which end at an expected decrease below ``delta_f_max``.
        entries_min: a parameter with fewer entries in the binaries is fixed.
        entries_iterated: a parameter with fewer entries than this needs ``entries_min`` of them in equations without
            parameters that ``entries_min`` fixes; 0 disables this.
        accepted_min: a free parameter with fewer entries in accepted records causes a severe warning.
        count_records: entries are records instead of equations.
        records_max: maximum number of records; 0 for all.
        huge_cut, chi2_cut: records with a larger multiple of the 3-sigma chi2 are rejected; ``chi2_cut`` for the first
            and second iteration, (0, 0) for none.
        downweighting: iterations of the local fit, 0 for none; ``downweight_max`` is the largest fraction.
        rejected_max: records rejected in the last pass, in units of 1e-4 of all, above which the end code is 1.
        presigma: default for parameters.
        regularisation: factor of presigma as a penalty; None for damped steps without a penalty.
        skip_empty_constraints: skip constraints without a variable parameter, which otherwise forbid a solution.
        multipliers: use Lagrange multipliers instead of eliminating constraints.
        subito: stop after one step. ``force``: continue in spite of a rank defect.
        feasible_start: change start values to satisfy the constraints.
        matrix_iterations: recompute the matrix up to this iteration.
        line_search: 0 never, 1 in the last iteration, 2 with the final chi2 cut, 3 always.
        check_level: above 0 list the input instead of solving; above 1 also list where labels occur.
        counts: 0, or 1 to print accepted entries, 2 to print those in the binaries.
        correlations: whether to print global correlations.
        error_scales: factors for errors of measurements with and without global derivatives.
        monitor: bit 0 for residuals by label in the first pass, bit 1 for those in the last; ``monitor_bins`` for the
            medians; ``monitor_pulls`` for pulls instead; ``pull_range`` of histograms, 0 for pede's choice.
        threads: for the passes.
        read_error_is_end: a truncated binary ends where it is truncated.
        notes: keywords without effect on the built-in solver, with the reason.
    """

    binaries: tuple[Binary, ...] = ()
    parameters: dict[int, tuple[float, float]] = field(default_factory=dict)
    presigmas_given: int = 0
    comments: dict[int, str] = field(default_factory=dict)
    constraints: tuple[tuple[float, Terms], ...] = ()
    measurements: tuple[tuple[float, float, Terms], ...] = ()
    method: str = "sparseMINRES"
    iterations: int = 1
    delta_f_max: float = 0.01
    entries_min: int = 25
    entries_iterated: int = 0
    accepted_min: int = 10
    count_records: bool = False
    records_max: int = 0
    huge_cut: float = 50.0
    chi2_cut: tuple[float, float] = (0.0, 0.0)
    downweighting: int = 0
    downweight_max: float = 0.0
    rejected_max: float = 100.0
    presigma: float = 0.0
    regularisation: float | None = None
    skip_empty_constraints: bool = False
    multipliers: bool = False
    feasible_start: bool = True
    subito: bool = False
    force: bool = False
    matrix_iterations: int = 0
    line_search: int = 2
    check_level: int = 0
    counts: int = 0
    correlations: bool = False
    error_scales: tuple[float, float] = (1.0, 1.0)
    monitor: int = 0
    monitor_pulls: bool = False
    monitor_bins: int = 100
    pull_range: float = 0.0
    threads: int = 1
    read_error_is_end: bool = False
    notes: tuple[str, ...] = ()

    @property
    def with_errors(self) -> bool:
        """Whether the method gives errors of the parameters."""
        return METHODS[self.method]

    @property
    def prints_correlations(self) -> bool:
        """Whether the result has global correlations: only with errors, and not together with counts of entries."""
        return self.correlations and self.with_errors and not self.counts
