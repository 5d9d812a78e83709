"""Test that every command and option in README, documentation and changelog exists."""

import re
from pathlib import Path

import pytest

from faser_align.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def unknown(typed: str) -> list[str]:
    """Return words of a command (without ``faser-align``) that the program does not know."""
    command, found = main.root(), []
    for word in (word.strip(",.:;()[]") for word in typed.split()):
        inner = getattr(command, "commands", None)
        if inner is not None:
            if word.startswith("-"):
                continue
            if word not in inner:
                return [*found, word]
            command = inner[word]
        elif re.match(r"--?[a-z]", word):
            known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            found += [word] if word.partition("=")[0] not in known | {"--help"} else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    """Each command in backquotes and in blocks of code exists, with its options."""
    text = page.read_text(encoding="utf-8").replace("\\|", "|")
    typed = re.findall(r"`faser-align ([a-z][^`\n]*)`", text)
    typed += re.findall(r"^ {4,}(?:\$ )?faser-align ([a-z][^\n#|]*)", text, re.MULTILINE)
    assert {command: words for command in typed if (words := unknown(command.partition("|")[0]))} == {}
