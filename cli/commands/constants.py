"""Define commands for constants: ``constants show``, ``diff``, ``add``, ``correction``, ``export``."""

import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from faser_align.cli import console, streams
from faser_align.cli.arguments import Force, Json, Plain
from faser_align.fsm.errors import UserError
from faser_align.state import registry
from faser_align.system import formatting

if TYPE_CHECKING:
    from faser_align.alignment.parameters.constants import Six
    from faser_align.operations.known_errors import Errors

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write; - is standard output.")]
WithErrors = Annotated[bool, typer.Option("--errors", help="As JSON or CSV: write the statistical errors, too.")]
InSigma = Annotated[bool, typer.Option("--sigma", help="Show each value in units of its error.")]
Constants = Annotated[
    Path, typer.Argument(help="Constants file (inputforalign.txt), or a campaign (its latest constants).")
]


def show(
    constants: Constants,
    plain: Plain = False,
    as_json: Json = False,
    errors: WithErrors = False,
    sigma: InSigma = False,
) -> None:
    """Show constants as a table, in um and urad.

    Shows statistical errors if an iteration of a campaign made the constants.

    Example: faser-align constants show inputforalign.txt
    """
    from faser_align.alignment.parameters.constants import read_constants
    from faser_align.operations import known_errors

    path = _file_of(constants)
    known = known_errors.errors_of(path)
    _show(read_constants(path), known, plain=plain, as_json=as_json, with_errors=errors, in_sigma=sigma)


def diff(
    before: Annotated[Path, typer.Argument(help="Constants file or campaign.")],
    after: Annotated[Path, typer.Argument(help="Constants file or campaign to compare with the first.")],
    largest: Annotated[int, typer.Option(help="Number of largest changes to show.", min=0)] = 5,
    everything: Annotated[bool, typer.Option("--all", help="Show the change of every layer and module.")] = False,
    plain: Plain = False,
    as_json: Json = False,
    errors: WithErrors = False,
    sigma: InSigma = False,
) -> None:
    """Show the difference between two sets of constants.

    Shows the second minus the first: a summary per degree of freedom, and the largest changes, with statistical errors if
    iterations of campaigns made the constants.

    Example: faser-align constants diff iter01/1reco/inputforalign.txt iter05/1reco/inputforalign.txt
    """
    from faser_align.alignment.parameters.constants import read_constants, subtract_constants
    from faser_align.cli.show import differing
    from faser_align.operations import known_errors

    paths = [_file_of(path) for path in (before, after)]
    first, second = map(read_constants, paths)
    known = known_errors.errors_of_difference(*paths)
    if everything or as_json or sigma:
        change = subtract_constants(second, first)
        _show(change, known, plain=plain, as_json=as_json, with_errors=errors, in_sigma=sigma)
    else:
        differing.show(first, second, largest, _in_mm(known), plain=plain)


def add(
    constants: Constants,
    correction: Annotated[Path, typer.Argument(help="Constants file with the correction.")],
    output: Output,
    force: Force = False,
) -> None:
    """Add a correction to constants.

    Example: faser-align constants add inputforalign.txt correction.txt -o next.txt
    """
    from faser_align.alignment.parameters.constants import add_constants, format_constants, read_constants

    total = add_constants(read_constants(_file_of(constants)), read_constants(correction))
    _write(output, format_constants(total), force)


def correction(
    result: Annotated[Path, typer.Argument(help="millepede.res of pede or of `faser-align solve`.")],
    output: Output,
    force: Force = False,
) -> None:
    """Convert Millepede's result to a correction of the constants.

    Example: faser-align constants correction millepede.res -o correction.txt
    """
    from faser_align.alignment.parameters.constants import correction_from_parameters, format_constants
    from faser_align.alignment.parameters.labels import PARAMETERS, describe_all
    from faser_align.alignment.pede.results import read_result

    values = {label: row.value for label, row in read_result(result).items()}
    foreign = [label for label in values if label not in PARAMETERS]
    if foreign:
        raise UserError(
            f"{result}: {describe_all(foreign)} is not a parameter of the tracker; use a result of the tracker's alignment"
        )
    correction = correction_from_parameters(values)
    if not all(math.isfinite(value) for six in correction.values() for value in six):
        raise UserError(f"{result}: contains values that are not finite; see millepede.log in the same folder")
    _write(output, format_constants(correction), force)


def export(
    constants: Constants,
    output: Output,
    form: Annotated[Literal["calypso", "json", "csv"], typer.Option("--format", help="Output format.")] = "calypso",
    errors: WithErrors = False,
    sqlite: Annotated[
        bool,
        typer.Option(
            "--sqlite", help="Write a folder with conditions database and POOL files, using Calypso's own scripts."
        ),
    ] = False,
    runs: Annotated[
        str, typer.Option(help="With --sqlite: first and last run, 11705-11800 [default: the campaign's]")
    ] = "",
    tag: Annotated[str, typer.Option(help="With --sqlite: conditions tag [default: the year's]")] = "",
    year: Annotated[
        int, typer.Option(help="With --sqlite: year, which selects geometry and tag.", show_default=False)
    ] = 0,
    config: Annotated[str, typer.Option(help="With --sqlite: configuration with the paths of Calypso.")] = "",
    force: Force = False,
) -> None:
    """Write constants for other programs.

    Formats: Calypso's option AlignDbTool.AlignmentConstants, JSON, and CSV. With --errors JSON and CSV also have the
    statistical errors (mm, rad; 0: fixed, empty: unknown). With --sqlite writes what reconstruction jobs use:
    a conditions database and POOL files, with the constants as text and a JSON file with run range and tag.

    Example: faser-align constants export Y2023_R011705_F400-450 -o constants.txt
    """
    if sqlite:
        from faser_align.operations import conditions_database

        if errors or form != "calypso":
            raise UserError("--sqlite writes a database, without --format and --errors; leave them out")
        streams.carry_on()
        found = conditions_database.export(
            _file_of(constants), output, config=config, year=year, runs=runs, tag=tag, force=force
        )
        console.say(
            f"{output} written: {found['database']}, runs {found['runs'][0]}-{found['runs'][1]}, tag {found['tag']}"
        )
        return
    for option, value in (("--runs", runs), ("--tag", tag), ("--year", year), ("--config", config)):
        if value:
            raise UserError(f"{option} {value} is for a database; add --sqlite, or leave it out")
    from faser_align.alignment.parameters.constants import export_constants, read_constants
    from faser_align.operations import known_errors

    path = _file_of(constants)
    known = known_errors.errors_of(path) if errors else {}
    if errors and form == "calypso":
        raise UserError("--errors: Calypso's format has no place for errors; add --format json or --format csv")
    if errors and not known:
        raise UserError(
            f"--errors: the errors of {path} are unknown, because it is not the result of an iteration; leave out --errors"
        )
    _write(output, export_constants(read_constants(path), form, _in_mm(known)), force)


def _write(output: Path, text: str, force: bool) -> None:
    """Write ``text`` to the file ``output`` and say so, or to standard output."""
    from faser_align.operations import outputs

    if str(output) == outputs.STANDARD_OUTPUT:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    streams.carry_on()
    outputs.write(output, text, force=force)
    console.say(f"{output} written")


def _file_of(constants: Path) -> Path:
    """Return the given file, or the latest constants of the campaign of that name."""
    if os.path.isfile(constants) or (os.sep in str(constants) and not os.path.isdir(constants)):
        return constants
    from faser_align.operations import snapshot

    try:
        folder = registry.find(str(constants))
    except UserError as problem:
        raise UserError(f"{constants} is neither a file here nor a campaign: {problem}") from None
    found = snapshot.take(folder)["constants"]
    if not found:
        raise UserError(
            f"{constants} has no constants, because none of its iterations is solved; name a file, or another campaign"
        )
    return Path(found)


def _in_mm(errors: "Errors") -> dict[str, list[float | None]]:
    """Convert errors from um and urad to mm and rad."""
    return {
        key: [None if error is None else error * (1e-3 if place < 3 else 1e-6) for place, error in enumerate(six)]
        for key, six in errors.items()
    }


def _show(
    constants: Mapping[str, "Six"], errors: "Errors", *, plain: bool, as_json: bool, with_errors: bool, in_sigma: bool
) -> None:
    """Write constants with errors (um, urad), or in units of them; as JSON in mm and rad, with both if requested."""
    from faser_align.alignment.parameters.constants import DOFS

    if in_sigma and not errors:
        raise UserError("--sigma: no errors are known, because no iteration made these constants; leave out --sigma")
    if as_json:
        known = _in_mm(errors)
        sigmas = {  # None where the error is unknown, or 0 because the constant was fixed
            key: [value / error if error else None for value, error in zip(six, known[key], strict=True)]
            for key, six in constants.items()
            if key in known
        }
        both = {"constants": constants, "errors": known, "sigma": sigmas}
        console.show_json(both if with_errors or in_sigma else constants)
        return
    units = ["sigma"] * 6 if in_sigma else ["um"] * 3 + ["urad"] * 3
    cell = formatting.with_sigma if in_sigma else partial(formatting.plus_minus, form=",.2f")
    rows = []
    for key, six in constants.items():
        scaled = [value * (1e3 if place < 3 else 1e6) for place, value in enumerate(six)]
        rows.append([key, *map(cell, scaled, errors.get(key) or (None,) * 6)])
    console.table(["key", *(f">{dof} {unit}" for dof, unit in zip(DOFS, units, strict=True))], rows, plain=plain)
    if errors:
        console.say("errors are statistical; a constant without one was fixed, or its error is unknown")
