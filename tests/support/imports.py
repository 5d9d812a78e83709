"""Import configurations of faser-alignment-script, as the command does."""

from pathlib import Path
from typing import Any

from faser_align.config.load import parse_config
from faser_align.config.schema import Config
from faser_align.predecessor.configuration import Imported, import_config
from faser_align.predecessor.read import read_json, read_yaml

THEIRS = Path(__file__).parents[1] / "data" / "predecessor"
TARGET = "/x/faser-align.toml"


def read(name: str) -> dict[str, Any]:
    """Return a configuration of faser-alignment-script."""
    text = (THEIRS / name).read_text()
    return read_yaml(text, name) if name.endswith(".yaml") else read_json(text, name, lenient=True)[0]


def imported(old: dict[str, Any], base: str = "/base") -> Imported:
    """Return the conversion of an object, as by the command."""
    return import_config(old, source="config.json", base=base, target=TARGET, zeros="/zeros.txt")


def config_of(old: dict[str, Any], base: str = "/base") -> Config:
    """Return our configuration for it."""
    return parse_config(imported(old, base).text, TARGET)
