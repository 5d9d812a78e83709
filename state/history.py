"""The history's rows: how an event moves a node or the campaign, and what is written about it. Hot."""

import _sqlite3 as sqlite3

from faser_align.campaign import layout
from faser_align.fsm import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Strings and numbers only: an event may have waited in the spool as JSON. See ``state.apply``.
    Event = dict[str, Any]


class Campaign:
    """The campaign's row, with the event that is being taken in and the transaction that does it."""

    __slots__ = ("dag_id", "db", "event", "iteration", "lost", "lost_max", "stage", "stages", "stages_done", "state")

    def __init__(self, db: sqlite3.Connection, event: "Event") -> None:
        self.db = db
        self.event = event
        row = db.execute(
            "SELECT state, stage, iteration, stages, stages_done, lost_max, lost, dag_id FROM campaign"
        ).fetchone()
        self.state: str = row[0]
        self.stage: int = row[1]
        self.iteration: int = row[2]
        self.stages: int = row[3]
        self.stages_done: int = row[4]
        self.lost_max: int = row[5]
        self.lost: int = row[6]
        self.dag_id: str = row[7]


def node_event(
    campaign: Campaign, node: str, state: str, name: str, attempt: int, facts: str, values: "tuple[Any, ...]"
) -> int:
    """Move a node if the table allows it, and write the history's row either way; return its id."""
    to = table.node_after(state, name)
    _, stage, iteration, _ = layout.parse_node(node)
    if to:
        campaign.db.execute("UPDATE nodes SET state = ? WHERE node = ?", (to, node))
    ignored = "" if to else f"a node that is {state} takes no event {name}"
    return write(campaign, node, (state, name, to or state, ignored), (stage, iteration, node, attempt), facts, values)


def campaign_event(
    campaign: Campaign,
    name: str,
    stage: int,
    iteration: int,
    facts: str = "json_object()",
    values: "tuple[Any, ...]" = (),
    *,
    attempt: int = 0,
    after: "Callable[[str, str], str | None]" = table.campaign_after,
) -> str | None:
    """Move the campaign if the table allows it, write the history's row, ask for the message.

    Args:
        campaign: the campaign, whose state is that of the table's source.
        name: event of ``fsm.table.CAMPAIGN``.
        stage, iteration: where the campaign is afterwards, if the event is allowed.
        facts, values: SQL expression of the JSON object of facts, and its parameters.
        attempt: the node's attempt that brought the event.
        after: what decides; the table, or the machine that is made from it.

    Returns:
        The new state, or None where the event was ignored.
    """
    source = campaign.state
    to = after(source, name)
    ignored = "" if to else f"a campaign that is {source} takes no event {name}"
    where = (stage, iteration, campaign.event.get("node", ""), attempt)
    row = write(campaign, "campaign", (source, name, to or source, ignored), where, facts, values)
    if to:
        campaign.db.execute(
            "UPDATE campaign SET state = ?, stage = ?, iteration = ?, updated_utc = ?",
            (to, stage, iteration, campaign.event["utc"]),
        )
        campaign.state, campaign.stage, campaign.iteration = to, stage, iteration
        if name == "reconstruction_started":
            campaign.db.execute(
                "INSERT OR IGNORE INTO iterations VALUES (?, ?, ?, '', '', '', '[]', '{}')",
                (stage, iteration, campaign.event["utc"]),
            )
        if name in table.MESSAGES:
            enqueue(campaign, row, table.MESSAGES[name])
    return to


def end_iteration(campaign: Campaign, stage: int, iteration: int, found: "tuple[str, str, str, str]") -> None:
    """Record what an iteration found: its verdict, the reason, and criteria and metrics as JSON."""
    campaign.db.execute(
        "INSERT INTO iterations (stage, iteration, started_utc, ended_utc, verdict, reason, criteria, metrics) "
        "VALUES (?, ?, ?, ?, ?, ?, json(?), json(?)) "
        "ON CONFLICT (stage, iteration) DO UPDATE SET ended_utc = excluded.ended_utc, verdict = excluded.verdict, "
        "reason = excluded.reason, criteria = excluded.criteria, metrics = excluded.metrics",
        (stage, iteration, campaign.event["utc"], campaign.event["utc"], *found),
    )


def write(
    campaign: Campaign,
    subject: str,
    change: "tuple[str, str, str, str]",
    where: "tuple[int, int, str, int]",
    facts: str,
    values: "tuple[Any, ...]",
) -> int:
    event = campaign.event
    head = (event["utc"], subject, *change, *where, event.get("job_id", ""), event["dag_id"], event["host"])
    cursor = campaign.db.execute(
        f"INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {facts})", head + values
    )
    return cursor.lastrowid or 0


def enqueue(campaign: Campaign, history_id: int, kind: str) -> None:
    """Put a message to everybody who asked for ``kind`` into the outbox, in the same transaction."""
    campaign.db.execute(
        "INSERT OR IGNORE INTO outbox SELECT NULL, ?, who.value, ?, 'pending', 0, '', '', '', '' "
        "FROM campaign, json_each(campaign.targets) AS who "
        "WHERE EXISTS (SELECT 1 FROM json_each(campaign.messages) WHERE value IN (?, ?))",
        (history_id, kind, kind, table.FORMER.get(kind, kind)),
    )
