"""Select campaigns or parts of a history for reading commands."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from faser_align.config.near import nearest
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.operations.snapshot_types import Listed
from faser_align.state import queries, registry
from faser_align.system import formatting


def campaigns(states: Collection[str] = (), *, runs: Collection[str] = (), years: Collection[int] = ()) -> list[Listed]:
    """Return all campaigns of the registry, newest first; one that cannot be read has the state ``unreadable``.

    Args:
        states: only campaigns in these states; empty: all.
        runs: only those with one of these runs.
        years: only those of one of these years.

    Raises:
        UserError: one of ``states`` is unknown, or one of ``runs`` is not a run.
    """
    from faser_align.config.files import parse_run

    wanted_runs = {parse_run(run) for run in runs}
    for state in states:
        if state not in table.STATES:
            advice = _nearest(state, table.STATES) or f"; the states are {', '.join(table.STATES)}"
            raise UserError(f"--state {state}: not a state of a campaign{advice}")
    found = [_summary(entry) for entry in registry.entries()]
    wanted = [
        row
        for row in found
        if (not states or row["state"] in states)
        and (not wanted_runs or wanted_runs & set(str(row["run"]).split("+")))
        and (not years or row["year"] in years)
    ]
    return sorted(wanted, key=lambda row: str(row["created_utc"]), reverse=True)


def _summary(entry: registry.Entry) -> Listed:
    from faser_align.operations import snapshot  # a history does not need it

    try:
        return snapshot.summary(entry.folder)
    except (CampaignError, OSError) as problem:
        return {
            "name": entry.name,
            "state": "unreadable",
            "stage": 0,
            "stages": 1,
            "iteration": 0,
            "limit": 0,
            "files": 0,
            "lost": 0,
            "chi2_per_ndf": None,
            "residual_shift_um": None,
            "effect_um": None,
            "created_utc": "",
            "updated_utc": "",
            "year": None,
            "run": "",
            "folder": entry.folder,
            "problem": str(problem),
        }


def history(
    folder: str, *, node: str | None = None, since: str | None = None, nodes: bool = True, most: int = 0
) -> tuple[list[queries.Row], int]:
    """Return the history of the campaign in ``folder``, in order, and how many events were omitted.

    Args:
        folder: the campaign.
        node: only events of this node.
        since: a point in time in the format of ``formatting.since_utc``.
        nodes: include the events of nodes.
        most: if there are more events, omit usual ones; 0: never.

    Raises:
        UserError: there is no such node, or no such time.
    """
    begin = "" if since is None else formatting.since_utc(since, datetime.now(UTC))
    if begin is None:
        raise UserError(
            f"--since {since}: not a time; write 30m, 2h or 1d, or a date such as 2026-11-24 or 2026-11-24T07:30"
        )
    with queries.published(folder) as db:
        exists = "SELECT 1 FROM nodes WHERE node = ? UNION SELECT 1 WHERE ? = 'final'"
        if node is not None and not db.execute(exists, (node, node)).fetchone():
            known = [row[0] for row in db.execute("SELECT node FROM nodes ORDER BY stage, iteration, kind DESC, file")]
            advice = _nearest(node, known) or f"; write its whole name, for example {known[0] if known else 'final'}"
            raise UserError(f"--node {node}: no such node in this campaign{advice}")
        if most:
            return queries.history_in_brief(db, most, node=node, since=begin, nodes=nodes)
        return queries.history(db, node=node, since=begin, nodes=nodes), 0


def _nearest(word: str, known: Iterable[str]) -> str:
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""
