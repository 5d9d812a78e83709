"""The connection of a writer: one script, one ``BEGIN IMMEDIATE`` transaction, in the order of a file lock.

Hot: standard library only. The lock is a fair queue; SQLite's own busy handler is not (writers that
poll with growing pauses starve each other), so that it only has to serve the rare reader.
"""

import _sqlite3 as sqlite3
import fcntl
import os
import time

from faser_align.campaign import layout
from faser_align.state import redo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Found = TypeVar("Found")

QUEUE_S_MAX = 10.0  # waiting in the queue of the lock
BUSY_S_MAX = 20.0  # waiting for SQLite afterwards
PRIVATE = 0o600  # mode of the database and of lock files; readers have the snapshot
SCHEMA = 2  # newest PRAGMA user_version that this program knows; see ``state.schema``


def utc(at_s: float | None = None) -> str:
    """UTC time as ``2026-11-24T07:30:00.123Z``; strings of this form sort by time."""
    now = time.time() if at_s is None else at_s
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def connect(folder: str, *, writing: bool = True) -> sqlite3.Connection:
    """Open the state database of the campaign in ``folder``.

    Args:
        folder: the campaign.
        writing: whether a COMMIT must last. SQLite reads the whole schema for that, which some readers do not need.

    Raises:
        sqlite3.Error: there is no store, or it cannot be opened. A store is never made here.
    """
    db = sqlite3.connect(uri(f"{folder}/{layout.STATE}", "mode=rw"), timeout=BUSY_S_MAX, isolation_level=None, uri=True)
    try:
        close_to_others(f"{folder}/{layout.STATE}")
        if writing:
            db.execute("PRAGMA synchronous = EXTRA")
    except BaseException:
        db.close()
        raise
    return db


def close_to_others(file: "int | str") -> None:
    """Leave a file (path or descriptor) to its owner alone; a file system that refuses is no error.

    Anyone who can open the database or a lock file can lock it, and make every script wait. SQLite gives its journal the
    mode of the database.
    """
    try:
        if os.stat(file).st_mode & 0o077:
            os.chmod(file, PRIVATE)
    except OSError:
        pass


def uri(path: str, query: str) -> str:
    """SQLite's name for the file at ``path``, with the parameters ``query``."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?{query}"


def refuse_newer(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if a newer program has changed the store: what it means now is not known here."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise sqlite3.DatabaseError(newer("the store", version))


def newer(name: str, version: int) -> str:
    """Say that a newer program has changed a database."""
    return f"{name} has schema {version}, and this faser-align knows schemas up to {SCHEMA}; use the newer version"


class QueueLock:
    """A FIFO lock on a file, released by ``close`` or when the process ends, however it ends.

    Args:
        path: the lock file.
        wait_s: how long to queue; afterwards ``acquired`` is False, and the caller decides what to do without the lock.
    """

    __slots__ = ("_fd", "acquired")

    def __init__(self, path: str, wait_s: float) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        close_to_others(self._fd)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.acquired = True
        except BlockingIOError:
            self.acquired = _wait(self._fd, wait_s)

    def close(self) -> None:
        os.close(self._fd)


def _wait(fd: int, wait_s: float) -> bool:
    """Wait for the lock, in the order of arrival, for at most ``wait_s``; whether it is ours then.

    A blocking ``flock`` is woken in order, which polling is not. The caller's alarm, if one is set, bounds it too, and
    is put back.
    """
    import signal

    def late(signum: int, frame: object) -> None:
        raise TimeoutError

    remaining_s, _ = signal.getitimer(signal.ITIMER_REAL)
    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, min(wait_s, remaining_s or wait_s)))
    started = time.monotonic()
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return True
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
        if remaining_s:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, remaining_s - (time.monotonic() - started)))


def read(folder: str, work: "Callable[[sqlite3.Connection], Found]") -> "Found":
    """Run ``work``, which only reads, after the present writer has finished; return what it returned.

    With the commit lock held, no script is inside a commit. With SQLite's own lock alone, a reader would find the database
    locked for most of a burst of writers, and might never read; in the writers' queue it would wait for all of them.

    Raises:
        sqlite3.Error, OSError: the store cannot be read.
    """
    commit_lock = QueueLock(f"{folder}/{layout.COMMIT_LOCK}", QUEUE_S_MAX)
    try:
        db = connect(folder, writing=False)
        try:
            return work(db)
        finally:
            db.close()
    finally:
        commit_lock.close()


def transact(folder: str, work: "Callable[[sqlite3.Connection], int]") -> int:
    """Run ``work`` in one immediate transaction, append what it executed to the redo log, and commit it.

    Returns:
        What ``work`` returned.

    Raises:
        sqlite3.Error, OSError: nothing was written.
    """
    # After the wait the script continues without the lock: SQLite's own lock is enough.
    lock = QueueLock(f"{folder}/{layout.STATE_LOCK}", QUEUE_S_MAX)
    commit_lock = None
    try:
        commit_lock = QueueLock(f"{folder}/{layout.COMMIT_LOCK}", QUEUE_S_MAX if lock.acquired else 0.0)
        db = connect(folder)
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                refuse_newer(db)
                statements: list[str] = []
                changes = db.total_changes
                db.set_trace_callback(statements.append)
                answer = work(db)
                db.set_trace_callback(None)
                if db.total_changes > changes:
                    redo.append(folder, db, statements)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        finally:
            db.close()
    finally:
        if commit_lock:
            commit_lock.close()
        lock.close()
    return answer
