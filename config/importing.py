"""From a configuration of faser-alignment-script, of either generation, to one of ours: a table of rules.

A rule says for a key of theirs which keys of ours it becomes, or why there is none. What no rule knows is listed, too, so
that nothing is dropped in silence.
"""

import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.config import importing_templates as templates
from faser_align.config.files import check_year, format_files, parse_files, parse_run
from faser_align.config.load import parse_config
from faser_align.fsm.errors import UserError

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


class Left(NamedTuple):
    """An old key without a counterpart, its value as JSON, and why."""

    key: str
    value: str
    why: str


class Imported(NamedTuple):
    """What became of an old configuration.

    Attributes:
        text: our configuration file.
        entries: its keys, stages apart.
        left: old keys without a counterpart.
        submit: options of ``submit`` that the old file held, such as ``-y 2022 -r 008294 -f 101-150``; may be empty.
    """

    text: str
    entries: list[Entry]
    left: list[Left]
    submit: str


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


def _initial(value: Any, context: Context) -> Any:
    """A file of their folder of templates."""
    folder = _path(_get(context.old, "tpl.dir") or ".", context)
    return _path(value, Context(context.old, folder)) if isinstance(folder, str) else value


_UNKNOWN = "not known; if it did something for you, look for it in docs/configuration.md"
_SET_KEY = re.compile(r"workflow\.set[^.]*\.(iters|comment|pede\.[^.]*)|workflow")
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
    "tpl.inputforalign": To(("campaign.constants",), _initial),
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


def import_config(old: Old, *, source: str, base: str, target: str, zeros: str) -> Imported:
    """Make our configuration of an old one.

    Args:
        old: the object that the old file holds.
        source: its name, for comments and messages.
        base: absolute folder to which its relative paths belong.
        target: the file that will hold ours; its text is validated as if it were read from there.
        zeros: path of a constants file of zeros, from which the first generation starts.

    Raises:
        UserError: it is of neither generation, or a value of it is one that our key does not allow.
    """
    rules = _generation(old, source)
    context = Context(old, base)
    found = {entry.key: entry for entry in (*FIXED, *(FIXED_FIRST if rules is FIRST else ()))}
    left: list[Left] = []
    for key, value in _leaves({name: value for name, value in old.items() if name != "workflow"}, ""):
        rule = No("it is null there, as if it were not there") if value is None else _rule(rules, key)
        left += _take_over(key, value, rule, context, found)
    if "campaign.constants" not in found:
        found["campaign.constants"] = Entry(
            "campaign.constants", zeros, "zeros: theirs began with an empty inputforalign.txt"
        )
    for kind in ("reco", "mille"):
        memory = found[f"htcondor.{kind}.memory_mb"].value
        most = 2 * memory if isinstance(memory, int) else 0
        found[f"htcondor.{kind}.memory_max_mb"] = Entry(
            f"htcondor.{kind}.memory_max_mb", most, "once HTCondor has held a job for want of memory"
        )
    entries = sorted(found.values(), key=lambda entry: TABLES.index(entry.key.rpartition(".")[0]))
    stages = list(_stages(old.get("workflow", {}), source))
    left += [
        Left(key, json.dumps(value), _UNKNOWN)
        for key, value in _leaves(old.get("workflow", {}), "workflow")
        if not _SET_KEY.fullmatch(key)
    ]
    try:
        submit = _submit(old.get("raw", {}))
        text = "\n".join([*_head(source, submit), *_tables(entries), *stages]) + "\n"
        parse_config(text, target)
    except UserError as problem:
        reasons = _in_their_words(str(problem).replace(f"{target}: ", ""), entries, rules, old)
        raise UserError(
            "\n".join(f"{source} cannot be used as it is: {one}; correct it there" for one in reasons.splitlines())
        ) from None
    return Imported(text, entries, left, submit)


def _take_over(key: str, value: Any, rule: Rule, context: Context, found: dict[str, Entry]) -> list[Left]:
    """Put into ``found`` what an old key becomes by its rule; returns what of it has no counterpart."""
    shown = json.dumps(value, ensure_ascii=False)
    if isinstance(rule, No):
        return [Left(key, shown, rule.why)]
    if isinstance(rule, Template):
        return _from_template(key, value, rule.kind, context, found)
    left = []
    for to in (rule,) if isinstance(rule, To) else rule:
        origin = f"{key}: {to.note}" if to.note else key
        changed = to.change(value, context)
        if isinstance(changed, No):
            left.append(Left(key, shown, changed.why))
        else:
            found.update({name: Entry(name, changed, origin) for name in to.keys})
    return left


def _in_their_words(reasons: str, entries: Sequence[Entry], rules: Mapping[str, Rule], old: Old) -> str:
    """Sentences about our keys with the names of theirs, also of what is missing, and of sets and steps."""
    reasons = reasons.replace("; set what is missing there", "")
    for entry in entries:
        reasons = reasons.replace(f"{entry.key} =", f"{entry.origin.partition(':')[0]} (our {entry.key}) =")
    for key, rule in rules.items():
        if isinstance(rule, (No, Template)):
            continue
        for to in (rule,) if isinstance(rule, To) else rule:
            for ours in to.keys:
                short = ours.removeprefix("reconstruction.")
                reasons = re.sub(rf"(needs .*)\b{re.escape(short)}\b(?! \()", rf"\1{short} ({key})", reasons)
    for number, name in enumerate(_sets(old.get("workflow", {})), start=1):
        described = old["workflow"][name]
        steps = sorted(described["pede"]) if isinstance(described.get("pede"), Mapping) else []
        for at, step in enumerate(steps, start=1):
            place = f"stages[{number}].steps[{at}].fix"
            reasons = reasons.replace(place, f"workflow.{name}.pede.{step} (our {place.replace('[', '<')})")
        for theirs, ours in (("comment", "name"), ("iters", "iterations")):
            reasons = reasons.replace(f"stages[{number}].{ours}", f"workflow.{name}.{theirs}")
    return reasons.replace("<", "[")


def _sets(workflow: Any) -> list[str]:
    """Names of the sets that become stages, in their order."""
    if not isinstance(workflow, Mapping):
        return []
    named = sorted(key for key in workflow if key.startswith("set"))
    return [key for key in named if not isinstance(workflow[key], Mapping) or workflow[key].get("iters") != 0]


def _generation(old: Old, source: str) -> Mapping[str, Rule]:
    if "raw" in old or "workflow" in old:
        return NEWEST
    if set(old) & {"paths", "htcondor", "alignment", "storage"}:
        return FIRST
    raise UserError(
        f"{source} is no configuration of faser-alignment-script: it has none of raw, workflow, paths, htcondor, "
        "alignment, storage; name another file"
    )


def _rule(rules: Mapping[str, Rule], key: str) -> Rule:
    if key in rules:
        return rules[key]
    return next((rule for pattern, rule in rules.items() if fnmatch.fnmatchcase(key, pattern)), No(_UNKNOWN))


def _from_template(key: str, value: Any, kind: str, context: Context, found: dict[str, Entry]) -> list[Left]:
    """Put what the user's own submit template says into ``found``; returns its lines that have no key."""
    path = str(_initial(value, context))
    try:
        with open(path, encoding="utf-8") as file:
            lines = list(templates.take_over(file.read(), kind))
    except (OSError, ValueError):
        why = (
            f"{path} cannot be read here: [htcondor.{kind}] is as their template had it; correct that if yours differs"
        )
        return [Left(key, json.dumps(value, ensure_ascii=False), why)]
    left = [Left(key, json.dumps(value, ensure_ascii=False), f"{path} was read: its lines are taken over one by one")]
    for line in lines:
        if isinstance(line, templates.Refused):
            left.append(Left(f"{key}: {line.name}", json.dumps(line.value, ensure_ascii=False), line.why))
        elif line.key in found and found[line.key].origin.startswith("tpl.") and found[line.key].value != line.value:
            why = f"{found[line.key].origin} is taken, since there is one {line.key}"
            left.append(Left(f"{key}: {line.origin}", json.dumps(line.value, ensure_ascii=False), why))
        else:
            found[line.key] = Entry(line.key, line.value, f"{key}: {line.origin}")
    return left


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _get(old: Old, key: str) -> Any:
    value: Any = old
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _submit(raw: Any) -> str:
    """Options of ``submit`` for the data that the newest generation has in its file."""
    words = []
    if isinstance(raw, Mapping):
        words += [f"-y {_year(raw['year'])}"] if "year" in raw else []
        words += [f"-r {parse_run(str(raw['run']))}"] if "run" in raw else []
        words += [f"-f {_as_their_code(raw['files'])}"] if "files" in raw else []
    return " ".join(words)


def _year(value: Any) -> int:
    if not re.fullmatch(r"\d{4}", str(value)):
        raise UserError(f"raw.year = {json.dumps(value, ensure_ascii=False)} is no year")
    return check_year(int(value))


def _as_their_code(files: Any) -> str:
    """The same raw files as their code takes, which leaves out the end of a range; several ranges in one text or a list."""
    parts = ",".join(map(str, files)) if isinstance(files, list) else str(files)
    ranges = re.findall(r"[^,]+", parts)
    return format_files(parse_files(",".join(_without_end(one) for one in ranges) or parts))


def _without_end(files: str) -> str:
    found = re.fullmatch(r"\s*(\d+)\s*[-:]\s*(\d+)\s*", files)
    return f"{int(found[1])}-{int(found[2]) - 1}" if found and int(found[2]) > int(found[1]) else files


def _stages(workflow: Any, source: str) -> Iterator[str]:
    """Tables of the stages, one for each set in the order of their names, as their code sorts them."""
    if not isinstance(workflow, Mapping) or not workflow:
        yield "\n# No [[stages]]: what was freed was chosen by editing code. The standard stage is run; others are in"
        yield "# examples/steps_*.toml."
        return
    for name in sorted(key for key in workflow if key.startswith("set")):
        described = workflow[name]
        if not isinstance(described, Mapping) or not isinstance(described.get("iters"), int):
            raise UserError(
                f"{source}: workflow.{name} is no set with a number of iterations (iters); correct it there"
            )
        if described["iters"] == 0:
            yield f"\n# workflow.{name} has no iterations"
            continue
        yield "\n[[stages]]"
        yield _line("name", described.get("comment") or name, f"workflow.{name}.comment")
        yield _line("iterations", described["iters"], f"workflow.{name}.iters")
        if not isinstance(described.get("comment") or "", str):
            raise UserError(f"{source}: workflow.{name}.comment is no text; correct it there")
        steps = described.get("pede") or {"step0": []}
        if not isinstance(steps, Mapping) or not all(isinstance(fixed, list) for fixed in steps.values()):
            raise UserError(
                f"{source}: workflow.{name}.pede is no table of steps with lists of what is fixed; correct it there"
            )
        for step in sorted(steps):
            yield "\n[[stages.steps]]"
            yield _line("name", step, "")
            yield _line("fix", [_item(item) for item in steps[step]], f"workflow.{name}.pede.{step}")


def _item(item: Any) -> Any:
    """A thing to fix; a layer's number may stand in quotes there."""
    return int(item) if isinstance(item, str) and item.isdecimal() else item


def _head(source: str, submit: str) -> Iterator[str]:
    yield f"# Configuration of faser-align, made by `faser-align import` from {os.path.basename(source)}."
    yield "# Behind each key stands where it comes from. All keys: docs/configuration.md."
    if submit:
        yield f"# Its data: faser-align submit {submit}"


def _tables(entries: list[Entry]) -> Iterator[str]:
    for table in TABLES:
        mine = [entry for entry in entries if entry.key.rpartition(".")[0] == table]
        if mine:
            yield f"\n[{table}]"
        for entry in mine:
            yield _line(entry.key.rpartition(".")[2], entry.value, entry.origin)


def _line(key: str, value: Any, origin: str) -> str:
    text = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return f"{text:<40} # {origin}" if origin else text


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
