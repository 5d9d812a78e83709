"""Define commands of the alignment engine: ``mille`` and ``solve``, which work without a campaign."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faser_align.campaign import layout
from faser_align.cli import console
from faser_align.cli.arguments import Force, Json, campaign_names, one_of
from faser_align.fsm.errors import CampaignError, UserError

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics


def mille(
    inputs: Annotated[list[Path], typer.Argument(help="kfalignment ROOT files, in the order of their records.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.")] = None,
    chi2_max: Annotated[float, typer.Option(help="Maximum chi2 of a track.")] = 2000.0,
    pz_min: Annotated[float, typer.Option(help="Minimum pz (GeV).")] = 100.0,
    pz_max: Annotated[float, typer.Option(help="Maximum pz (GeV).")] = 5000.0,
    hits_min: Annotated[int, typer.Option(help="Minimum number of hits of a track.")] = 15,
    residual_max: Annotated[float, typer.Option(help="Maximum residual of a hit (mm).")] = 0.05,
    derivative_max: Annotated[
        float,
        typer.Option(
            help="Maximum derivative with respect to rx and ry of the layer (mm/rad); 2 in faser-alignment-script."
        ),
    ] = 10.0,
    pivot: Annotated[
        str,
        typer.Option(
            help="Derivatives by rotations of layers: calypso (as written) or layer (as the constants rotate them).",
            autocompletion=one_of("calypso", "layer"),
        ),
    ] = "calypso",
    constants: Annotated[
        Path | None,
        typer.Option(help="Constants of the reconstruction, for --pivot layer  [default: the nominal geometry]"),
    ] = None,
    sums: Annotated[
        bool, typer.Option("--add", help="Inputs are OUTPUT.json files of conversions: sum their counts.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert kfalignment files to Millepede's binary records.

    Also writes the counts to OUTPUT.json; --add sums several such files.

    Example: faser-align mille kfalignment_011705_00400.root -o mp2input.bin
    """
    from faser_align.alignment.mille.conversion import Cuts, convert_and_count
    from faser_align.alignment.parameters.constants import read_constants
    from faser_align.alignment.quality import notes
    from faser_align.cli.show import counted
    from faser_align.operations import outputs

    if sums:
        _add_up(inputs, output, force, as_json)
        return
    if output is None:
        raise UserError("the output file is missing; name it with -o")
    outputs.refuse_to_overwrite(output, force)
    outputs.refuse_to_overwrite(Path(f"{output}.json"), force)
    cuts = Cuts(chi2_max, pz_min, pz_max, hits_min, residual_max, derivative_max, pivot)  # type: ignore[arg-type]
    if constants is not None and pivot != "layer":
        raise UserError("--constants changes nothing without --pivot layer; add it, or leave out --constants")
    placed = None if constants is None else read_constants(constants)
    counts = convert_and_count(inputs, output, cuts, constants=placed, any_element=True)
    if counts.files_uncompressed:
        console.warn(notes.uncompressed(counts.files_uncompressed))
    if counts.tracks_modelled:
        console.warn(
            f"{counts.tracks_modelled} tracks come from older files without derivatives with respect to the track parameters; "
            "those of the nominal geometry are used"
        )
    if counts.hits_foreign:
        console.warn(
            f"{counts.hits_foreign} hits are on elements that FASER's tracker does not have; their numbers are kept"
        )
    if not as_json:
        console.say(f"{output}: {counts.tracks_written} records with {counts.measurements} measurements")
    counted.tell(counts, as_json=as_json)


def _add_up(inputs: list[Path], output: Path | None, force: bool, as_json: bool) -> None:
    """Add up the counts of conversions, show them, and write them to a file if one is given."""
    from faser_align.alignment.mille.counts import Counts, read_counts, write_counts
    from faser_align.cli.show import counted
    from faser_align.operations import outputs

    if output is not None:
        outputs.refuse_to_overwrite(output, force)
    twice = [path for number, path in enumerate(inputs) if path in inputs[:number]]
    if twice:
        raise UserError(f"{twice[0]} is named twice; name each file once")
    counts = sum((read_counts(path) for path in inputs), Counts())
    if output is not None:
        with outputs.writing(output):
            write_counts(output, counts)
    counted.tell(counts, as_json=as_json)


def solve(
    steering: Annotated[
        Path | None,
        typer.Argument(
            help="Steering file, or the name or folder of a `reco`; paths in the file are relative to its folder."
        ),
    ] = None,
    parent: Annotated[
        str,
        typer.Option(
            "--from",
            help="Campaign whose iteration to solve again, in a new folder.",
            metavar="CAMPAIGN",
            autocompletion=campaign_names,
        ),
    ] = "",
    stage: Annotated[int | None, typer.Option(help="With --from: the stage [default: the last]")] = None,
    iteration: Annotated[int | None, typer.Option(help="With --from: the iteration [default: the last]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="With --from: folder to create.")] = None,
    config: Annotated[
        str, typer.Option("--config", help="With --from: configuration with other [mille], [solver], or steps.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Solve a steering file as pede does.

    Writes the same output files as pede. For the iteration of a `reco`, does what a campaign's Millepede job does, up to the
    new constants. With --from, solves an iteration of a campaign again with other cuts, weights or steps, on the existing
    tracks: nothing is reconstructed again, and the campaign does not change.

    Example: faser-align solve --from Y2023_R011705_F400-450 --iteration 3 --config other.toml -o again
    """
    if parent or steering is None:
        from faser_align.operations import forking, outputs, solve_again

        if not parent:
            raise UserError("nothing to solve; name a steering file, or a campaign with --from CAMPAIGN -o FOLDER")
        if steering is not None or output is None:
            raise UserError("--from accepts no steering file and needs -o FOLDER for the result")
        outputs.refuse_standard_output(output)
        found = forking.find(parent, stage, iteration)
        metrics = solve_again.solve_again(found, output, config)
        _show_solution(os.path.abspath(output), found.stage, found.iteration, metrics, as_json=as_json)
        return
    from faser_align.alignment.solver.builtin import solve as run
    from faser_align.cli.show import solved
    from faser_align.operations import outputs

    if not os.path.isfile(steering) and steering.suffix != ".txt":
        from faser_align.operations import one_iteration

        folder, iteration = one_iteration.find(str(steering))
        _show_solution(folder, 1, iteration, one_iteration.solve_reco(folder, iteration), as_json=as_json)
        return
    with outputs.writing(steering.absolute().parent):
        solution = run(steering)
    if as_json:
        console.show_json(solved.as_json(solution))
    if not solution.solved:
        raise CampaignError(f"no solution ({solution.end_code} {solution.end_text}): {solution.message}")
    if not as_json:
        solved.show(solution)
    solved.warn(solution)


def _show_solution(folder: str, stage: int, iteration: int, metrics: "Metrics", *, as_json: bool) -> None:
    """Show the result of an iteration that was solved by hand."""
    if as_json:
        console.show_json(metrics)
        return
    from faser_align.alignment.quality.notes import solver_end
    from faser_align.cli.show import figures

    console.say(f"{os.path.basename(folder)}: {solver_end(metrics['solver'])}")
    for dof, found in metrics["corrections"].items():
        rms, largest = figures.correction(metrics, dof)
        console.say(f"  {dof}: rms {rms} {found['unit']}, largest {largest}")
    console.say(f"constants: {layout.result_file(folder, stage, iteration)}")
