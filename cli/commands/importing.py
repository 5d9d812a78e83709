"""Define the command ``import`` for configurations and campaigns of faser-alignment-script."""

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Json
from faser_align.cli.commands.setup import DEFAULT_CONFIG
from faser_align.fsm.errors import UserError
from faser_align.fsm.plural import count

if TYPE_CHECKING:
    from faser_align.predecessor.configuration import Imported
    from faser_align.predecessor.read import Fault

YAML = (".yaml", ".yml")
FAULTS_SHOWN = 3  # per kind


def import_(
    source: Annotated[
        str, typer.Argument(help="config.json or config.yaml of faser-alignment-script, or the folder of a campaign.")
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="File or folder to write [default: faser-align.toml, or FOLDER-imported]."),
    ] = "",
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Accept small JSON mistakes and read what was meant.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Rename an existing configuration; nothing is deleted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import a configuration or a campaign of faser-alignment-script.

    Converts a JSON or YAML configuration to a commented TOML file, including the requests of its submit templates and the
    direction of tracking, options and database of its scripts. Lists each key without a counterpart, with the reason.
    If the result cannot run, shows each problem with the key and the fix, and the part that was converted.
    Converts a folder to a campaign that the reading commands accept, with its constants and pede's results; the folder itself
    does not change.

    Example: faser-align import config.json --lenient
    """
    if os.path.isdir(source):
        _campaign(source, output, as_json=as_json)
    else:
        _configuration(source, output or DEFAULT_CONFIG, lenient=lenient, force=force, as_json=as_json)


def _configuration(source: str, output: str, *, lenient: bool, force: bool, as_json: bool) -> None:
    from faser_align.config.load import ZEROS, absolute
    from faser_align.operations.submission import write_new
    from faser_align.predecessor.configuration import RefusedError, import_config

    try:
        with open(source, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"{source}: cannot read ({reason}); name the configuration to import") from None
    old, faults = _read(text, source, lenient=lenient)
    try:
        imported = import_config(
            old,
            source=source,
            base=os.path.dirname(os.path.abspath(source)),
            target=output,
            zeros=absolute(ZEROS, ""),
        )
    except RefusedError as refused:
        if as_json:
            console.show_json(_as_json("", refused.understood, faults, refused.sentences))
        else:
            console.say(f"# Nothing was written. This part of {source} was understood:\n\n{refused.understood.text}")
        raise
    write_new(output, imported.text, force=force)
    if as_json:
        console.show_json(_as_json(output, imported, faults, []))
    else:
        _tell(source, output, imported, faults)


def _read(text: str, source: str, *, lenient: bool) -> "tuple[dict[str, Any], list[Fault]]":
    """Read JSON or YAML, by the file name or else by the first character."""
    from faser_align.predecessor.read import read_json, read_yaml

    ending = os.path.splitext(source)[1].lower()
    if ending in YAML or (ending != ".json" and not text.lstrip("\ufeff \t\r\n").startswith("{")):
        return read_yaml(text, source), []
    return read_json(text, source, lenient=lenient)


def _as_json(written: str, imported: "Imported", faults: "Sequence[Fault]", problems: list[str]) -> dict[str, Any]:
    return {
        "written": written,
        "keys": {key: {"value": entry.value, "from": entry.origin} for key, entry in imported.entries.items()},
        "left": imported.left,
        "choices": imported.choices,
        "overlooked": faults,
        "problems": problems,
        "submit": imported.submit,
    }


def _tell(source: str, output: str, imported: "Imported", faults: "Sequence[Fault]") -> None:
    """Show tolerated faults, old keys without a counterpart, and the next commands."""
    for cure in dict.fromkeys(fault.cure for fault in faults):
        alike = [fault for fault in faults if fault.cure == cure]
        for fault in alike[:FAULTS_SHOWN]:
            console.warn(f"{source}: {fault}; read as if this were fixed")
        if len(alike) > FAULTS_SHOWN:
            console.warn(f"{source}: {len(alike) - FAULTS_SHOWN} more places ({cure}); --json lists all of them")
    console.warn(*imported.choices)
    console.say(f"{output} written with {len(imported.entries)} keys and their origin; review it.")
    if imported.left:
        console.say(f"These keys of {source} have no counterpart:\n")
    for why in dict.fromkeys(one.why for one in imported.left):
        console.say(f"  {_joined([one.key for one in imported.left if one.why == why])}\n    {why}")
    option = "" if output == DEFAULT_CONFIG else f" --config {output}"
    console.say("Next:")
    console.say(f"  {console.program()} check{option}")
    console.say(f"  {console.program()} submit {imported.submit or '-y YEAR -r RUN -f FILES'}{option} --dry-run")


def _joined(keys: list[str]) -> str:
    """Return keys separated by commas; only the first line of a template (``tpl.recosub: error``) names it."""
    words, before = [], ""
    for key in keys:
        file, of_template, line = key.partition(": ")
        words.append(line if of_template and file == before else key)
        before = file
    return ", ".join(words)


def _campaign(source: str, output: str, *, as_json: bool) -> None:
    from faser_align.predecessor.campaign import import_campaign

    found = import_campaign(source, output)
    if as_json:
        console.show_json(found)
        return
    console.warn(*found.notes)
    label, command = shlex.quote(found.name), console.program()
    console.say(
        f"{found.folder} created from {source}, which was not changed: {count(found.iterations, 'iteration')}. Next:"
    )
    for verb in ("metrics", "report", "history", "constants show"):
        console.say(f"  {command} {verb} {label}")
