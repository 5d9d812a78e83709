"""Read from ``rules.toml`` what each key of faser-alignment-script's configurations becomes, for both generations.

A rule names our keys for an old key, or the reason why there is none.
"""

import os
import string
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.config.values import NAME_FIELDS
from faser_align.fsm.errors import UserError
from faser_align.predecessor.references import Entry, value_at
from faser_align.predecessor.submit_templates import megabytes
from faser_align.predecessor.version import RECONSTRUCT, RUN_ALIGNMENT, Version, version_of

Old = Mapping[str, Any]


class Context(NamedTuple):
    """The old configuration, the folder of its relative paths, and the behaviour of its version."""

    old: Old
    base: str
    version: Version = Version("", "", {}, [], [])


class To(NamedTuple):
    """Our keys for an old one, the conversion of its value, and a remark."""

    keys: tuple[str, ...]
    change: Callable[[Any, Context], Any]
    note: str


class No(NamedTuple):
    """Why an old key has no counterpart, and our keys that are read from the script of the version that it names."""

    why: str
    read: tuple[str, ...] = ()


class Template(NamedTuple):
    """A key that names a submit template for jobs of this kind, whose lines are converted if the user edited it."""

    kind: str


class Need(NamedTuple):
    """A key without which a campaign cannot be made, and what to write there."""

    key: str
    fix: str


Rule = No | Template | tuple[To, ...]


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


def _size(unit: str, value: Any, _: Context) -> Any:
    """Return a size in HTCondor's notation in MB."""
    try:
        return megabytes(unit, str(value))
    except UserError as problem:
        return No(f"{problem}; write it as 4 GB")


def _within(name: str, value: Any, context: Context) -> Any:
    """Return the file ``name`` in the folder that the key names; the name of a file is kept."""
    path = _path(value, context)
    if not isinstance(path, str) or not path or os.path.isfile(path):
        return path
    return f"{path}/{name}"


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
    source = _path(value_at(old, "src.dir"), context) or (base if in_checkout else "")
    scripts = [f"{base}/{RUN_ALIGNMENT}", f"{base}/templates/{RUN_ALIGNMENT}"]
    script = next(filter(os.path.isfile, scripts), scripts[0])
    if value_at(old, "tpl.recoexe"):
        script = str(initial(value_at(old, "tpl.recoexe"), context))
    around = _around(value_at(old, "paths.calypso_install"), context)
    return version_of(old, source if isinstance(source, str) else "", script, around)


def _script(value: Any, context: Context) -> Any:
    path = _path(value, context)
    if isinstance(path, str) and path and not os.path.isfile(path):
        return No("no such file; main.py created it if it was missing, and our jobs contain the same four lines")
    return path


def initial(value: Any, context: Context) -> Any:
    """Return a file in the old folder of templates."""
    folder = _path(value_at(context.old, "tpl.dir") or ".", context)
    return _path(value, Context(context.old, folder)) if isinstance(folder, str) else value


# Type of a conversion of a value.
_CHANGES: dict[str, Callable[[Any, Context], Any]] = {
    "": lambda value, _: value,
    "path": _path,
    "parent_folder": _parent,
    "name": _name,
    "upper_case": lambda value, _: value.upper() if isinstance(value, str) else value,
    "stations": lambda value, _: (4 if value else 3) if isinstance(value, bool) else value,
    "megabytes": partial(_size, "M"),
    "kilobytes": partial(_size, "K"),
    "setup": partial(_within, "setup.sh"),
    "pede": partial(_within, "pede"),
    "asetup": _asetup,
    "script": _script,
    "template": initial,
    "write_constants": lambda _, context: context.version.write_constants,
    "reconstruct": lambda _, context: context.version.reconstruct,
}


def _rule(row: Any) -> Rule:
    """Return a rule from its row in ``rules.toml``."""
    if isinstance(row, str):
        return No(row)
    if "template" in row:
        return Template(row["template"])
    if "read" in row:
        return No(row["why"], tuple(row["read"]))
    return tuple(
        To(tuple(to["keys"]), _CHANGES[to.get("change", "")], to.get("note", ""))
        for to in (row if isinstance(row, list) else [row])
    )


_DATA = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
# The README's generation, the newest, and sets of the latter, which the page lists.
FIRST, NEWEST, WORKFLOW = (
    {key: _rule(row) for key, row in _DATA[part].items()} for part in ("first", "newest", "workflow")
)
FIRST_TABLES = ("paths", "htcondor", "alignment", "storage")
# A fix word of theirs, what it fixes, and our word for it.
WORDS: list[tuple[str, str, str]] = _DATA["words"]
# These keys of ours, from these old keys, are required for a campaign.
NEEDED_FIRST, NEEDED_NEWEST = (
    {key: Need(*row) for key, row in _DATA["needed"][part].items()} for part in ("first", "newest")
)
# Defaults in the old code of both generations, and those of the README's generation; an old key overrides them.
FIXED, FIXED_FIRST = ({key: Entry(*row) for key, row in _DATA[part].items()} for part in ("fixed", "fixed_first"))
# Tables of the keys in the documentation.
_ORDER = ("raw", "workflow", "set", "dag", "data", "tpl", "src", "env", "discarded", *FIRST_TABLES)


def key_tables() -> str:
    """Return the conversion of each key, by generation, and of each word."""
    lines = []
    for title, rules in (("The newest generation", {**NEWEST, **WORKFLOW}), ("That of its README", FIRST)):
        lines += [f"### {title}", "", "| there | here |", "|---|---|"]
        for key, rule in sorted(rules.items(), key=lambda item: _ORDER.index(item[0].partition(".")[0])):
            lines.append(f"| `{key}` | {_here(rule)} |")
        lines.append("")
    lines += ["### Fixed parameters of a step", "", "| there | fixed parameters | here |", "|---|---|---|"]
    lines += [f"| {there} | {what} | {here} |" for there, what, here in WORDS]
    return "\n".join([*lines, ""])


def _here(rule: Rule) -> str:
    if isinstance(rule, No):
        return f"{', '.join(f'`{key}`' for key in rule.read)}: {rule.why}" if rule.read else rule.why
    if isinstance(rule, Template):
        return (
            f"`htcondor.{rule.kind}.*`: its lines are imported if the file exists "
            "(JobFlavour or MaxRuntime, request_cpus, request_memory, request_disk, requirements, AccountingGroup); the others are listed"
        )
    keys: dict[str, list[str]] = {}
    for to in rule:
        keys.setdefault(to.note, []).extend(f"`{key}`" for key in to.keys)
    return "; ".join(", ".join(names) + (f" ({note})" if note else "") for note, names in keys.items())
