"""Commands that begin a campaign: ``init``, ``check`` and ``submit``."""

from typing import Annotated, Any

import typer

from faser_align.cli import console

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
    profile: Annotated[str, typer.Option(help="local (simulation, this machine) or lxplus.")] = "local",
    output: Annotated[str, typer.Option("--output", "-o", help="File to write.")] = DEFAULT_CONFIG,
    force: Force = False,
) -> None:
    """Write a commented configuration file.

    Example: faser-align init --profile local
    """
    from faser_align.cli import submission

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
        bool, typer.Option("--probe", help="Try also on the access point: submits a DAG of one empty node.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look whether a campaign could run from here.

    Configuration, constants, raw files, file system, quotas, tickets, CVMFS, Calypso, solver, interpreters, HTCondor and
    targets, with the cure of what is wrong. What is not on this machine is skipped. Exit status 1 if a campaign could not
    run, 2 if the configuration cannot be used at all.

    Example: faser-align check -y 2023 -r 011705 -f 400-450
    """
    from faser_align.cli import checks

    found = checks.run(config, year=year, runs=run or [], files=files or [], constants=constants)
    if probe:
        from faser_align.cli.probe import run as run_probe

        found += run_probe(config)
    if as_json:
        console.show_json([check._asdict() for check in found])
    else:
        console.table(["check", "result", "what was found, and the cure"], [check[:3] for check in found])
    if any(check.result == "failed" for check in found):
        raise typer.Exit(1)


def _look_first(record: dict[str, Any], *, dry_run: bool, wanted: bool) -> None:
    """Warn of what ``check`` doubts; refuse, in a dry run warn, if it finds that the campaign cannot work."""
    from faser_align.cli import checks
    from faser_align.fsm.errors import CampaignError

    found = checks.before_submission(record) if wanted else []
    for one in found:
        if one.result == "warning":
            console.warn(f"{one.name}: {one.text}")
    failed = "; ".join(f"{one.name}: {one.text}" for one in found if one.result == "failed")
    if failed and dry_run:
        console.warn(f"without --dry-run this is refused: {failed}")
    elif failed:
        raise CampaignError(f"{failed}\nnothing was submitted; --no-check submits all the same")


def submit(
    year: Annotated[int, typer.Option("--year", "-y", help="Year of data taking.")],
    run: Annotated[str, typer.Option("--run", "-r", help="Run number, for example 11705.")],
    files: Annotated[str, typer.Option("--files", "-f", help="Raw files, ends included: 400-450, 400:450, 400,410.")],
    iterations: Annotated[int | None, typer.Option("--iterations", "-i", help="Iterations at most.")] = None,
    threest: Annotated[bool, typer.Option("--threest", help="Three stations, without the IFT.")] = False,
    fourst: Annotated[bool, typer.Option("--fourst", help="Four stations, with the IFT.")] = False,
    constants: Annotated[str, typer.Option(help="Constants to start from.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
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

    Example: faser-align submit -y 2023 -r 011705 -f 400-450 -i 10
    """
    from faser_align.cli import submission

    dry_run = dry_run or show_steering
    request = submission.Request(
        year=year,
        run=run,
        files=files,
        iterations=iterations,
        threest=threest,
        fourst=fourst,
        constants=constants,
        config=config,
        name=name,
        force=force,
    )
    planned = submission.prepare(request)
    schedd = None if dry_run else submission.find_schedd(planned)
    summary = submission.summary(planned)
    if not as_json:
        for heading, value in summary.items():
            console.say(f"{heading + ':':13} {value}")
    if not planned.record["config"]["notify"]["targets"]:
        console.warn("nobody will be told how it ends; name targets in notify.targets of the configuration")
    doubt = submission.doubt(planned)
    if doubt:
        console.warn(doubt)
    refusal = submission.refusal(planned) if dry_run else ""
    if refusal:
        console.warn(f"without --dry-run this is refused: {refusal}")
    if show_steering and not as_json:
        submission.show_steering(planned)
    _look_first(planned.record, dry_run=dry_run, wanted=not no_check)
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    if as_json:
        console.show_json({**planned.record, "dry_run": dry_run, "cluster": cluster})
    elif cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        import shlex

        label, command = shlex.quote(planned.record["name"]), console.program()
        console.say(f"\nsubmitted as job {cluster}; you may close the terminal. Next:")
        for verb, why in (("status", "where it is"), ("watch", "the same, live"), ("stop", "end it")):
            console.say(f"  {command} {verb} {label}   # {why}")
