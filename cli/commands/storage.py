"""Define commands for disk space: ``clean``, ``move``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(clean)
    app.command()(move)


def clean(
    campaign: Campaign,
    keep: Annotated[int, typer.Option(min=0, max=99, help="Keep the files of the latest N solved iterations.")] = 1,
    mille: Annotated[
        bool, typer.Option("--mille", help="Also remove Mille files; then no iteration can be solved again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove large files that a campaign no longer needs.

    Removes the ROOT files of tracks of all solved iterations except the latest, and what interrupted jobs left.
    Keeps constants, metrics, logs and the state database, and everything that a retry, `resume` or `extend` needs.

    Example: faser-align clean Y2023_R011705_F400-450 --dry-run
    """
    from faser_align.campaign.manifest import read_record
    from faser_align.operations import leftovers
    from faser_align.state import registry
    from faser_align.system import formatting

    folder = registry.find(campaign)
    found = leftovers.find(folder, read_record(folder), keep=keep, mille=mille)
    problems = [] if dry_run else leftovers.remove(found)
    rows = leftovers.totals(found)
    size = sum(item.size for item in found)
    if as_json:
        names = ("iteration", "what", "files", "bytes")
        removed = [dict(zip(names, row, strict=True)) for row in rows]
        console.show_json(
            {"campaign": campaign, "dry_run": dry_run, "bytes": size, "removed": removed, "stay": problems}
        )
    elif not found:
        console.say(f"{campaign} has nothing to remove")
    else:
        shown = [(whose, what, f"{count:,}", formatting.bytes_of(amount)) for whose, what, count, amount in rows]
        console.table(("iteration", "what", ">files", ">size"), shown)
        verb = "would be removed (--dry-run)" if dry_run else "removed"
        console.say(f"{formatting.count(len(found) - len(problems), 'file')}, {formatting.bytes_of(size)}, {verb}")
    for problem in problems:
        console.warn(problem)
    if problems:
        raise typer.Exit(1)


def move(
    campaign: Campaign,
    directory: Annotated[
        str, typer.Argument(help="Folder in which the campaign's new folder is created.", metavar="DIR")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be moved.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the old files.")] = False,
) -> None:
    """Move a campaign's large files, for example to EOS.

    Moves tracks and Mille files; everything else stays. Compares the checksum of each copy. Removes the old files after the
    campaign refers to the new ones; the history records the move. If interrupted, run the same command again.
    Refused while the campaign's DAGMan is in the queue. Exit status 1 if a file could not be removed.

    Example: faser-align move Y2023_R011705_F400-450 /eos/user/y/you/faser-align --dry-run
    """
    from faser_align.operations import moving
    from faser_align.state import registry
    from faser_align.system import formatting

    def show(plan: moving.Move) -> None:
        rows = [(whose, f"{count:,}", formatting.bytes_of(size)) for whose, (count, size) in plan.totals.items()]
        console.say(f"from {plan.source}\nto   {plan.target}")
        console.table(("iteration", ">files", ">size"), rows)

    folder = registry.find(campaign)
    moved = moving.move(folder, directory, keep=keep, dry_run=dry_run, planned=show, progress=console.say)
    if dry_run:
        console.say("\nnothing was copied or removed (--dry-run)")
        return
    for problem in moved.stay:
        console.warn(problem)
    gone = formatting.count(len(moved.files) - len(moved.stay), "file")
    left = f"{gone} in {moved.source} {'stay (--keep)' if keep else 'removed'}"
    console.say(f"the large files of {moved.name} are in {moved.target}; {left}")
    if moved.stay:
        raise typer.Exit(1)
