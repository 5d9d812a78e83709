"""Describe every file of a campaign and the keys of our JSON files, for ``docs/files.md``.

The descriptions are in ``files.toml`` and ``formats.toml``. Nothing that runs a campaign imports them; file names are
defined in ``campaign.layout``.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class File(NamedTuple):
    """Describe one file, or several of one kind.

    Attributes:
        names: paths below the campaign's folder, with placeholders in capitals.
        form: format and content.
        written: who writes it, and when.
        read: who reads it.
        removed: when it is removed; empty: never.
    """

    names: tuple[str, ...]
    form: str
    written: str
    read: str
    removed: str = ""


class Key(NamedTuple):
    """Describe one key of a JSON file. ``of`` names the kinds of entries that have it; empty: all."""

    name: str
    meaning: str
    of: str = ""


class Format(NamedTuple):
    """Describe one of our file formats: purpose and keys."""

    about: str
    keys: tuple[Key, ...]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


FILES = {
    part["heading"]: [File(**{**file, "names": tuple(file["names"])}) for file in part["file"]]
    for part in _read("files.toml")["part"]
}
FORMATS = {
    heading: Format(
        form.get("about", ""),
        tuple(Key(name, *(text if isinstance(text, list) else [text])) for name, text in form["keys"].items()),
    )
    for heading, form in _read("formats.toml").items()
}


def files_tables() -> str:
    """Return one Markdown table for each part of a campaign's folder."""
    lines: list[str] = []
    for heading, files in FILES.items():
        lines += [
            "",
            f"### {heading}",
            "",
            "| file | format | written by | read by | removed |",
            "|---|---|---|---|---|",
        ]
        for file in files:
            lines.append(f"| {_names(file)} | {file.form} | {file.written} | {file.read} | {file.removed or '-'} |")
    return "\n".join(lines[1:]) + "\n"


def _names(file: File) -> str:
    """Return the names of a file, with each folder written once."""
    folder = os.path.dirname(file.names[0])
    return ", ".join([f"`{file.names[0]}`", *(f"`{name.removeprefix(f'{folder}/')}`" for name in file.names[1:])])


def formats_tables() -> str:
    """Return a Markdown section with the keys of each format."""
    return "\n".join(line for heading, form in FORMATS.items() for line in _section(heading, form)) + "\n"


def _section(heading: str, form: Format) -> Iterator[str]:
    yield from (f"## {heading}", "")
    if form.about:
        yield from (form.about, "")
    several = any(key.of for key in form.keys)
    yield from ("| key | in | meaning |", "|---|---|---|") if several else ("| key | meaning |", "|---|---|")
    for key in form.keys:
        cells = (f"`{key.name.removesuffix('...')}`", *([key.of or "all"] if several else []), key.meaning)
        yield f"| {' | '.join(cells)} |"
    yield ""
