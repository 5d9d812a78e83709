"""Find the settings that a version of faser-alignment-script has in its scripts and not in its configuration.

The direction of tracking, names of the database and options are read from ``runAlignment.sh`` and the scripts it runs.
If they cannot be read, the keys of the configuration indicate the version.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from faser_align.config import calypso_scripts
from faser_align.predecessor.references import Entry
from faser_align.predecessor.stages import words_of

WRITE_CONSTANTS, RECONSTRUCT = "WriteAlignmentConfig_Faser04.py", "faser_reco_alignment.py"
RUN_ALIGNMENT, COPY_DATABASE = "runAlignment.sh", "aligndb_template_tail.sh"
GEOMETRY, TAG = "FASERNU-04", "OFLCOND-FASER-05"
STANDARD = ("--alignment", "--noBackward", "--noForward", "--noIFT", "--output_level")
_DIRECTIONS = {"--noBackward": "forward", "--noForward": "backward"}
_VARIABLES = {"YEAR": "{year}", "RUN": "{run}", "FILE": "{file}"}
_NAME = re.compile(r"WriteAlignmentConfig_\w+\.py")
_RELEASE = re.compile(r"^\s*asetup\s.*?\b(Athena,[\w.,-]+)", re.MULTILINE)
_RAW = re.compile(r"""^\s*FILE_PATH=["']?([^"'\s]+)""", re.MULTILINE)
_TAG = re.compile(r"""AtlCoolCopy\s.*-ot\s+["']?([\w.+-]+)""")
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)(?:[ =](?!-)([^\s\"'\\]+))?")


class Version(NamedTuple):
    """Behaviour of a version.

    Attributes:
        write_constants: path of its script that writes constants.
        reconstruct: path of its script that reconstructs.
        values: our keys, each with its value and origin.
        choices: sentences on settings inferred from the configuration's keys, and the alternative.
        unused: options of its command whose value is a shell variable.
    """

    write_constants: str
    reconstruct: str
    values: dict[str, Entry]
    choices: list[str]
    unused: list[str]


def version_of(old: Mapping[str, Any], source: str, script: str, folders: list[str]) -> Version:
    """Return the behaviour of the version that the configuration belongs to.

    Args:
        old: the configuration.
        source: the folder of its scripts, ``SRC_DIR`` of their jobs; empty if the configuration has none.
        script: path of ``runAlignment.sh``.
        folders: other places of the two Python scripts, the likeliest first.
    """
    text = calypso_scripts.read(script)
    commands = [line for line in text.splitlines() if RECONSTRUCT in line]
    name = next(iter(_NAME.findall(text)), WRITE_CONSTANTS)
    places = [f"{source}/templates", source, *folders] if source else folders
    write_constants = _first([f"{place}/{name}" for place in places])
    reconstruct = _first([f"{place}/{RECONSTRUCT}" for place in ([source] if source else []) + folders])
    values: dict[str, Entry] = {}
    unused = _of_commands(commands, script, values)
    for key, match in (("calypso.release", _RELEASE.search(text)), ("raw", _RAW.search(text))):
        value = re.sub(r"\$\{?(\w+)\}?", lambda one: _VARIABLES.get(one[1], "$"), match[1]) if match else ""
        if value and "$" not in value:
            values[f"reconstruction.{key}"] = Entry(value, f"as {script}")
    tag = _TAG.search(calypso_scripts.read(f"{os.path.dirname(write_constants)}/{COPY_DATABASE}"))
    for key, value in calypso_scripts.names_written(calypso_scripts.read(write_constants)).items():
        values[f"reconstruction.calypso.{key}"] = Entry(value, f"as {write_constants}")
    if tag:
        values["reconstruction.calypso.folder_tag"] = Entry(tag[1], f"as {COPY_DATABASE}")
    choices = _by_words(old, values, script, write_constants)
    if not commands and _is_without_verbosity(old, reconstruct):
        remark = "" if os.path.isfile(reconstruct) else "of versions without raw.verbosity "
        origin = f"{RECONSTRUCT} {remark}does not accept it"
        values["reconstruction.calypso.reconstruct_without"] = Entry(["--output_level"], origin)
    return Version(write_constants, reconstruct, values, choices, unused)


def _of_commands(commands: list[str], script: str, values: dict[str, Entry]) -> list[str]:
    """Add direction and options of the reconstruction commands to ``values``; return options with a variable."""
    after = [line.partition(RECONSTRUCT)[2] for line in commands]
    options = {name: value for line in after for name, value in _OPTION.findall(line)}
    directions = {_DIRECTIONS[name] for name in options if name in _DIRECTIONS}
    if len(directions) == 1:
        values["reconstruction.direction"] = Entry(directions.pop(), f"as {script}")
    if commands and "--output_level" not in options:
        values["reconstruction.calypso.reconstruct_without"] = Entry(["--output_level"], f"as {script}")
    others = {name: value for name, value in options.items() if name not in STANDARD}
    plain = [word for name, value in others.items() if "$" not in value for word in (name, value) if word]
    if plain:
        values["reconstruction.calypso.reconstruct_options"] = Entry(plain, f"as {script}")
    return [f"{name} {value}" for name, value in others.items() if "$" in value]


def _by_words(old: Mapping[str, Any], values: dict[str, Entry], script: str, write_constants: str) -> list[str]:
    """Add what could not be read, inferred from the configuration's keys; return these choices in sentences."""
    choices = []
    newest = "workflow" in old and words_of(old) & {"local", "global"} != set()
    origin = "as in the version of 12 March 2026" if newest else "as in versions before 12 March 2026"
    direction, number = ("backward", "05") if newest else ("forward", "04")
    if "reconstruction.direction" not in values:
        values["reconstruction.direction"] = Entry(direction, origin)
        other = "forward" if newest else "backward"
        choices.append(
            f'reconstruction.direction = "{direction}", {origin}: {_silent(script)}; set it to "{other}" if your jobs use '
            f"{'--noBackward' if newest else '--noForward'}"
        )
    names = {"written": f"FASER-{number}_ALLP200.db", "folder_tag": "TRACKER-ALIGN-05"}
    if "reconstruction.calypso.written" not in values:
        choices.append(
            f'reconstruction.calypso.written = "{names["written"]}", {origin}: {_silent(write_constants)}; set it to the database '
            f"that yours writes, for example FASER-{'04' if newest else '05'}_ALLP200.db"
        )
    for key, value in names.items():
        values.setdefault(f"reconstruction.calypso.{key}", Entry(value, origin))
    for key, value in (("geometry", GEOMETRY), ("tag", TAG)):
        values.setdefault(f"reconstruction.calypso.{key}", Entry(value, "as in every version, for data of any year"))
    return choices


def _is_without_verbosity(old: Mapping[str, Any], reconstruct: str) -> bool:
    """Return whether the reconstruction script lacks ``--output_level``, from its parser, else from the configuration."""
    known = calypso_scripts.options_known(calypso_scripts.read(reconstruct))
    raw = old.get("raw")
    return "--output_level" not in known if known else not (isinstance(raw, Mapping) and "verbosity" in raw)


def _silent(script: str) -> str:
    """Return why a script does not give the wanted value."""
    return f"{script or 'its script'} {'does not contain it' if os.path.isfile(script) else 'cannot be read here'}"


def _first(places: list[str]) -> str:
    """Return the first path that is a file, else the likeliest."""
    return next(filter(os.path.isfile, places), places[0] if places else "")
