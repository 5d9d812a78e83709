"""Create the state database of a new campaign, and report submissions of DAGMan to the scripts."""

import contextlib
import json
import os
import sqlite3

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, reduce, table
from faser_align.fsm.errors import StoreError
from faser_align.fsm.rows import Columns, NewNode
from faser_align.state import database, publish, redolog, spool


def create_store(folder: str, record: Manifest) -> None:
    """Create ``state.db``, the event queue and the first snapshot of a campaign in ``folder``.

    It may be renamed afterwards to ``record["folder"]``, the campaign's later folder.

    Raises:
        StoreError: the database cannot be created there.
    """
    from faser_align.state import schema  # sqlite-utils takes half a second with pandas, which it loads if it is there

    try:
        os.makedirs(f"{folder}/{layout.SPOOL}", exist_ok=True)
        schema.migrate(f"{folder}/{layout.STATE}")
        database.transact(folder, lambda db: begin(db, record, database.utc(), os.uname().nodename))
        redolog.begin(folder)
        publish.publish(folder)
    except (sqlite3.Error, OSError) as problem:
        raise StoreError(f"{folder}: the state database of {record['name']} cannot be created: {problem}") from problem


def record_submitted(folder: str, cluster: int, *, resumed: bool = False) -> None:
    """Report to the scripts, through the event queue, that DAGMan was submitted as ``cluster``; they may know already.

    Raises:
        StoreError: the event queue cannot be written.
    """
    source: events.Source = {"dag_id": f"{cluster}.0", "utc": database.utc(), "host": os.uname().nodename}
    try:
        spool.put(folder, events.dagman(source, resumed=resumed))
    except OSError as problem:
        raise StoreError(f"{folder}: the fallback event queue cannot be written: {problem}") from problem


def nodes(record: Manifest) -> list[NewNode]:
    """Return all nodes of a campaign as (name, kind, stage, iteration, file), in the order of their work."""
    found = []
    for stage, iteration in layout.iterations(record):
        files = layout.files_of(record, stage)
        found += [(layout.reco_node(stage, iteration, f), "reco", stage, iteration, f) for f in files]
        if (stage, iteration) != (layout.VALIDATION, layout.BEFORE) and "only" not in record:
            node = layout.mille_node(stage, iteration)
            found.append((node, layout.parse_node(node)[0], stage, iteration, -1))
    return found


def columns(record: Manifest) -> Columns:
    """Return the columns of the campaign's row that follow from what can be changed in its manifest."""
    notify, min_files = record["config"]["notify"], record["config"]["reconstruction"]["min_files"]
    return {
        "data": record["data"],
        "lost_max": reduce.most_dropped(min_files, len(layout.requested_files(record))),
        "targets": json.dumps(notify["targets"]),
        "messages": json.dumps(table.kinds(notify["events"])),
    }


def begin(db: sqlite3.Connection, record: Manifest, now: str, host: str) -> None:
    """Write the first rows of a campaign, at UTC time ``now`` on machine ``host``."""
    derived = columns(record)
    db.execute(
        "INSERT INTO campaign VALUES (1, ?, ?, ?, ?, ?, 0, 0, ?, 0, ?, 0, '', ?, ?, ?, ?)",
        (
            *(record["name"], record["folder"], record["data"], record["run"], table.INITIAL),
            *(len(record["stages"]), derived["lost_max"], derived["targets"], derived["messages"], now, now),
        ),
    )
    db.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, 'waiting', 0, '')", nodes(record))
    facts: dict[str, object] = {"files": len(record["files"]), "stages": [s["iterations"] for s in record["stages"]]}
    if "parent" in record:
        facts["parent"] = {key: record["parent"][key] for key in ("name", "stage", "iteration")}
    db.execute(
        "INSERT INTO history VALUES (NULL, ?, 'campaign', '', 'created', ?, '', 0, 0, '', 0, '', '', ?, ?)",
        (now, table.INITIAL, host, json.dumps(facts)),
    )


def bring_up_to_date(folder: str) -> bool:
    """Migrate the database of the campaign in ``folder`` to the newest schema, and publish it; return whether that was needed.

    Only while no DAGMan of the campaign is in the queue: its scripts would wait for it. If killed it leaves the database
    unchanged.

    Raises:
        StoreError: a newer program has changed the database, or it cannot be read or written.
    """
    try:
        with contextlib.closing(database.QueueLock(f"{folder}/{layout.STATE_LOCK}", database.QUEUE_S_MAX)):
            with contextlib.closing(database.connect(folder)) as db:
                database.refuse_newer(db)
                old = db.execute("PRAGMA user_version").fetchone()[0] < database.SCHEMA
            if not old and os.path.exists(f"{folder}/{layout.REDO}"):
                return False
            if old:
                from faser_align.state import schema

                schema.migrate(f"{folder}/{layout.STATE}")
            redolog.begin(folder)  # its statements have the new schema
        publish.publish(folder)
    except (sqlite3.Error, OSError) as problem:
        raise StoreError(f"the state database {folder}/{layout.STATE} cannot be migrated: {problem}") from problem
    return True
