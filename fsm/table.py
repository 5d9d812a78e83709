"""Define states, events and the two transition tables, the only place with transitions.

Everything else is made from here: the machine, the scripts' decisions, the diagram of the documentation
and the tests. No imports, because scripts load this module for every node.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

INITIAL = "created"
UNFINISHED = ("created", "submitted", "reconstructing", "solving", "validating")
SUCCESSES = ("converged", "reconstructed")
# Ends by a decision, after which no DAGMan continues by itself.
SETTLED = (*SUCCESSES, "rejected", "exhausted", "diverged", "stalled", "starved")
ENDS = (*SETTLED, "failed", "removed")
STATES = UNFINISHED + ENDS

# The campaign. (source, event, destination)
CAMPAIGN = (
    ("created", "submitted", "submitted"),
    ("submitted", "reconstruction_started", "reconstructing"),
    ("solving", "reconstruction_started", "reconstructing"),
    # A resumed campaign may have nothing left of its iteration but the solution.
    ("submitted", "solving_started", "solving"),
    ("reconstructing", "solving_started", "solving"),
    ("solving", "go_on", "solving"),
    ("solving", "stage_finished", "solving"),
    ("solving", "validation_asked", "validating"),
    # A campaign that was resumed in the middle of its validation.
    ("submitted", "validation_asked", "validating"),
    ("solving", "converged", "converged"),
    ("validating", "confirmed", "converged"),
    ("validating", "refuted", "rejected"),
    ("solving", "limit", "exhausted"),
    # A `reco` has one iteration and no Millepede node; its user solves it, as often as they like.
    ("submitted", "reconstructed", "reconstructed"),
    ("reconstructing", "reconstructed", "reconstructed"),
    ("reconstructed", "solved", "reconstructed"),
    # Earlier versions ended it as exhausted.
    ("exhausted", "reconstructed", "reconstructed"),
    ("solving", "diverged", "diverged"),
    ("solving", "stalled", "stalled"),
    ("solving", "starved", "starved"),
    *((state, "final_failed", "failed") for state in UNFINISHED),
    *((state, "final_removed", "removed") for state in UNFINISHED),
    *((state, "resumed", "submitted") for state in ENDS if state not in SUCCESSES),
    *((state, "extended", "submitted") for state in ENDS if state not in SUCCESSES),
)

# Names of verdicts on an iteration; ``after_verdict`` returns the event for each.
VERDICTS = ("go_on", "converged", "limit", "diverged", "stalled", "starved")

# A node. (source, event, destination)
NODE = (
    ("waiting", "started", "running"),
    ("waiting", "passed_over", "skipped"),
    ("failed", "started", "running"),
    ("failed", "passed_over", "skipped"),
    ("running", "passed_over", "skipped"),
    ("held", "passed_over", "skipped"),
    # A node of the validation that an earlier end had skipped.
    ("skipped", "started", "running"),
    # If DAGMan was killed before it logged a node's success, the next DAGMan runs the node again.
    ("done", "started", "running"),
    # The first attempt of the next DAGMan abandons the open one of a removed DAGMan.
    ("running", "started", "running"),
    ("held", "started", "running"),
    ("running", "held", "held"),
    ("held", "held", "held"),
    ("running", "succeeded", "done"),
    ("held", "succeeded", "done"),
    ("running", "failed", "failed"),
    ("held", "failed", "failed"),
    ("running", "lost", "lost"),
    ("held", "lost", "lost"),
)

VALIDATION = 0  # stage number of the validation; its two reconstructions are iterations
NODE_STATES = ("waiting", "running", "held", "done", "failed", "lost", "skipped")

# Events of commands: the submission of a DAGMan, and requests that change the campaign's state.
NEW_DAGMAN = ("submitted", "resumed")
REOPENING = (*NEW_DAGMAN, "extended")
# Rows of the history that report something and change no state.
NOTES = ("spooled", "delivery_failed", "changed", "notify_retried", "stop_asked", "stuck")

# The kind of message for an event; ``end`` in the configuration includes all of ENDS, and *stuck*.
MESSAGES = {
    "submitted": "submitted",
    "go_on": "iteration",
    "stage_finished": "iteration",
    "validation_asked": "iteration",
    "converged": "converged",
    "confirmed": "converged",
    "refuted": "rejected",
    "limit": "exhausted",
    "reconstructed": "reconstructed",
    "diverged": "diverged",
    "stalled": "stalled",
    "starved": "starved",
    "final_failed": "failed",
    "final_removed": "removed",
    "held": "held",
    "lost": "lost",
    "stuck": "stuck",
}
# The state that earlier versions entered by this event; their campaigns request its message by this name.
FORMER = {"reconstructed": "exhausted", "stuck": "failed"}


def kinds(events: "Iterable[str]") -> "list[str]":
    """Return the kinds of messages that ``notify.events`` requests; ``end``: every end state, and a stuck campaign."""
    found = [kind for event in events for kind in ((*ENDS, "stuck") if event == "end" else (event,))]
    return list(dict.fromkeys(found))


_campaign = {(source, event): destination for source, event, destination in CAMPAIGN}
_node = {(source, event): destination for source, event, destination in NODE}


def campaign_after(state: str, event: str) -> str | None:
    """Return the state of a campaign after ``event``, or None if the table does not allow it."""
    return _campaign.get((state, event))


def node_after(state: str, event: str) -> str | None:
    """Return the state of a node after ``event``, or None if the table does not allow it."""
    return _node.get((state, event))


def after_verdict(verdict: str, *, last: bool, validated: bool, at_limit: str) -> str:
    """Return the campaign's event that follows from a decision on an iteration.

    Args:
        verdict: one of ``VERDICTS``.
        last: whether the stage is the last one.
        validated: whether the campaign has a validation.
        at_limit: what the stage does at its limit, ``continue`` or ``stop``.
    """
    if verdict == "converged":
        return ("validation_asked" if validated else "converged") if last else "stage_finished"
    if verdict == "limit":
        return "limit" if last or at_limit == "stop" else "stage_finished"
    return verdict
