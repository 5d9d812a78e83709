"""Commands for a campaign's files themselves: ``verify``."""

from typing import Annotated

import typer

from faser_align.cli import console


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(verify)


def verify(
    campaign: Annotated[str, typer.Argument(help="Name of a campaign, or its folder.", metavar="CAMPAIGN")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
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
