"""Commands for a campaign's files themselves: ``verify``, ``repair``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(verify)
    app.command()(repair)


def verify(
    campaign: Campaign,
    as_json: Json = False,
) -> None:
    """Check that a campaign's store is sound.

    That is its history, counters, messages and constants. Exit status 1 if it is not.
    Reads the published copy; what waits in the spool is not in it yet.

    Example: faser-align verify Y2023_R011705_F400-450
    """
    from faser_align.state import queries, registry, spool
    from faser_align.state import verify as checks

    folder = registry.find(campaign)
    with queries.published(folder) as db:
        found = checks.findings(db, folder)
        rows = db.execute("SELECT count(*) FROM history").fetchone()[0] if not found else 0
    waiting = len(spool.waiting(folder))
    if as_json:
        console.show_json({"campaign": campaign, "sound": not found, "findings": found, "spooled": waiting})
    else:
        for sentence in found:
            console.say(sentence)
        if not found:
            console.say(f"{campaign} is sound: {rows} rows of history, {waiting} events wait in the spool")
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
    from faser_align.cli.work import repairing
    from faser_align.state import registry
    from faser_align.state.repair.report import sentences

    found = repairing.repair(registry.find(campaign), dry_run=dry_run, without_htcondor=without_htcondor)
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
