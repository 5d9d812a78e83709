"""Write the command, configuration and initial constants with which to repeat a campaign. Pure."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.data import by_run
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import format_files

CONFIGURATION, CONSTANTS = "faser-align.toml", "start.txt"  # file names for both
# Paths and recipients of the user, and the constants, which the command names.
OWN = {
    "campaign": ("folder", "name", "constants"),
    "storage": ("data",),
    "notify": None,
    "report": None,
    "python": None,
}


def command(record: Manifest) -> str:
    """Return the command that submits the campaign of a manifest again."""
    words = ["faser-align", "submit", "-y", str(record["year"])]
    for run, files in by_run(record["run"], layout.requested_files(record)).items():
        words += ["-r", run, "-f", format_files(files)]
    return shlex.join([*words, "--config", CONFIGURATION, "--constants", CONSTANTS])


def configuration(config: Mapping[str, Any]) -> str:
    """Return the configuration as TOML, without the user's own paths and recipients."""
    lines: list[str] = []
    for name, table in config.items():
        if not isinstance(table, Mapping):
            lines.insert(0, f"{name} = {_value(table)}")  # keys outside tables come first
            continue
        own = OWN.get(name, ())
        kept = {} if own is None else {key: value for key, value in table.items() if key not in own}
        if kept:
            lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in kept.items())]
    return "\n".join(lines).strip() + "\n"


def _value(value: Any) -> str:
    """Return a value as TOML: as JSON, apart from tables and characters that need escapes."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
