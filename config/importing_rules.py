"""What becomes of each key of faser-alignment-script's configurations, of either generation, as a table of rules.

A rule says for a key of theirs which keys of ours it becomes, or why there is none.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Old = Mapping[str, Any]
RAW = "/eos/experiment/faser/raw/{year}/{run}/Faser-Physics-{run}-{file}.raw"
ALMALINUX = '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= "AlmaLinux9")'
WRITE_CONSTANTS, RECONSTRUCT = "WriteAlignmentConfig_Faser04.py", "faser_reco_alignment.py"
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
    """The old configuration, and the folder to which its relative paths belong."""

    old: Old
    base: str


class To(NamedTuple):
    """Our keys that an old one becomes, how its value changes, and what should be known about it."""

    keys: tuple[str, ...]
    change: Callable[[Any, Context], Any] = lambda value, _: value
    note: str = ""


class No(NamedTuple):
    """Why an old key has no counterpart."""

    why: str


class Template(NamedTuple):
    """A key that names a submit template for jobs of this kind, whose lines are taken over; an edited one is its user's."""

    kind: str


Rule = To | No | Template | tuple[To, ...]


class Entry(NamedTuple):
    """One key of ours: its value, and the comment that stands behind it."""

    key: str
    value: Any
    origin: str


def _path(value: Any, context: Context) -> Any:
    if not isinstance(value, str) or not value:
        return value
    return os.path.normpath(os.path.join(context.base, os.path.expanduser(os.path.expandvars(value))))


def _parent(value: Any, context: Context) -> Any:
    """The folder in which the campaign's folder is made: what stands before the campaign's name, or another field, in theirs."""
    path = _path(value, context)
    return path.partition("{")[0].rpartition("/")[0] or "/" if isinstance(path, str) and "{" in path else path


def _name(value: Any, _: Context) -> Any:
    return value.replace("{iters}", "{iterations}") if isinstance(value, str) else value


def _within(name: str) -> Callable[[Any, Context], Any]:
    """The file ``name`` in the folder that the key names; a key that names a file already stays."""

    def change(value: Any, context: Context) -> Any:
        path = _path(value, context)
        if not isinstance(path, str) or not path or os.path.isfile(path):
            return path
        return f"{path}/{name}"

    return change


def _checkout(name: str) -> Callable[[Any, Context], Any]:
    """The file ``name`` of the checkout that belongs to an installation: where it is, or the likeliest place."""

    def change(value: Any, context: Context) -> Any:
        path = _path(value, context)
        if not isinstance(path, str):
            return path
        top = os.path.dirname(path)
        places = [f"{top}/{name}", f"{top}/calypso/{name}", f"{path}/{name}", f"{context.base}/{name}"]
        return next(filter(os.path.isfile, places), places[0])

    return change


def _script(value: Any, context: Context) -> Any:
    path = _path(value, context)
    if isinstance(path, str) and path and not os.path.isfile(path):
        return No("there is no such file; theirs was made when it was missing, and the same four lines are in our jobs")
    return path


def initial(value: Any, context: Context) -> Any:
    """A file of their folder of templates."""
    folder = _path(_get(context.old, "tpl.dir") or ".", context)
    return _path(value, Context(context.old, folder)) if isinstance(folder, str) else value


def _get(old: Old, key: str) -> Any:
    value: Any = old
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


_FILES_HERE = "file names in a campaign's folder are the program's own"
_LOOK = "correct it if the file lies elsewhere in your checkout"
_RECO_SCRIPT = (
    "its steps are those of our reconstruct.sh, but nothing in it is read: what you changed there are keys of [reconstruction] and "
    "[reconstruction.calypso] (raw, release, database, geometry, tag, further options), or environment, a script of yours"
)
_MILLE_SCRIPT = "nothing in it is read: what you changed there are keys of [solver] and [mille]"

# README's generation.
FIRST: dict[str, Rule] = {
    "paths.calypso_install": (
        To(("reconstruction.calypso.setup",), _within("setup.sh")),
        To(("reconstruction.calypso.asetup",), _checkout("asetup.faser"), _LOOK),
        To(("reconstruction.calypso.write_constants",), _checkout(WRITE_CONSTANTS), _LOOK),
        To(("reconstruction.calypso.reconstruct",), _checkout(RECONSTRUCT), _LOOK),
    ),
    "paths.pede_install": To(("solver.pede",), _within("pede")),
    "paths.env_script": To(
        ("reconstruction.environment", "solver.environment"),
        _script,
        "sourced in the jobs instead of asetup and setup.sh, and before pede",
    ),
    "paths.work_dir": To(("campaign.folder",), _path),
    "paths.eos_output_dir": To(("storage.data",), _path),
    "htcondor.job_flavour": To(("htcondor.reco.flavour", "htcondor.mille.flavour")),
    "htcondor.request_cpus": To(("htcondor.reco.cpus", "htcondor.mille.cpus")),
    "htcondor.max_retries": To(
        ("htcondor.retries",), note="in one place: theirs multiplied with the DAG's own retries"
    ),
    "htcondor.requirements": To(("htcondor.reco.requirements", "htcondor.mille.requirements")),
    "alignment.default_iterations": To(("campaign.iterations",)),
    "alignment.polling_interval_seconds": No("nothing polls: DAGMan calls a hook when a node begins and ends"),
    "storage.use_eos_for_output": To(("storage.use_eos_for_output",)),
    "storage.keep_intermediate_root_files": To(("storage.keep_intermediate_root_files",)),
    "storage.cleanup_reco_temp_files": To(("storage.cleanup_reco_temp_files",)),
}

# The newest generation.
NEWEST: dict[str, Rule] = {
    "raw.year": No("-y of each submission"),
    "raw.run": No("-r of each submission"),
    "raw.files": No("-f of each submission, both ends included (their code leaves the last file out)"),
    "raw.iters": To(("campaign.iterations",), note="for stages without iterations of their own"),
    "raw.stations": To(("campaign.stations",)),
    "raw.format": To(
        ("campaign.name",), _name, "{run} has six digits, and {files} ends with the last file that is used"
    ),
    "raw.verbosity": To(("reconstruction.verbosity",)),
    "dag.dir": To(("campaign.folder",), _parent, "the campaign's folder is made in it"),
    "dag.file": No(_FILES_HERE),
    "dag.*exe": No(_FILES_HERE),
    "dag.iter.*": No(_FILES_HERE),
    "data.dir": To(("storage.data",), _parent, "the campaign's folder is made in it"),
    "data.config": No("the configuration is kept as campaign.toml in the campaign's folder"),
    "data.initial": No("the constants to start from are kept as iter01/1reco/inputforalign.txt"),
    "data.iter.*": No(
        "iter01/{1reco,2kfalignment,3millepede} are fixed; from a second stage on they are below stage02, ..."
    ),
    "tpl.inputforalign": To(("campaign.constants",), initial),
    "tpl.dir": No("only the files in it that other keys of tpl name are looked at"),
    "tpl.recosub": Template("reco"),
    "tpl.millesub": Template("mille"),
    "tpl.recoexe": No(_RECO_SCRIPT),
    "tpl.milleexe": No(_MILLE_SCRIPT),
    "src.dir": (
        To(("reconstruction.calypso.write_constants",), _within(WRITE_CONSTANTS), _LOOK),
        To(("reconstruction.calypso.reconstruct",), _within(RECONSTRUCT), _LOOK),
    ),
    "env.calypso.asetup": To(("reconstruction.calypso.asetup",), _path),
    "env.calypso.setup": To(("reconstruction.calypso.setup",), _path),
    "env.pede": To(("solver.pede",), _within("pede")),
    "env.root": To(("solver.environment",), _path, "sourced before pede"),
}

# What their code has and their configuration does not say, for both generations; an old key overrides it.
FIXED = (
    Entry("reconstruction.backend", "calypso", "as runAlignment.sh"),
    Entry("reconstruction.raw", RAW, "as runAlignment.sh"),
    Entry(
        "reconstruction.min_files",
        0.95,
        "share of the files that is enough; theirs went on with fewer and did not say so",
    ),
    Entry("solver.backend", "pede", "as runMillepede.sh"),
    Entry("htcondor.pool", "system", "CERN's"),
    Entry("htcondor.retries", 2, "as the DAG's RETRY"),
    Entry("htcondor.retry_wait_s", 300, "theirs tried again at once"),
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

# What README's generation says in no file: its programs took three stations unless they were told otherwise.
FIXED_FIRST = (Entry("campaign.stations", 3, "as theirs without --fourst"),)


def key_tables() -> str:
    """The tables of ``docs/from-faser-alignment-script.md``: what becomes of each key, by generation."""
    lines = []
    for title, rules in (("The newest generation", NEWEST), ("That of its README", FIRST)):
        lines += [f"### {title}", "", "| there | here |", "|---|---|"]
        if rules is NEWEST:
            rules = {**rules, **_WORKFLOW}
        for key, rule in sorted(rules.items(), key=lambda item: list(_ORDER).index(item[0].partition(".")[0])):
            lines.append(f"| `{key}` | {_here(rule)} |")
        lines.append("")
    return "\n".join(lines)


_ORDER = dict.fromkeys(
    ("raw", "workflow", "dag", "data", "tpl", "src", "env", "paths", "htcondor", "alignment", "storage")
)
_WORKFLOW: dict[str, Rule] = {
    "workflow.setN.comment": To(("stages[N].name",)),
    "workflow.setN.iters": To(("stages[N].iterations",)),
    "workflow.setN.pede.stepK": To(("stages[N].steps[K].fix",), note="the same words: IFT, 3ST, layer, side, 21, ..."),
}


def _here(rule: Rule) -> str:
    if isinstance(rule, No):
        return rule.why
    if isinstance(rule, Template):
        return (
            f"`htcondor.{rule.kind}.*`: its lines are taken over if the file is there "
            "(JobFlavour or MaxRuntime, request_cpus, request_memory, request_disk, requirements, AccountingGroup); the others are listed"
        )
    keys: dict[str, list[str]] = {}
    for to in (rule,) if isinstance(rule, To) else rule:
        keys.setdefault(to.note, []).extend(f"`{key}`" for key in to.keys)
    return "; ".join(", ".join(names) + (f" ({note})" if note else "") for note, names in keys.items())


if __name__ == "__main__":
    import sys

    sys.stdout.write(key_tables())
