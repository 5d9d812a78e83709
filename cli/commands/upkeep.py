"""Define commands for a campaign's state database and disk space: ``verify``, ``repair``, ``clean``, ``move``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json
from faser_align.fsm.errors import StoreError
from faser_align.fsm.plural import count
from faser_align.state import registry
from faser_align.system import formatting


def verify(
    campaign: Campaign,
    as_json: Json = False,
) -> None:
    """Check that a campaign's state database is sound.

    Checks the history, counters and messages; the decisions, metrics and constants against the files of each iteration; and
    every value against the redo log. Exit status 1 if a check fails. Events in the fallback event queue are not in the database yet.

    Example: faser-align verify Y2023_R011705_F400-450
    """
    from faser_align.state import spool
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

    folder = registry.find(campaign)
    record = read_record(folder)
    found = leftovers.find(folder, record, keep=keep, mille=mille)
    gone, problems = (found, []) if dry_run else leftovers.remove(found)
    totals = leftovers.totals(((item.whose, item.what), item.size) for item in gone)
    rows = [(*key, count, size) for key, count, size in totals]
    size = sum(item.size for item in gone)
    if as_json:
        names = ("iteration", "what", "files", "bytes")
        removed = [dict(zip(names, row, strict=True)) for row in rows]
        console.show_json(
            {"campaign": record["name"], "dry_run": dry_run, "bytes": size, "removed": removed, "stay": problems}
        )
    elif not found:
        console.say(f"{campaign} has nothing to remove")
    else:
        shown = [(whose, what, f"{count:,}", formatting.bytes_of(amount)) for whose, what, count, amount in rows]
        console.table(("iteration", "what", ">files", ">size"), shown)
        verb = "would be removed (--dry-run)" if dry_run else "removed"
        console.say(f"{formatting.count(len(gone), 'file')}, {formatting.bytes_of(size)}, {verb}")
    console.warn(*problems)
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
    from faser_align.operations import leftovers, moving

    def show(plan: moving.Move) -> None:
        totals = leftovers.totals((file.whose, file.size) for file in plan.files)
        rows = [(whose, f"{count:,}", formatting.bytes_of(size)) for whose, count, size in totals]
        console.say(f"from {plan.source}\nto   {plan.target}")
        console.table(("iteration", ">files", ">size"), rows)

    folder = registry.find(campaign)
    moved = moving.move(folder, directory, keep=keep, dry_run=dry_run, planned=show, progress=console.say)
    if dry_run:
        console.say("\nnothing was copied or removed (--dry-run)")
        return
    console.warn(*moved.stay)
    gone = formatting.count(len(moved.files) - len(moved.stay), "file")
    left = f"{gone} in {moved.source} {'stay (--keep)' if keep else 'removed'}"
    console.say(f"the large files of {moved.name} are in {moved.target}; {left}")
    if moved.stay:
        raise typer.Exit(1)
