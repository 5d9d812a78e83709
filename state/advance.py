"""How events move a campaign as a whole: a verdict, the end of its DAGMan, a new DAGMan, the user's wishes.

The machine of ``fsm.machine`` decides here; only Millepede nodes, FINAL and the command line's events come
this way, so that the hooks of reconstruction nodes need not import it.
"""

from typing import TYPE_CHECKING

from faser_align.campaign import layout
from faser_align.fsm import exit_codes, machine, table
from faser_align.state import control_requests, history

if TYPE_CHECKING:
    from faser_align.state.history import Campaign

# $DAG_STATUS of the FINAL node (HTCondor manual, DAGMan: special script macros).
# A DAGMan that is halted ends by itself when no job of it is left: that is a stop, too.
DAG_REMOVED, DAG_NODE_FAILED = (4, 6), 2
FAILED_NAMED = 3
VERDICTS_AT_THE_END = ("limit", "converged")  # the others fail their node, which a resumption runs again
GOOD_ENDS = ("exhausted", "converged")
RECONSTRUCTED = "all of its files are reconstructed"
DAG_STATUSES = {
    0: "it ended normally",
    1: "DAGMan met an error",
    2: "at least one node failed",
    3: "it was ended early",
    4: "it was removed",
    5: "it has a cycle",
    6: "it was halted",
}


def _move(
    campaign: "Campaign",
    name: str,
    stage: int,
    iteration: int,
    facts: str,
    values: tuple[object, ...],
    attempt: int = 0,
) -> str | None:
    """Send an event to the machine and record what it answers."""
    return history.campaign_event(
        campaign, name, stage, iteration, facts, values, attempt=attempt, after=machine.campaign_after
    )


def new_dagman(campaign: "Campaign") -> None:
    """The first event of a DAGMan that the campaign does not know: it was submitted, or resumed.

    The command line says so through the spool, but a hook may come first, or a user may have resubmitted
    the DAG by hand. A campaign that goes on already (its DAGMan was submitted twice) only notes the id.
    """
    event = campaign.event
    known = campaign.db.execute(
        "SELECT 1 FROM events WHERE dag_id = ? AND phase = 'dagman' LIMIT 1", (event["dag_id"],)
    ).fetchone()
    if known:
        return
    campaign.db.execute("INSERT INTO events VALUES (?, '', 0, 'dagman', '', '', 0)", (event["dag_id"],))
    campaign.db.execute("UPDATE campaign SET dag_id = ?", (event["dag_id"],))
    campaign.dag_id = event["dag_id"]
    if campaign.state == table.INITIAL:
        _move(campaign, "submitted", campaign.stage, campaign.iteration, "json_object('dagman', ?)", (event["dag_id"],))
    elif campaign.state in table.ENDS:
        _move(campaign, "resumed", campaign.stage, campaign.iteration, "json_object('dagman', ?)", (event["dag_id"],))


def goes_on(campaign: "Campaign") -> None:
    """A node of the campaign's own DAGMan begins although a FINAL has closed it: that DAGMan did not leave, or it was not its FINAL.

    It was killed between FINAL and its own end, or has lost track of a job; or an earlier DAGMan's FINAL came late. Its own
    next FINAL is another one. A script of an earlier DAGMan that slept opens nothing.
    """
    dag_id = campaign.event["dag_id"]
    if dag_id == campaign.dag_id:
        _move(campaign, "resumed", campaign.stage, campaign.iteration, "json_object('dagman', ?)", (dag_id,))


def control(campaign: "Campaign") -> int:
    """An event of the command line, out of the spool: ``submitted`` or ``resumed`` with the DAGMan's id, or a wish."""
    if campaign.event["event"] not in table.NEW_DAGMAN:
        return control_requests.take(campaign)
    new_dagman(campaign)
    return 0


def verdict(campaign: "Campaign", stage: int, iteration: int, attempt: int) -> int:
    """The verdict on an iteration, or of the validation, as the hook made it of the metrics; returns DAGMan's answer."""
    event = campaign.event
    name, last = event["verdict"], stage == campaign.stages
    # An event that an earlier version left in the spool does not say where it leads.
    moved = event.get("moves") or table.after_verdict(name, last=last, validated=False, at_limit="continue")
    history.end_iteration(
        campaign, stage, iteration, (name, event["verdict_reason"], event["criteria"], event["metrics"])
    )
    facts = (
        "json_object('verdict', ?, 'reason', ?, 'effect_um', json_extract(?, '$.effect_um'), "
        "'significance', json_extract(?, '$.significance'), 'chi2_per_ndf', json_extract(?, '$.chi2_per_ndf'), "
        "'notes', json_extract(?, '$.notes'))"
    )
    values = (name, event["verdict_reason"], *(event["metrics"],) * 4)
    if stage == layout.VALIDATION:  # the campaign stays where it ended
        stage, iteration = campaign.stage, campaign.iteration
    _move(campaign, moved, stage, iteration, facts, values, attempt)
    if moved in ("stage_finished", "validation_asked"):
        campaign.db.execute("UPDATE campaign SET stages_done = max(stages_done, ?)", (stage,))
    return exit_codes.verdict_exit(moved, last=last)


def unsolved(campaign: "Campaign", stage: int, iteration: int, attempt: int) -> None:
    """End the campaign because its Millepede job cannot have a solution."""
    event = campaign.event
    name = exit_codes.CAMPAIGN_EVENTS[event["ret"]]
    _move(campaign, name, stage, iteration, "json_object('reason', ?)", (event["reason"],), attempt)


def final(campaign: "Campaign") -> int:
    """DAGMan ends: hand its outcome on, and close a campaign that no verdict has closed."""
    event = campaign.event
    status = event["dag_status"]
    exit_status = exit_codes.final_exit(status)
    known = campaign.db.execute(
        "SELECT exit_status, attempt FROM events WHERE dag_id = ? AND phase = 'final' ORDER BY attempt DESC LIMIT 1",
        (event["dag_id"],),
    ).fetchone()
    if known and campaign.state in table.ENDS:
        return int(known[0])
    failed = campaign.db.execute("SELECT count(*) FROM nodes WHERE state = 'failed'").fetchone()[0]
    # An end that no script of DAGMan told has a reason of its own.
    reason = event.get("reason") or DAG_STATUSES.get(status, f"its status is {status}")
    if failed:
        reason = _failed(campaign, failed) if status == DAG_NODE_FAILED else f"{reason}; {_failed(campaign, failed)}"
    if status in exit_codes.DAG_OK and campaign.state in ("submitted", "reconstructing") and _has_no_solution(campaign):
        _move(campaign, "reconstructed", *_only_iteration(campaign), "json_object('reason', ?)", (RECONSTRUCTED,))
    if status in exit_codes.DAG_OK and campaign.state in table.UNFINISHED and not _take_up_verdict(campaign):
        reason, exit_status = "it ended normally, but no verdict was recorded", 1
    name = "final_removed" if status in DAG_REMOVED else "final_failed"
    if status not in exit_codes.DAG_OK or campaign.state in table.UNFINISHED:
        facts = "json_object('dag_status', ?, 'failed_nodes', ?, 'reason', ?)"
        _move(campaign, name, campaign.stage, campaign.iteration, facts, (status, failed, f"the DAG ended: {reason}"))
    campaign.db.execute(
        "INSERT INTO events VALUES (?, ?, ?, 'final', '', '', ?)",
        (event["dag_id"], event["node"], known[1] + 1 if known else 0, exit_status),
    )
    return exit_status


def _take_up_verdict(campaign: "Campaign") -> bool:
    """Let the last verdict count if it came too early to be taken; whether it ended the campaign.

    A DAGMan that has lost track of a job runs FINAL and then goes on by itself: the campaign has failed by the time that
    its last verdict comes, and a resumption has nothing left to do.
    """
    ends = ", ".join(f"'{event}'" for event in VERDICTS_AT_THE_END)
    row = campaign.db.execute(
        f"SELECT id, event, stage, iteration, attempt, facts FROM history WHERE subject = 'campaign' AND ignored != '' "
        f"AND event IN ({ends}) ORDER BY id DESC LIMIT 1"
    ).fetchone()
    unmoving = ", ".join(f"'{event}'" for event in ("resumed", "final_failed", "final_removed", *table.NOTES))
    if (
        row is None
        or campaign.db.execute(
            f"SELECT 1 FROM history WHERE subject = 'campaign' AND ignored = '' AND id > ? AND event NOT IN ({unmoving}) LIMIT 1",
            (row[0],),
        ).fetchone()
    ):
        return False
    _, event, stage, iteration, attempt, facts = row
    if campaign.state in ("submitted", "reconstructing"):
        _move(campaign, "solving_started", stage, iteration, "json_object()", ())
    _move(campaign, event, stage, iteration, "json(?)", (facts,), attempt)
    return campaign.state in GOOD_ENDS


def _has_no_solution(campaign: "Campaign") -> bool:
    """Whether the campaign has no Millepede node: it was to reconstruct and nothing more."""
    return campaign.db.execute("SELECT 1 FROM nodes WHERE kind = 'mille' LIMIT 1").fetchone() is None


def _only_iteration(campaign: "Campaign") -> tuple[int, int]:
    """Stage and iteration of a campaign that has one; a resumption with nothing left to reconstruct has begun neither."""
    found: tuple[int, int] = campaign.db.execute("SELECT stage, iteration FROM nodes LIMIT 1").fetchone()
    return found


def _failed(campaign: "Campaign", count: int) -> str:
    """How many nodes failed, and the first of them by name."""
    rows = campaign.db.execute(
        "SELECT node FROM nodes WHERE state = 'failed' ORDER BY stage, iteration, kind DESC, file LIMIT ?",
        (FAILED_NAMED,),
    )
    names = ", ".join(row[0] for row in rows) + (", ..." if count > FAILED_NAMED else "")
    return f"{count} node{'s' * (count != 1)} failed ({names})"
