"""From a configuration of faser-alignment-script, of either generation, to one of ours, by the rules of ``importing_rules``.

What no rule knows is listed, too, so that nothing is dropped in silence.
"""

import fnmatch
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.config import importing_templates as templates
from faser_align.config.files import check_year, format_files, parse_files, parse_run
from faser_align.config.importing_rules import (
    FIRST,
    FIXED,
    FIXED_FIRST,
    NEWEST,
    TABLES,
    Context,
    Entry,
    No,
    Old,
    Rule,
    Template,
    To,
    initial,
)
from faser_align.config.load import parse_config
from faser_align.fsm.errors import UserError


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


_UNKNOWN = "not known; if it did something for you, look for it in docs/configuration.md"
_SET_KEY = re.compile(r"workflow\.set[^.]*\.(iters|comment|pede\.[^.]*)|workflow")


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
        most = min(2 * memory, 1_000_000) if isinstance(memory, int) else 0
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
    path = str(initial(value, context))
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


def _submit(raw: Any) -> str:
    """Options of ``submit`` for the data that the newest generation has in its file."""
    words = []
    if isinstance(raw, Mapping):
        words += [f"-y {_year(raw['year'])}"] if "year" in raw else []
        words += [f"-r {parse_run(str(raw['run']))}"] if "run" in raw else []
        words += [f"-f {as_their_code(raw['files'])}"] if "files" in raw else []
    return " ".join(words)


def _year(value: Any) -> int:
    if not re.fullmatch(r"\d{4}", str(value)):
        raise UserError(f"raw.year = {json.dumps(value, ensure_ascii=False)} is no year")
    return check_year(int(value))


def as_their_code(files: Any) -> str:
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
