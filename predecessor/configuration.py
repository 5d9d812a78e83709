"""Convert a configuration of faser-alignment-script, of any generation, with the rules of ``predecessor.rules``.

Keys without a rule are listed, so that nothing is dropped silently.
"""

import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from faser_align.config.describe import tables
from faser_align.config.files import check_year, format_files, parse_files, parse_run
from faser_align.config.load import parse_config
from faser_align.fsm.errors import UserError
from faser_align.predecessor import rules
from faser_align.predecessor import submit_templates as templates
from faser_align.predecessor.references import Entry, Left, Problem, resolve
from faser_align.predecessor.rules import Context, No, Old, Rule, Template
from faser_align.predecessor.stages import Set, sets_of
from faser_align.predecessor.version import RUN_ALIGNMENT


class Imported(NamedTuple):
    """Result of converting an old configuration.

    Attributes:
        text: our configuration file.
        entries: its keys, without stages.
        left: old keys without a counterpart.
        submit: options of ``submit`` from the old file, such as ``-y 2022 -r 008294 -f 101-150``; may be empty.
        choices: sentences on missing settings, the assumption, and the alternative.
    """

    text: str
    entries: dict[str, Entry]
    left: list[Left]
    submit: str
    choices: list[str]


class RefusedError(UserError):
    """A configuration that cannot become a campaign; ``understood`` is the part that was converted."""

    def __init__(self, sentences: list[str], understood: Imported) -> None:
        super().__init__(*sentences)
        self.understood = understood


_RULES: dict[str, Rule] = {**rules.FIRST, **rules.NEWEST}
_NO_STAGES = (
    "\n# No [[stages]]: the free parameters were chosen by editing code. The standard stage runs; others are in\n"
    "# examples/steps_*.toml."
)
_EMPTY = "it is empty, which is the same as missing"


def import_config(given: Old, *, source: str, base: str, target: str, zeros: str) -> Imported:
    """Convert an old configuration.

    Args:
        given: the object in the old file.
        source: its name, for comments and messages.
        base: absolute folder of its relative paths.
        target: path of our new file, against which its text is validated.
        zeros: path of a constants file of zeros, from which the first generation starts.

    Raises:
        UserError: it is not of a known generation.
        RefusedError: it cannot become a campaign; one sentence per problem, with the key and the fix.
    """
    is_first = _is_first(given, source)
    old, problems = resolve(given)
    context = Context(old, base, rules.version(old, base))
    by_key = rules.FIXED | (rules.FIXED_FIRST if is_first else {}) | context.version.values
    left: list[Left] = []
    for key, value in _leaves(_without_sets(old), ""):
        rule = No(_EMPTY) if value in (None, "") else _rule(key)
        left += _take_over(key, value, rule, context, by_key)
    left += [
        Left(
            f"{RUN_ALIGNMENT}: {option}",
            "",
            "its value is a variable of that script; add the option with its value to reconstruct_options",
        )
        for option in context.version.unused
    ]
    sets, wrong, of_sets = sets_of(old)
    left += of_sets
    _complete(by_key, zeros)
    order = [heading.name for heading, _ in tables()]
    entries = dict(sorted(by_key.items(), key=lambda item: order.index(item[0].rpartition(".")[0])))
    problems += [*wrong, *_missing(old, by_key, rules.NEEDED_FIRST if is_first else rules.NEEDED_NEWEST)]
    submit = _submit(old.get("raw", {}), problems)
    stages = _stages(sets) if old.get("workflow") or old.get("set") else [_NO_STAGES]
    text = "\n".join([*_head(source, submit), *_tables(entries), *stages]) + "\n"
    imported = Imported(text, entries, left, submit, context.version.choices)
    sentences = [f"{source}: {problem}" for problem in problems]
    sentences += [f"{source}: {reason}; correct it there" for reason in _refused(text, target, entries, sets)]
    if sentences:
        raise RefusedError(sentences, imported)
    return imported


def _complete(entries: dict[str, Entry], zeros: str) -> None:
    """Add the keys that follow from others."""
    if "campaign.constants" not in entries:
        origin = "zeros: faser-alignment-script started with an empty inputforalign.txt"
        entries["campaign.constants"] = Entry(zeros, origin)
    for kind in ("reco", "mille"):
        memory = entries[f"htcondor.{kind}.memory_mb"].value
        most = min(2 * memory, 1_000_000) if isinstance(memory, int) else 0
        origin = "after HTCondor held a job because it needed more memory"
        entries[f"htcondor.{kind}.memory_max_mb"] = Entry(most, origin)


def _missing(old: Old, entries: Mapping[str, Entry], all_needed: Mapping[str, rules.Need]) -> list[Problem]:
    """Return the required old keys that are missing or empty."""
    needed = dict(all_needed)
    given = dict(_leaves(_without_sets(old), ""))
    if "reconstruction.environment" in entries:
        del needed["reconstruction.calypso.asetup"], needed["reconstruction.calypso.setup"]
    script = entries.get("solver.environment")
    brings_pede = script is not None and not script.origin.startswith("env.root")
    if brings_pede or (all_needed is rules.NEEDED_FIRST and "paths.pede_install" not in given):
        del needed["solver.pede"]
    wanted = dict.fromkeys(need for key, need in needed.items() if not (key in entries and entries[key].value))
    return [Problem(need.key, "is empty" if need.key in given else "is missing", need.fix) for need in wanted]


def _refused(text: str, target: str, entries: Mapping[str, Entry], sets: Sequence[Set]) -> list[str]:
    """Return the errors of our schema with their keys, apart from missing ones, which ``_missing`` reports."""
    try:
        parse_config(text, target)
    except UserError as problem:
        reasons = [sentence.replace(f"{target}: ", "") for sentence in problem.sentences]
        return [_in_their_words(reason, entries, sets) for reason in reasons if " needs " not in reason]
    return []


def _take_over(key: str, value: Any, rule: Rule, context: Context, entries: dict[str, Entry]) -> list[Left]:
    """Add to ``entries`` what an old key becomes by its rule; return what has no counterpart."""
    shown = json.dumps(value, ensure_ascii=False)
    if isinstance(rule, No):
        return [Left(key, shown, rule.why)]
    if isinstance(rule, Template):
        return _from_template(key, value, rule.kind, context, entries)
    left = []
    for to in rule:
        origin = f"{key}: {to.note}" if to.note else key
        changed = to.change(value, context)
        if isinstance(changed, No):
            left.append(Left(key, shown, changed.why))
        elif changed != "":
            entries.update(dict.fromkeys(to.keys, Entry(changed, origin)))
    return left


def _in_their_words(reason: str, entries: Mapping[str, Entry], sets: Sequence[Set]) -> str:
    """Replace our key's name in a sentence by the old one, also in sets and steps."""
    for key, entry in entries.items():
        reason = reason.replace(f"{key} =", f"{entry.origin.partition(':')[0]} (our {key}) =")
    for number, described in enumerate(sets, start=1):
        for at, step in enumerate(described.steps, start=1):
            place = f"stages[{number}].steps[{at}].fix"
            reason = reason.replace(place, f"{step.key} (our {place.replace('[', '<')})")
        for ours, theirs in described.keys.items():
            reason = reason.replace(f"stages[{number}].{ours}", theirs)
        reason = reason.replace(f"stages[{number}].steps", described.key)
    return reason.replace("<", "[")


def _is_first(old: Old, source: str) -> bool:
    """Return whether the configuration is of the first generation, or of a version that mixes keys of both."""
    if set(old) & set(rules.FIRST_TABLES):
        return True
    if set(old) & {"raw", "workflow", "set"}:
        return False
    raise UserError(
        f"{source} is not a configuration of faser-alignment-script: it has none of raw, workflow, set, paths, htcondor, "
        "alignment, storage; name another file"
    )


def _rule(key: str) -> Rule:
    if key in _RULES:
        return _RULES[key]
    return next((rule for pattern, rule in _RULES.items() if fnmatch.fnmatchcase(key, pattern)), No(templates.UNKNOWN))


def _from_template(key: str, value: Any, kind: str, context: Context, entries: dict[str, Entry]) -> list[Left]:
    """Add the settings of the user's submit template to ``entries``; return its lines without a key."""
    path = str(rules.initial(value, context))
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        why = f"{path} cannot be read here: [htcondor.{kind}] uses the values of the original template; correct them if yours differs"
        return [Left(key, json.dumps(value, ensure_ascii=False), why)]
    left = [Left(key, json.dumps(value, ensure_ascii=False), f"{path} was read: its lines are imported one by one")]
    for line in templates.take_over(text, kind, key):
        if isinstance(line, Left):
            left.append(line)
            continue
        ours, entry = line
        there = entries.get(ours, entry)
        if there.origin.startswith("tpl.") and there.value != entry.value:
            why = f"{there.origin} is used, because there is one {ours}"
            left.append(Left(entry.origin, json.dumps(entry.value, ensure_ascii=False), why))
        else:
            entries[ours] = entry
    return left


def _without_sets(old: Old) -> dict[str, Any]:
    """Return the configuration without its sets, newer keys last so that they take precedence."""
    ordered = sorted(old, key=lambda name: name not in rules.FIRST_TABLES)
    kept = {name: old[name] for name in ordered if name != "workflow"}
    if isinstance(kept.get("set"), Mapping):
        kept["set"] = {name: value for name, value in kept["set"].items() if name != "steps"}
    return kept


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _submit(raw: Any, problems: list[Problem]) -> str:
    """Return the data in a file of the newest generation as options of ``submit``."""
    words = []
    changes: dict[str, Callable[[Any], str]] = {
        "year": lambda value: f"-y {_year(value)}",
        "run": lambda value: f"-r {parse_run(str(value))}",
        "files": lambda value: f"-f {as_their_code(value)}",
    }
    for key, change in changes.items():
        if isinstance(raw, Mapping) and raw.get(key) not in (None, ""):
            try:
                words.append(change(raw[key]))
            except UserError as problem:
                what, _, fix = str(problem).partition("; ")
                shown = json.dumps(raw[key], ensure_ascii=False)
                problems.append(Problem(f"raw.{key}", f"= {shown} is not valid: {what}", fix or "correct it there"))
    return " ".join(words)


def _year(value: Any) -> int:
    if not re.fullmatch(r"\d{4}", str(value)):
        raise UserError("it is not a year; write four digits")
    return check_year(int(value))


def as_their_code(files: Any) -> str:
    """Return the raw files that the old code uses: it omits the end of each range."""
    parts = ",".join(map(str, files)) if isinstance(files, list) else str(files)
    return format_files(parse_files(",".join(map(_without_end, filter(None, parts.split(",")))) or parts))


def _without_end(files: str) -> str:
    match = re.fullmatch(r"\s*(\d+)\s*[-:]\s*(\d+)\s*", files)
    return f"{int(match[1])}-{int(match[2]) - 1}" if match and int(match[2]) > int(match[1]) else files


def _stages(sets: Sequence[Set]) -> Iterator[str]:
    """Yield the tables of the stages, one per set, in order."""
    for described in sets:
        yield "\n[[stages]]"
        yield _line("name", described.name, described.keys["name"])
        yield _line("iterations", described.iterations, described.keys["iterations"])
        if described.stations is not None:
            yield _line("stations", described.stations, described.keys["stations"])
        for step in described.steps:
            yield "\n[[stages.steps]]"
            yield _line("name", step.name, "")
            yield _line("fix", step.fix, step.key)


def _head(source: str, submit: str) -> Iterator[str]:
    yield f"# Configuration of faser-align, written by `faser-align import` from {os.path.basename(source)}."
    yield "# The comment after a key names its origin. All keys: docs/configuration.md."
    if submit:
        yield f"# Its data: faser-align submit {submit}"


def _tables(entries: Mapping[str, Entry]) -> Iterator[str]:
    for table, keys in groupby(entries, key=lambda key: key.rpartition(".")[0]):
        yield f"\n[{table}]"
        yield from (_line(key.rpartition(".")[2], *entries[key]) for key in keys)


def _line(key: str, value: Any, origin: str) -> str:
    text = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return f"{text:<40} # {origin}" if origin else text
