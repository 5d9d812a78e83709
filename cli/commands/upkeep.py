"""Define commands for a campaign's state database: ``verify``, ``repair``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json
from faser_align.fsm.plural import count


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(verify)
    app.command()(repair)


def verify(
    campaign: Campaign,
    as_json: Json = False,
) -> None:
    """Check that a campaign's state database is sound.

    Checks the history, counters and messages; the decisions, metrics and constants against the files of each iteration; and
    every value against the redo log. Exit status 1 if a check fails. Events in the fallback event queue are not in the database yet.

    Example: faser-align verify Y2023_R011705_F400-450
    """
    from faser_align.fsm.errors import StoreError
    from faser_align.state import registry, spool
    from faser_align.state import verify as checks

    folder = registry.find(campaign)
    try:
        found, rows, note = checks.check(folder)
    except OSError as problem:
        raise StoreError(f"{campaign} cannot be checked: {problem.filename}: {problem.strerror}") from problem
    waiting = len(spool.waiting(folder))
    if as_json:
        answer = {"campaign": campaign, "sound": not found, "findings": found, "spooled": waiting, "note": note}
        console.show_json(answer)
    else:
        for sentence in found:
            console.say(sentence)
        if not found:
            console.say(
                f"{campaign} is sound: {count(rows, 'row')} of history, {count(waiting, 'event')} in the fallback event queue"
            )
    if note:
        console.warn(note)
    if found:
        raise typer.Exit(1)


def repair(
    campaign: Campaign,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    without_htcondor: Annotated[
        bool, typer.Option("--without-htcondor", help="Do not query HTCondor: you are sure that DAGMan does not run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore a campaign's state database.

    Rebuilds a database that was deleted, damaged or replaced by an older copy, from the snapshot, DAGMan's logs, the metrics
    and the fallback event queue. Ends a campaign whose DAGMan is gone for good. Does not change a sound database, and keeps
    a replaced one under another name. Refused while the campaign runs.

    Example: faser-align repair Y2023_R011705_F400-450 --dry-run
    """
    from faser_align.operations import repair as repairing
    from faser_align.state import registry
    from faser_align.state.repair.report import sentences

    folder = registry.find(campaign)
    found = repairing.repair(folder, dry_run=dry_run, without_htcondor=without_htcondor, warn=console.warn)
    if as_json:
        console.show_json(found)
        return
    for line in sentences(found):
        console.say(console.named(line))
    if found["kept"]:
        console.say(f"the old state database is kept as {found['kept']}")
    if found["sent"]:
        console.say(f"{count(found['sent'], 'pending message')} sent")
    if found["published"]:
        console.say("the snapshot was out of date and was rewritten")
    if dry_run and found["repaired"]:
        console.say("nothing was changed")
    following = repairing.next_step(found)
    if following:
        console.say(f"next: {following}")
