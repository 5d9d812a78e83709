"""What a colleague types and saves to repeat a campaign: a command, a configuration, and the constants that it began with. Pure."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from faser_align.campaign.data import by_run
from faser_align.config.files import format_files

CONFIGURATION, CONSTANTS = "faser-align.toml", "start.txt"  # names under which both are saved
# Places and people of whoever ran it, and the constants, which the command names.
OWN = {
    "campaign": ("folder", "name", "constants"),
    "storage": ("data",),
    "notify": None,
    "report": None,
    "python": None,
}


class Recipe(NamedTuple):
    """What is typed, and the configuration, with the names under which it and the constants are saved."""

    command: str
    configuration: str
    configuration_name: str = CONFIGURATION
    constants_name: str = CONSTANTS


def recipe(record: Mapping[str, Any]) -> Recipe:
    """How to repeat the campaign of ``record``."""
    return Recipe(_command(record), configuration(record["config"]))


def _command(record: Mapping[str, Any]) -> str:
    """The command that submits the campaign again."""
    words = ["faser-align", "submit", "-y", str(record["year"])]
    for run, files in by_run(record["run"], record["files"]).items():
        words += ["-r", run, "-f", format_files(files)]
    return shlex.join([*words, "--config", CONFIGURATION, "--constants", CONSTANTS])


def configuration(config: Mapping[str, Any]) -> str:
    """The configuration as TOML, without what was whoever's own."""
    lines: list[str] = []
    for name, table in config.items():
        if not isinstance(table, Mapping):
            lines.insert(0, f"{name} = {_value(table)}")  # what is in no table comes first
            continue
        own = OWN.get(name, ())
        kept = {} if own is None else {key: value for key, value in table.items() if key not in own}
        if kept:
            lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in kept.items())]
    return "\n".join(lines).strip() + "\n"


def _value(value: Any) -> str:
    """A value as TOML has it: as JSON, but for tables and a sign that is to be escaped."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
