"""Decide how events move a campaign as a whole: a decision, a new DAGMan, the end of one, the user's requests.

Part of ``fsm.reduce``, kept apart because scripts of reconstruction nodes seldom need it.
"""

import json
from typing import TYPE_CHECKING

from faser_align.fsm import exit_codes, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faser_align.fsm.events import Control, Final, Post
    from faser_align.fsm.reaction import Reaction

# $DAG_STATUS of the FINAL node (HTCondor manual, DAGMan: special script macros).
# A halted DAGMan ends by itself when none of its jobs is left: that is a stop, too.
DAG_REMOVED, DAG_NODE_FAILED = (4, 6), 2
DAG_STATUSES = {
    0: "it ended normally",
    1: "DAGMan met an error",
    2: "at least one node failed",
    3: "it was ended early",
    4: "it was removed",
    5: "it has a cycle",
    6: "it was halted",
}
FAILED_NAMED = 3
GOOD_ENDS = ("exhausted", "converged")
RECONSTRUCTED = "all of its files are reconstructed"
SOLVED = "the user solved it; no decision is made on a single iteration"
# An end that came too early is still valid after these events.
_UNMOVING = ("resumed", "final_failed", "final_removed", *table.NOTES)
# What `changed` may change in the campaign's row.
COLUMNS = ("data", "lost_max", "targets", "messages")


def new_dagman(reaction: "Reaction") -> None:
    """Note a DAGMan that the campaign does not know: it was submitted, or resumed.

    The command reports this through the event queue, but a script may run first, or a user may have resubmitted the DAG
    by hand. A campaign that already runs (its DAGMan was submitted twice) only notes the id.
    """
    if not reaction.known["new_dagman"]:
        return
    campaign, dag_id = reaction.campaign, reaction.event["dag_id"]
    reaction.mark_processed(0, 0, "dagman")
    campaign["dag_id"] = dag_id
    if campaign["state"] == table.INITIAL:
        reaction.move_campaign("submitted", campaign["stage"], campaign["iteration"], {"dagman": dag_id})
    elif campaign["state"] in table.ENDS:
        reaction.move_campaign("resumed", campaign["stage"], campaign["iteration"], {"dagman": dag_id})


def verdict(reaction: "Reaction", event: "Post") -> int:
    """Record the script's decision on an iteration or the validation; return the exit status."""
    campaign, node = reaction.campaign, reaction.node
    last = node["stage"] == campaign["stages"]
    # Queued events of earlier versions lack the state to enter.
    moves = event.get("moves") or table.after_verdict(event["verdict"], last=last, validated=False, at_limit="continue")
    ended_utc = event["utc"]
    decision = (event["verdict"], event["verdict_reason"], event["criteria"], event["metrics"])
    reaction.changes.append(("end_iteration", node["stage"], node["iteration"], ended_utc, ended_utc, *decision))
    metrics = json.loads(event["metrics"])
    facts = {"verdict": event["verdict"], "reason": event["verdict_reason"]}
    facts |= {key: metrics.get(key) for key in ("effect_um", "significance", "chi2_per_ndf", "notes")}
    # The validation does not change the campaign's stage and iteration.
    ended = campaign if node["stage"] == table.VALIDATION else node
    stage = ended["stage"]
    reaction.move_campaign(moves, stage, ended["iteration"], facts, node["attempts"])
    if moves in ("stage_finished", "validation_asked"):
        campaign["stages_done"] = max(campaign["stages_done"], stage)
    return exit_codes.verdict_exit(moves, last=last)


def final(reaction: "Reaction", event: "Final") -> int:
    """Return DAGMan's outcome, and close a campaign that no decision has closed."""
    campaign, known = reaction.campaign, reaction.known
    status = event["dag_status"]
    if known["processed"] and campaign["state"] in table.ENDS:
        return known["processed"][0][1]
    ended_well = status in exit_codes.DAG_OK
    exit_status = exit_codes.final_exit(status)
    reason = _why_ended(event, known["failed"])
    only = known["only_iteration"]
    if ended_well and only and campaign["state"] in ("submitted", "reconstructing"):
        reaction.move_campaign("reconstructed", *only, {"reason": RECONSTRUCTED})
    if ended_well and campaign["state"] in table.UNFINISHED and not _take_early_end(reaction):
        reason, exit_status = "it ended normally, but no verdict was recorded", 1
    if not ended_well or campaign["state"] in table.UNFINISHED:
        name = "final_removed" if status in DAG_REMOVED else "final_failed"
        facts = {"dag_status": status, "failed_nodes": len(known["failed"]), "reason": f"the DAG ended: {reason}"}
        reaction.move_campaign(name, campaign["stage"], campaign["iteration"], facts)
    attempt = known["processed"][0][0] + 1 if known["processed"] else 0
    reaction.mark_processed(exit_status, attempt, "final", node=event["node"])
    return exit_status


def _why_ended(event: "Final", failed: list[str]) -> str:
    """Say how a DAGMan ended, and how many nodes failed, with the first of them by name."""
    status = event["dag_status"]
    # An end that no script reported has its own reason.
    reason = event.get("reason") or DAG_STATUSES.get(status, f"its status is {status}")
    if not failed:
        return reason
    names = ", ".join(failed[:FAILED_NAMED]) + ", ..." * (len(failed) > FAILED_NAMED)
    nodes = f"{len(failed)} node{'s' * (len(failed) != 1)} failed ({names})"
    return nodes if status == DAG_NODE_FAILED else f"{reason}; {nodes}"


def _take_early_end(reaction: "Reaction") -> bool:
    """Apply the last decision if it came too early to be applied; return whether it ended the campaign.

    A DAGMan that has lost track of a job runs FINAL and then continues: the campaign has failed before its last verdict
    arrives, and a resumption has nothing left to do.
    """
    end = reaction.known["early_end"]
    if end is None or not set(end["since"]).issubset(_UNMOVING):
        return False
    if reaction.campaign["state"] in ("submitted", "reconstructing"):
        reaction.move_campaign("solving_started", end["stage"], end["iteration"])
    facts = json.loads(end["facts"])
    reaction.move_campaign(end["event"], end["stage"], end["iteration"], facts, end["attempt"])
    return reaction.campaign["state"] in GOOD_ENDS


def control(reaction: "Reaction", event: "Control") -> int:
    """Apply a report of the command line, ``submitted`` or ``resumed``, or its request. A repeat changes nothing.

    Raises:
        ValueError: the request is not known.
    """
    name = event["event"]
    if name in table.NEW_DAGMAN:
        new_dagman(reaction)
        return 0
    apply = _REQUESTS.get(name)
    if apply is None:
        raise ValueError(f"{name!r} is no event of the command line")
    if not reaction.known["processed"]:
        reaction.changes.append(("mark_processed", "", "", 0, "control", event["id"], "", 0))
        reaction.event = {**event, "dag_id": reaction.campaign["dag_id"]}
        apply(reaction, event)
    return 0


def _note(reaction: "Reaction", event: "Control", facts: "Mapping[str, object]") -> None:
    """Add a row to the history that moves nothing."""
    campaign = reaction.campaign
    move = (campaign["state"], event["event"], campaign["state"], "")
    at = (campaign["stage"], campaign["iteration"], "", 0)
    reaction.add_history("campaign", move, at, {**facts, "who": event["who"]})


def _changed(reaction: "Reaction", event: "Control") -> None:
    for column, value in event.get("columns", {}).items():
        if column in COLUMNS:
            reaction.changes.append((f"change_{column}", value))  # type: ignore[arg-type]
    _note(reaction, event, {"key": event["key"], "before": event["before"], "after": event["after"]})


def _notify_retried(reaction: "Reaction", event: "Control") -> None:
    """Retry messages that were given up, and make waiting ones due; sent ones stay sent."""
    reaction.changes.append(("notify_again", event["target"], event["target"]))
    _note(reaction, event, {"target": event["target"], "messages": reaction.known["unsent"]})


def _stuck(reaction: "Reaction", event: "Control") -> None:
    """Note that no script can advance the campaign, and notify the recipients, unless it has ended meanwhile."""
    if reaction.campaign["state"] not in table.ENDS:
        _note(reaction, event, {"reason": event["reason"]})
        reaction.enqueue("stuck")


def _extended(reaction: "Reaction", event: "Control") -> None:
    """Continue the campaign with more iterations of a stage, and with the stages after it."""
    campaign = reaction.campaign
    stage = int(event["stage"])
    facts = {"stage": stage, "before": int(event["before"]), "after": int(event["after"]), "who": event["who"]}
    if reaction.move_campaign("extended", campaign["stage"], campaign["iteration"], facts):
        reaction.changes += [("add_node", *node) for node in reaction.known["new_nodes"]]
        campaign["stages_done"] = min(campaign["stages_done"], stage - 1)


def _solved(reaction: "Reaction", event: "Control") -> None:
    """Record that the user solved the iteration of a `reco`: its constants and metrics are known."""
    campaign = reaction.campaign
    if campaign["state"] == "exhausted":  # as earlier versions ended it
        reaction.move_campaign("reconstructed", campaign["stage"], campaign["iteration"])
    stage, iteration = int(event["stage"]), int(event["iteration"])
    if reaction.move_campaign("solved", stage, iteration, {"who": event["who"]}):
        decision = ("solved", SOLVED, "[]", event["metrics"])
        reaction.changes.append(("end_iteration", stage, iteration, event["utc"], event["utc"], *decision))


_REQUESTS = {
    "extended": _extended,
    "changed": _changed,
    "notify_retried": _notify_retried,
    "stop_asked": lambda reaction, event: _note(reaction, event, {"after": event["after"]}),
    "stuck": _stuck,
    "solved": _solved,
}
