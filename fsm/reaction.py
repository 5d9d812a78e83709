"""Collect what an event changes. Startup-critical.

A ``Reaction`` has campaign and node as they are after the changes so far, and the changes as plain tuples: a kind and its values.
"""

from faser_align.fsm import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faser_align.fsm.events import Event
    from faser_align.fsm.rows import Campaign, Change, Facts, Known, Node

    After = Callable[[str, str], str | None]


class Reaction:
    """The changes that an event makes, in order, and campaign and node after them."""

    __slots__ = ("after", "campaign", "changes", "event", "known", "node")
    node: "Node"

    def __init__(self, known: "Known", event: "Event", after: "After") -> None:
        self.known = known
        self.event = event
        self.after = after
        self.campaign: Campaign = {**known["campaign"]}
        if "node" in known:
            self.node = {**known["node"]}
        self.changes: list[Change] = []

    def add_history(
        self, subject: str, move: "tuple[str, str, str, str]", at: "tuple[int, int, str, int]", facts: "Facts"
    ) -> None:
        """Add a row to the history: (source, event, destination, why ignored) at (stage, iteration, node, attempt)."""
        event = self.event
        values: Mapping[str, object] = event
        who = (str(values.get("job_id", "")), event["dag_id"], event["host"])
        self.changes.append(("add_history", event["utc"], subject, *move, *at, *who, facts))

    def move_node(self, name: str, facts: "Facts") -> bool:
        """Send the event ``name`` to the node; returns whether the table allows it. The history has a row either way."""
        node = self.node
        source = node["state"]
        to = table.node_after(source, name)
        ignored = "" if to else f"a node that is {source} takes no event {name}"
        node["state"] = to or source
        at = (node["stage"], node["iteration"], node["node"], node["attempts"])
        self.add_history(node["node"], (source, name, to or source, ignored), at, facts)
        return to is not None

    def move_campaign(
        self, name: str, stage: int, iteration: int, facts: "Facts | None" = None, attempt: int = 0
    ) -> bool:
        """Send the event ``name``, which leads to an iteration, to the campaign; returns whether the table allows it."""
        campaign = self.campaign
        source = campaign["state"]
        to = self.after(source, name)
        ignored = "" if to else f"a campaign that is {source} takes no event {name}"
        values: Mapping[str, object] = self.event
        at = (stage, iteration, str(values.get("node", "")), attempt)
        self.add_history("campaign", (source, name, to or source, ignored), at, facts or {})
        if to is None:
            return False
        campaign["state"], campaign["stage"], campaign["iteration"] = to, stage, iteration
        campaign["updated_utc"] = self.event["utc"]
        if name in table.MESSAGES:
            self.enqueue(table.MESSAGES[name])
        if name == "reconstruction_started":
            self.changes.append(("begin_iteration", stage, iteration, self.event["utc"]))
        return True

    def enqueue(self, kind: str) -> None:
        """Notify the recipients of ``kind`` of the history's latest row."""
        self.changes.append(("enqueue", kind, table.FORMER.get(kind, kind)))

    def mark_processed(
        self, exit_status: int, attempt: int, phase: str, job_id: str = "", hold_time: str = "", node: str = ""
    ) -> None:
        """Record the exit status, which a repeat of the event gets again."""
        key = (self.event["dag_id"], node, attempt, phase, job_id, hold_time)
        self.changes.append(("mark_processed", *key, exit_status))

    def all_changes(self) -> "list[Change]":
        """Return all changes, including those of the rows of node and campaign."""
        found = self.changes[:]
        if "node" in self.known and (node := self.node) != self.known["node"]:
            found.append(("update_node", node["state"], node["attempts"], node["reason"], node["node"]))
        if (now := self.campaign) != self.known["campaign"]:
            place = (now["state"], now["stage"], now["iteration"])
            counts = (now["stages_done"], now["lost"], now["dag_id"])
            found.append(("update_campaign", *place, *counts, now["updated_utc"]))
        return found
