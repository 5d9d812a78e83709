"""Rebuild a campaign's state database from its copies and from DAGMan's logs.

The new database is built beside the old one and replaces it atomically: a repair that is killed leaves either. If a copy
is valid (the database, its snapshot, or what the redo log makes), the one with the longest history gets the events of
the logs and the event queue that it lacks, and so keeps data that only scripts know. Otherwise, or if events within its
history are missing, all events of DAGMan's logs are applied to a new database.
"""

import contextlib
import os
import shlex
import shutil
import sqlite3
import time
from collections.abc import Iterator
from typing import NamedTuple

from faser_align.campaign import changes, layout, submissions
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import table
from faser_align.fsm.errors import StoreError, UserError
from faser_align.state import dagmanlogs, database, redolog, spool, writer
from faser_align.state.dagmanlogs import Logs
from faser_align.state.repair import copies as copied
from faser_align.state.repair.copies import FILES, REDO, STORE, Copy, opened
from faser_align.state.repair.events import Replayable, end_of, events_of, how_dagman_left
from faser_align.state.repair.replay import Replayed, begin, missing, replay, with_spool
from faser_align.system import atomic
from faser_align.system.program import program
from faser_align.system.read import text_of

LOGS = "the logs of DAGMan"
ASIDE = "set-aside"
# Parts of a history that the logs lack.
UNKNOWN = (
    "times are DAGMan's, to the second; events are in the order in which scripts ended",
    "whether a killed script had recorded anything: its attempt may be missing",
    "the hosts of scripts",
    "why earlier attempts of a job failed, apart from the exit status: later attempts overwrote the output",
    "whether a message was sent, unless a copy of the database has it; unknown messages are not sent",
    "notes about deliveries, the fallback event queue and `stop --after`, and reasons of ends that a repair wrote",
)


class Rebuilt(NamedTuple):
    """The result of a repair."""

    copies: tuple[Copy, ...]  # that were examined
    path: str  # file of the new state database; empty if there is nothing to repair
    made_from: str  # the copy from which it was made, or the logs
    taken: int  # number of events that it has beyond that
    spooled: tuple[str, ...]  # files of the event queue that were applied
    unfit: tuple[str, ...]  # and that could not be
    closed: str  # why the campaign was closed; empty if it was not
    left_out: int  # number of events of the logs that could not be applied because the database has later ones
    refused: tuple[str, ...] = ()  # sentences about events that do not fit the campaign

    @property
    def stale(self) -> bool:
        """Return whether the snapshot is out of date though the state database needs no repair."""
        store, copy = self.copies[:2]
        return not self.path and (
            bool(copy.damage) or (copy.rows, copy.transactions) != (store.rows, store.transactions)
        )


def read_logs(folder: str) -> Logs:
    """Return the logs of the campaign in ``folder``, those of all its DAGs in order."""
    beside = [f"{folder}/{name}" for name in layout.dag_files(folder)]
    outs = [text_of(dag + layout.ENDING_DAGMAN_OUT) for dag in beside]
    began = [[line.value for line in dagmanlogs.dagman_out(out) if line.what == "DAGMAN_STARTED"] for out in outs[1:]]
    return Logs(
        jobstate=text_of(f"{folder}/{layout.JOBSTATE_LOG}"),
        dagman_out="".join(outs),
        extended_by=tuple(next(iter(ids), "") for ids in began),
        dagman_log="".join(text_of(dag + layout.ENDING_DAGMAN_LOG) for dag in beside),
        scripts=text_of(f"{folder}/{layout.SCRIPTS_LOG}"),
        jobs=text_of(f"{folder}/{layout.JOB_LOG}"),
    )


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the database's lock, and remove the files of a killed repair.

    Raises:
        StoreError: somebody else has it, or the folder cannot be written.
    """
    try:
        lock = database.QueueLock(f"{folder}/{layout.STATE_LOCK}", database.QUEUE_S_MAX)
    except OSError as problem:
        raise StoreError(f"{folder} cannot be written: {problem.strerror}") from problem
    with contextlib.closing(lock):
        if not lock.acquired:
            raise StoreError(f"another process writes the state database of {folder}; repeat the command later")
        for name in os.listdir(folder):
            if name.startswith(_SCRATCH):
                shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
        yield


_SCRATCH = ".repair."


def scratch_of(folder: str) -> str:
    """Make a new folder for a repair of the campaign in ``folder``, on the same file system."""
    path = f"{folder}/{_SCRATCH}{os.getpid()}"
    os.mkdir(path)
    return path


def rebuild(folder: str, record: Manifest, scratch: str) -> Rebuilt:
    """Rebuild the database in the empty folder ``scratch`` if it needs repair. The campaign's folder is only read.

    Only while no DAGMan of the campaign is in the queue: an unfinished campaign is closed. ``record`` is the manifest as
    it was submitted.

    Raises:
        StoreError: a newer program has changed the state database.
        UserError: no copy is sound, and there are no logs: DAGMan's are gone, or the campaign was imported.
        OSError, sqlite3.Error: the new state database cannot be written.
    """
    copies = tuple(copied.examine(folder, record, scratch, name, file) for name, file in FILES)
    from_log = copied.replayed(folder, record, scratch)
    copies += (from_log,) if from_log else ()
    logs = read_logs(folder)
    events = with_spool(folder, events_of(logs, record, changes.read(folder)))
    made_from, path, applied, left_out = _from_copies(folder, copies, events, scratch)
    if not path and "imported" in record:
        source = shlex.quote(record["imported"]["from"])
        raise UserError(
            f"{record['name']} was imported, and no copy of its state database is sound; import it again with "
            f"`{program()} import {source}`"
        )
    if not path and not events and not logs.dagman_log and submissions.latest(folder).dag:
        raise UserError(
            f"{record['name']} was submitted, and neither a sound copy of its state database nor a log of DAGMan is left "
            f"in {folder} to make it from; restore {layout.STATE}, {layout.PUBLISHED} or {layout.REDO} from a backup"
        )
    if not path or left_out:
        fresh = f"{scratch}/fresh.db"
        begin(fresh, record)
        of_all = replay(fresh, folder, events)
        if not path or copied.covers(fresh, path):
            made_from, path, applied, left_out = LOGS, fresh, of_all, 0
    unfit, taken, refused = applied
    restored = copied.restore_message_states(path, copies)
    closed = _close(path, logs)
    with opened(path) as db:  # a count beyond any redo log, so that the new database is not compared with an old one
        db.execute(f"PRAGMA application_id = {max(copy.transactions for copy in copies) + 1}")
    store = copies[0]
    idle = made_from == STORE and not (taken or restored or closed or store.migrated or spool.waiting(folder))
    spooled = tuple(one.spooled for one in events if one.spooled and one.spooled not in unfit)
    path = "" if idle else path
    return Rebuilt(copies, path, made_from, taken, spooled, tuple(unfit), closed, left_out, tuple(refused))


def _from_copies(
    folder: str, copies: tuple[Copy, ...], events: list[Replayable], scratch: str
) -> tuple[str, str, Replayed, int]:
    """Complete the valid copy with the longest history; return no path if no copy is valid.

    Returns:
        The copy's name, the path, the result of applying the events that it lacks, and how many could not be applied
        because it has later ones.
    """
    sound = [copy for copy in copies if not copy.damage]
    if not sound:
        return "", "", Replayed([], 0, []), 0
    best = max(sound, key=lambda copy: (copy.transactions, copy.rows, -copies.index(copy)))
    # A killed script may not have committed the last transaction of the redo log: a valid database decides.
    if best.name == REDO and sound[0].name == STORE and sound[0].transactions == best.transactions - 1:
        best = sound[0]
    tail, middle = missing(best.path, events)
    path = f"{scratch}/base.db"
    shutil.copyfile(best.path, path)
    # A redo log has every transaction that was committed, so no message was sent about events that are not in it.
    complete = any(copy.name == REDO and copy.transactions >= best.transactions for copy in sound)
    return best.name, path, replay(path, folder, tail, unsent=complete), len(middle)


def _close(path: str, logs: Logs) -> str:
    """Close a submitted campaign that has not ended, since no script will run any more; return the reason."""
    with opened(path) as db:
        state, dag_id = db.execute("SELECT state, dag_id FROM campaign").fetchone()
        if state not in table.UNFINISHED or not dag_id:
            return ""
        left = how_dagman_left(logs.dagman_log, dag_id)
        event = end_of(left, {"dag_id": dag_id, "utc": database.utc(), "host": os.uname().nodename})
        db.execute("BEGIN IMMEDIATE")
        writer.apply(db, event)
        db.execute("COMMIT")
        return left.words


def install(folder: str, rebuilt: Rebuilt) -> str:
    """Replace the old database, which is kept, with the new one, and start its redo log.

    Returns:
        Path of the old state database's file; empty if there was none.

    Raises:
        OSError: nothing was changed.
    """
    store = f"{folder}/{layout.STATE}"
    atomic.sync(rebuilt.path)
    _settle(store)
    aside = ""
    if os.path.lexists(store):
        aside = f"{store}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.{ASIDE}"
        _keep(store, aside)
    # SQLite would apply a remaining journal to the new database.
    if os.path.lexists(f"{store}-journal"):
        os.replace(f"{store}-journal", f"{aside or store}-journal{'' if aside else '.' + ASIDE}")
    os.chmod(rebuilt.path, database.PRIVATE)
    os.replace(rebuilt.path, store)
    atomic.sync(folder)
    redolog.begin(folder)
    spool.remove(folder, list(rebuilt.spooled))
    for name in rebuilt.unfit:
        spool.set_aside(folder, name)
    return aside


def _settle(store: str) -> None:
    """Let SQLite roll back a killed writer's journal if the database can be read."""
    if os.path.exists(f"{store}-journal") and os.path.exists(store):
        with contextlib.suppress(sqlite3.Error), opened(store) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")


def _keep(path: str, aside: str) -> None:
    """Link a file to a second name, so that it always exists; copy it where links are not supported."""
    try:
        os.link(path, aside)
    except OSError:
        shutil.copyfile(path, aside)
