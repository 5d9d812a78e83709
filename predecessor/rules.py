"""Define what each key of faser-alignment-script's configurations becomes, for both generations.

A rule names our keys for an old key, or the reason why there is none.
"""

import os
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from faser_align.config.values import NAME_FIELDS
from faser_align.fsm.errors import UserError
from faser_align.predecessor.submit_templates import megabytes
from faser_align.predecessor.version import RAW, RECONSTRUCT, RUN_ALIGNMENT, WRITE_CONSTANTS, Version, version_of

Old = Mapping[str, Any]
ALMALINUX = '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= "AlmaLinux9")'
TABLES = (
    "campaign",
    "reconstruction",
    "reconstruction.calypso",
    "storage",
    "solver",
    "notify",
    "htcondor",
    "htcondor.reco",
    "htcondor.mille",
)


class Context(NamedTuple):
    """The old configuration, the folder of its relative paths, and the behaviour of its version."""

    old: Old
    base: str
    version: Version = Version("", "", {}, [], [])


class To(NamedTuple):
    """Our keys for an old one, the conversion of its value, and a remark."""

    keys: tuple[str, ...]
    change: Callable[[Any, Context], Any] = lambda value, _: value
    note: str = ""


class No(NamedTuple):
    """Why an old key has no counterpart."""

    why: str


class Template(NamedTuple):
    """A key that names a submit template for jobs of this kind, whose lines are converted if the user edited it."""

    kind: str


class Script(NamedTuple):
    """A key that names a script of the version, our keys that are read from it, and what is not read."""

    keys: tuple[str, ...]
    why: str


class Need(NamedTuple):
    """A key without which a campaign cannot be made, and what to write there."""

    key: str
    fix: str


Rule = To | No | Template | Script | tuple[To, ...]


class Entry(NamedTuple):
    """One of our keys: its value, and the comment after it."""

    key: str
    value: Any
    origin: str


def _path(value: Any, context: Context) -> Any:
    if not isinstance(value, str) or not value:
        return value
    return os.path.normpath(os.path.join(context.base, os.path.expanduser(os.path.expandvars(value))))


def _parent(value: Any, context: Context) -> Any:
    """Return the parent of the campaign's folder: the path before the campaign's name or another field."""
    path = _path(value, context)
    return path.partition("{")[0].rpartition("/")[0] or "/" if isinstance(path, str) and "{" in path else path


def _name(value: Any, _: Context) -> Any:
    """Return the name with our fields: ``{year:0>4}`` always has four digits here."""
    if not isinstance(value, str):
        return value
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError:
        return value
    fields = {"iters": "iterations", "reco": "stations"} | {name: name for name in NAME_FIELDS}
    return "".join(
        text + ("" if field is None else f"{{{fields[field]}}}" if field in fields else f"{{{field}}}")
        for text, field, _, _ in parts
    )


def _upper(value: Any, _: Context) -> Any:
    return value.upper() if isinstance(value, str) else value


def _stations(value: Any, _: Context) -> Any:
    """Return the number of stations from ``raw.fourst``."""
    return (4 if value else 3) if isinstance(value, bool) else value


def _size(unit: str) -> Callable[[Any, Context], Any]:
    """Return a converter of sizes to MB, in HTCondor's notation."""

    def change(value: Any, _: Context) -> Any:
        try:
            return megabytes(unit)(str(value))
        except UserError as problem:
            return No(f"{problem}; write it as 4 GB")

    return change


def _within(name: str) -> Callable[[Any, Context], Any]:
    """Return a converter to the file ``name`` in the folder that the key names; the name of a file is kept."""

    def change(value: Any, context: Context) -> Any:
        path = _path(value, context)
        if not isinstance(path, str) or not path or os.path.isfile(path):
            return path
        return f"{path}/{name}"

    return change


def _asetup(value: Any, context: Context) -> Any:
    """Return ``asetup.faser`` of the checkout of an installation: where it is, or the likeliest place."""
    places = [f"{place}/asetup.faser" for place in _around(value, context)]
    return next(filter(os.path.isfile, places), places[0]) if places else value


def _around(value: Any, context: Context) -> list[str]:
    """Return folders near an installation that may contain the checkout, the likeliest first."""
    path = _path(value, context)
    if not isinstance(path, str) or not path:
        return []
    top = os.path.dirname(path)
    return [top, f"{top}/calypso", path, context.base]


def version(old: Old, base: str) -> Version:
    """Return the behaviour of the configuration's version: from its scripts if readable, else from its keys."""
    context = Context(old, base)
    in_checkout = any(os.path.isfile(f"{base}/{name}") for name in (RUN_ALIGNMENT, RECONSTRUCT))
    source = _path(_get(old, "src.dir"), context) or (base if in_checkout else "")
    scripts = [f"{base}/{RUN_ALIGNMENT}", f"{base}/templates/{RUN_ALIGNMENT}"]
    script = next(filter(os.path.isfile, scripts), scripts[0])
    if _get(old, "tpl.recoexe"):
        script = str(initial(_get(old, "tpl.recoexe"), context))
    around = _around(_get(old, "paths.calypso_install"), context)
    return version_of(old, source if isinstance(source, str) else "", script, around)


def _script(value: Any, context: Context) -> Any:
    path = _path(value, context)
    if isinstance(path, str) and path and not os.path.isfile(path):
        return No("no such file; main.py created it if it was missing, and our jobs contain the same four lines")
    return path


def initial(value: Any, context: Context) -> Any:
    """Return a file in the old folder of templates."""
    folder = _path(_get(context.old, "tpl.dir") or ".", context)
    return _path(value, Context(context.old, folder)) if isinstance(folder, str) else value


def _get(old: Old, key: str) -> Any:
    value: Any = old
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


_FILES_HERE = "faser-align chooses the file names in a campaign's folder"
_LOOK = "correct it if the file is elsewhere in your checkout"
_RECO_SCRIPT = (
    "our reconstruct.sh does the same steps; import reads direction, options, release, raw files, database names, geometry and tag from it "
    "and from the scripts that it runs; set other changes in [reconstruction] and [reconstruction.calypso] (database), "
    "or in environment, your own script"
)
_READ = (
    "reconstruction.direction",
    "reconstruction.raw",
    "reconstruction.calypso.release",
    "reconstruction.calypso.reconstruct_options",
    "reconstruction.calypso.reconstruct_without",
    "reconstruction.calypso.written",
    "reconstruction.calypso.pool",
    "reconstruction.calypso.folder_tag",
    "reconstruction.calypso.geometry",
    "reconstruction.calypso.tag",
)
_OF_A_CHECKOUT = "in the folder of config.json, if that is your checkout, else next to the installation; " + _LOOK
_ENVIRONMENT = "sourced in the jobs instead of asetup and setup.sh"
_MILLE_SCRIPT = "import does not read it; set your changes in [solver] and [mille]"

# The README's generation.
FIRST_TABLES = ("paths", "htcondor", "alignment", "storage")
FIRST: dict[str, Rule] = {
    "paths.calypso_install": (
        To(("reconstruction.calypso.setup",), _within("setup.sh")),
        To(("reconstruction.calypso.asetup",), _asetup, _LOOK),
        To(
            ("reconstruction.calypso.write_constants",),
            lambda _, context: context.version.write_constants,
            _OF_A_CHECKOUT,
        ),
        To(("reconstruction.calypso.reconstruct",), lambda _, context: context.version.reconstruct, _OF_A_CHECKOUT),
    ),
    "paths.pede_install": To(("solver.pede",), _within("pede")),
    "paths.env_script": To(
        ("reconstruction.environment", "solver.environment"),
        _script,
        "sourced in the jobs instead of asetup and setup.sh, and before pede",
    ),
    "paths.reco_env_script": To(("reconstruction.environment",), _path, _ENVIRONMENT),
    "paths.millepede_env_script": To(("solver.environment",), _path, "sourced before pede"),
    "paths.work_dir": To(("campaign.folder",), _path),
    "paths.eos_output_dir": To(("storage.data",), _path),
    "htcondor.job_flavour": To(("htcondor.reco.flavour", "htcondor.mille.flavour")),
    "htcondor.request_cpus": To(("htcondor.reco.cpus", "htcondor.mille.cpus")),
    "htcondor.max_retries": To(
        ("htcondor.retries",), note="one key here: max_retries multiplied the DAG's own retries"
    ),
    "htcondor.request_memory": To(("htcondor.reco.memory_mb", "htcondor.mille.memory_mb"), _size("M")),
    "htcondor.request_disk": To(("htcondor.reco.disk_mb", "htcondor.mille.disk_mb"), _size("K")),
    "htcondor.requirements": To(("htcondor.reco.requirements", "htcondor.mille.requirements")),
    "htcondor.reco.job_flavour": To(("htcondor.reco.flavour",)),
    "htcondor.reco.request_cpus": To(("htcondor.reco.cpus",)),
    "htcondor.reco.request_memory": To(("htcondor.reco.memory_mb",), _size("M")),
    "htcondor.reco.request_disk": To(("htcondor.reco.disk_mb",), _size("K")),
    "htcondor.reco.max_retries": To(("htcondor.retries",), note="of all jobs"),
    "htcondor.millepede.job_flavour": To(("htcondor.mille.flavour",)),
    "htcondor.millepede.request_cpus": To(("htcondor.mille.cpus",)),
    "htcondor.millepede.request_memory": To(("htcondor.mille.memory_mb",), _size("M")),
    "htcondor.millepede.request_disk": To(("htcondor.mille.disk_mb",), _size("K")),
    "htcondor.millepede.max_retries": No("there is one key, htcondor.retries; the value of htcondor.reco is used"),
    "alignment.default_iterations": To(("campaign.iterations",)),
    "alignment.polling_interval_seconds": No("not needed: DAGMan runs a script when a node starts and ends"),
    "storage.use_eos_for_output": To(("storage.use_eos_for_output",)),
    "storage.keep_intermediate_root_files": To(("storage.keep_intermediate_root_files",)),
    "storage.cleanup_reco_temp_files": To(("storage.cleanup_reco_temp_files",)),
    "storage.cleanup_database_files": No(
        "the database is a copy in the job's scratch area: storage.cleanup_reco_temp_files"
    ),
    "storage.keep_alignment_constants": No("constants of every iteration are always kept"),
}

# The newest generation.
NEWEST: dict[str, Rule] = {
    "raw.year": No("-y of each submission"),
    "raw.run": No("-r of each submission"),
    "raw.files": No("-f of each submission, both ends included (faser-alignment-script excludes the last file)"),
    "raw.iters": To(("campaign.iterations",), note="for stages without iterations of their own"),
    "raw.stations": To(("campaign.stations",)),
    "raw.fourst": To(("campaign.stations",), _stations),
    "raw.threest": No("raw.fourst has the same information"),
    "raw.initial": To(("campaign.constants",), _path),
    "raw.format": To(
        ("campaign.name",),
        _name,
        "without specifications such as :0>6: {year} has four digits and {run} six; {files} ends with the last file that is used",
    ),
    "raw.verbosity": To(("reconstruction.verbosity",), _upper),
    "set.dir": No(
        "the first set is in the campaign's folder itself, further sets are in stage02, ...; stages has names and stations"
    ),
    "set.iter": No("iter01, ..., counted from 1"),
    "set.reco": No("1reco, and 2kfalignment with its tracks"),
    "set.pede": No("3millepede; with several steps step1, step2, ... in it"),
    "dag.dir": To(("campaign.folder",), _parent, "the campaign's folder is created in it"),
    "dag.file": No(_FILES_HERE),
    "dag.*exe": No(_FILES_HERE),
    "dag.*env": No(_FILES_HERE),
    "dag.iter.*": No(_FILES_HERE),
    "data.dir": To(("storage.data",), _parent, "the campaign's folder is created in it"),
    "data.config": No("the configuration is kept as campaign.toml in the campaign's folder"),
    "data.initial": No("the initial constants are kept as iter01/1reco/inputforalign.txt"),
    "data.iter.*": No(
        "iter01/{1reco,2kfalignment,3millepede} are fixed; from the second stage on they are below stage02, ..."
    ),
    "tpl.inputforalign": To(("campaign.constants",), initial),
    "tpl.dir": No("only the files that other keys of tpl name are read"),
    "tpl.recosub": Template("reco"),
    "tpl.millesub": Template("mille"),
    "tpl.recoexe": Script(_READ, _RECO_SCRIPT),
    "tpl.recoenv": To(("reconstruction.environment",), initial, _ENVIRONMENT),
    "tpl.milleenv": To(("solver.environment",), initial, "sourced before pede"),
    "tpl.milleexe": No(_MILLE_SCRIPT),
    "src.dir": (
        To(
            ("reconstruction.calypso.write_constants",),
            lambda _, context: context.version.write_constants,
            f"templates/{WRITE_CONSTANTS} in it, or the one that {RUN_ALIGNMENT} names",
        ),
        To(
            ("reconstruction.calypso.reconstruct",),
            lambda _, context: context.version.reconstruct,
            f"{RECONSTRUCT} in it",
        ),
    ),
    "env.calypso.asetup": To(("reconstruction.calypso.asetup",), _path),
    "env.calypso.setup": To(("reconstruction.calypso.setup",), _path),
    "env.pede": To(("solver.pede",), _within("pede")),
    "env.root": To(("solver.environment",), _path, "sourced before pede"),
    "discarded.*": No("the file itself calls it discarded"),
}

# These keys of ours, from these old keys, are required for a campaign.
_CHECKOUT = "write the folder of your checkout of faser-alignment-script"
_INSTALLATION = "write the folder of your Calypso installation, which has setup.sh"
NEEDED_NEWEST = {
    "reconstruction.calypso.write_constants": Need("src.dir", _CHECKOUT),
    "reconstruction.calypso.reconstruct": Need("src.dir", _CHECKOUT),
    "reconstruction.calypso.asetup": Need(
        "env.calypso.asetup", "write the path of asetup.faser of your Calypso checkout"
    ),
    "reconstruction.calypso.setup": Need(
        "env.calypso.setup", "write the path of setup.sh of your Calypso installation"
    ),
    "solver.pede": Need("env.pede", "write the folder with pede"),
}
NEEDED_FIRST = {
    **{f"reconstruction.calypso.{key}": Need("paths.calypso_install", _INSTALLATION) for key in ("asetup", "setup")},
    **{
        f"reconstruction.calypso.{key}": Need("paths.calypso_install", _INSTALLATION)
        for key in ("write_constants", "reconstruct")
    },
    "solver.pede": Need("paths.pede_install", "write the folder with pede"),
}

# Defaults in the old code of both generations; an old key overrides them.
FIXED = (
    Entry("reconstruction.backend", "calypso", "as runAlignment.sh"),
    Entry("reconstruction.raw", RAW, "as runAlignment.sh"),
    Entry(
        "reconstruction.min_files",
        0.95,
        "minimum fraction of files; faser-alignment-script continued with any",
    ),
    Entry("solver.backend", "pede", "as runMillepede.sh"),
    Entry("htcondor.pool", "system", "CERN's"),
    Entry("htcondor.retries", 2, "as the DAG's RETRY"),
    Entry("htcondor.retry_wait_s", 300, "faser-alignment-script retried at once"),
    Entry("htcondor.reco.cpus", 2, "as reco.sub.tpl"),
    Entry("htcondor.reco.memory_mb", 4000, "as reco.sub.tpl"),
    Entry("htcondor.reco.disk_mb", 8000, "as reco.sub.tpl"),
    Entry("htcondor.reco.flavour", "workday", "as reco.sub.tpl"),
    Entry("htcondor.reco.requirements", ALMALINUX, "as reco.sub.tpl"),
    Entry("htcondor.mille.cpus", 1, "as mille.sub.tpl"),
    Entry("htcondor.mille.memory_mb", 2000, "as mille.sub.tpl"),
    Entry("htcondor.mille.disk_mb", 2000, "as mille.sub.tpl"),
    Entry("htcondor.mille.flavour", "workday", "as mille.sub.tpl"),
)

# Defaults of the README's generation: its programs used three stations unless configured otherwise.
FIXED_FIRST = (Entry("campaign.stations", 3, "as main.py without --fourst"),)
