"""Define commands that begin a campaign: ``init``, ``recipes``, ``check``, ``submit`` and ``reco``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import DryRun, Json, campaign_names, one_of
from faser_align.cli.show import draw
from faser_align.fsm.errors import UserError

ConfigFile = Annotated[str, typer.Option("--config", help="Configuration file.")]
Force = Annotated[
    bool, typer.Option("--force", help="Rename an existing file or folder that is in the way; nothing is deleted.")
]
Year = Annotated[int, typer.Option("--year", "-y", help="Year of data taking.", show_default=False)]
Runs = Annotated[
    list[str] | None,
    typer.Option("--run", "-r", help="Run number, for example 11705; repeat it for several runs, each with its -f."),
]
Files = Annotated[
    list[str] | None, typer.Option("--files", "-f", help="Raw files: 400-450, 400:450 (ends included) or 400,410.")
]
Constants = Annotated[str, typer.Option(help="File with the initial constants.")]
FourStations = Annotated[bool, typer.Option("--fourst", help="Four stations, with the IFT.")]
ThreeStations = Annotated[bool, typer.Option("--threest", help="Three stations, without the IFT.")]

DEFAULT_CONFIG = "faser-align.toml"


def recipe_names(incomplete: str) -> list[str]:
    """Return recipe names for the shell's completion."""
    from faser_align.operations.recipes import recipes as known

    return [recipe.name for recipe in known() if recipe.name.startswith(incomplete)]


def init(
    profile: Annotated[
        str,
        typer.Option(help="local (simulation on this machine) or lxplus.", autocompletion=one_of("local", "lxplus")),
    ] = "local",
    recipe: Annotated[
        str,
        typer.Option(
            help="Stages to write, by name (see `recipes`) [default: one step over all stations]",
            autocompletion=recipe_names,
        ),
    ] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="File to write.")] = DEFAULT_CONFIG,
    force: Force = False,
) -> None:
    """Write a commented configuration file.

    Example: faser-align init --profile local
    """
    from faser_align.operations import submission

    submission.write_profile(profile, output, recipe=recipe, force=force)
    option = "" if output == DEFAULT_CONFIG else f" --config {output}"
    stages = f", recipe {recipe}" if recipe else ""
    console.say(f"{output} written (profile {profile}{stages}); edit it, then run `{console.program()} check{option}`")


def recipes(
    name: Annotated[
        str,
        typer.Argument(
            help="Recipe to show; without it all are listed.", metavar="[RECIPE]", autocompletion=recipe_names
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show recipes: named stages, with their known results.

    Without a recipe, a campaign aligns all layers and modules in one step. `init --recipe` writes a configuration with the
    stages of a recipe.

    Example: faser-align recipes workflow
    """
    from faser_align.operations import recipes as known

    if name:
        recipe = known.find(name)
        if as_json:
            console.show_json(recipe._asdict() | {"stages": recipe.stages()})
        else:
            console.say(f"{recipe.name} ({recipe.origin}): {recipe.title}\n\n{recipe.known}\n\n{recipe.stages()}")
            console.say(f"{console.program()} init --recipe {recipe.name}")
        return
    if as_json:
        console.show_json(known.recipes())
        return
    rows = [(recipe.name, recipe.origin, recipe.title) for recipe in known.recipes()]
    console.table(["recipe", "from", "what it aligns"], rows)
    console.say(f"\nThe stages and known results of a recipe: {console.program()} recipes RECIPE")


def check(
    config: ConfigFile = DEFAULT_CONFIG,
    year: Year = 0,
    run: Runs = None,
    files: Files = None,
    constants: Constants = "",
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Also test the access point and execute nodes: submits a small DAG."),
    ] = False,
    wait: Annotated[
        float, typer.Option(min=1, help="Time that --probe waits for its jobs on execute nodes (s).")
    ] = 600,
    as_json: Json = False,
) -> None:
    """Check whether a campaign can run from here.

    Checks configuration, constants, raw files, file system, quotas, tickets, CVMFS, Calypso, solver, Python, HTCondor and
    targets, and shows a fix for each problem. Checks that do not apply to this machine are skipped. --probe also submits
    a small DAG: a script on the access point and one job of each kind on an execute node test what a campaign needs there.
    Exit status 1 if a campaign cannot run, 2 if the configuration is unusable.

    Example: faser-align check -y 2023 -r 011705 -f 400-450
    """
    from faser_align.cli.show import explain
    from faser_align.operations import checks

    look = checks.look_at(config, year=year, runs=run or [], files=files or [], constants=constants)
    found = checks.run(config, look)
    if probe:
        from faser_align.operations.probe import run as run_probe

        console.note(f"the probe waits for its jobs for at most {wait:.0f} s; Ctrl-C removes them")
        found += run_probe(look, wait)
    if as_json:
        console.show_json(found)
    else:
        draw.show(explain.checks(found))
    if any(check.result == "failed" for check in found):
        raise typer.Exit(1)


def submit(
    year: Year = 0,
    run: Runs = None,
    files: Files = None,
    iterations: Annotated[int | None, typer.Option("--iterations", "-i", help="Iteration limit.")] = None,
    threest: ThreeStations = False,
    fourst: FourStations = False,
    constants: Constants = "",
    parent: Annotated[
        str,
        typer.Option(
            "--from",
            help="Campaign to fork: use its data, configuration and constants.",
            metavar="CAMPAIGN",
            autocompletion=campaign_names,
        ),
    ] = "",
    stage: Annotated[int | None, typer.Option(help="With --from: stage of the constants [default: the last]")] = None,
    iteration: Annotated[
        int | None,
        typer.Option(help="With --from: iteration of the constants [default: the last]; 0: the initial ones."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Submit one campaign for each -r and its -f.")] = False,
    config: Annotated[
        str,
        typer.Option(
            "--config", help="Configuration file [default: faser-align.toml; with --from that of the campaign]"
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the campaign and of its folder.")] = "",
    dry_run: DryRun = False,
    show_steering: Annotated[
        bool, typer.Option("--show-steering", help="Like --dry-run, and show the steering text of every step.")
    ] = False,
    force: Force = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Skip the checks.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a campaign with all its iterations.

    Several -r and -f are paired by position: they make one campaign of several runs, or with --each one campaign per run.
    With --from the campaign starts from constants of another campaign and uses its data and configuration unless you give others.

    Example: faser-align submit -y 2023 -r 011705 -f 400-450 -i 10
    """
    from faser_align.cli.commands import submitting
    from faser_align.operations import forking, submission

    if not parent and (stage, iteration) != (None, None):
        raise UserError("--stage and --iteration need --from CAMPAIGN, the campaign whose constants they select")
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
    shared = {"dry_run": dry_run or show_steering, "check": not no_check, "as_json": as_json}
    if each:
        submitting.submit_each(submission.prepare_all(request.each()), **shared)
    else:
        submitting.submit(submission.prepare(request), steering=show_steering, **shared)


def reco(
    year: Annotated[int, typer.Option("--year", "-y", help="Year of data taking.")],
    run: Annotated[str, typer.Option("--run", "-r", help="Run number, for example 11705.")],
    files: Annotated[str, typer.Option("--file", "-f", help="Raw files: 400-450, 400:450 (ends included) or 400.")],
    number: Annotated[
        int | None,
        typer.Option("--number", "-n", min=1, max=99, help="Number of the iteration, from 1 [default: 1]"),
    ] = None,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", "-i", min=1, max=99, help="The same as -n, for users of main.py; not a count."),
    ] = None,
    fourst: FourStations = False,
    threest: ThreeStations = False,
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

    if number is not None and iteration is not None:
        raise UserError("-n and -i exclude each other: both are the number of the iteration; choose one of them")
    if iteration is not None:
        console.warn(
            f"-i {iteration} is the number of the iteration, like -n {iteration}; in submit, -i is the iteration limit"
        )
    number = number or iteration or 1
    request = submission.Request(
        year=year,
        runs=(run,),
        files=(files,),
        iterations=number,
        threest=threest,
        fourst=fourst,
        constants=constants,
        config=config,
        name=name,
        force=force,
    )
    planned = one_iteration.prepare(request, env_script, calypso_path)
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
