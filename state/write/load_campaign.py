"""Read the rows that ``fsm.reduce_campaign`` needs for FINAL and for requests of the command line."""

import sqlite3
from typing import TYPE_CHECKING

from faser_align.campaign import layout
from faser_align.fsm import table
from faser_align.state.database import processed, rows

if TYPE_CHECKING:
    from faser_align.fsm.events import Control, Final
    from faser_align.fsm.rows import Known

_EARLY_END = ("id", "event", "stage", "iteration", "attempt", "facts")


def final(db: sqlite3.Connection, event: "Final", known: "Known") -> None:
    """Add to ``known`` the rows that FINAL depends on."""
    known["processed"] = processed(db, event["dag_id"], event["node"], "final")
    order = "ORDER BY stage, iteration, kind DESC, file"
    known["failed"] = [name for (name,) in db.execute(f"SELECT node FROM nodes WHERE state = 'failed' {order}")]
    has_solution = db.execute("SELECT 1 FROM nodes WHERE kind = 'mille' LIMIT 1").fetchone()
    known["only_iteration"] = (
        None if has_solution else db.execute("SELECT stage, iteration FROM nodes LIMIT 1").fetchone()
    )
    known["early_end"] = None
    where = "WHERE subject = 'campaign' AND ignored != '' AND event IN ('limit', 'converged') ORDER BY id DESC LIMIT 1"
    for end in rows(db, "history", _EARLY_END, where):
        sql = "SELECT DISTINCT event FROM history WHERE subject = 'campaign' AND ignored = '' AND id > ?"
        known["early_end"] = end
        end["since"] = [name for (name,) in db.execute(sql, (end["id"],))]


def control(db: sqlite3.Connection, event: "Control", known: "Known") -> None:
    """Add to ``known`` the rows that an event of the command line depends on."""
    name = event["event"]
    if name in table.NEW_DAGMAN:
        known["new_dagman"] = not processed(db, event["dag_id"], "", "dagman")
        return
    known["processed"] = processed(db, "", "", "control", event["id"])
    if name == "notify_retried":
        sql = "SELECT count(*) FROM outbox WHERE state IN ('failed', 'pending') AND (? = '' OR target = ?)"
        known["unsent"] = db.execute(sql, (event["target"], event["target"])).fetchone()[0]
    if name == "extended":
        stage = int(event["stage"])
        sql = "SELECT DISTINCT file FROM nodes WHERE kind = 'reco' AND stage = ? ORDER BY file"
        files = [file for (file,) in db.execute(sql, (stage,))]
        known["new_nodes"] = []
        for iteration in range(int(event["before"]) + 1, int(event["after"]) + 1):
            reco = [(layout.reco_node(stage, iteration, file), "reco", stage, iteration, file) for file in files]
            known["new_nodes"] += [*reco, (layout.mille_node(stage, iteration), "mille", stage, iteration, -1)]
