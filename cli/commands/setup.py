"""Define commands that begin a campaign: ``init``, ``check`` and ``submit``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import one_of

ConfigFile = Annotated[str, typer.Option("--config", help="Configuration file.")]
Force = Annotated[bool, typer.Option("--force", help="Move what stands in the way aside; nothing is deleted.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]

DEFAULT_CONFIG = "faser-align.toml"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(init)
    app.command()(check)
    app.command()(submit)


def init(
    profile: Annotated[
        str, typer.Option(help="local (simulation, this machine) or lxplus.", autocompletion=one_of("local", "lxplus"))
    ] = "local",
    output: Annotated[str, typer.Option("--output", "-o", help="File to write.")] = DEFAULT_CONFIG,
    force: Force = False,
) -> None:
    """Write a commented configuration file.

    Example: faser-align init --profile local
    """
    from faser_align.operations import submission

    submission.write_profile(profile, output, force=force)
    option = "" if output == DEFAULT_CONFIG else f" --config {output}"
    console.say(f"{output} written (profile {profile}); look through it, then type `{console.program()} check{option}`")


def check(
    config: ConfigFile = DEFAULT_CONFIG,
    year: Annotated[int, typer.Option("--year", "-y", help="Year of data taking.")] = 0,
    run: Annotated[
        list[str] | None, typer.Option("--run", "-r", help="Run number; may be repeated, with its -f.")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--files", "-f", help="Raw files, each of which is looked at.")
    ] = None,
    constants: Annotated[str, typer.Option(help="Constants to start from.")] = "",
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Try also on the access point and on execute nodes: submits a small DAG."),
    ] = False,
    wait: Annotated[float, typer.Option(min=1, help="How long --probe waits for its jobs on execute nodes (s).")] = 600,
    as_json: Json = False,
) -> None:
    """Look whether a campaign could run from here.

    Configuration, constants, raw files, file system, quotas, tickets, CVMFS, Calypso, solver, interpreters, HTCondor and
    targets, with the fix of what is wrong. What is not on this machine is skipped. --probe also submits a small DAG:
    a script on the access point and one job of each kind on an execute node try what a campaign's scripts and jobs need.
    Exit status 1 if a campaign could not run, 2 if the configuration cannot be used at all.

    Example: faser-align check -y 2023 -r 011705 -f 400-450
    """
    from faser_align.operations import checks

    look = checks.look_at(config, year=year, runs=run or [], files=files or [], constants=constants)
    found = checks.run(config, look)
    if probe:
        from faser_align.operations.probe import run as run_probe

        console.note(f"the probe waits for its jobs, at most {wait:.0f} s; Ctrl-C removes it")
        found += run_probe(look, wait)
    if as_json:
        console.show_json([check._asdict() for check in found])
    else:
        console.table(["check", "result", "what was found, and the cure"], [check[:3] for check in found])
    if any(check.result == "failed" for check in found):
        raise typer.Exit(1)


def submit(
    year: Annotated[int, typer.Option("--year", "-y", help="Year of data taking.")] = 0,
    run: Annotated[
        list[str] | None, typer.Option("--run", "-r", help="Run, for example 11705; may be repeated, with its -f.")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--files", "-f", help="Raw files, ends included: 400-450, 400:450, 400,410.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", "-i", help="How many iterations at most: a count.")
    ] = None,
    threest: Annotated[bool, typer.Option("--threest", help="Three stations, without the IFT.")] = False,
    fourst: Annotated[bool, typer.Option("--fourst", help="Four stations, with the IFT.")] = False,
    constants: Annotated[str, typer.Option(help="Constants to start from.")] = "",
    parent: Annotated[
        str, typer.Option("--from", help="Campaign to fork: its data, configuration and constants.", metavar="CAMPAIGN")
    ] = "",
    stage: Annotated[int | None, typer.Option(help="With --from: stage of the constants [default: the last]")] = None,
    iteration: Annotated[
        int | None, typer.Option(help="With --from: iteration of the constants [default: the last]; 0: the first ones.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A campaign for each -r and its -f.")] = False,
    config: Annotated[
        str, typer.Option("--config", help="Configuration file [default: faser-align.toml, with --from the campaign's]")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the campaign and of its folder.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    show_steering: Annotated[
        bool, typer.Option("--show-steering", help="As --dry-run, with the steering texts of every step.")
    ] = False,
    force: Force = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not look first whether it could run.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a campaign: all its iterations, once and for all.

    Several -r and -f are paired by position: one campaign of several runs, or with --each one campaign for each run. With
    --from it begins with constants of another campaign, whose data and configuration it has unless others are given.

    Example: faser-align submit -y 2023 -r 011705 -f 400-450 -i 10
    """
    from faser_align.cli.commands import submitting
    from faser_align.fsm.errors import UserError
    from faser_align.operations import forking, submission

    if not parent and (stage, iteration) != (None, None):
        raise UserError("--stage and --iteration choose constants of the campaign that --from names; give it, too")
    request = submission.Request(
        year=year,
        runs=tuple(run or ()),
        files=tuple(files or ()),
        iterations=iterations,
        threest=threest,
        fourst=fourst,
        constants=constants,
        config=config,
        name=name,
        force=force,
        parent=forking.find(parent, stage, iteration) if parent else None,
    )
    how = submitting.How(dry_run=dry_run, steering=show_steering, check=not no_check, as_json=as_json)
    if each:
        submitting.submit_each(submission.prepare_all(request.each()), how)
    else:
        submitting.submit(submission.prepare(request), how)
