"""Define the keys of the configuration file: types, defaults, ranges, units and meaning.

The page ``docs/configuration.md`` is generated from these models, so users read the descriptions here.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
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
from faser_align.fsm import renamed

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
Rule = Literal["delta_chi2_per_parameter", "residual_shift", "absolute", "relative"]
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
    '"frame", "rx", "ry", "IFT", "3ST", "layer" (or "global"), "module" (or "side", "local"), a part with a depth such as "IFT_layer", '
    '"3ST_side" or "IFT_rx", or a layer\'s number: 10 11 12 (IFT) 20 21 22 30 31 32 40 41 42'
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
    """Base of all tables: unknown keys and wrong types are errors; values are immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Campaign(Table):
    """What to align, the constants to start from, and where the files go."""

    folder: Line = key(".", "Folder in which `submit` makes the campaign's folder (AFS on lxplus; never /tmp or EOS).")
    name: Annotated[Line, AfterValidator(check_name_template)] = key(
        "Y{year}_R{run}_F{files}",
        "Name of a campaign and of its folder.",
        "text without /, with the fields {year}, {run}, {files}, {stations}, {iterations} and {constants} (the name of the "
        "file with the constants, without its suffix)",
    )
    iterations: Annotated[int, Field(ge=1, le=99)] = key(10, "Iteration limit of each stage.")
    repeat: Annotated[int, Field(ge=1, le=9)] = key(1, "How many times the list of stages runs.")
    stations: Literal[3, 4] = key(4, "Tracker stations: 4 with the IFT, 3 without.")
    constants: Line = key("", "File with the initial constants (mm, rad); `--constants` overrides it.")


class Calypso(Table):
    """FASER's reconstruction (backend `calypso`): where to find its parts. The defaults are those of CERN's lxplus."""

    atlas_base: Line = key(
        "/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase", "Folder of ATLASLocalRootBase, which provides `asetup`."
    )
    asetup: Line = key("", "`asetup.faser` of your Calypso checkout, the input of `asetup`.")
    release: Annotated[Line, StringConstraints(min_length=1)] = key("Athena,24.0.41", "Athena release for `asetup`.")
    setup: Line = key("", "`setup.sh` of your Calypso installation, sourced last.")
    write_constants: Line = key(
        "", "`WriteAlignmentConfig_Faser04.py` of your checkout; it writes constants to a conditions database."
    )
    write_options: list[Option] = key(
        [], "Further arguments of that script; `{geometry}` and `{tag}` are replaced by their values."
    )
    reconstruct: Line = key("", "`faser_reco_alignment.py` of your checkout; it reconstructs a raw file.")
    reconstruct_options: list[Option] = key(
        [], "Further arguments of that script; `{geometry}` and `{tag}` are replaced by their values."
    )
    reconstruct_without: list[StandardOption] = key(
        [],
        "Standard options to leave out because your version of that script does not know them. The standard options are `--alignment`, "
        "`--noBackward` or `--noForward` (`reconstruction.direction`), `--noIFT` with 3 stations, and `--output_level` with its value.",
    )
    geometry: Word = key(
        "",
        "Geometry; empty: by year, FASERNU-03 for 2022 and FASERNU-04 from 2023 on. Scripts read it from `FASER_GEOMETRY`, or from "
        "an argument where their options contain `{geometry}`.",
    )
    tag: Word = key(
        "",
        "Conditions tag; empty: by year, OFLCOND-FASER-04 for 2022 and OFLCOND-FASER-05 from 2023 on. Scripts read it from `FASER_TAG`, "
        "or from an argument where their options contain `{tag}`.",
    )
    database: Line = key(
        "/cvmfs/faser.cern.ch/repo/sw/database/DBRelease/current/sqlite200/ALLP200.db",
        "Conditions database (about 100 MB). Each job copies it and writes the iteration's constants into the copy.",
    )
    written: GivenWord = key(
        "FASER-04_ALLP200.db",
        "Name of the database that `write_constants` writes; the script defines it. The version of March 2026 writes "
        "`FASER-05_ALLP200.db`.",
    )
    pool: Word = key(
        "",
        "POOL file that `write_constants` writes to the same folder, for example `FASER-05_Align.pool.root`; empty: every "
        "`*_Align.pool.root`.",
    )
    instance: GivenWord = key("CONDBR3", "Instance in both databases (`dbname`).")
    folder_tag: GivenWord = key("TRACKER-ALIGN-05", "Tag of the alignment in the database that the script writes.")


class Reconstruction(Table):
    """How raw files are reconstructed."""

    backend: Literal["simulation", "calypso", "command"] = key(
        "simulation",
        "Program that reconstructs: the built-in detector simulation, FASER's Calypso, or a command of yours.",
    )
    raw: Annotated[Line, AfterValidator(check_raw_pattern)] = key(
        "",
        "Path of a raw file; empty: simulated files, which need no path. If set, every file must exist at submission.",
        "a path with the fields {year}, {run} and {file} (5 digits)",
    )
    command: Annotated[Line, AfterValidator(check_command)] = key(
        "",
        "Your program (backend `command`), one line of bash. It runs in `{scratch}`, reads `{constants}` and writes its tracks to "
        "`{output}`, both in that folder. Each field becomes one word; do not quote it.",
        "text with {output} and any of {raw}, {constants}, {scratch}, {year}, {run}, {file}, {stations}, {stage}, "
        "{iteration}, {direction}, {geometry}, {tag} and {verbosity}",
    )
    direction: Literal["forward", "backward"] = key(
        "forward",
        "Direction of tracking: `forward` passes `--noBackward` to Calypso's script, `backward` passes `--noForward`.",
    )
    environment: Line = key(
        "",
        "Your own script, sourced before the reconstruction; with `calypso` it replaces `atlas_base`, `asetup`, "
        "`release` and `setup`. The exit status of its last command is ignored. Empty: none.",
    )
    verbosity: Literal["VERBOSE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"] = key(
        "INFO", "Output level of the reconstruction."
    )
    eos_url: Line = key("root://eosuser.cern.ch", "EOS server of the data; jobs get it as `EOS_MGM_URL`.")
    copy_with: Literal["cp", "xrdcp"] = key(
        "cp",
        "Program that copies tracks to the data folder: `cp`, or `xrdcp` through `eos_url` if the folder is below /eos.",
    )
    min_files: Annotated[float, Field(gt=0, le=1)] = key(
        1.0, "Minimum fraction of the raw files that must be reconstructed for an iteration to continue."
    )
    calypso: Calypso = table(Calypso, "Where to find the parts of Calypso.")

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
            raise ValueError(f'backend = "{self.backend}" needs {", ".join(missing)}; set the missing keys')
        return self


class Storage(Table):
    """Where the large files are stored, and for how long."""

    data: Line = key("", "Folder for the large files (EOS on lxplus); empty: inside the campaign's folder.")
    use_eos_for_output: bool = key(True, "Use `data`; false: treat it as empty.")
    keep_intermediate_root_files: bool = key(
        True, "Keep the ROOT files of tracks of earlier iterations; false: the same as `keep_iterations = 1`."
    )
    keep_iterations: Annotated[int, Field(ge=0, le=99)] = key(
        0, "Keep the ROOT files of the latest N iterations; 0: of all. Millepede jobs remove the older ones."
    )
    cleanup_reco_temp_files: bool = key(
        True,
        "A reconstruction job empties its scratch area when it ends; false: it prints the path, and HTCondor removes the area.",
    )

    @property
    def folder(self) -> str:
        """Where the large files of campaigns go; empty: into each campaign's own folder."""
        return self.data if self.use_eos_for_output else ""


class Simulation(Table):
    """The simulated detector (backend `simulation`)."""

    truth: Line = key("", "Constants file of the true detector (mm, rad); empty: all constants 0.")
    tracks: Annotated[int, Field(ge=1, le=1_000_000)] = key(3000, "Tracks in each raw file.")
    seed: Annotated[int, Field(ge=0)] = key(1, "Random seed; the same seed gives the same raw files.")
    inefficiency: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = key(
        0.005, "Fraction of the hits that are missing at random."
    )
    noise: Annotated[float, Field(ge=0, le=0.01, allow_inf_nan=False)] = key(
        0.0, "Fraction of noisy strips; a noise hit may replace a track's hit."
    )
    outliers: Share = key(0.0, "Fraction of the hits that are displaced by up to 1 mm.")


class Mille(Table):
    """Selection of tracks and hits for the alignment."""

    chi2_max: Positive = key(2000.0, "Maximum chi2 of a track.")
    pz_min: NotNegative = key(100.0, "Minimum momentum along the beam (GeV).")
    pz_max: Positive = key(5000.0, "Maximum momentum along the beam (GeV).")
    hits_min: Annotated[int, Field(ge=6, le=48)] = key(15, "Minimum number of hits of a track.")
    residual_max: Annotated[list[Positive], Field(min_length=1, max_length=99)] = key(
        [1.0, 0.05], "Maximum |residual| of a hit (mm), one value per iteration; the last value repeats."
    )
    derivative_max: Positive = key(
        10.0,
        'With `pivot = "calypso"`: maximum |d residual / d rotation about x or y| of a layer (mm/rad). faser-alignment-script uses 2, which '
        "cuts 43 % of the IFT's hits with the constants of 2025; 10 cuts none.",
    )
    pivot: Literal["calypso", "layer"] = key(
        "layer",
        "Derivatives by rotations of layers: about the hit's z, as Calypso writes them, or as the constants rotate the layer.",
    )

    @model_validator(mode="after")
    def _window_is_open(self) -> "Mille":
        if self.pz_min >= self.pz_max:
            raise ValueError(f"pz_min = {self.pz_min:g} must be below pz_max = {self.pz_max:g}")
        return self


class Presigma(Table):
    """Presigma of one kind of parameter; 0: that of `[solver.presigma]` in a step, else `presigma_mm` or `presigma_rad`."""

    layer_x: NotNegative = key(0.0, "x of layers (mm).")
    layer_y: NotNegative = key(0.0, "y of layers (mm).")
    layer_rx: NotNegative = key(0.0, "Rotation of layers about x (rad).")
    layer_ry: NotNegative = key(0.0, "Rotation of layers about y (rad).")
    layer_rz: NotNegative = key(0.0, "Rotation of layers about z (rad).")
    module_x: NotNegative = key(0.0, "x of the sides of modules (mm).")
    module_rz: NotNegative = key(0.0, "Rotation of modules about z (rad).")


class Step(Table):
    """One run of the solver within an iteration."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("all in one step", "Name, shown in tables.")
    fix: list[FixItem] = key(
        ["frame", "rx", "ry"], "Parameters to fix; all others are free.", f"a list of {FIX_ALLOWED}"
    )
    extra_lines: list[Line] = key([], "Further steering lines of this step, after `solver.options`, for experts.")
    parameters: Line = key(
        "", "File with your own `Parameter` lines; their non-zero numbers override the generated ones."
    )
    presigma: Presigma = table(Presigma, "Presigma of each kind of parameter in this step.")
    freeze_sigma: NotNegative = key(
        0.0,
        "Freeze directions in which the error by the tracks exceeds this many standard deviations of `[survey]`: the constants "
        "stay there where the campaign started. Log and metrics name them. 0: none.",
    )


def check_criteria(criteria: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's own criteria; raise ValueError if ``[convergence]`` does not allow them."""
    try:
        Convergence.model_validate(criteria)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "extra_forbidden":
            raise ValueError(f"{problem['loc'][0]} is not a key of [convergence]") from None
        raise ValueError(f"{problem['loc'][0]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None
    return renamed.convergence(criteria)


class Stage(Table):
    """Iterations that free the same parameters; stages run one after another."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("all", "Name, shown in tables.")
    iterations: Annotated[int, Field(ge=0, le=99)] = key(0, "Iteration limit; 0: `campaign.iterations`.")
    stations: Literal[0, 3, 4] = key(0, "Tracker stations of this stage's tracks; 0: `campaign.stations`.")
    at_limit: Literal["continue", "stop"] = key(
        "continue",
        "What to do if the stage has not converged in its last iteration: `continue` with the next stage, or `stop` the campaign "
        "as `exhausted` (always so after the last stage).",
    )
    convergence: Annotated[dict[str, Any], AfterValidator(check_criteria)] = Field(
        default_factory=dict,
        description="Criteria of this stage; they override those of `[convergence]`.",
        json_schema_extra={"allowed": "a table with keys of `[convergence]`"},
    )
    steps: Annotated[list[Step], Field(min_length=1, max_length=9)] = Field(
        default_factory=lambda: [Step()],
        description="Runs of the solver, in this order; each starts from the constants of the one before.",
    )


class Solver(Table):
    """How each iteration is solved."""

    backend: Literal["builtin", "pede"] = key("builtin", "The built-in solver, or Millepede II's pede.")
    pede: Annotated[Line, StringConstraints(min_length=1)] = key("pede", "pede's command or path (backend `pede`).")
    environment: Line = key(
        "", "Script to source before pede, for example ROOT's `thisroot.sh` (backend `pede`); empty: none."
    )
    method: Annotated[Line, StringConstraints(min_length=1)] = key(
        "inversion 3 0.001",
        "Solution method, number of iterations and limit on the expected decrease of chi2 (pede's `method`).",
    )
    hugecut: Positive = key(2000.0, "Reject a track whose chi2 exceeds this multiple of its 3-sigma limit.")
    entries: Annotated[int, Field(ge=1)] = key(
        25, "Minimum number of measurements of a parameter; a parameter with fewer is fixed."
    )
    presigma_mm: Positive = key(0.05, "Presigma of translations (mm).")
    presigma_rad: Positive = key(0.005, "Presigma of rotations (rad).")
    presigma: Presigma = table(Presigma, "Presigma of each kind of parameter.")
    threads: Annotated[int, Field(ge=1, le=256)] = key(1, "Threads of the solver.")
    options: list[Line] = key([], "Further steering lines, for experts.")
    weights: dict[Annotated[str, AfterValidator(check_run)], Positive] = Field(
        default_factory=dict,
        description="Weights of the runs in a campaign of several runs; a run that is not listed has weight 1.",
        json_schema_extra={"allowed": 'a table such as `{ "011706" = 0.5 }`, runs with six digits, weights above 0'},
    )
    warnings_ok: list[Literal[2, 3, 4]] = key(
        [2, 3, 4],
        "pede's end codes of severe warnings whose result is accepted: 2 few measurements, 3 bad matrix, 4 bad binaries.",
    )


class Survey(Table):
    """Accuracies (one standard deviation) of the constants before the alignment, for weak modes.

    The defaults are sizes by which FASER's real constants changed. With a survey, set its accuracies.
    """

    layer_x: Positive = key(0.05, "x of layers (mm).")
    layer_y: Positive = key(0.06, "y of layers (mm).")
    layer_rx: Positive = key(0.0002, "Rotation of layers about x (rad).")
    layer_ry: Positive = key(0.0002, "Rotation of layers about y (rad).")
    layer_rz: Positive = key(0.0003, "Rotation of layers about z (rad).")
    module_x: Positive = key(0.025, "x of modules, across their strips (mm).")
    module_y: Positive = key(0.1, "y of modules, along their strips (mm).")
    module_rz: Positive = key(0.0004, "Rotation of modules about z (rad).")
    weak: Annotated[float, Field(ge=1, allow_inf_nan=False)] = key(
        20.0,
        "A direction is a weak mode if the error by the tracks exceeds this many standard deviations of the survey.",
    )


class Convergence(Table):
    """When the alignment has converged, and when to stop without convergence."""

    @model_validator(mode="before")
    @classmethod
    def _accept_deprecated_names(cls, table: Any) -> Any:
        return renamed.convergence(table) if isinstance(table, dict) else table

    rules: Annotated[list[Rule], BeforeValidator(renamed.rules), Field(min_length=1)] = key(
        ["delta_chi2_per_parameter", "residual_shift"],
        "Rules that compare an iteration's corrections with their thresholds. Deprecated names: `significance`, `effect`.",
    )
    require: Literal["any", "all"] = key("any", "Whether any one or all of the rules must hold.")
    delta_chi2_per_parameter_max: Positive = key(
        0.01,
        "Maximum expected decrease of chi2 per free parameter, in every step. Deprecated name: `significance_max`.",
    )
    residual_shift_um_max: Positive = key(
        0.5, "Maximum expected rms shift of the residuals by the correction (um). Deprecated name: `effect_um_max`."
    )
    absolute_um_max: Positive = key(1.0, "Maximum correction of a translation (um); rule `absolute`.")
    absolute_urad_max: Positive = key(10.0, "Maximum correction of a rotation (urad); rule `absolute`.")
    relative_max: Positive = key(0.001, "Maximum norm(correction) / norm(constants); rule `relative`.")
    patience: Annotated[int, Field(ge=1, le=99)] = key(
        2, "Number of consecutive iterations with corrections below threshold."
    )
    min_iterations: Annotated[int, Field(ge=1, le=99)] = key(
        1, "Minimum number of iterations before a stage may converge."
    )
    module_cut_max: Share = key(
        0.10,
        "Maximum fraction of a free module's hits that the residual cut may remove beyond that of the median module.",
    )
    detector_cut_max: Share = key(0.30, "Maximum fraction of all hits that the residual cut may remove.")
    remaining_sigma_max: Positive = key(0.2, "Maximum extrapolated remaining correction (standard deviations, rms).")
    chi2_rise_max: Positive = key(
        0.003,
        "Maximum rise of chi2/ndf above the stage's best with the same files, times chi2/ndf where that is above 1.",
    )
    held_fixed_max: Positive = key(
        5.0,
        "Last stage: maximum expected decrease of chi2 per parameter from freeing again what an earlier stage aligned "
        "and this one holds fixed.",
    )
    files_agree_sigma_max: Positive = key(
        3.0, "Maximum difference of mean residuals between files (standard deviations)."
    )
    duplicates_max: Share = key(0.10, "Maximum fraction of a file's tracks that are also in another file.")
    weak_drift_sigma_max: Positive = key(
        5.0,
        "Maximum drift of the constants along a weak mode since the start of the campaign (standard deviations of `[survey]`).",
    )
    diverged_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = key(
        1.05, "Diverged: chi2/ndf exceeds its best value by this factor in 2 consecutive iterations."
    )
    stalled_iterations: Annotated[int, Field(ge=2, le=99)] = key(
        4, "Stalled: number of consecutive iterations without progress."
    )
    stalled_residual_shift: Share = key(
        0.10,
        "Progress: the smallest expected residual shift falls by at least this fraction. Deprecated name: `stalled_effect`.",
    )
    stalled_chi2: NotNegative = key(0.001, "Progress: the best chi2/ndf falls by at least this amount.")
    starved_fraction: Share = key(
        0.80, "Starved: the used tracks of as many files fall below this fraction of the stage's maximum."
    )
    starved_per_parameter: NotNegative = key(20.0, "Starved: fewer tracks than this per free parameter.")
    momentum_max: Positive = key(
        0.01,
        "Reported, not a criterion: relative change of the median momentum since the stage's first iteration above this value.",
    )


class Validation(Table):
    """A validation pass before *converged*: reconstruct tracks with the first and with the last constants.

    With the last constants, the mean residual of each side of a free module must be zero within its error, and the tracks
    must not be described worse than with the first.
    """

    enabled: bool = key(
        True,
        "Run a validation pass after convergence on files that the alignment did not use, if there are any; if it fails, "
        "the campaign ends as `rejected`.",
    )
    hold_back: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = key(
        0.05,
        "Fraction of the raw files that are held back from the alignment for the validation, at least one file. Campaigns of "
        "fewer than ten files and campaigns with `files` hold back none.",
    )
    files: Annotated[Line, AfterValidator(check_files)] = key(
        "",
        "Other raw files of the same run for the validation, instead of files held back.",
        "ranges such as 500-510,520",
    )
    used_files: bool = key(
        False,
        "Also reconstruct the files that the alignment used. The validation then takes as long as two iterations.",
    )
    chi2_rise_max: NotNegative = key(
        0.003,
        "Maximum rise of chi2/ndf, over all files and over the unused ones; at least 2 x parameters / hits of the alignment.",
    )
    module_rise_max: NotNegative = key(
        0.05,
        "Maximum relative rise of the rms of a module's residuals about zero; at least 2 x parameters / hits of the "
        "module in the alignment.",
    )
    module_hits_min: Annotated[int, Field(ge=2)] = key(
        1000, "Minimum number of hits for the rms of a module's residuals to be compared."
    )
    side_mean_um_max: NotNegative = key(
        5.0,
        "Maximum |mean residual| of a free module's side with the last constants, beyond its statistical error (um).",
    )
    false_rejection_max: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = key(
        0.002, "Probability that statistical errors alone reject a mean, for all sides together."
    )


def check_limits(limits: list[float]) -> list[float]:
    """Return the limits of a grade: two numbers, that of *good* first; raise ValueError for others."""
    if len(limits) != 2 or not 0 <= limits[0] <= limits[1] < math.inf:
        raise ValueError(f"{limits}: must be two numbers in ascending order: the limit of good, the limit of bad")
    return limits


GradeLimits = Annotated[list[float], AfterValidator(check_limits)]
TWO = "two numbers, at least 0, in ascending order"


class Quality(Table):
    """Limits of the grades in the quality block: *good* up to the first limit, *bad* above the second, *look* in between.

    Grades never change the decision. [Quality](quality.md) has each criterion and its source.
    """

    precision: GradeLimits = key(
        [0.1, 0.3],
        "Median error of the constants divided by a hit's resolution. "
        "If any error is above the second limit, the grade is at best *look*.",
        TWO,
    )
    residual_mean_um: GradeLimits = key([1.0, 5.0], "rms of the modules' mean residuals (um).", TWO)
    weak_drift_sigma: GradeLimits = key(
        [1.0, 5.0], "Largest drift along a weak mode (standard deviations of `[survey]`).", TWO
    )
    momentum: GradeLimits = key(
        [0.01, 0.03], "Relative change of the median momentum since the stage's first iteration.", TWO
    )
    dropped: GradeLimits = key(
        [0.1, 0.3],
        "Fraction of hits that are cut. The second limit also applies to the fraction of dropped files. "
        "If any file was dropped, the grade is at best *look*.",
        TWO,
    )
    truth_sigma: GradeLimits = key(
        [1.5, 3.0], "Distance to the truth of a simulated detector (statistical errors, rms).", TWO
    )


class Notify(Table):
    """Recipients and events of notifications. Addresses and passwords are in the user's own file, never here."""

    targets: list[Word] = key([], "Recipients: names of targets in `file`.")
    file: Annotated[Line, StringConstraints(min_length=1)] = key(
        "~/.config/faser-align/targets.toml", "File with the targets, readable by its owner only (mode 600)."
    )
    events: list[Event] = key(
        ["held", "lost", "end"],
        "Events that send a message; `end` stands for every end of a campaign and for a stuck one.",
    )
    templates: Line = key(
        "", "Folder with message templates that replace the built-in ones of the same name; empty: none."
    )


class Check(Table):
    """Sizes with which `check` estimates disk space, and its limit for tickets."""

    tracks_mb: Positive = key(10.0, "Tracks per raw file and iteration (MB), in `storage.data`.")
    mille_mb: Positive = key(
        10.0,
        "Millepede's data per raw file and iteration (MB), in `storage.data`; those of all iterations are kept.",
    )
    control_mb: Positive = key(0.2, "Logs and control files per raw file and iteration (MB), in `campaign.folder`.")
    ticket_h: NotNegative = key(1.0, "Warn if the Kerberos ticket or the AFS token expires within this time (h).")


class Report(Table):
    """The campaign's HTML report, rewritten while the campaign runs."""

    publish: Line = key(
        "",
        "Folder, for example on EOS web space, for the campaign's page and an index of all pages. Both are rewritten "
        "at the end of each Millepede job and of the campaign. Empty: none.",
    )
    url: Address = key(
        "",
        "URL of that folder for the link in messages, for example `https://align.web.cern.ch/pages`; empty: messages "
        "contain the path of the file.",
        allowed="a URL that begins with http:// or https://, without blanks",
    )
    label: Line = key(
        "FASER Internal", "Label above figures: the experiment, which is bold, and the status of the result."
    )


class Resources(Table):
    """Resources that a job requests from HTCondor."""

    cpus: Annotated[int, Field(ge=1, le=256)] = key(1, "CPUs.")
    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = key(1000, "Memory (MB).")
    memory_max_mb: Annotated[int, Field(ge=0, le=1_000_000)] = key(
        0, "Memory (MB) to request after HTCondor held the job for exceeding `memory_mb`; 0: the job stays held."
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
                f"memory_max_mb = {self.memory_max_mb} must be at least memory_mb = {self.memory_mb}; raise it, or remove it"
            )
        return self


class Python(Table):
    """Python interpreters, each with faser-align installed in its environment. They do not depend on the user's shell."""

    jobs: Line = key("", "Python of the jobs, on the execute nodes; empty: the Python that runs `submit`.")
    hooks: Line = key("", "Python of DAGMan's scripts, on the access point; empty: the Python that runs `submit`.")


class HTCondor(Table):
    """How the campaign runs on HTCondor."""

    pool: Literal["personal", "system"] = key(
        "personal", "`personal`: the pool that `pool start` starts on this machine; `system`: the installed HTCondor."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = key(2, "Retries of a node after a failure that may be temporary.")
    retry_wait_s: Annotated[int, Field(ge=0, le=86_400)] = key(
        0, "Wait before a node is retried (s), so that a failed service can recover; 0: none."
    )
    releases: Annotated[int, Field(ge=0, le=20)] = key(
        3, "Maximum number of automatic releases of a job that HTCondor held for a temporary reason; 0: none."
    )
    release_wait_s: Annotated[int, Field(ge=0, le=86_400)] = key(600, "Wait before an automatic release (s).")
    scan_interval_s: Annotated[int, Field(ge=0, le=300)] = key(
        1, "Interval at which DAGMan reads its jobs' log (s); 0: as configured in HTCondor."
    )
    max_running: Annotated[int, Field(ge=0, le=100_000)] = key(
        0, "Maximum number of reconstruction jobs in the queue; 0: all."
    )
    accounting_group: Word = key("", "`AccountingGroup` of the jobs, for example `group_u_FASER.users`; empty: none.")
    reco: Resources = table(Resources, "Resources of a reconstruction job.")
    mille: Resources = table(Resources, "Resources of a Millepede job.")


class Config(Table):
    """The whole configuration."""

    campaign: Campaign = table(Campaign, "What to align, from which constants, and where.")
    reconstruction: Reconstruction = table(Reconstruction, "How raw files are reconstructed.")
    storage: Storage = table(Storage, "Where the large files are stored, and for how long.")
    simulation: Simulation = table(Simulation, "The simulated detector.")
    mille: Mille = table(Mille, "Selection of tracks and hits.")
    stages: list[Stage] = Field(
        default_factory=list,
        description="Stages, one after another; none: the standard stage for the number of stations.",
    )
    solver: Solver = table(Solver, "How each iteration is solved.")
    survey: Survey = table(Survey, "Accuracies of the constants before the alignment.")
    convergence: Convergence = table(Convergence, "When to stop.")
    quality: Quality = table(Quality, "Limits of the grades in the quality block.")
    validation: Validation = table(Validation, "Validation of the result.")
    notify: Notify = table(Notify, "Recipients and events of notifications.")
    check: Check = table(Check, "Sizes and limits of `check`.")
    python: Python = table(Python, "Interpreters of jobs and hooks.")
    report: Report = table(Report, "The campaign's HTML report.")
    htcondor: HTCondor = table(HTCondor, "How the campaign runs on HTCondor.")
