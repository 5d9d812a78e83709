"""Define the result of a Millepede run, by pede or the built-in solver."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from faser_align.alignment.pede.results import Result

GOOD_CODES = (0, 1)
DOUBTFUL_CODES = (2, 3, 4)  # with a result and a severe warning


class Rejects(NamedTuple):
    """Rejected records of the last pass, by reason.

    Attributes:
        rank_deficit: local parameters cannot be determined, or are not numbers.
        no_freedom: at least as many local parameters as equations.
        huge_chi2, large_chi2: chi2 above ``hugecut``, above ``chisqcut`` times the limit of three standard deviations.
    """

    rank_deficit: int = 0
    no_freedom: int = 0
    huge_chi2: int = 0
    large_chi2: int = 0

    @property
    def total(self) -> int:
        """Number of rejected records."""
        return sum(self)


NO_REJECTS = Rejects()


class IterationRow(NamedTuple):
    """A row of the solver's table: one evaluation of the function.

    Attributes:
        iteration: 0 before the first solution.
        evaluation: from 1.
        chi2: value of the function.
        expected_decrease: decrease of chi2 by the iteration's solution; None before the first solution and in
            sub-iterations.
        cut_factor: of ``chisqcut``; 0 without a cut.
        rejects: number of rejected records.
    """

    iteration: int
    evaluation: int
    chi2: float
    expected_decrease: float | None
    cut_factor: float
    rejects: int


@dataclass(frozen=True)
class Solution:
    """The outcome of a run.

    Attributes:
        end_code, end_text: of ``millepede.end``; 0 and 1 are good, 2 to 4 severe warnings, others have no result.
        message: the problem in one sentence; empty for a good end.
        result: parameters by label; empty without a solution.
        records: number of records read.
        rejects: records rejected in the last pass.
        chi2, ndf: for the final parameters; ndf is that of the records, reduced by the fit parameters.
        mean_weight: mean weight of the records' degrees of freedom, which chi2 includes if files have weights.
        n_variable: number of variable parameters; ``n_fit`` is reduced by the constraints.
        measurements: number of equations in the records; 0 if unknown.
        expected_decrease: decrease of chi2 expected of the first solution.
        entries_fixed: labels that should be free and were fixed because of too few entries.
        iterations: the table.
        memory_mb: peak memory of the solver, if known.
        constraints, constraint_rank: number of constraints, and of independent ones.
        rank_defect: number of directions of the fit parameters that the data do not determine; None if unknown.
        undetermined: those directions as weights by label: the data do not constrain a change of the parameters (mm,
            rad) in proportion to them. Empty if unknown.
        notes: steering keywords that the solver recognised and did not need.
        sizes: further sizes, by their names in pede's log; empty if unknown.
        passes_s: kind and wall time of each pass through the data (s); empty if unknown.
        cg_iterations: of each solution by conjugate gradients; empty if the matrix was inverted. ``elements``: of the sparse
            matrix.
        from_sums: whether it follows from the sums of the binaries; None if there were none. ``why_not_sums``: why not.
    """

    end_code: int
    end_text: str
    message: str
    result: Result
    records: int = 0
    rejects: Rejects = NO_REJECTS
    chi2: float = 0.0
    ndf: int = 0
    mean_weight: float = 1.0
    n_variable: int = 0
    n_fit: int = 0
    measurements: int = 0
    expected_decrease: float | None = None
    entries_fixed: tuple[int, ...] = ()
    iterations: tuple[IterationRow, ...] = ()
    memory_mb: float | None = None
    constraints: int = 0
    constraint_rank: int | None = None
    rank_defect: int | None = None
    undetermined: tuple[dict[int, float], ...] = ()
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    passes_s: tuple[tuple[str, float], ...] = ()
    cg_iterations: tuple[int, ...] = ()
    elements: int = 0
    from_sums: bool | None = None
    why_not_sums: str = ""

    @property
    def values(self) -> dict[int, float]:
        """Value of each parameter by label (mm, rad)."""
        return {label: row.value for label, row in self.result.items()}

    @property
    def errors(self) -> dict[int, float]:
        """Error of each variable parameter by label (mm, rad)."""
        return {label: row.error for label, row in self.result.items() if row.error is not None}

    @property
    def chi2_per_ndf(self) -> float | None:
        """chi2/ndf for the final parameters; None if unknown."""
        return self.chi2 / self.ndf / self.mean_weight if self.ndf > 0 else None

    @property
    def free_parameters(self) -> int:
        """Variable parameters minus constraints, however the constraints were handled."""
        return self.n_variable - abs(self.n_fit - self.n_variable)

    @property
    def solved(self) -> bool:
        """Whether there is a result."""
        return self.end_code in GOOD_CODES + DOUBTFUL_CODES


def accept(solution: Solution, warnings_ok: Collection[int]) -> Solution:
    """Return the solution if its end code is good or in ``warnings_ok``, else one without a result that says so.

    ``warnings_ok`` lists those of the codes 2, 3 and 4, severe warnings with a result, that are acceptable.
    """
    if solution.end_code not in DOUBTFUL_CODES or solution.end_code in warnings_ok:
        return solution
    allowed = ", ".join(str(code) for code in sorted(warnings_ok)) or "none"
    message = f"{solution.end_code} {solution.end_text}: its result is not used, since solver.warnings_ok has {allowed}"
    return replace(solution, result={}, message=message)
