"""Define the command ``reco``: the reconstruction of one iteration, like ``main.py`` of faser-alignment-script."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import DryRun, Json
from faser_align.cli.commands.setup import DEFAULT_CONFIG, ConfigFile, Force


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
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Reconstruct one iteration that you solve by hand.

    Submits a small campaign with history, retries and notifications; it ends as reconstructed.
    Then `solve NAME` does what a campaign's Millepede job does, and `reco -n 2` starts from the resulting constants.
    -n is the number of one iteration; -i of `submit` is a limit. Without a configuration file, --calypso_path is enough.

    Example: faser-align reco -y 2023 -r 11705 -f 400-450 -n 1 --fourst
    """
    from faser_align.cli.commands import submitting
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
    if not as_json:
        for heading, value in plans.summary(planned).items():
            if heading not in ("stages", "steps", "solver", "validation", "recipients"):
                console.say(f"{heading + ':':13} {value}")
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    following = (
        "wait {}     # exit status 0 when all is reconstructed",
        "solve {}    # Millepede and the constants, here",
    )
    submitting.tell(planned.record, cluster, following, as_json=as_json)
