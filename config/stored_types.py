"""Types of the configuration in ``campaign.json``.

``make refresh`` makes it from ``config/schema.py``, which says what each table is. A campaign of an older version may lack newer keys.
"""

from typing import Any, Literal, TypedDict


class Campaign(TypedDict):
    folder: str
    name: str
    iterations: int
    repeat: int
    stations: Literal[3, 4]
    constants: str


class Calypso(TypedDict):
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
    data: str
    use_eos_for_output: bool
    keep_intermediate_root_files: bool
    keep_iterations: int
    cleanup_reco_temp_files: bool


class Simulation(TypedDict):
    truth: str
    tracks: int
    seed: int
    inefficiency: float
    noise: float
    outliers: float


class Mille(TypedDict):
    chi2_max: float
    pz_min: float
    pz_max: float
    hits_min: int
    residual_max: list[float]
    derivative_max: float
    pivot: Literal["calypso", "layer"]


class Presigma(TypedDict):
    layer_x: float
    layer_y: float
    layer_rx: float
    layer_ry: float
    layer_rz: float
    module_x: float
    module_rz: float


class Step(TypedDict):
    name: str
    fix: list[int | str]
    extra_lines: list[str]
    parameters: str
    presigma: Presigma
    freeze_sigma: float


class Stage(TypedDict):
    name: str
    iterations: int
    stations: Literal[0, 3, 4]
    at_limit: Literal["continue", "stop"]
    convergence: dict[str, Any]
    steps: list[Step]


class Solver(TypedDict):
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
    precision: list[float]
    residual_mean_um: list[float]
    weak_drift_sigma: list[float]
    momentum: list[float]
    dropped: list[float]
    truth_sigma: list[float]


class Validation(TypedDict):
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
    targets: list[str]
    file: str
    events: list[Literal["submitted", "iteration", "held", "lost", "end", "converged", "reconstructed", "rejected", "exhausted", "diverged", "stalled", "starved", "failed", "removed", "stuck"]]
    templates: str


class Check(TypedDict):
    tracks_mb: float
    mille_mb: float
    control_mb: float
    ticket_h: float


class Python(TypedDict):
    jobs: str
    hooks: str


class Report(TypedDict):
    publish: str
    url: str
    label: str


class Resources(TypedDict):
    cpus: int
    memory_mb: int
    memory_max_mb: int
    disk_mb: int
    flavour: Literal["", "espresso", "microcentury", "longlunch", "workday", "tomorrow", "testmatch", "nextweek"]
    accounting_group: str
    requirements: str


class HTCondor(TypedDict):
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
