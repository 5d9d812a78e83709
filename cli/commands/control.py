"""Define commands that act on a submitted campaign: ``stop``, ``resume``, ``extend``, ``set``; and ``notify``."""

import sys
from typing import Annotated, Any

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, one_of

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(stop)
    app.command()(resume)
    app.command()(extend)
    app.command("set")(set_limits)
    notify = typer.Typer(no_args_is_help=True, help="Who is told what becomes of a campaign.")
    notify.command("test")(notify_test)
    notify.command("retry")(notify_retry)
    app.add_typer(notify, name="notify")


def stop(
    campaign: Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    after: Annotated[
        str,
        typer.Option(
            help="iteration: once the one that runs is solved; never: take that back.",
            metavar="WHEN",
            autocompletion=one_of("iteration", "never"),
        ),
    ] = "",
) -> None:
    """End a campaign; it can be resumed.

    No node is begun any more, its jobs are removed, and its state becomes removed.
    With --after iteration the one that runs is reconstructed, solved and judged first; nothing is lost.

    Example: faser-align stop Y2023_R011705_F400-450 --after iteration
    """
    from faser_align.fsm import table
    from faser_align.operations import lifecycle
    from faser_align.state import registry
    from faser_align.system.program import hint

    folder = registry.find(campaign)
    if after:
        _show_request(lifecycle.stop_after(folder, after))
        return
    ended = lifecycle.stop(folder, confirm=_ignore if yes else _confirm, progress=console.say)
    for warning in ended.warnings:
        console.warn(warning)
    console.say(f"{ended.name} is {ended.state}: {ended.reason}")
    if ended.state not in table.SUCCESSES:
        console.say(f"continue with {hint('resume', ended.name)}")


def _ignore(name: str) -> None:
    """Stop without a question."""


def _confirm(name: str) -> None:
    from faser_align.fsm.errors import UserError

    if not sys.stdin.isatty():
        raise UserError(f"there is no terminal to ask whether to stop {name}; give --yes")
    typer.confirm(f"Stop {name} and remove its jobs?", abort=True)


def _show_request(request: Any) -> None:
    """Show a request to stop after the iteration, or its withdrawal."""
    from faser_align.system.program import hint

    if not request.changed:
        console.say(f"{request.name}: {'that was requested already' if request.wanted else 'no stop was requested'}")
    elif request.wanted:
        undo = hint("stop --after never", request.name)
        console.say(f"{request.name} stops after the current iteration; take it back with {undo}")
    else:
        console.say(f"{request.name} does not stop after its iteration")
    for warning in request.warnings:
        console.warn(warning)


def _show_submitted(name: str, cluster: int, warnings: tuple[str, ...]) -> None:
    """Show that a campaign continues."""
    import shlex

    for warning in warnings:
        console.warn(warning)
    console.say(f"{name} continues as job {cluster}.0; finished nodes do not run again")
    console.say(f"next: {console.program()} watch {shlex.quote(name)}")


def resume(campaign: Campaign) -> None:
    """Go on with a campaign that failed or was removed.

    It goes on where it stopped; what was done is not done again.

    Example: faser-align resume Y2023_R011705_F400-450
    """
    from faser_align.operations import lifecycle
    from faser_align.state import registry

    _show_submitted(*lifecycle.resume(registry.find(campaign)))


def extend(
    campaign: Campaign,
    iterations: Annotated[int, typer.Option("--iterations", "-i", help="How many iterations more.")],
    dry_run: DryRun = False,
) -> None:
    """Go on with a campaign that ended without having converged.

    It gets more iterations, in a DAG of its own in the same folder, and goes on from its last constants. Folders, history
    and messages go on, too. A campaign that ended before its limit has iterations left: -i counts these, too, and must not be less.

    Example: faser-align extend Y2023_R011705_F400-450 -i 5
    """
    from faser_align.operations import extension
    from faser_align.state import registry
    from faser_align.system.program import hint

    found = extension.extend(registry.find(campaign), iterations, dry_run=dry_run)
    console.say(f"{found.name} is {found.state}; it continues with iteration {found.first} of at most {found.after}")
    if found.same_limits:
        console.say(f"the same limits decide again; change them with {hint('set', found.name)}")
    if found.cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        _show_submitted(found.name, found.cluster, found.warnings)


def set_limits(
    campaign: Campaign,
    assignments: Annotated[list[str], typer.Argument(help="Keys with their new values.", metavar="KEY=VALUE...")],
    dry_run: DryRun = False,
) -> None:
    """Change limits by which a campaign is judged, and who is told.

    These are the keys that hooks read anew each time: all of [convergence], the limits of [validation],
    reconstruction.min_files, notify.targets and notify.events; stages.2.convergence.patience and the like are criteria of
    stage 2 alone. The next hook goes by them; the history has each change, and who made it. Values are written as in the
    configuration; lists may be words with commas between them.

    Example: faser-align set Y2023_R011705_F400-450 convergence.effect_um_max=1.0 notify.events=held,end
    """
    from faser_align.operations import limits
    from faser_align.state import registry

    for key, before, after, own in limits.change(registry.find(campaign), assignments, dry_run=dry_run):
        same = before == after
        console.say(f"{key}: is {_shown(after)} already" if same else f"{key}: {_shown(before)} -> {_shown(after)}")
        for number, stage in own:
            name = key.rpartition(".")[2]
            console.warn(f"stage {stage!r} has its own {name}, which still applies; change it as stages.{number}.{key}")
    if dry_run:
        console.say("\nnothing was changed (--dry-run)")


def _shown(value: Any) -> str:
    return ", ".join(str(one) for one in value) or "nothing" if isinstance(value, list) else str(value)


def notify_retry(
    campaign: Campaign,
    target: Annotated[str, typer.Option(help="Only messages to this target.", metavar="NAME")] = "",
) -> None:
    """Try again to send what did not arrive.

    Messages that were given up get fresh tries, those that wait are due at once; what has arrived is not sent again. While
    the campaign's DAGMan is there its next hook sends them; afterwards this command does. Exit status 1 if one is refused.

    Example: faser-align notify retry Y2023_R011705_F400-450 --target me
    """
    from faser_align.operations import notify_retry as retrying
    from faser_align.state import registry
    from faser_align.system.program import hint

    found = retrying.retry(registry.find(campaign), target)
    if not found.waiting:
        console.say(f"{found.name} has no pending message{f' to {target}' if target else ''}")
    elif found.tried:
        for row in found.tried:
            words = {"sent": "accepted", "unwanted": "not wanted by the target"}
            console.say(f"{row['kind']} to {row['target']}: {words.get(row['state'], 'refused: ' + row['error'])}")
    else:
        if found.problem:
            console.warn(
                f"whether a script will run is not known: {found.problem}; if none does, type this again later"
            )
        console.say(f"the next script sends {found.waiting}; look with {hint('status', found.name)}")
    if not found.delivered:
        raise typer.Exit(1)


def notify_test(
    target: Annotated[str | None, typer.Argument(help="Name of a target [default: all]", metavar="[TARGET]")] = None,
    config: Annotated[
        str, typer.Option("--config", help="Configuration that names them [default: faser-align.toml, if it is here]")
    ] = "",
    event: Annotated[
        str, typer.Option(help="What it tells: converged, failed, held ...; end: every end; all: everything.")
    ] = "test",
    templates: Annotated[
        str, typer.Option(help="Folder with templates of yours [default: notify.templates]", metavar="FOLDER")
    ] = "",
) -> None:
    """Send a sample message, and say what servers answered.

    Without a configuration all targets of ~/.config/faser-align/targets.toml are told.

    Example: faser-align notify test me --event converged
    """
    from faser_align.operations import samples

    events = samples.events_of(event)
    chosen = samples.choose(target, config, templates)
    console.say(f"targets of {chosen.file} ({f'as {chosen.config} says' if chosen.config else 'the default'})")
    refused = 0
    for sent in samples.send(chosen, events):
        refused += not sent.accepted
        about = f"{sent.target}: {sent.event}" if len(events) > 1 else sent.target
        answer = f" ({sent.words})" if sent.words else ""
        console.say(f"{about}: accepted{answer}" if sent.accepted else f"{about}: refused: {sent.words}")
    if refused:
        raise typer.Exit(1)
