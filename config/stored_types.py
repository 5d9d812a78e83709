"""Types of the configuration in ``campaign.json``.

``make refresh`` makes it from ``config/schema.py``. A campaign of an older version may lack newer keys.
"""

from typing import Any, Literal, TypedDict


class Campaign(TypedDict):
    """What to align, the constants to start from, and where the files go."""

    folder: str
    name: str
    iterations: int
    repeat: int
    stations: Literal[3, 4]
    constants: str


class Calypso(TypedDict):
    """FASER's reconstruction (backend `calypso`): where to find its parts. The defaults are those of CERN's lxplus."""

    atlas_base: str
    asetup: str
    release: str
    setup: str
    write_constants: str
    write_options: list[str]
    reconstruct: str
    reconstruct_options: list[str]
    reconstruct_without: list[Literal["--alignment", "--noBackward", "--noForward", "--noIFT", "--output_level"]]
    geometry: str
    tag: str
    database: str
    written: str
    pool: str
    instance: str
    folder_tag: str


class Reconstruction(TypedDict):
    """How raw files are reconstructed."""

    backend: Literal["simulation", "calypso", "command"]
    raw: str
    command: str
    direction: Literal["forward", "backward"]
    environment: str
    verbosity: Literal["VERBOSE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]
    eos_url: str
    copy_with: Literal["cp", "xrdcp"]
    min_files: float
    calypso: Calypso


class Storage(TypedDict):
    """Where the large files are stored, and for how long."""

    data: str
    use_eos_for_output: bool
    keep_intermediate_root_files: bool
    keep_iterations: int
    cleanup_reco_temp_files: bool


class Simulation(TypedDict):
    """The simulated detector (backend `simulation`)."""

    truth: str
    tracks: int
    seed: int
    inefficiency: float
    noise: float
    outliers: float


class Mille(TypedDict):
    """Selection of tracks and hits for the alignment."""

    chi2_max: float
    pz_min: float
    pz_max: float
    hits_min: int
    residual_max: list[float]
    derivative_max: float
    pivot: Literal["calypso", "layer"]


class Presigma(TypedDict):
    """Presigma of one kind of parameter; 0: that of `[solver.presigma]` in a step, else `presigma_mm` or `presigma_rad`."""

    layer_x: float
    layer_y: float
    layer_rx: float
    layer_ry: float
    layer_rz: float
    module_x: float
    module_rz: float


class Step(TypedDict):
    """One run of the solver within an iteration."""

    name: str
    fix: list[int | str]
    extra_lines: list[str]
    parameters: str
    presigma: Presigma
    freeze_sigma: float


class Stage(TypedDict):
    """Iterations that free the same parameters; stages run one after another."""

    name: str
    iterations: int
    stations: Literal[0, 3, 4]
    at_limit: Literal["continue", "stop"]
    convergence: dict[str, Any]
    steps: list[Step]


class Solver(TypedDict):
    """How each iteration is solved."""

    backend: Literal["builtin", "pede"]
    pede: str
    environment: str
    method: str
    hugecut: float
    entries: int
    presigma_mm: float
    presigma_rad: float
    presigma: Presigma
    threads: int
    options: list[str]
    weights: dict[str, float]
    warnings_ok: list[Literal[2, 3, 4]]


class Survey(TypedDict):
    """Accuracies (one standard deviation) of the constants before the alignment, for weak modes."""

    layer_x: float
    layer_y: float
    layer_rx: float
    layer_ry: float
    layer_rz: float
    module_x: float
    module_y: float
    module_rz: float
    weak: float


class Convergence(TypedDict):
    """When the alignment has converged, and when to stop without convergence."""

    rules: list[Literal["delta_chi2_per_parameter", "residual_shift", "absolute", "relative"]]
    require: Literal["any", "all"]
    delta_chi2_per_parameter_max: float
    residual_shift_um_max: float
    absolute_um_max: float
    absolute_urad_max: float
    relative_max: float
    patience: int
    min_iterations: int
    module_cut_max: float
    detector_cut_max: float
    remaining_sigma_max: float
    chi2_rise_max: float
    held_fixed_max: float
    files_agree_sigma_max: float
    duplicates_max: float
    weak_drift_sigma_max: float
    diverged_factor: float
    stalled_iterations: int
    stalled_residual_shift: float
    stalled_chi2: float
    starved_fraction: float
    starved_per_parameter: float
    momentum_max: float


class Quality(TypedDict):
    """Limits of the grades in the quality block: *good* up to the first limit, *bad* above the second, *look* in between."""

    precision: list[float]
    residual_mean_um: list[float]
    weak_drift_sigma: list[float]
    momentum: list[float]
    dropped: list[float]
    truth_sigma: list[float]


class Validation(TypedDict):
    """A validation pass before *converged*: reconstruct tracks with the first and with the last constants."""

    enabled: bool
    hold_back: float
    files: str
    used_files: bool
    chi2_rise_max: float
    module_rise_max: float
    module_hits_min: int
    side_mean_um_max: float
    false_rejection_max: float


class Notify(TypedDict):
    """Recipients and events of notifications. Addresses and passwords are in the user's own file, never here."""

    targets: list[str]
    file: str
    events: list[Literal["submitted", "iteration", "held", "lost", "end", "converged", "reconstructed", "rejected", "exhausted", "diverged", "stalled", "starved", "failed", "removed", "stuck"]]
    templates: str


class Check(TypedDict):
    """Sizes with which `check` estimates disk space, and its limit for tickets."""

    tracks_mb: float
    mille_mb: float
    control_mb: float
    ticket_h: float


class Python(TypedDict):
    """Python interpreters, each with faser-align installed in its environment. They do not depend on the user's shell."""

    jobs: str
    hooks: str


class Report(TypedDict):
    """The campaign's HTML report, rewritten while the campaign runs."""

    publish: str
    url: str
    label: str


class Resources(TypedDict):
    """Resources that a job requests from HTCondor."""

    cpus: int
    memory_mb: int
    memory_max_mb: int
    disk_mb: int
    flavour: Literal["", "espresso", "microcentury", "longlunch", "workday", "tomorrow", "testmatch", "nextweek"]
    accounting_group: str
    requirements: str


class HTCondor(TypedDict):
    """How the campaign runs on HTCondor."""

    pool: Literal["personal", "system"]
    retries: int
    retry_wait_s: int
    releases: int
    release_wait_s: int
    scan_interval_s: int
    max_running: int
    accounting_group: str
    reco: Resources
    mille: Resources


class Config(TypedDict):
    """The whole configuration."""

    campaign: Campaign
    reconstruction: Reconstruction
    storage: Storage
    simulation: Simulation
    mille: Mille
    stages: list[Stage]
    solver: Solver
    survey: Survey
    convergence: Convergence
    quality: Quality
    validation: Validation
    notify: Notify
    check: Check
    python: Python
    report: Report
    htcondor: HTCondor
