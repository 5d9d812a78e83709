"""Define the keys of the configuration file: types, defaults, ranges, units and meaning.

The page ``docs/configuration.md`` is generated from these models, so users read the descriptions here. Keys of the
solution of an iteration are in ``config.solving``, keys of the decision on it in ``config.decisions``.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from faser_align.config.decisions import Convergence, Quality, Validation
from faser_align.config.fields import PATTERN, WORD, Line, NotNegative, Place, Positive, Share, Table, Word, key
from faser_align.config.solving import Mille, Solver, Stage, Survey
from faser_align.config.values import check_command, check_name_template, check_option, check_raw_pattern

# A backslash at the end of a line of a submit description joins the next line.
Expression = Annotated[str, StringConstraints(pattern=r"^([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x08\x0a-\x1f\x7f\\])?$")]
GivenWord = Annotated[str, StringConstraints(pattern=WORD, min_length=1)]
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[\w.~:/?#@&=+%,;-]+)?$")]
End = Literal[
    "converged", "reconstructed", "rejected", "exhausted", "diverged", "stalled", "starved", "failed", "removed"
]
Event = Literal["submitted", "iteration", "held", "lost", "end", End, "stuck"]
Option = Annotated[Line, AfterValidator(check_option)]
StandardOption = Literal["--alignment", "--noBackward", "--noForward", "--noIFT", "--output_level"]


class Campaign(Table):
    """What to align, the constants to start from, and where the files go."""

    folder: Place = key(".", "Folder in which `submit` makes the campaign's folder (AFS on lxplus; never /tmp or EOS).")
    name: Annotated[Line, AfterValidator(check_name_template)] = key(
        "Y{year}_R{run}_F{files}",
        "Name of a campaign and of its folder.",
        "text without /, with the fields {year}, {run}, {files}, {stations}, {iterations} and {constants} (the name of the "
        "file with the constants, without its suffix)",
    )
    iterations: Annotated[int, Field(ge=1, le=99)] = key(10, "Iteration limit of each stage.")
    repeat: Annotated[int, Field(ge=1, le=9)] = key(1, "How many times the list of stages runs.")
    stations: Literal[3, 4] = key(4, "Tracker stations: 4 with the IFT, 3 without.")
    constants: Place = key("", "File with the initial constants (mm, rad); `--constants` overrides it.")


class Calypso(Table):
    """FASER's reconstruction (backend `calypso`): where to find its parts. The defaults are those of CERN's lxplus."""

    atlas_base: Place = key(
        "/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase", "Folder of ATLASLocalRootBase, which provides `asetup`."
    )
    asetup: Place = key("", "`asetup.faser` of your Calypso checkout, the input of `asetup`.")
    release: Annotated[Line, StringConstraints(min_length=1)] = key("Athena,24.0.41", "Athena release for `asetup`.")
    setup: Place = key("", "`setup.sh` of your Calypso installation, sourced last.")
    write_constants: Place = key(
        "", "`WriteAlignmentConfig_Faser04.py` of your checkout; it writes constants to a conditions database."
    )
    write_options: list[Option] = key(
        [], "Further arguments of that script; `{geometry}` and `{tag}` are replaced by their values."
    )
    reconstruct: Place = key("", "`faser_reco_alignment.py` of your checkout; it reconstructs a raw file.")
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
    database: Place = key(
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
    raw: Annotated[Line, PATTERN, AfterValidator(check_raw_pattern)] = key(
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
    environment: Place = key(
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
    calypso: Calypso = Calypso()

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

    data: Place = key("", "Folder for the large files (EOS on lxplus); empty: inside the campaign's folder.")
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

    truth: Place = key("", "Constants file of the true detector (mm, rad); empty: all constants 0.")
    tracks: Annotated[int, Field(ge=1, le=1_000_000)] = key(3000, "Tracks in each raw file.")
    seed: Annotated[int, Field(ge=0)] = key(1, "Random seed; the same seed gives the same raw files.")
    inefficiency: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = key(
        0.005, "Fraction of the hits that are missing at random."
    )
    noise: Annotated[float, Field(ge=0, le=0.01, allow_inf_nan=False)] = key(
        0.0, "Fraction of noisy strips; a noise hit may replace a track's hit."
    )
    outliers: Share = key(0.0, "Fraction of the hits that are displaced by up to 1 mm.")


class Notify(Table):
    """Recipients and events of notifications. Addresses and passwords are in the user's own file, never here."""

    targets: list[Word] = key([], "Recipients: names of targets in `file`.")
    file: Annotated[Place, StringConstraints(min_length=1)] = key(
        "~/.config/faser-align/targets.toml", "File with the targets, readable by its owner only (mode 600)."
    )
    events: list[Event] = key(
        ["held", "lost", "end"],
        "Events that send a message; `end` stands for every end of a campaign and for a stuck one.",
    )
    templates: Place = key(
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

    publish: Place = key(
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

    jobs: Place = key("", "Python of the jobs, on the execute nodes; empty: the Python that runs `submit`.")
    hooks: Place = key("", "Python of DAGMan's scripts, on the access point; empty: the Python that runs `submit`.")


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
    reco: Resources = Resources()  # of a reconstruction job
    mille: Resources = Resources()  # of a Millepede job


class Config(Table):
    """The whole configuration."""

    campaign: Campaign = Campaign()
    reconstruction: Reconstruction = Reconstruction()
    storage: Storage = Storage()
    simulation: Simulation = Simulation()
    mille: Mille = Mille()
    stages: list[Stage] = Field(default=[])  # none: the standard stage for the number of stations
    solver: Solver = Solver()
    survey: Survey = Survey()
    convergence: Convergence = Convergence()
    quality: Quality = Quality()
    validation: Validation = Validation()
    notify: Notify = Notify()
    check: Check = Check()
    python: Python = Python()
    report: Report = Report()
    htcondor: HTCondor = HTCondor()
