"""Compare a JSON value or a campaign's folder with its description."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from faser_align.alignment.quality import describe
from faser_align.campaign import layout
from faser_align.reference import files as contents

Keys = tuple[str, ...]


def words(name: str) -> Keys:
    """Return a described name as the keys of its path, ``[]`` for each element of a list."""
    below = name.endswith("...")
    return (*name.removesuffix("...").replace("[]", ".[]").split("."), *(["..."] if below else []))


def fits(path: Keys, described: Keys) -> bool:
    """Return whether a description matches a path: capitals match any key, trailing dots everything below."""
    if described[-1:] == ("...",):
        return fits(path[: len(described) - 1], described[:-1])
    return len(path) == len(described) and all(
        key == word or (word != "[]" and word.isupper()) for key, word in zip(path, described, strict=True)
    )


def leaves(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """Yield the paths of all numbers, texts, and lists of such; empty tables and lists have none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, (*path, "[]"))
    elif value != []:
        yield path


def empties(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """Yield the paths of all empty tables and lists, and of null, which may replace either."""
    if value in ({}, [], None):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from empties(inner, (*path, key))
    elif isinstance(value, list) and isinstance(value[0], dict):
        for inner in value:
            yield from empties(inner, (*path, "[]"))


def undescribed(value: Any, names: Collection[str]) -> list[str]:
    """Return what has no description; for an empty value, a description of its content suffices."""
    known = [words(name) for name in names]
    vague = set(empties(value))
    unknown = [path for path in leaves(value) if path not in vague and not any(fits(path, one) for one in known)]
    for path in vague:
        if not any(fits(path, one) or (len(one) > len(path) and fits(path, one[: len(path)])) for one in known):
            unknown.append(path)
    return sorted({".".join(path) for path in unknown})


def found(value: Any, names: Collection[str]) -> set[str]:
    """Return which described names are in a JSON value."""
    paths = set(leaves(value))
    return {name for name in names if any(fits(path, words(name)) for path in paths)}


def names_of(metrics: dict[str, Any]) -> list[str]:
    """Return the described names of an iteration's metrics, or of a validation's."""
    if metrics["stage"] == layout.VALIDATION:
        return [*describe.OF_VALIDATION, *(one.name for one in describe.VALIDATION)]
    return list(describe.METRICS)


class Watched(dict[str, Any]):
    """A JSON table that records in ``seen`` the paths of the numbers that are read."""

    def __init__(self, value: dict[str, Any], seen: set[Keys], path: Keys = ()) -> None:
        super().__init__({key: _watch(inner, seen, (*path, key)) for key, inner in dict.items(value)})
        self._seen, self._path = seen, path

    def _note(self, key: str) -> None:
        value = super().get(key)
        if key in self and not isinstance(value, Watched):
            self._seen.add((*self._path, key))

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def __or__(self, other: Any) -> Any:
        return Watched(dict(dict.items(self)) | other, self._seen, self._path)

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def values(self) -> Any:
        return [self[key] for key in self]


def _watch(value: Any, seen: set[Keys], path: Keys) -> Any:
    if isinstance(value, dict):
        return Watched(value, seen, path)
    if isinstance(value, list):
        return [_watch(inner, seen, (*path, "[]")) for inner in value]
    return value


def looked_at(seen: set[Keys], names: Collection[str]) -> set[str]:
    """Return the described names of what was read."""
    return {name for name in names if any(fits(path, words(name)) for path in seen)}


_ANY = {
    "ITER": r"(iter\d\d|stage\d\d/iter\d\d|validation/(before|after))",
    "DAG": r"alignment(-\d\d)?\.dag",
    "PART": f"({layout.RECO}|{layout.MILLEPEDE})",
    "ANY": ".+",
}
_FILES = [
    re.compile(re.sub("[A-Z]+", lambda found: _ANY.get(found[0], "[^/]+"), re.escape(name)))
    for files in contents.FILES.values()
    for file in files
    for name in file.names
]


def is_described(name: str) -> bool:
    """Return whether a file of this name below a campaign's folder has a description."""
    flat = re.sub(r"/(step|earlier)\d+/", "/", name)
    return any(one.fullmatch(flat) for one in _FILES)


def undescribed_files(campaign: Path) -> list[str]:
    """Return files in a campaign's folder without a description."""
    names = (str(path.relative_to(campaign)) for path in campaign.rglob("*") if not path.is_dir())
    return sorted(name for name in names if not is_described(name))


def undescribed_keys(campaign: Path) -> dict[str, list[str]]:
    """Return keys without a description in the JSON files of a campaign's folder in our formats, by file."""
    formats = {heading: [key.name for key in one.keys] for heading, one in contents.FORMATS.items()}
    unknown = {}
    for path in campaign.rglob("*.json"):
        value = json.loads(path.read_text()) if path.name in (*formats, layout.METRICS) else []
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            missing = undescribed(entry, formats.get(path.name) or names_of(entry))
            if missing:
                unknown[str(path.relative_to(campaign))] = missing
    return unknown


def undescribed_below(folder: Path) -> list[str]:
    """Return files, and keys of our files, without a description in all campaigns below a folder."""
    found = []
    for record in folder.glob(f"**/{layout.RECORD}"):
        campaign = record.parent
        found += [f"{campaign}/{name}" for name in undescribed_files(campaign)]
        found += [f"{campaign}/{name}: {', '.join(keys)}" for name, keys in undescribed_keys(campaign).items()]
    return found
