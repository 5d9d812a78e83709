"""The keys of the configuration file: their types, defaults, ranges, units and meaning.

The page ``docs/configuration.md`` is made from these models, so a description here is what users read.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    model_validator,
)

from faser_align.config.values import check_fix, check_name_template, check_raw_pattern

Line = Annotated[str, StringConstraints(pattern=r"^[^\r\n]*$")]
Word = Annotated[str, StringConstraints(pattern=r"^[\w.+-]*$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rule = Literal["significance", "effect", "absolute", "relative"]
Event = Literal[
    "submitted",
    "iteration",
    "held",
    "lost",
    "end",
    "converged",
    "rejected",
    "exhausted",
    "diverged",
    "stalled",
    "starved",
    "failed",
    "removed",
]
FIX_ALLOWED = (
    '"IFT", "3ST", "layer", "side", "module", a part with a depth such as "IFT_layer" or "3ST_side", '
    "or a layer's number: 10 11 12 (IFT) 20 21 22 30 31 32 40 41 42"
)
FixItem = Annotated[int | str, PlainValidator(check_fix)]


def key(default: Any, description: str, allowed: str = "") -> Any:
    """A key of the file: its default, what it means (with the unit), and what is allowed if the type does not say it."""
    return Field(default, description=description, json_schema_extra={"allowed": allowed} if allowed else None)


def table(model: type[BaseModel], description: str) -> Any:
    """A table of the file; left out, every key in it has its default."""
    return Field(default_factory=model, description=description)


class Table(BaseModel):
    """Base of all tables: unknown keys and wrong types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Campaign(Table):
    """What is aligned, from which constants, and where the files go."""

    folder: Line = key(".", "Folder in which the campaign's folder is made (AFS on lxplus, never /tmp or EOS).")
    data: Line = key("", "Folder for the large files (EOS on lxplus); empty: inside the campaign's folder.")
    name: Annotated[Line, AfterValidator(check_name_template)] = key(
        "Y{year}_R{run}_F{files}",
        "Name of a campaign and of its folder.",
        "text with the fields {year}, {run} and {files}, without /",
    )
    iterations: Annotated[int, Field(ge=1, le=99)] = key(10, "Iterations that each stage may take at most.")
    stations: Literal[3, 4] = key(4, "Tracker stations: 4 with the IFT, 3 without.")
    constants: Line = key("", "File with the constants to start from (mm, rad); `--constants` overrides it.")


class Reconstruction(Table):
    """How a raw file becomes a file of tracks."""

    backend: Literal["simulation"] = key("simulation", "What reconstructs: the built-in simulation of the detector.")
    raw: Annotated[Line, AfterValidator(check_raw_pattern)] = key(
        "",
        "Path of a raw file; empty: simulated files, which need none. If set, every file must exist at submission.",
        "a path with the fields {year}, {run} and {file} (5 digits)",
    )
    min_files: Annotated[float, Field(gt=0, le=1)] = key(
        1.0, "Quorum: share of the raw files that must be reconstructed for an iteration to go on."
    )
    keep_root: bool = key(
        True,
        "Keep the ROOT files of tracks; false: an iteration's are removed by the next one's jobs, after its verdict.",
    )


class Simulation(Table):
    """The simulated detector (backend `simulation`)."""

    truth: Line = key("", "Constants file of the true detector (mm, rad); empty: all constants 0.")
    tracks: Annotated[int, Field(ge=1, le=1_000_000)] = key(3000, "Tracks in each raw file.")
    seed: Annotated[int, Field(ge=0)] = key(1, "Seed of the random numbers; the same seed gives the same raw files.")
    inefficiency: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = key(
        0.005, "Share of the hits that are missing at random."
    )
    noise: Annotated[float, Field(ge=0, le=0.01, allow_inf_nan=False)] = key(
        0.0, "Share of the strips that fire by themselves; such a hit may take the place of a track's."
    )
    outliers: Share = key(0.0, "Share of the hits that are up to 1 mm away from where they should be.")


class Mille(Table):
    """Which tracks and hits enter the alignment."""

    chi2_max: Positive = key(2000.0, "Largest chi2 of a track.")
    pz_min: NotNegative = key(100.0, "Smallest momentum along the beam (GeV).")
    pz_max: Positive = key(5000.0, "Largest momentum along the beam (GeV).")
    hits_min: Annotated[int, Field(ge=6, le=48)] = key(15, "Fewest hits of a track.")
    residual_max: Annotated[list[Positive], Field(min_length=1, max_length=99)] = key(
        [0.5, 0.05], "Largest |residual| of a hit (mm), one value per iteration, the last one repeating."
    )
    derivative_max: Positive = key(2.0, "Largest |d residual / d rotation about x or y| of a layer (mm/rad).")
    pivot: Literal["calypso", "layer"] = key(
        "calypso", "Point about which layers turn in the derivatives: the hit's z as in Calypso, or the layer's."
    )

    @model_validator(mode="after")
    def _window_is_open(self) -> "Mille":
        if self.pz_min >= self.pz_max:
            raise ValueError(f"pz_min = {self.pz_min:g} must be below pz_max = {self.pz_max:g}")
        return self


class Presigma(Table):
    """Presigma of single kinds of parameters; 0: `presigma_mm` or `presigma_rad`, in a step that of `[solver.presigma]`."""

    layer_x: NotNegative = key(0.0, "x of layers (mm).")
    layer_y: NotNegative = key(0.0, "y of layers (mm).")
    layer_rx: NotNegative = key(0.0, "Rotation of layers about x (rad).")
    layer_ry: NotNegative = key(0.0, "Rotation of layers about y (rad).")
    layer_rz: NotNegative = key(0.0, "Rotation of layers about z (rad).")
    module_x: NotNegative = key(0.0, "x of the sides of modules (mm).")
    module_rz: NotNegative = key(0.0, "Rotation of modules about z (rad).")


class Step(Table):
    """One run of the solver within an iteration."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("IFT fix layer", "Name, shown in tables.")
    fix: list[FixItem] = key(["layer", "3ST"], "What stays as it is; all else is free.", f"a list of {FIX_ALLOWED}")
    extra_lines: list[Line] = key([], "Further steering lines of this step, behind `solver.options`, for experts.")
    parameters: Line = key(
        "", "File with your own `Parameter` lines, read behind the generated ones: its numbers other than 0 count."
    )
    presigma: Presigma = table(Presigma, "Presigma of single kinds of parameters in this step.")


class Stage(Table):
    """Iterations that free the same parameters; stages follow one another."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("IFT local", "Name, shown in tables.")
    iterations: Annotated[int, Field(ge=0, le=99)] = key(0, "Iterations at most; 0: as `campaign.iterations`.")
    steps: Annotated[list[Step], Field(min_length=1, max_length=9)] = Field(
        default_factory=lambda: [Step()],
        description="Runs of the solver, in this order; each keeps what the last one found.",
    )


class Solver(Table):
    """The solution of an iteration."""

    backend: Literal["builtin", "pede"] = key("builtin", "Built-in solver, or Millepede II's pede.")
    pede: Annotated[Line, StringConstraints(min_length=1)] = key("pede", "pede's command or path (backend `pede`).")
    method: Annotated[Line, StringConstraints(min_length=1)] = key(
        "inversion 3 0.001", "Method, number of iterations and limit of the expected chi2 decrease (pede's `method`)."
    )
    hugecut: Positive = key(2000.0, "Rejects a track whose chi2 exceeds this many times its 3 sigma limit.")
    entries: Annotated[int, Field(ge=1)] = key(25, "Fewest measurements of a parameter; with fewer it stays fixed.")
    presigma_mm: Positive = key(0.05, "Presigma of translations (mm).")
    presigma_rad: Positive = key(0.005, "Presigma of rotations (rad).")
    presigma: Presigma = table(Presigma, "Presigma of single kinds of parameters.")
    threads: Annotated[int, Field(ge=1, le=256)] = key(1, "Threads of the solver.")
    options: list[Line] = key([], "Further steering lines, for experts.")
    warnings_ok: list[Literal[2, 3, 4]] = key(
        [2, 3, 4],
        "End codes of severe warnings whose result is used: 2 few measurements, 3 bad matrix, 4 bad binaries.",
    )


class Convergence(Table):
    """When the constants stand still, and when to give up."""

    rules: Annotated[list[Rule], Field(min_length=1)] = key(
        ["significance", "effect"], "Rules by which an iteration counts as still."
    )
    require: Literal["any", "all"] = key("any", "Whether any or all of the rules must hold.")
    significance_max: Positive = key(0.01, "Largest expected chi2 decrease per free parameter, in every step.")
    effect_um_max: Positive = key(0.5, "Largest rms by which the correction still moves residuals (um).")
    absolute_um_max: Positive = key(1.0, "Largest correction of a translation (um), rule `absolute`.")
    absolute_urad_max: Positive = key(10.0, "Largest correction of a rotation (urad), rule `absolute`.")
    relative_max: Positive = key(0.001, "Largest norm(correction) / norm(constants), rule `relative`.")
    patience: Annotated[int, Field(ge=1, le=99)] = key(2, "Iterations in a row that must be still.")
    min_iterations: Annotated[int, Field(ge=1, le=99)] = key(1, "Iterations before a stage may count as converged.")
    module_cut_max: Share = key(0.10, "Largest share of a free module's hits that the residual cut may take.")
    detector_cut_max: Share = key(0.02, "Largest share of all hits that the residual cut may take.")
    remaining_sigma_max: Positive = key(
        0.2, "Most that may still follow at the pace at which corrections shrink (standard deviations, rms)."
    )
    chi2_rise_max: Positive = key(0.003, "Most by which chi2/ndf may be above the stage's best with the same files.")
    diverged_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = key(
        1.05, "Diverged: chi2/ndf above its best by this factor, twice running."
    )
    stalled_iterations: Annotated[int, Field(ge=2, le=99)] = key(4, "Stalled: iterations in a row without progress.")
    stalled_effect: Share = key(0.10, "Progress: the best effect falls by at least this share.")
    stalled_chi2: NotNegative = key(0.001, "Progress: the best chi2/ndf falls by at least this much.")
    starved_fraction: Share = key(0.80, "Starved: tracks used below this share of the stage's best.")
    starved_per_parameter: NotNegative = key(20.0, "Starved: fewer tracks than this per free parameter.")
    momentum_max: Positive = key(
        0.01, "Told, not judged: change of the median momentum since the stage's first iteration, above this share."
    )


class Notify(Table):
    """Who is told what. Addresses and passwords stand in the user's own file, never here."""

    targets: list[Word] = key([], "Names of targets in that file.")
    file: Annotated[Line, StringConstraints(min_length=1)] = key(
        "~/.config/faser-align/targets.toml", "File with the targets (readable by its owner only, mode 600)."
    )
    events: list[Event] = key(["held", "lost", "end"], "What is told; `end` stands for every end of a campaign.")


class Resources(Table):
    """What a job asks of HTCondor."""

    cpus: Annotated[int, Field(ge=1, le=256)] = key(1, "CPUs.")
    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = key(1000, "Memory (MB).")
    disk_mb: Annotated[int, Field(ge=1, le=10_000_000)] = key(500, "Disk (MB).")
    flavour: Literal["", "espresso", "microcentury", "longlunch", "workday", "tomorrow", "testmatch", "nextweek"] = key(
        "", "CERN's `+JobFlavour`, the limit of wall time; empty: none."
    )
    requirements: Line = key("", 'HTCondor requirements, for example `(OpSysAndVer =?= "AlmaLinux9")`; empty: none.')


class HTCondor(Table):
    """How the campaign runs on HTCondor."""

    pool: Literal["personal", "system"] = key(
        "personal", "`personal`: the pool that `pool start` makes on this machine; `system`: the one that is installed."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = key(2, "Further attempts of a node whose failure may pass.")
    scan_interval_s: Annotated[int, Field(ge=0, le=300)] = key(
        1, "How often DAGMan looks at its jobs' log (s); 0: as HTCondor is configured."
    )
    max_running: Annotated[int, Field(ge=0, le=100_000)] = key(0, "Reconstruction jobs in the queue at a time; 0: all.")
    accounting_group: Word = key("", "`AccountingGroup` of the jobs, for example `group_u_FASER.users`; empty: none.")
    reco: Resources = table(Resources, "A reconstruction job.")
    mille: Resources = table(Resources, "A Millepede job.")


class Config(Table):
    """The whole configuration."""

    campaign: Campaign = table(Campaign, "What is aligned, from which constants, and where.")
    reconstruction: Reconstruction = table(Reconstruction, "How a raw file becomes tracks.")
    simulation: Simulation = table(Simulation, "The simulated detector.")
    mille: Mille = table(Mille, "Which tracks and hits enter.")
    stages: list[Stage] = Field(
        default_factory=list,
        description="What is freed, one stage after the other; none: the standard stage for the number of stations.",
    )
    solver: Solver = table(Solver, "The solution of an iteration.")
    convergence: Convergence = table(Convergence, "When to stop.")
    notify: Notify = table(Notify, "Who is told what.")
    htcondor: HTCondor = table(HTCondor, "How it runs on HTCondor.")
