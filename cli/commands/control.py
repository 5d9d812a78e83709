"""Define commands that act on a submitted campaign: ``stop``, ``resume``, ``extend``, ``set``; and ``notify``."""

import shlex
import sys
from typing import Annotated, Any

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, DryRun, one_of
from faser_align.fsm import table
from faser_align.fsm.errors import UserError
from faser_align.state import registry
from faser_align.system.program import hint


def stop(
    campaign: Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    after: Annotated[
        str,
        typer.Option(
            help="iteration: stop after the current iteration; never: cancel that request.",
            metavar="WHEN",
            autocompletion=one_of("iteration", "never"),
        ),
    ] = "",
) -> None:
    """Stop a campaign; `resume` continues it.

    Removes its jobs and starts no further node; the state becomes removed.
    With --after iteration the campaign finishes the current iteration first, so that no work is lost.

    Example: faser-align stop Y2023_R011705_F400-450 --after iteration
    """
    from faser_align.operations import lifecycle

    folder = registry.find(campaign)
    if after:
        _show_request(lifecycle.stop_after(folder, after))
        return
    ended = lifecycle.stop(folder, confirm=(lambda _: None) if yes else _confirm, progress=console.say)
    console.warn(*ended.warnings)
    console.say(f"{ended.name} is {ended.state}: {ended.reason}")
    if ended.state not in table.SUCCESSES:
        console.say(f"continue with {hint('resume', ended.name)}")


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise UserError(f"cannot ask whether to stop {name}: standard input is not a terminal; add --yes")
    typer.confirm(f"Stop {name} and remove its jobs?", abort=True)


def _show_request(request: Any) -> None:
    """Show a request to stop after the iteration, or its withdrawal."""
    if not request.changed:
        console.say(
            f"{request.name}: {'the stop was already requested' if request.wanted else 'no stop was requested'}"
        )
    elif request.wanted:
        undo = hint("stop --after never", request.name)
        console.say(f"{request.name} stops after the current iteration; cancel this with {undo}")
    else:
        console.say(f"{request.name} does not stop after its iteration")
    console.warn(*request.warnings)


def _show_submitted(name: str, cluster: int, warnings: tuple[str, ...]) -> None:
    """Show that a campaign continues."""
    console.warn(*warnings)
    console.say(f"{name} continues as job {cluster}.0; finished nodes do not run again")
    console.say(f"next: {console.program()} watch {shlex.quote(name)}")


def resume(campaign: Campaign) -> None:
    """Continue a campaign that failed or was removed.

    DAGMan restarts from the rescue DAG: finished nodes do not run again.

    Example: faser-align resume Y2023_R011705_F400-450
    """
    from faser_align.operations import lifecycle

    _show_submitted(*lifecycle.resume(registry.find(campaign)))


def extend(
    campaign: Campaign,
    iterations: Annotated[int, typer.Option("--iterations", "-i", help="Number of additional iterations.")],
    dry_run: DryRun = False,
) -> None:
    """Continue a campaign that ended without convergence.

    Adds iterations in a new DAG in the same folder, starting from the last constants. History and messages continue.
    If the campaign ended before its limit, -i includes the remaining iterations and must not be smaller than their number.

    Example: faser-align extend Y2023_R011705_F400-450 -i 5
    """
    from faser_align.operations import extension

    found = extension.extend(registry.find(campaign), iterations, dry_run=dry_run)
    console.say(f"{found.name} is {found.state}; it continues with iteration {found.first} of at most {found.after}")
    if found.same_limits:
        console.say(f"the same limits decide again; change them with {hint('set', found.name, 'KEY=VALUE')}")
    if found.cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        _show_submitted(found.name, found.cluster, found.warnings)


def set_limits(
    campaign: Campaign,
    assignments: Annotated[list[str], typer.Argument(help="Keys with their new values.", metavar="KEY=VALUE...")],
    dry_run: DryRun = False,
) -> None:
    """Change a running campaign's limits and recipients.

    You can change all keys of [convergence], the limits of [validation], reconstruction.min_files, notify.targets and
    notify.events; stages.2.convergence.patience and similar keys are criteria of stage 2 only. The next script uses the new
    values; the history records each change and its author. Write values as in the configuration; lists may be
    words separated by commas.

    Example: faser-align set Y2023_R011705_F400-450 convergence.residual_shift_um_max=1.0 notify.events=held,end
    """
    from faser_align.campaign.manifest import read_record
    from faser_align.operations import limits

    folder = registry.find(campaign)
    for made in limits.change(folder, assignments, dry_run=dry_run):
        key, before, after = made["key"], made["before"], made["after"]
        same = before == after
        console.say(f"{key}: is {_shown(after)} already" if same else f"{key}: {_shown(before)} -> {_shown(after)}")
        console.warn(*limits.own(read_record(folder), key))
    if dry_run:
        console.say("\nnothing was changed (--dry-run)")


def _shown(value: Any) -> str:
    return ", ".join(str(one) for one in value) or "nothing" if isinstance(value, list) else str(value)


def notify_retry(
    campaign: Campaign,
    target: Annotated[str, typer.Option(help="Only messages to this target.", metavar="NAME")] = "",
) -> None:
    """Retry messages that were not delivered.

    Failed messages get new delivery attempts, and waiting messages are due at once; delivered messages are not sent again. While
    the campaign's DAGMan is in the queue, its next script sends them; afterwards this command does. Exit status 1 if one is refused.

    Example: faser-align notify retry Y2023_R011705_F400-450 --target me
    """
    from faser_align.operations import notify_retry as retrying

    found = retrying.retry(registry.find(campaign), target)
    if not found.waiting:
        console.say(f"{found.name} has no pending message{f' to {target}' if target else ''}")
    elif found.tried:
        for row in found.tried:
            words = {"sent": "accepted", "unwanted": "suppressed by the target"}
            console.say(f"{row['kind']} to {row['target']}: {words.get(row['state'], 'refused: ' + row['error'])}")
    else:
        if found.problem:
            console.warn(
                f"cannot tell whether a script will run: {found.problem}; if none does, run this command again later"
            )
        console.say(f"the next script sends {found.waiting}; check with {hint('status', found.name)}")
    if not found.delivered:
        raise typer.Exit(1)


def notify_test(
    target: Annotated[str | None, typer.Argument(help="Name of a target [default: all]", metavar="[TARGET]")] = None,
    config: Annotated[
        str,
        typer.Option("--config", help="Configuration that names the targets [default: faser-align.toml, if it exists]"),
    ] = "",
    event: Annotated[
        str, typer.Option(help="Event to report: converged, failed, held ...; end: every end; all: every event.")
    ] = "test",
    templates: Annotated[
        str, typer.Option(help="Folder with your own templates [default: notify.templates]", metavar="FOLDER")
    ] = "",
) -> None:
    """Send a sample message and show the servers' answers.

    Without a configuration, all targets of ~/.config/faser-align/targets.toml get it.

    Example: faser-align notify test me --event converged
    """
    from faser_align.operations import samples

    events = samples.events_of(event)
    chosen = samples.choose(target, config, templates)
    console.say(f"targets of {chosen.file} ({f'from {chosen.config}' if chosen.config else 'the default'})")
    refused = 0
    for name, sent, answer in samples.send(chosen, events):
        refused += not answer.accepted
        about = f"{name}: {sent}" if len(events) > 1 else name
        words = f" ({answer.words})" if answer.words else ""
        console.say(f"{about}: accepted{words}" if answer.accepted else f"{about}: refused: {answer.words}")
    if refused:
        raise typer.Exit(1)
