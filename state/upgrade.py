"""Migrate an older program's state database between two DAGMans, never in or beside a script."""

import contextlib
import os
import sqlite3

from faser_align.campaign import layout
from faser_align.fsm.errors import StoreError
from faser_align.state import database, publish


def bring_up_to_date(folder: str) -> bool:
    """Migrate the database of the campaign in ``folder`` to the newest schema, and publish it.

    Only while no DAGMan of the campaign is in the queue: its scripts would wait for it. If killed it leaves the database
    unchanged.

    Returns:
        Whether there was anything to migrate, or no redo log.

    Raises:
        StoreError: a newer program has changed the database, or it cannot be read or written.
    """
    from faser_align.state import redolog

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
