"""Read the rows that an event concerns, for ``fsm.reduce``. Startup-critical."""

from faser_align.fsm import table
from faser_align.state import database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

    from faser_align.fsm.events import Event, Hold, Post, Pre
    from faser_align.fsm.rows import Known

_CAMPAIGN = ("state", "stage", "iteration", "stages", "stages_done", "lost_max", "lost", "dag_id", "updated_utc")
_NODE = ("node", "kind", "stage", "iteration", "file", "state", "attempts", "reason")
_ATTEMPT = ("attempt", "dag_id", "closed_utc", "job_id")


def load(db: "sqlite3.Connection", event: "Event") -> "Known":
    """Return the rows of the database that concern ``event``.

    Raises:
        sqlite3.Error: the database cannot be read.
        KeyError, ValueError: it is not an event of this campaign.
    """
    (campaign,) = database.rows(db, "campaign", _CAMPAIGN)
    known: Known = {"campaign": campaign}
    if event["phase"] != "control" and campaign["dag_id"] != event["dag_id"]:
        known["new_dagman"] = not database.processed(db, event["dag_id"], "", "dagman")
    if event["phase"] == "pre" or event["phase"] == "post" or event["phase"] == "hold":
        _load_node(db, event, known)
    elif event["phase"] == "control":
        from faser_align.state.write import load_campaign

        load_campaign.control(db, event, known)
    elif event["phase"] == "final":
        from faser_align.state.write import load_campaign

        load_campaign.final(db, event, known)
    return known  # fsm.reduce refuses other phases


def _load_node(db: "sqlite3.Connection", event: "Pre | Post | Hold", known: "Known") -> None:
    node = event["node"]
    found = database.rows(db, "nodes", _NODE, "WHERE node = ?", (node,))
    if not found:
        raise ValueError(f"{node!r} is not a node of this campaign")
    known["node"] = found[0]
    known["attempts"] = database.rows(db, "attempts", _ATTEMPT, "WHERE node = ? ORDER BY attempt", (node,))
    if event["phase"] != "pre":
        hold_time = event["hold_time"] if event["phase"] == "hold" else ""
        known["processed"] = database.processed(db, event["dag_id"], node, event["phase"], event["job_id"], hold_time)
    if event["phase"] != "hold":
        campaign = known["campaign"]
        lost = "SELECT 1 FROM nodes WHERE file = ? AND state = 'lost' LIMIT 1"
        known["file_lost"] = bool(campaign["lost"] and db.execute(lost, (found[0]["file"],)).fetchone())
        ended = "SELECT 1 FROM iterations WHERE stage = ? AND verdict = 'converged' LIMIT 1"
        validates = found[0]["stage"] == table.VALIDATION
        known["converged"] = validates and db.execute(ended, (campaign["stages"],)).fetchone() is not None
