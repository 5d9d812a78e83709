"""Commands of the alignment engine: ``mille``, ``solve`` and ``constants``, useful without a campaign."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Json, Plain

if TYPE_CHECKING:
    from faser_align.alignment.constants import Six

Force = Annotated[bool, typer.Option("--force", help="Overwrite the output")]
Output = Annotated[Path, typer.Option("-o", "--output", help="File to write")]
Constants = Annotated[Path, typer.Argument(help="Constants file (inputforalign.txt), or a campaign: its latest")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(mille)
    app.command()(solve)
    commands = typer.Typer(no_args_is_help=True, help="Read, compare and combine alignment constants.")
    commands.command()(show)
    commands.command()(diff)
    commands.command()(add)
    commands.command()(correction)
    commands.command()(export)
    app.add_typer(commands, name="constants")


def mille(
    inputs: Annotated[list[Path], typer.Argument(help="kfalignment ROOT files, in the order of their records")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write")] = None,
    chi2_max: Annotated[float, typer.Option(help="Largest chi2 of a track")] = 2000.0,
    pz_min: Annotated[float, typer.Option(help="Smallest pz (GeV)")] = 100.0,
    pz_max: Annotated[float, typer.Option(help="Largest pz (GeV)")] = 5000.0,
    hits_min: Annotated[int, typer.Option(help="Smallest number of hits of a track")] = 15,
    residual_max: Annotated[float, typer.Option(help="Largest residual of a hit (mm)")] = 0.05,
    derivative_max: Annotated[float, typer.Option(help="Largest derivative by rx and ry of the layer (mm/rad)")] = 2.0,
    pivot: Annotated[str, typer.Option(help="Of the layer's rx and ry derivatives: calypso or layer")] = "calypso",
    sums: Annotated[
        bool, typer.Option("--add", help="Inputs are OUTPUT.json of conversions: add up their counts")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert kfalignment files to Millepede's binary records.

    What was counted goes to OUTPUT.json, too; --add makes one of several such files.

    Example: faser-align mille kfalignment_011705_00400.root -o mp2input.bin
    """
    from faser_align.alignment.mille import Cuts, convert_and_count
    from faser_align.cli.show import counted
    from faser_align.fsm.errors import UserError

    if sums:
        _add_up(inputs, output, force, as_json)
        return
    if output is None:
        raise UserError("mille needs the name of the file to write; give it with -o")
    _refuse_to_overwrite(output, force)
    _refuse_to_overwrite(Path(f"{output}.json"), force)
    cuts = Cuts(chi2_max, pz_min, pz_max, hits_min, residual_max, derivative_max, pivot)  # type: ignore[arg-type]
    counts = convert_and_count(inputs, output, cuts, any_element=True)
    if counts.tracks_modelled:
        console.warn(
            f"{counts.tracks_modelled} tracks come from older files without derivatives by the track's parameters; "
            "those of the designed geometry are used"
        )
    if counts.hits_foreign:
        console.warn(
            f"{counts.hits_foreign} hits are of elements that FASER's tracker does not have; they are converted by their numbers"
        )
    if not as_json:
        console.say(f"{output}: {counts.tracks_written} records with {counts.measurements} measurements")
    counted.tell(counts, as_json=as_json)


def _add_up(inputs: list[Path], output: Path | None, force: bool, as_json: bool) -> None:
    """Add up the counts of conversions, show them and write them to a file if it is named."""
    from faser_align.alignment.counts import Counts, read_counts, write_counts
    from faser_align.cli.show import counted
    from faser_align.fsm.errors import UserError

    if output is not None:
        _refuse_to_overwrite(output, force)
    twice = [path for number, path in enumerate(inputs) if path in inputs[:number]]
    if twice:
        raise UserError(f"{twice[0]} is given twice; name each file once")
    counts = sum((read_counts(path) for path in inputs), Counts())
    if output is not None:
        with _writing(output):
            write_counts(output, counts)
    counted.tell(counts, as_json=as_json)


def solve(
    steering: Annotated[
        Path | None,
        typer.Argument(help="Steering file, beside the files that it names; or what `reco` made: its name or a folder"),
    ] = None,
    parent: Annotated[
        str,
        typer.Option("--from", help="Campaign whose iteration is solved again, in a new folder.", metavar="CAMPAIGN"),
    ] = "",
    stage: Annotated[int | None, typer.Option(help="With --from: its stage [default: the last]")] = None,
    iteration: Annotated[int | None, typer.Option(help="With --from: the iteration [default: the last]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="With --from: folder to make.")] = None,
    config: Annotated[
        str, typer.Option("--config", help="With --from: configuration with other [mille], [solver], or steps.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Solve a steering file as pede does.

    The result is in the same files. An iteration that `reco` reconstructed is solved as a campaign's Millepede job does it,
    up to the constants. With --from an iteration of a campaign is solved once more, with other cuts, weights or steps, on
    the tracks that are there: nothing is reconstructed again, and the campaign stays as it is.

    Example: faser-align solve --from Y2023_R011705_F400-450 --iteration 3 --config other.toml -o again
    """
    if parent or steering is None:
        from faser_align.cli.commands.reco import solve_from

        solve_from(parent, (stage, iteration), output, config, beside=steering, as_json=as_json)
        return
    from faser_align.alignment.solver import solve as run
    from faser_align.cli.show import solved
    from faser_align.fsm.errors import CampaignError

    if not os.path.isfile(steering):
        from faser_align.cli.commands.reco import solve_folder

        solve_folder(str(steering), as_json=as_json)
        return
    solution = run(steering)
    if as_json:
        console.show_json(solved.as_json(solution))
    if not solution.solved:
        raise CampaignError(f"no solution ({solution.end_code} {solution.end_text}): {solution.message}")
    if not as_json:
        solved.show(solution)
    solved.warn(solution)


def show(constants: Constants, plain: Plain = False, as_json: Json = False) -> None:
    """Show constants as a table, in um and urad.

    Example: faser-align constants show inputforalign.txt
    """
    from faser_align.alignment.constants import read_constants

    _show(read_constants(_file_of(constants)), plain=plain, as_json=as_json)


def diff(
    before: Annotated[Path, typer.Argument(help="Constants file or campaign")],
    after: Annotated[Path, typer.Argument(help="Constants file or campaign from which the first is subtracted")],
    largest: Annotated[int, typer.Option(help="How many of the largest changes to show", min=0)] = 5,
    everything: Annotated[bool, typer.Option("--all", help="Show the change of every layer and module")] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Show what leads from the first file to the second.

    That is what has to be added: per degree of freedom, and the largest changes.

    Example: faser-align constants diff iter01/1reco/inputforalign.txt iter05/1reco/inputforalign.txt
    """
    from faser_align.alignment.constants import read_constants, subtract_constants
    from faser_align.cli.show import differing

    first, second = (read_constants(_file_of(path)) for path in (before, after))
    if everything or as_json:
        _show(subtract_constants(second, first), plain=plain, as_json=as_json)
    else:
        differing.show(first, second, largest, plain=plain)


def add(
    constants: Constants,
    correction: Annotated[Path, typer.Argument(help="Constants file that is added")],
    output: Output,
    force: Force = False,
) -> None:
    """Add a correction to constants.

    Example: faser-align constants add inputforalign.txt correction.txt -o next.txt
    """
    from faser_align.alignment.constants import add_constants, read_constants, write_constants

    _refuse_to_overwrite(output, force)
    total = add_constants(read_constants(_file_of(constants)), read_constants(correction))
    with _writing(output):
        write_constants(output, total)
    console.say(f"wrote {output}")


def correction(
    result: Annotated[Path, typer.Argument(help="millepede.res of pede or of `faser-align solve`")],
    output: Output,
    force: Force = False,
) -> None:
    """Turn Millepede's result into a correction of the constants.

    Example: faser-align constants correction millepede.res -o correction.txt
    """
    import math

    from faser_align.alignment.constants import correction_from_parameters, write_constants
    from faser_align.alignment.labels import PARAMETERS, describe_all
    from faser_align.alignment.millepede import read_result
    from faser_align.fsm.errors import UserError

    _refuse_to_overwrite(output, force)
    values = {label: row.value for label, row in read_result(result).items()}
    foreign = [label for label in values if label not in PARAMETERS]
    if foreign:
        raise UserError(
            f"{result} has {describe_all(foreign)}, which the tracker does not have; give a result of its alignment"
        )
    correction = correction_from_parameters(values)
    if not all(math.isfinite(value) for six in correction.values() for value in six):
        raise UserError(f"{result} holds values that are no numbers; look at millepede.log beside it")
    with _writing(output):
        write_constants(output, correction)
    console.say(f"wrote {output}")


def export(
    constants: Constants,
    output: Output,
    form: Annotated[Literal["calypso", "json", "csv"], typer.Option("--format", help="Form of the output")] = "calypso",
    sqlite: Annotated[
        bool,
        typer.Option("--sqlite", help="A folder with conditions database and POOL files, by Calypso's own scripts"),
    ] = False,
    runs: Annotated[
        str, typer.Option(help="With --sqlite: first and last run, 11705-11800 [default: the campaign's]")
    ] = "",
    tag: Annotated[str, typer.Option(help="With --sqlite: conditions tag [default: the year's]")] = "",
    year: Annotated[int, typer.Option(help="With --sqlite: year, which decides on geometry and tag")] = 0,
    config: Annotated[str, typer.Option(help="With --sqlite: configuration that leads to Calypso")] = "",
    force: Force = False,
) -> None:
    """Write constants for other programs.

    As Calypso's option AlignDbTool.AlignmentConstants, JSON or CSV; or as what jobs reconstruct with: a conditions database
    and POOL files, beside the text and a small JSON with run range and tag.

    Example: faser-align constants export Y2023_R011705_F400-450 -o constants.txt
    """
    if sqlite:
        from faser_align.cli.work import database

        typed = database.Typed(output, config, year, runs, tag, force)
        found = database.export(_file_of(constants), typed)
        console.say(
            f"wrote {output}: {found['database']}, runs {found['runs'][0]}-{found['runs'][1]}, tag {found['tag']}"
        )
        return
    from faser_align.alignment.constants import export_constants, read_constants
    from faser_align.config.atomic import write_text

    _refuse_to_overwrite(output, force)
    text = export_constants(read_constants(_file_of(constants)), form)
    with _writing(output):
        write_text(output, text)
    console.say(f"wrote {output}")


def _file_of(constants: Path) -> Path:
    """The file as it was named, or the latest constants of the campaign of that name."""
    from faser_align.fsm.errors import UserError

    if os.path.isfile(constants) or (os.sep in str(constants) and not os.path.isdir(constants)):
        return constants
    from faser_align.cli.work import snapshot
    from faser_align.state import registry

    try:
        folder = registry.find(str(constants))
    except UserError as problem:
        raise UserError(f"{constants} is no file of constants here, and {problem}") from None
    found = snapshot.take(folder)["constants"]
    if not found:
        raise UserError(f"{constants} has found no constants yet; wait for its first iteration, or name a file")
    return Path(found)


def _show(constants: Mapping[str, "Six"], *, plain: bool, as_json: bool) -> None:
    if as_json:
        console.show_json(constants)
        return
    columns = ["key", ">x um", ">y um", ">z um", ">rx urad", ">ry urad", ">rz urad"]
    rows = []
    for key, six in constants.items():
        scaled = [value * (1e3 if place < 3 else 1e6) for place, value in enumerate(six)]
        rows.append([key, *(f"{value:.2f}" for value in scaled)])
    console.table(columns, rows, plain=plain)


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    from faser_align.fsm.errors import UserError

    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror}; check the folder, its permissions and space"
        ) from error


def _refuse_to_overwrite(output: Path, force: bool) -> None:
    from faser_align.fsm.errors import UserError

    folder = os.path.dirname(os.path.abspath(output))
    if os.path.isdir(output):
        raise UserError(f"{output} is a folder; name a file in it")
    if os.path.lexists(output) and not force:
        raise UserError(f"{output} exists already; give another name, or --force to overwrite it")
    if not os.path.isdir(folder):
        raise UserError(f"the folder of {output} does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{output} cannot be written: {folder} is not a folder of yours; name another file with -o")
