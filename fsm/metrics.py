"""The types of ``metrics.json``, which the Millepede job writes and decisions, tables and pages read.

Scripts start without this module: only type checkers and jobs read it. ``alignment.quality.describe`` explains each key.
A key may be missing: metrics of older versions, imported ones and those of a validation do not have all of them.
"""

from typing import Any, Literal, NotRequired, TypedDict

Grade = Literal["good", "look", "bad"]


class Line(TypedDict):
    """A line of the quality block: what is known (``text``, numbers in ``values``), grade with criterion and source, and figure.

    Those of older versions have no ``advice``: what to do if the grade is not *good*.
    """

    name: str
    title: str
    grade: Grade
    text: str
    short: str  # the line as part of the sentence
    criterion: str
    source: str
    advice: NotRequired[str]
    figure: str
    values: dict[str, Any]


class Quality(TypedDict):
    """The quality of an iteration's constants: the worst grade, all lines, and the sentence that joins them."""

    grade: Grade
    sentence: str
    lines: list[Line]


class Difference(TypedDict):
    """A difference of the mean residuals between files, of one side or of all ``together``."""

    kind: str  # ``step`` (from ``file`` on), ``file`` (``file`` against all others), or ``spread`` (most in ``file``)
    together: bool
    module: str
    side: int
    file: str
    deviation_um: float
    sigma: float


class Agreement(TypedDict, total=False):
    """Agreement of the mean residuals of sides between files."""

    chi2_per_ndf: float | None
    worst: Difference


class Duplicates(TypedDict, total=False):
    """Tracks that are in two files: largest fraction of a file, and pairs of names with their fraction."""

    share: float
    pairs: list[list[str | float]]


class Files(TypedDict, total=False):
    """Raw files: numbers of files, and which were dropped; ``unused`` only in a validation."""

    expected: int
    used: int
    lost: list[int]
    unused: int
    agreement: Agreement
    duplicates: Duplicates
    uncompressed: int


class Tracks(TypedDict, total=False):
    """Tracks by what became of them; ``cut`` by the name of the cut."""

    read: int
    used: int | None
    cut: dict[str, int]


class Hits(TypedDict, total=False):
    """Hits of the used tracks."""

    read: int
    kept: int
    cut: dict[str, int]
    modules: dict[str, list[int]]  # hits kept and hits cut by residual of each module
    outliers: float | None  # fraction
    of_cut_tracks: dict[str, int]  # hits of each module on tracks cut by chi2


class Residuals(TypedDict, total=False):
    """Residuals of a layer (um)."""

    median_um: float
    width_um: float


class MomentumChange(TypedDict, total=False):
    """Momenta of the same tracks in two iterations: medians of q/p (1/GeV) before and now, relative changes."""

    common: int
    median_q_over_p_plus: list[float | None]
    median_q_over_p_minus: list[float | None]
    momentum_change_plus: float | None
    momentum_change_minus: float | None
    lost_low: int
    lost_high: int
    gained_low: int
    gained_high: int


class Momentum(TypedDict, total=False):
    """Momenta of an iteration (medians of q/p in 1/GeV), and their changes."""

    median_q_over_p_plus: float | None
    median_q_over_p_minus: float | None
    edge_low: int
    edge_high: int
    since_before: MomentumChange
    since_first: MomentumChange


class Magnet(TypedDict):
    """Deviation of a magnet's field if only this one is wrong: relative size, error, and chi2 that it leaves."""

    deviation: float
    error: float
    chi2: float


class Solver(TypedDict, total=False):
    """Metrics of the solver; the end code is an empty text if an imported iteration has none."""

    backend: str
    end_code: int | str
    end_text: str
    chi2_per_ndf: float | None
    records: int | None
    rejects: dict[str, int] | None
    memory_mb: float | None


class Part(TypedDict):
    """Part of a correction."""

    directions: int
    rms_um: float
    expected_decrease: float


class Mode(TypedDict):
    """A poorly determined direction along which a correction moved; its error is None if the data do not determine it."""

    name: str
    error_um: float | None
    moved_um: float


class Parts(TypedDict, total=False):
    """A correction along well-determined and poorly determined directions."""

    significant: Part
    weak: Part
    undetermined: int
    modes: list[Mode]


class Step(TypedDict, total=False):
    """A Millepede step of an iteration."""

    name: str
    free_parameters: int | None
    variable: int | None
    measurements: int | None
    expected_decrease: float | None
    delta_chi2_per_parameter: float | None
    significance: float | None
    end_code: int | str
    end_text: str
    function_values: list[float | None]
    constraints: int
    constraint_rank: int | None
    rank_defect: int | None
    entries_fixed: list[int]
    entries_fixed_names: list[str]
    entries_fixed_in: list[str]
    undetermined: list[dict[str, float | None]]
    frozen: list[str]
    parts: Parts
    from_sums: bool | None
    why_not_sums: str


class Determined(TypedDict, total=False):
    """The correction along directions that the data determine; ``repetition`` is its cosine with the one before."""

    sigma: float
    repetition: float | None
    residual_shift_um: float
    effect_um: float


class ErrorScale(TypedDict, total=False):
    """Factor of errors that follow from the errors of hits: the hits' scatter over the response of the solution."""

    factor: float
    scatter: float
    response: float


class Correction(TypedDict):
    """Correction of a degree of freedom; ``where`` is the module or layer of the largest."""

    rms: float | None
    largest: float | None
    where: str
    unit: str


class HeldFixed(TypedDict):
    """Expected decrease of chi2 from freeing a group of fixed parameters."""

    parameters: int
    expected_decrease: float
    delta_chi2_per_parameter: float
    significance: float


class SurveyedMode(TypedDict):
    """A direction in units of a survey, and the drift since the campaign's start; ``where`` moves most, by ``drift_um``."""

    name: str
    overlap: float
    weak: bool
    error_sigma: float | None
    drift_sigma: float
    drift_um: float
    where: str


class WeakModes(TypedDict, total=False):
    """Directions of a stage's free parameters, in standard deviations of a survey."""

    directions: int
    weak: int
    errors: list[float | None]
    drift_sigma: float
    drift_um: float
    modes: list[SurveyedMode]


class TruthDof(TypedDict):
    """Distance of a degree of freedom to the truth, rms over modules or layers."""

    rms: float
    unit: str


class Truth(TypedDict, total=False):
    """Distance to the simulated detector along the ``directions`` that the data determine, rms in statistical errors."""

    sigma: float
    directions: int
    dofs: dict[str, TruthDof]


class Constants(TypedDict, total=False):
    """Checksums of the constants; ``changed_by_hand`` names the halves in a validation."""

    start_sha256: str
    result_sha256: str | None
    before_sha256: str
    after_sha256: str
    changed_by_hand: bool | list[str]


class Cost(TypedDict, total=False):
    """CPU time and number of the iteration's reconstruction jobs."""

    cpu_s: float
    jobs: int


class Module(TypedDict):
    """Residuals of a module, or of one of its sides, in a validation."""

    hits: int
    mean_um: float
    rms_um: float


class Half(TypedDict, total=False):
    """A group of files with one set of constants."""

    tracks: int
    chi2_per_ndf: float | None
    residuals: dict[str, Residuals]
    modules: dict[str, Module]
    sides: dict[str, Module]


class Group(TypedDict, total=False):
    """A group of files with the first constants and with the last."""

    before: Half
    after: Half
    momentum: MomentumChange


class Metrics(TypedDict, total=False):
    """The metrics of an iteration, or of a validation (``groups``)."""

    format: int
    stage: int
    iteration: int
    files: Files
    tracks: Tracks
    hits: Hits
    residual_max_mm: float | None
    residual_max_final: bool | None
    converted_again: bool | None
    chi2_per_ndf: float | None
    residuals: dict[str, Residuals]
    sides: dict[str, Module]
    momentum: Momentum
    magnets: dict[str, Magnet]
    solver: Solver
    steps: list[Step]
    determined: Determined
    delta_chi2_per_parameter: float | None
    residual_shift_um: float | None
    significance: float | None
    effect_um: float | None
    corrections: dict[str, Correction]
    free_modules: list[str]
    free_parameters: int
    relative: float | None
    nan: bool
    error_scale: ErrorScale
    errors: dict[str, float | None]
    module_pulls: dict[str, float]
    constant_errors: dict[str, list[float | None]]
    held_fixed: dict[str, HeldFixed]
    freed_earlier: dict[str, HeldFixed]
    weak_modes: WeakModes
    truth: Truth
    quality: Quality
    wall_s: float | None
    cpu_s: float | None
    max_memory_mb: float | None
    constants: Constants
    versions: dict[str, str]
    notes: list[str]
    reconstruction: Cost
    no_plot: str
    imported: str
    groups: dict[str, Group]
    aligned_sides: dict[str, int]
