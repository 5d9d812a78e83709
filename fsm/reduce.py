"""Decide what an event changes: pure functions of the rows that it concerns. Startup-critical.

``state.write`` loads the rows and saves the changes that ``react`` returns.
Decisions about a campaign as a whole are in ``fsm.reduce_campaign``, which scripts of reconstruction nodes seldom need.
"""

from faser_align.fsm import exit_codes, table
from faser_align.fsm.reaction import Reaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from faser_align.fsm.events import Event, Hold, Post, Pre
    from faser_align.fsm.reaction import After
    from faser_align.fsm.rows import Attempt, Campaign, Change, Known, Node


def react(known: "Known", event: "Event", after: "After" = table.campaign_after) -> "tuple[list[Change], int]":
    """Return the changes by ``event``, in order, and the exit status that answers it.

    ``after`` says where an event leads a campaign: the table, or the machine that is made from it.

    Raises:
        KeyError, ValueError: it is not an event.
    """
    reaction = Reaction(known, event, after)
    exit_status = _decide(reaction, event)
    return reaction.all_changes(), exit_status


def _decide(reaction: Reaction, event: "Event") -> int:
    if event["phase"] == "control":
        from faser_align.fsm import reduce_campaign

        return reduce_campaign.control(reaction, event)
    if reaction.campaign["dag_id"] != event["dag_id"]:
        from faser_align.fsm import reduce_campaign

        reduce_campaign.new_dagman(reaction)
    if event["phase"] == "pre":
        return _pre(reaction, event)
    if event["phase"] == "post":
        return _post(reaction, event)
    if event["phase"] == "hold":
        return _hold(reaction, event)
    if event["phase"] == "final":
        from faser_align.fsm import reduce_campaign

        return reduce_campaign.final(reaction, event)
    raise ValueError(f"{event['phase']!r} is no phase of an event")


def _pre(reaction: Reaction, event: "Pre") -> int:
    """Begin the node's next attempt, or skip the node."""
    campaign, node = reaction.campaign, reaction.node
    if is_open(reaction.known["attempts"], event["dag_id"]):
        return 0
    if should_skip(campaign, node, reaction.known):
        if node["state"] not in ("done", "skipped", "lost"):
            _abandon(reaction)
            reaction.move_node("passed_over", {})
        return exit_codes.SKIP
    _open(reaction, event)
    if reopens(campaign, event["dag_id"]):
        at = (campaign["stage"], campaign["iteration"])
        reaction.move_campaign("resumed", *at, {"dagman": event["dag_id"]})
    at = (node["stage"], node["iteration"])
    if node["stage"] == table.VALIDATION:
        if campaign["state"] == "submitted":
            reaction.move_campaign("validation_asked", campaign["stage"], campaign["iteration"])
    elif node["kind"] == "mille":
        reaction.move_campaign("solving_started", *at)
    elif campaign["state"] not in ("reconstructing", "solving") or (campaign["stage"], campaign["iteration"]) != at:
        reaction.move_campaign("reconstruction_started", *at)
    return 0


def _post(reaction: Reaction, event: "Post") -> int:
    """End an attempt: the node succeeded, failed, or its file is dropped."""
    campaign, node, known = reaction.campaign, reaction.node, reaction.known
    answered = recorded_answer(event["job_id"], known["processed"], known["attempts"])
    if answered is not None:
        return answered  # even if the node has changed since: a stopped script may report late
    if not is_open(known["attempts"], event["dag_id"]):
        if should_skip(campaign, node, known):
            return 0  # it was skipped, but had a job (hooks.skip_guard)
        _open(reaction, event)  # its PRE was not recorded: only its end shows the attempt
    exit_status, outcome = event["exit"], event["outcome"]
    if outcome == "failed" and node["kind"] == "reco" and may_drop(campaign, event, known["file_lost"]):
        exit_status, outcome = 0, "lost"
    end = (event["utc"], event["job_id"], outcome, event["ret"])
    reaction.changes.append(("close_attempt", *end, exit_status, node["node"], node["attempts"]))
    moved = reaction.move_node(outcome, {"return": event["ret"], "reason": event["reason"]})
    node["reason"] = event["reason"]
    if outcome == "lost":
        campaign["lost"] += moved and not known["file_lost"]
        reaction.enqueue("lost")
    if node["kind"] != "reco" and "verdict" in event:
        from faser_align.fsm import reduce_campaign

        exit_status = reduce_campaign.verdict(reaction, event)
    elif node["kind"] == "mille" and event["ret"] in exit_codes.CAMPAIGN_EVENTS:
        name = exit_codes.CAMPAIGN_EVENTS[event["ret"]]
        facts = {"reason": event["reason"]}
        reaction.move_campaign(name, node["stage"], node["iteration"], facts, node["attempts"])
    reaction.mark_processed(exit_status, node["attempts"], "post", event["job_id"], node=node["node"])
    return int(exit_status)


def _hold(reaction: Reaction, event: "Hold") -> int:
    """Record and notify a hold; one that comes after the end of its attempt changes nothing else.

    DAGMan starts HOLD and POST of a job at the same moment if it was released and has ended by the time DAGMan looks.
    """
    node, attempts = reaction.node, reaction.known["attempts"]
    if reaction.known["processed"]:
        return 0
    facts = {"reason": event["reason"], "held_at": event["hold_time"]}
    late = late_hold(event, attempts, reaction.campaign["dag_id"])
    if late:
        ignored = f"attempt {late}, whose job this was, is over"
        at = (node["stage"], node["iteration"], node["node"], late)
        reaction.add_history(node["node"], (node["state"], "held", node["state"], ignored), at, facts)
    elif reaction.move_node("held", facts):
        node["reason"] = event["reason"]
    reaction.enqueue("held")
    latest = attempts[-1]["attempt"] if attempts else 0
    reaction.mark_processed(0, latest, "hold", event["job_id"], event["hold_time"], node["node"])
    return 0


def _open(reaction: Reaction, event: "Pre | Post") -> None:
    """Open the node's next attempt, and abandon one that an earlier DAGMan did not close."""
    node = reaction.node
    _abandon(reaction)
    node["attempts"] += 1
    node["reason"] = ""
    reaction.changes.append(
        ("open_attempt", node["node"], node["attempts"], event["dag_id"], event["utc"], event["host"])
    )
    reaction.move_node("started", {"retry": event["retry"]})


def _abandon(reaction: Reaction) -> None:
    for latest in reaction.known["attempts"][-1:]:
        if not latest["closed_utc"]:
            end = (reaction.event["utc"], "", "abandoned", None, None)
            reaction.changes.append(("close_attempt", *end, reaction.node["node"], latest["attempt"]))


def is_open(attempts: "Sequence[Attempt]", dag_id: str) -> bool:
    """Return whether the node's latest attempt is open and of this DAGMan: its PRE is then a repeat."""
    return bool(attempts) and attempts[-1]["dag_id"] == dag_id and not attempts[-1]["closed_utc"]


def recorded_answer(job_id: str, processed: "Sequence[tuple[int, int]]", attempts: "Sequence[Attempt]") -> int | None:
    """Return the exit status of the POST of this job if it was recorded already, else None.

    A job that could not be submitted has no id of its own: its POST is known while no other attempt has begun.
    """
    has_id = "1" <= job_id[:1] <= "9"
    latest = attempts[-1]["attempt"] if attempts else None
    return next((exit_status for attempt, exit_status in processed if has_id or attempt == latest), None)


def should_skip(campaign: "Campaign", node: "Node", known: "Known") -> bool:
    """Return whether a node has nothing to do: its file is dropped, its stage has ended, or nothing is to be validated."""
    if known["file_lost"]:
        return True
    if node["stage"] == table.VALIDATION:
        return not (campaign["state"] in ("validating", "submitted") and known["converged"])
    return node["stage"] <= campaign["stages_done"]  # not the iteration's own state: its stage may have been extended


def may_drop(campaign: "Campaign", event: "Post", dropped: bool) -> bool:
    """Return whether a failed file is dropped: it has no attempts left, and the minimum fraction of files allows it.

    A file that was ``dropped`` before counts already.
    """
    last = event["fatal"] or event["retry"] >= event["max_retries"]
    return bool(last and (campaign["lost"] < campaign["lost_max"] or dropped))


def most_dropped(min_files: float, files: int) -> int:
    """Return how many of a campaign's ``files`` may be dropped; the fraction ``min_files`` of them must remain."""
    return int((1.0 - min_files) * files + 1e-9)  # 0.9 of 10 files leaves one to drop, not 0.9999


def reopens(campaign: "Campaign", dag_id: str) -> bool:
    """Return whether a node that starts reopens its campaign, although a FINAL has closed it.

    Its own DAGMan was killed between FINAL and its end, or has lost track of a job; or an earlier DAGMan's FINAL came late.
    Its next FINAL ends the campaign again. A delayed script of an earlier DAGMan reopens nothing.
    """
    return campaign["state"] in ("failed", "removed") and campaign["dag_id"] == dag_id


def late_hold(event: "Hold", attempts: "Sequence[Attempt]", dag_id: str) -> int:
    """Return the attempt whose end was recorded before this hold of its job, or 0.

    An attempt that an earlier DAGMan did not close was abandoned, without a job's id, when the present one, ``dag_id``, began another.
    """
    earlier = event["dag_id"] != dag_id
    for attempt in reversed(attempts):
        if attempt["closed_utc"] and (
            attempt["job_id"] == event["job_id"] or (earlier and attempt["dag_id"] == event["dag_id"])
        ):
            return attempt["attempt"]
    return 0
