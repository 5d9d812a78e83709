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
    every value against the redo log. Exit status 1 if a check fails. Events in the spool are not in the database yet.

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
            console.say(f"{campaign} is sound: {count(rows, 'row')} of history, {count(waiting, 'event')} in the spool")
    if note:
        console.warn(note)
    if found:
        raise typer.Exit(1)


def repair(
    campaign: Campaign,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    without_htcondor: Annotated[
        bool, typer.Option("--without-htcondor", help="Do not ask whether DAGMan runs: you are sure that it does not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a campaign's store whole again.

    From its published copy, DAGMan's logs, the metrics and the spool, after the store was deleted, damaged or replaced by an
    older copy; and close a campaign whose DAGMan is gone for good. A sound store is left as it is, and an old one
    is kept beside the new one. Refused while the campaign runs.

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
        console.say(f"the old store is kept as {found['kept']}")
    if found["sent"]:
        console.say(f"{found['sent']} of the messages that waited sent")
    if found["published"]:
        console.say("its published copy was behind, and was made anew")
    if dry_run and found["repaired"]:
        console.say("nothing was changed")
    following = repairing.next_step(found)
    if following:
        console.say(f"next: {following}")
