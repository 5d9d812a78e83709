"""What a steering text asks of the built-in solver."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.pede.results import END_TEXTS
from faser_align.fsm.errors import UserError

Terms = tuple[tuple[int, float], ...]
"""(label, factor) pairs of a linear form."""


class SolverError(UserError):
    """The solver cannot go on; ``code`` is the end code with which pede stops for the same reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.end_text = END_TEXTS[code]


class Binary(NamedTuple):
    """A Mille binary: its path, the weight of its records, and ``fortran`` if that wrote it."""

    path: Path
    weight: float = 1.0
    fortran: bool = False


@dataclass(frozen=True)
class Steering:
    """What a steering text asks for; pede's defaults.

    Attributes:
        binaries: Mille files.
        parameters: start value and presigma by label (mm, rad); presigma < 0 fixes, 0 frees, > 0 damps.
        presigmas_given: positive ones in the lists of parameters, those that do not count included.
        comments: of labels; they are repeated in the result.
        constraints: right-hand side and terms of each linear equality.
        measurements: value, sigma and terms of each extra measurement.
        method: of pede's list; ``with_errors`` if it gives errors.
        iterations: of the method, with ``delta_f_max`` the expected decrease that ends them.
        entries_min: a parameter with fewer entries in the binaries is fixed.
        entries_iterated: a parameter with fewer entries than this must have ``entries_min`` of them in equations
            without parameters that are fixed so; 0 for no such condition.
        accepted_min: a free parameter with fewer entries in accepted records makes a severe warning.
        count_records: entries are records, not equations.
        records_max: so many records are read; 0 for all.
        huge_cut, chi2_cut: records are rejected above so many times the 3-sigma chi2; ``chi2_cut`` for the first
            and second iteration, (0, 0) for none.
        downweighting: iterations of the local fit, 0 for none; ``downweight_max`` the largest fraction.
        presigma: for parameters without one.
        regularisation: factor of presigma as a penalty; None for no penalty but damped steps.
        skip_empty_constraints: those without a variable parameter are left out, instead of forbidding a solution.
        multipliers: constraints are handled by Lagrange's multipliers instead of being eliminated.
        subito: there is one step only. ``force``: iterations go on in spite of a rank defect.
        feasible_start: start values are made to satisfy the constraints.
        matrix_iterations: the matrix is made anew up to this iteration.
        line_search: 0 never, 1 in the last iteration, 2 with the final chi2 cut, 3 always.
        check_level: above 0 there is no solution but a listing of the input; above 1 it says where labels appear, too.
        counts: 0, or 1 to print accepted entries, 2 to print those in the binaries.
        correlations: whether to print global correlations.
        error_scales: of measurements with and without global derivatives.
        monitor: bit 0 for residuals by label in the first pass, bit 1 for those in the last; ``monitor_bins`` for
            the medians; ``monitor_pulls`` for pulls instead; ``pull_range`` of histograms, 0 for pede's choice.
        threads: for the passes.
        read_error_is_end: a truncated binary ends where it is truncated.
        notes: keywords that were understood and have no meaning for the built-in solver, with the reason.
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
        """Whether the result has global correlations: only with errors, and not beside counts of entries."""
        return self.correlations and self.with_errors and not self.counts
