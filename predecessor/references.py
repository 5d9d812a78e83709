"""Resolve references ``${...}`` between values of faser-alignment-script's configuration.

Its JSON refers to a key of the same block (``${dir}``), its YAML to any key by its full path (``${tpl.dir}``).
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
# Values that differ between campaigns stay fields, so that names and paths with them stay templates.
_FIELDS = {"raw.year": "{year}", "raw.run": "{run}", "raw.files": "{files}", "raw.format": "{format}"}


class Entry(NamedTuple):
    """A value of a key of ours, and the comment after it: its origin."""

    value: Any
    origin: str


class Left(NamedTuple):
    """An old key without a counterpart, its value as JSON, and the reason."""

    key: str
    value: str
    why: str


class Problem(NamedTuple):
    """An old key, what is wrong with it, and the fix; both are parts of a sentence."""

    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key} {self.what}; {self.fix}"


class _Unknown(Exception):
    """A reference to a missing key, or a circular one; its text is part of a sentence."""


def resolve(old: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Replace every reference by its value; return the configuration, and the references that cannot be resolved."""
    problems: list[Problem] = []

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: walk(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, f"{key}[{at}]") for at, inner in enumerate(value)]
        try:
            return _filled(old, value, key, (key,)) if isinstance(value, str) else value
        except _Unknown as why:
            problems.append(Problem(key, f"= {value} {why}", "write the value itself"))
            return value

    return walk(old, ""), problems


def _filled(old: Mapping[str, Any], text: str, key: str, path: tuple[str, ...]) -> str:
    """Return the key's ``text`` with its references replaced; ``path`` are the keys that led there."""

    def value(match: re.Match[str]) -> str:
        named = match[1].strip()
        block = key.partition("[")[0].rpartition(".")[0]
        target = next((name for name in (f"{block}.{named}", named) if value_at(old, name) is not None), "")
        if not target:
            raise _Unknown(f"refers to {named}, which is not in the file")
        if target in _FIELDS:
            return _FIELDS[target]
        if target in path:
            raise _Unknown(f"refers to itself through {named}")
        inner = value_at(old, target)
        if isinstance(inner, (Mapping, list)):
            raise _Unknown(f"refers to {named}, which is not a single value")
        return _filled(old, str(inner), target, (*path, target))

    return _REFERENCE.sub(value, text)


def value_at(old: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, by its full path; None without one."""
    value: Any = old
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
