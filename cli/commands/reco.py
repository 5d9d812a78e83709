"""Define the command ``reco``: the reconstruction of one iteration, like ``main.py`` of faser-alignment-script."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faser_align.campaign.manifest_types import Manifest
from faser_align.cli import console
from faser_align.cli.commands.setup import DEFAULT_CONFIG, ConfigFile, Force, Json

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(reco)


def reco(
    year: Annotated[int, typer.Option("--year", "-y", help="Year of data taking.")],
    run: Annotated[str, typer.Option("--run", "-r", help="Run number, for example 11705.")],
    files: Annotated[str, typer.Option("--file", "-f", help="Raw files: 400-450, 400:450 (ends included) or 400.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=99, help="Number of the iteration, from 1.")] = 1,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", "-i", min=1, max=99, help="The same as -n, for users of main.py; not a count."),
    ] = None,
    fourst: Annotated[bool, typer.Option("--fourst", help="Four stations, with the IFT.")] = False,
    threest: Annotated[bool, typer.Option("--threest", help="Three stations, without the IFT.")] = False,
    env_script: Annotated[str, typer.Option("--env_script", "--env-script", help="Your own environment script.")] = "",
    calypso_path: Annotated[
        str, typer.Option("--calypso_path", "--calypso-path", help="Calypso's installation, with its setup.sh.")
    ] = "",
    constants: Annotated[
        str, typer.Option(help="File with the constants [default: the result of the iteration before].")
    ] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    name: Annotated[str, typer.Option(help="Name of the folder.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Reconstruct one iteration that you solve by hand.

    Submits a small campaign with history, retries and notifications; it ends as reconstructed.
    Then `solve NAME` does what a campaign's Millepede job does, and `reco -n 2` starts from the resulting constants.
    -n is the number of one iteration; -i of `submit` is a limit. Without a configuration file, --calypso_path is enough.

    Example: faser-align reco -y 2023 -r 11705 -f 400-450 -n 1 --fourst
    """
    from faser_align.cli.show import plans
    from faser_align.operations import one_iteration, submission

    if iteration is not None:
        console.warn(
            f"-i {iteration} is the number of the iteration, like -n {iteration}; in submit, -i is the iteration limit"
        )
        number = iteration
    options = one_iteration.Options(
        year, run, files, number, fourst, threest, env_script, calypso_path, constants, config, name, force
    )
    planned = one_iteration.prepare(options)
    schedd = None if dry_run else submission.find_schedd(planned)
    summary = plans.summary(planned)
    if not as_json:
        for heading in (
            "campaign",
            "data",
            "stations",
            "tracks from",
            "conditions",
            "constants",
            "folder",
            "large files",
            "HTCondor",
        ):
            if heading in summary:
                console.say(f"{heading + ':':13} {summary[heading]}")
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    _tell(planned.record, cluster, as_json=as_json)


def _tell(record: Manifest, cluster: int | None, *, as_json: bool) -> None:
    if as_json:
        console.show_json({**record, "dry_run": cluster is None, "cluster": cluster})
    elif cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        import shlex

        label, command = shlex.quote(record["name"]), console.program()
        console.say(f"\nsubmitted as job {cluster}; you may close the terminal. Next:")
        console.say(f"  {command} wait {label}     # exit status 0 when all is reconstructed")
        console.say(f"  {command} solve {label}    # Millepede and the constants, here")


def solve_folder(target: str, *, as_json: bool) -> None:
    """Solve the iteration of a `reco` campaign here; ``target`` is its name or a folder of it."""
    from faser_align.operations import one_iteration

    folder, iteration = one_iteration.find(target)
    show_solution(folder, 1, iteration, one_iteration.solve_reco(folder, iteration), as_json=as_json)


def show_solution(folder: str, stage: int, iteration: int, metrics: "Metrics", *, as_json: bool) -> None:
    """Show the result of an iteration that was solved by hand."""
    if as_json:
        console.show_json(metrics)
        return
    from faser_align.alignment.quality.notes import solver_end
    from faser_align.campaign import layout
    from faser_align.cli.show import figures

    console.say(f"{os.path.basename(folder)}: {solver_end(metrics['solver'])}")
    for dof, found in metrics["corrections"].items():
        rms, largest = figures.correction(metrics, dof)
        console.say(f"  {dof}: rms {rms} {found['unit']}, largest {largest}")
    console.say(f"constants: {layout.result_file(folder, stage, iteration)}")


def solve_from(
    campaign: str,
    which: tuple[int | None, int | None],
    output: Path | None,
    config: str,
    *,
    beside: Path | None,
    as_json: bool,
) -> None:
    """Solve the iteration ``which`` (stage, iteration) of a campaign again, in the folder ``output``."""
    from faser_align.fsm.errors import UserError
    from faser_align.operations import forking, solve_again

    if not campaign:
        raise UserError("nothing to solve; name a steering file, or a campaign with --from CAMPAIGN -o FOLDER")
    if beside is not None or output is None:
        raise UserError("--from accepts no steering file and needs -o FOLDER for the result")
    parent = forking.find(campaign, *which)
    metrics = solve_again.solve_again(parent, output, config)
    show_solution(os.path.abspath(output), parent.stage, parent.iteration, metrics, as_json=as_json)
