"""Define the keys of the configuration file: types, defaults, ranges, units and meaning.

The page ``docs/configuration.md`` is generated from these models, so users read the descriptions here.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    model_validator,
)

from faser_align.config.values import (
    check_command,
    check_files,
    check_fix,
    check_name_template,
    check_option,
    check_raw_pattern,
    check_run,
)

WORD = r"^[\w.+-]*$"
# No control characters, which would end a line or a name in TOML, DAG files or submit descriptions.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
# A backslash at the end of a line of a submit description joins the next line.
Expression = Annotated[str, StringConstraints(pattern=r"^([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x08\x0a-\x1f\x7f\\])?$")]
Word = Annotated[str, StringConstraints(pattern=WORD)]
GivenWord = Annotated[str, StringConstraints(pattern=WORD, min_length=1)]
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[\w.~:/?#@&=+%,;-]+)?$")]
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
    "reconstructed",
    "rejected",
    "exhausted",
    "diverged",
    "stalled",
    "starved",
    "failed",
    "removed",
    "stuck",
]
FIX_ALLOWED = (
    '"IFT", "3ST", "layer" (or "global"), "module" (or "side", "local"), a part with a depth such as "IFT_layer" or "3ST_side", '
    "or a layer's number: 10 11 12 (IFT) 20 21 22 30 31 32 40 41 42"
)
Option = Annotated[Line, AfterValidator(check_option)]
StandardOption = Literal["--alignment", "--noBackward", "--noForward", "--noIFT", "--output_level"]
FixItem = Annotated[int | str, PlainValidator(check_fix)]


def key(default: Any, description: str, allowed: str = "") -> Any:
    """Return a field: its default, its meaning with the unit, and what is allowed if the type does not say it."""
    return Field(default, description=description, json_schema_extra={"allowed": allowed} if allowed else None)


def table(model: type[BaseModel], description: str) -> Any:
    """Return a field that is a table; if omitted, all its keys have their defaults."""
    return Field(default_factory=model, description=description)


class Table(BaseModel):
    """Base of all tables: unknown keys and wrong types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Campaign(Table):
    """What is aligned, from which constants, and where the files go."""

    folder: Line = key(".", "Folder in which the campaign's folder is made (AFS on lxplus, never /tmp or EOS).")
    name: Annotated[Line, AfterValidator(check_name_template)] = key(
        "Y{year}_R{run}_F{files}",
        "Name of a campaign and of its folder.",
        "text with the fields {year}, {run}, {files}, {stations}, {iterations} and {constants} (their file's name without "
        "its ending), without /",
    )
    iterations: Annotated[int, Field(ge=1, le=99)] = key(10, "Iterations that each stage may take at most.")
    repeat: Annotated[int, Field(ge=1, le=9)] = key(1, "How often the list of stages is gone through.")
    stations: Literal[3, 4] = key(4, "Tracker stations: 4 with the IFT, 3 without.")
    constants: Line = key("", "File with the constants to start from (mm, rad); `--constants` overrides it.")


class Calypso(Table):
    """FASER's reconstruction (backend `calypso`): where its parts lie. The standard values are those of CERN's lxplus."""

    atlas_base: Line = key(
        "/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase", "Folder of ATLASLocalRootBase, which brings `asetup`."
    )
    asetup: Line = key("", "`asetup.faser` of your Calypso checkout, the input of `asetup`.")
    release: Annotated[Line, StringConstraints(min_length=1)] = key("Athena,24.0.41", "Athena release for `asetup`.")
    setup: Line = key("", "`setup.sh` of your Calypso installation, sourced last.")
    write_constants: Line = key(
        "", "`WriteAlignmentConfig_Faser04.py` of your checkout, which writes constants to a conditions database."
    )
    write_options: list[Option] = key([], "Further arguments of that script; `{geometry}` and `{tag}` are filled in.")
    reconstruct: Line = key("", "`faser_reco_alignment.py` of your checkout, which reconstructs a raw file.")
    reconstruct_options: list[Option] = key(
        [], "Further arguments of that script; `{geometry}` and `{tag}` are filled in."
    )
    reconstruct_without: list[StandardOption] = key(
        [],
        "Standard options that are left out because your version of that script does not know them. Standard are `--alignment`, "
        "`--noBackward` or `--noForward` (`reconstruction.direction`), `--noIFT` with 3 stations, and `--output_level` with its value.",
    )
    geometry: Word = key(
        "",
        "Geometry; empty: by year, FASERNU-03 for 2022 and FASERNU-04 from 2023 on. Scripts get it as `FASER_GEOMETRY`, and as an "
        "argument where their options name `{geometry}`.",
    )
    tag: Word = key(
        "",
        "Conditions tag; empty: by year, OFLCOND-FASER-04 for 2022 and OFLCOND-FASER-05 from 2023 on. Scripts get it as `FASER_TAG`, "
        "and as an argument where their options name `{tag}`.",
    )
    database: Line = key(
        "/cvmfs/faser.cern.ch/repo/sw/database/DBRelease/current/sqlite200/ALLP200.db",
        "Conditions database, which each job copies and patches with the iteration's constants (about 100 MB).",
    )
    written: GivenWord = key(
        "FASER-04_ALLP200.db",
        "Database that `write_constants` writes; the script itself holds the name. The version of March 2026 writes "
        "`FASER-05_ALLP200.db`.",
    )
    pool: Word = key(
        "",
        "POOL file that `write_constants` writes beside it, for example `FASER-05_Align.pool.root`; empty: every "
        "`*_Align.pool.root`.",
    )
    instance: GivenWord = key("CONDBR3", "Instance in both databases (`dbname`).")
    folder_tag: GivenWord = key("TRACKER-ALIGN-05", "Tag of the alignment in the database that is written.")


class Reconstruction(Table):
    """How a raw file becomes a file of tracks."""

    backend: Literal["simulation", "calypso", "command"] = key(
        "simulation",
        "What reconstructs: the built-in simulation of the detector, FASER's Calypso, or a program of yours.",
    )
    raw: Annotated[Line, AfterValidator(check_raw_pattern)] = key(
        "",
        "Path of a raw file; empty: simulated files, which need none. If set, every file must exist at submission.",
        "a path with the fields {year}, {run} and {file} (5 digits)",
    )
    command: Annotated[Line, AfterValidator(check_command)] = key(
        "",
        "Your program (backend `command`), a line of bash: it reads `{constants}` and writes its tracks to `{output}`, both "
        "in `{scratch}`, where it runs. Each field stands for one word; do not quote it.",
        "text with {output} and any of {raw}, {constants}, {scratch}, {year}, {run}, {file}, {stations}, {stage}, "
        "{iteration}, {direction}, {geometry}, {tag} and {verbosity}",
    )
    direction: Literal["forward", "backward"] = key(
        "forward",
        "Direction of tracking: Calypso's script gets `--noBackward` for `forward` and `--noForward` for `backward`.",
    )
    environment: Line = key(
        "",
        "Your own script, sourced before the reconstruction; with `calypso` it takes the place of `atlas_base`, `asetup`, "
        "`release` and `setup`. The status of its last command does not matter. Empty: none.",
    )
    verbosity: Literal["VERBOSE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"] = key(
        "INFO", "How much the reconstruction prints."
    )
    eos_url: Line = key("root://eosuser.cern.ch", "EOS server of the data, `EOS_MGM_URL` of the jobs.")
    copy_with: Literal["cp", "xrdcp"] = key(
        "cp", "How tracks get to their place: `cp`, or `xrdcp` by way of `eos_url` where that is below /eos."
    )
    min_files: Annotated[float, Field(gt=0, le=1)] = key(
        1.0, "Quorum: share of the raw files that must be reconstructed for an iteration to go on."
    )
    calypso: Calypso = table(Calypso, "Calypso.")

    @model_validator(mode="after")
    def _backend_is_complete(self) -> "Reconstruction":
        needed = {"command": ["command"], "calypso": ["raw"]}.get(self.backend, [])
        missing = [name for name in needed if not getattr(self, name)]
        if self.backend == "calypso":
            parts = ["write_constants", "reconstruct", "database"]
            parts += [] if self.environment else ["atlas_base", "asetup", "setup"]
            missing += [f"calypso.{name}" for name in parts if not getattr(self.calypso, name)]
        missing += ["eos_url"] if self.copy_with == "xrdcp" and not self.eos_url else []
        if missing:
            raise ValueError(f'backend = "{self.backend}" needs {", ".join(missing)}; set what is missing there')
        return self


class Storage(Table):
    """Where the large files lie, and how long they are kept."""

    data: Line = key("", "Folder for the large files (EOS on lxplus); empty: inside the campaign's folder.")
    use_eos_for_output: bool = key(True, "Use `data`; false: as if it were empty.")
    keep_intermediate_root_files: bool = key(
        True, "Keep the ROOT files of tracks of earlier iterations; false: as `keep_iterations = 1`."
    )
    keep_iterations: Annotated[int, Field(ge=0, le=99)] = key(
        0, "Keep the ROOT files of this many iterations, the latest; 0: of all. Millepede jobs remove the others'."
    )
    cleanup_reco_temp_files: bool = key(
        True,
        "A reconstruction job empties its scratch area as soon as it ends; false: it says where that is and leaves it to HTCondor.",
    )

    @property
    def folder(self) -> str:
        """Where the large files of campaigns go; empty: into each campaign's own folder."""
        return self.data if self.use_eos_for_output else ""


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
    derivative_max: Positive = key(
        10.0,
        "Largest |d residual / d rotation about x or y| of a layer (mm/rad). faser-alignment-script has 2, which cuts 43 % of the IFT's "
        "hits with the constants of 2025; 10 cuts none.",
    )
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


def check_criteria(criteria: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's own criteria; raise ValueError if ``[convergence]`` does not allow them."""
    try:
        Convergence.model_validate(criteria)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "extra_forbidden":
            raise ValueError(f"{problem['loc'][0]} is not a key of [convergence]") from None
        raise ValueError(f"{problem['loc'][0]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None
    return criteria


class Stage(Table):
    """Iterations that free the same parameters; stages follow one another."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("IFT local", "Name, shown in tables.")
    iterations: Annotated[int, Field(ge=0, le=99)] = key(0, "Iterations at most; 0: as `campaign.iterations`.")
    stations: Literal[0, 3, 4] = key(0, "Tracker stations of this stage's tracks; 0: as `campaign.stations`.")
    at_limit: Literal["continue", "stop"] = key(
        "continue",
        "What follows if the stage has not converged in its last iteration: the next stage, or the campaign's end "
        "as `exhausted` (as after the last stage).",
    )
    convergence: Annotated[dict[str, Any], AfterValidator(check_criteria)] = Field(
        default_factory=dict,
        description="Criteria of this stage that differ from `[convergence]`.",
        json_schema_extra={"allowed": "a table with keys of `[convergence]`"},
    )
    steps: Annotated[list[Step], Field(min_length=1, max_length=9)] = Field(
        default_factory=lambda: [Step()],
        description="Runs of the solver, in this order; each keeps what the last one found.",
    )


class Solver(Table):
    """The solution of an iteration."""

    backend: Literal["builtin", "pede"] = key("builtin", "Built-in solver, or Millepede II's pede.")
    pede: Annotated[Line, StringConstraints(min_length=1)] = key("pede", "pede's command or path (backend `pede`).")
    environment: Line = key(
        "", "Script that is sourced before pede, for example ROOT's `thisroot.sh` (backend `pede`); empty: none."
    )
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
    weights: dict[Annotated[str, AfterValidator(check_run)], Positive] = Field(
        default_factory=dict,
        description="Weights of runs whose tracks count more or less than once, in a campaign of several runs.",
        json_schema_extra={"allowed": 'a table such as `{ "011706" = 0.5 }`, runs with six digits, weights above 0'},
    )
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
    patience: Annotated[int, Field(ge=1, le=99)] = key(2, "Consecutive iterations that must pass.")
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
    stalled_iterations: Annotated[int, Field(ge=2, le=99)] = key(4, "Stalled: consecutive iterations without progress.")
    stalled_effect: Share = key(0.10, "Progress: the best effect falls by at least this share.")
    stalled_chi2: NotNegative = key(0.001, "Progress: the best chi2/ndf falls by at least this much.")
    starved_fraction: Share = key(0.80, "Starved: tracks used below this share of the stage's best.")
    starved_per_parameter: NotNegative = key(20.0, "Starved: fewer tracks than this per free parameter.")
    momentum_max: Positive = key(
        0.01, "Told, not judged: change of the median momentum since the stage's first iteration, above this share."
    )


class Validation(Table):
    """A last look: the tracks reconstructed with the first and with the last constants, before *converged* is believed."""

    enabled: bool = key(False, "Confirm a campaign that converged, or end it as `rejected`.")
    files: Annotated[Line, AfterValidator(check_files)] = key(
        "", "Raw files to look at besides those that were used, best of all unused ones.", "ranges such as 500-510,520"
    )
    chi2_rise_max: NotNegative = key(
        0.003, "Most by which chi2/ndf may rise, over all files and over those that were not used."
    )
    module_rise_max: NotNegative = key(
        0.05, "Most by which the width of a module's residuals may rise, as a share of it."
    )
    module_hits_min: Annotated[int, Field(ge=2)] = key(1000, "Hits that a module needs to be judged by its residuals.")


class Notify(Table):
    """Who is told what. Addresses and passwords stand in the user's own file, never here."""

    targets: list[Word] = key([], "Names of targets in that file.")
    file: Annotated[Line, StringConstraints(min_length=1)] = key(
        "~/.config/faser-align/targets.toml", "File with the targets (readable by its owner only, mode 600)."
    )
    events: list[Event] = key(
        ["held", "lost", "end"], "What is told; `end` stands for every end of a campaign, and for one that is stuck."
    )
    templates: Line = key(
        "", "Folder with templates of messages that take the place of those of the same name; empty: none."
    )


class Check(Table):
    """What `check` counts with, and what it takes for enough."""

    tracks_mb: Positive = key(10.0, "Tracks of a raw file in an iteration (MB), in `storage.data`.")
    mille_mb: Positive = key(
        10.0,
        "Millepede's data of a raw file in an iteration (MB), in `storage.data`; those of all iterations are kept.",
    )
    control_mb: Positive = key(0.2, "Logs and control files of a raw file in an iteration (MB), in `campaign.folder`.")
    ticket_h: NotNegative = key(1.0, "Warns of a Kerberos ticket or an AFS token that ends sooner than this (h).")


class Report(Table):
    """The page about a campaign that is kept up to date while it runs."""

    publish: Line = key(
        "",
        "Folder, for example of EOS web space, in which a campaign's page and an index over all pages are rewritten at the "
        "end of each Millepede job and of the campaign; empty: none.",
    )
    url: Address = key(
        "",
        "Where others reach that folder, for the link in messages, for example `https://align.web.cern.ch/pages`; empty: messages "
        "name the file.",
        allowed="an address that begins with http:// or https://, without blanks",
    )


class Resources(Table):
    """What a job asks of HTCondor."""

    cpus: Annotated[int, Field(ge=1, le=256)] = key(1, "CPUs.")
    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = key(1000, "Memory (MB).")
    memory_max_mb: Annotated[int, Field(ge=0, le=1_000_000)] = key(
        0, "Memory (MB) after HTCondor held the job because it needed more than `memory_mb`; 0: it stays held."
    )
    disk_mb: Annotated[int, Field(ge=1, le=10_000_000)] = key(500, "Disk (MB).")
    flavour: Literal["", "espresso", "microcentury", "longlunch", "workday", "tomorrow", "testmatch", "nextweek"] = key(
        "", "CERN's `+JobFlavour`, the limit of wall time; empty: none."
    )
    accounting_group: Word = key("", "`AccountingGroup` of these jobs; empty: `htcondor.accounting_group`.")
    requirements: Expression = key(
        "", 'HTCondor requirements, for example `(OpSysAndVer =?= "AlmaLinux9")`; empty: none.'
    )

    @model_validator(mode="after")
    def _more_is_more(self) -> "Resources":
        if 0 < self.memory_max_mb < self.memory_mb:
            raise ValueError(
                f"memory_max_mb = {self.memory_max_mb} must not be below memory_mb = {self.memory_mb}; raise it, or leave it out"
            )
        return self


class Python(Table):
    """Interpreters, each with faser-align installed in its environment. The user's shell does not matter for them."""

    jobs: Line = key("", "Python of the jobs, on the execute nodes; empty: the one that submits.")
    hooks: Line = key("", "Python of the hooks, on the access point; empty: the one that submits.")


class HTCondor(Table):
    """How the campaign runs on HTCondor."""

    pool: Literal["personal", "system"] = key(
        "personal", "`personal`: the pool that `pool start` makes on this machine; `system`: the one that is installed."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = key(2, "Further attempts of a node whose failure may pass.")
    retry_wait_s: Annotated[int, Field(ge=0, le=86_400)] = key(
        0, "Wait before a node is tried again (s), so that what failed can recover; 0: none."
    )
    releases: Annotated[int, Field(ge=0, le=20)] = key(
        3, "How often a job is released that HTCondor held for a reason that may pass; 0: never."
    )
    release_wait_s: Annotated[int, Field(ge=0, le=86_400)] = key(600, "Wait before such a release (s).")
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
    storage: Storage = table(Storage, "Where the large files lie, and how long.")
    simulation: Simulation = table(Simulation, "The simulated detector.")
    mille: Mille = table(Mille, "Which tracks and hits enter.")
    stages: list[Stage] = Field(
        default_factory=list,
        description="What is freed, one stage after the other; none: the standard stage for the number of stations.",
    )
    solver: Solver = table(Solver, "The solution of an iteration.")
    convergence: Convergence = table(Convergence, "When to stop.")
    validation: Validation = table(Validation, "Whether the result is confirmed.")
    notify: Notify = table(Notify, "Who is told what.")
    check: Check = table(Check, "What `check` counts with.")
    python: Python = table(Python, "Interpreters of jobs and hooks.")
    report: Report = table(Report, "The page about a campaign.")
    htcondor: HTCondor = table(HTCondor, "How it runs on HTCondor.")
