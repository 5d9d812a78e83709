"""Check single values of the configuration whose form a type cannot express."""

import string
from collections.abc import Callable, Iterable

from faser_align.config.files import parse_files
from faser_align.fsm.errors import UserError

PARTS = ("IFT", "3ST")
FRAME = "frame"
# Depth words and the parameters that they fix; newer versions of faser-alignment-script say global and local.
DEPTHS = {
    **dict.fromkeys(("layer", "layers", "global"), "layer"),
    **dict.fromkeys(("module", "modules", "side", "local"), "module"),
    "rx": "layer.rx",
    "ry": "layer.ry",
}
LAYERS = tuple(10 * station + layer for station in (1, 2, 3, 4) for layer in (0, 1, 2))
NAME_FIELDS = ("year", "run", "files", "stations", "iterations", "constants")


def check_fix(item: object) -> int | str:
    """Return an item to fix; raise ValueError if it is unknown."""
    if isinstance(item, int) and not isinstance(item, bool) and item in LAYERS:
        return item
    words = {*PARTS, *DEPTHS, FRAME, *(f"{part}_{depth}" for part in (*PARTS, *LAYERS) for depth in DEPTHS)}
    if isinstance(item, str) and item in words:
        return item
    raise ValueError("cannot be fixed")


def check_files(text: str) -> str:
    """Return ranges of raw files, possibly empty; raise ValueError if malformed."""
    if text.strip():
        try:
            parse_files(text)
        except UserError:
            raise ValueError("names no raw files") from None
    return text.strip()


def check_run(run: str) -> str:
    """Return a run; raise ValueError unless it has six digits."""
    if len(run) != 6 or not run.isdecimal():
        raise ValueError("is not a run with six digits")
    return run


def fields_of(template: str, known: Iterable[str]) -> set[str]:
    """Return the names in braces of a format string; raise ValueError if it is malformed or a name is not ``known``."""
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is not None:
            if spec or conversion or not name.isidentifier():
                raise ValueError("only plain fields such as {run} can be filled in")
            names.add(name)
    if unknown := names.difference(known):
        raise ValueError(f"unknown field {{{min(unknown)}}}")
    return names


def check_name_template(template: str) -> str:
    """Return the template of a campaign's name; raises ValueError for unknown fields or an unsafe folder name."""
    fields_of(template, NAME_FIELDS)
    if not template.strip() or "/" in template or template.startswith("."):
        raise ValueError("is not the name of a folder")
    return template


def checked_fields(known: Iterable[str], needed: str = "") -> Callable[[str], str]:
    """Return a check of format strings: ValueError for an unknown field, and for a text that lacks the ``needed`` one."""

    def check(text: str) -> str:
        found = fields_of(text, known)
        if text and needed and needed not in found:
            raise ValueError(f"lacks the field {{{needed}}}")
        return text

    return check


COMMAND_FIELDS = (
    *("raw", "constants", "output", "scratch", "year", "run", "file", "stations", "stage", "iteration"),
    *("direction", "geometry", "tag", "verbosity"),
)
check_raw_pattern = checked_fields(("year", "run", "file"), "file")
check_command = checked_fields(COMMAND_FIELDS, "output")
check_option = checked_fields(("geometry", "tag"))
