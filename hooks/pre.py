"""Run the PRE script of a node: begin an attempt, or skip the node. Startup-critical for reconstructions."""

import _sqlite3 as sqlite3

from faser_align.fsm import exit_codes
from faser_align.state import database, writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faser_align.fsm.events import Pre


def run(folder: str, kind: str, event: "Pre", wait_s: float) -> "tuple[int, bool]":
    """Record that an attempt of a node of this ``kind`` begins, at least ``wait_s`` after the one before.

    Returns the exit status, and whether the database holds the event.
    """
    if wait_s and event["retry"] and _too_early(folder, event, wait_s):
        return exit_codes.DEFER, False
    if kind == "reco":
        return writer.record(folder, event)
    from faser_align.hooks import delivery
    from faser_align.state import holds
    from faser_align.system.libraries import site_packages

    site_packages()
    held = holds.read(folder)
    status, stored = writer.record(folder, event, lambda db: holds.take(db, event, held))
    if status == 0:
        _list_dropped_files(folder, event["node"])
    if stored:
        delivery.deliver(folder)
    return status, stored


def _too_early(folder: str, event: "Pre", wait_s: float) -> bool:
    """Return whether the node's last attempt ended less than ``wait_s`` ago.

    It did not if the database does not answer, or if the clock was set back.
    """
    try:
        db = database.connect(folder)
        try:
            row = db.execute(
                "SELECT (julianday(?) - julianday(closed_utc)) * 86400 BETWEEN 0 AND ? FROM attempts "
                "WHERE node = ? AND closed_utc != '' ORDER BY attempt DESC LIMIT 1",
                (event["utc"], wait_s - 1, event["node"]),  # DAGMan counts its pause in whole seconds
            ).fetchone()
            return bool(row and row[0])
        finally:
            db.close()
    except sqlite3.Error:
        return False


def _list_dropped_files(folder: str, node: str) -> None:
    """Write the list of raw files that the Millepede job must not wait for.

    The snapshot names them if the database cannot be read.
    """
    import json

    from faser_align.campaign import layout
    from faser_align.state import queries
    from faser_align.system.atomic import write_text

    def files(db: sqlite3.Connection) -> list[int]:
        return [row[0] for row in db.execute("SELECT DISTINCT file FROM nodes WHERE state = 'lost' ORDER BY file")]

    try:
        dropped = database.read(folder, files)
    except (sqlite3.Error, OSError):
        with queries.published(folder) as snapshot:
            dropped = files(snapshot)
    if dropped:
        _, stage, iteration, _ = layout.parse_node(node)
        write_text(layout.lost_file(folder, stage, iteration), json.dumps(dropped))
