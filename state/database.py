"""Open the state database, and run transactions in the order of a file lock. Startup-critical: standard library only.

The lock is a fair queue. SQLite's busy handler is not: writers that poll with growing pauses starve each other.

Each transaction's statements are appended to the redo log before they are committed. ``state.db`` can be lost or damaged,
and DAGMan's logs contain neither control requests, nor messages, nor which script was killed after its COMMIT.
``state.redolog`` replays the redo log. The database counts its transactions in ``PRAGMA application_id``, and each line
begins with the count before its transaction. A script that was killed between its line and its COMMIT does not change the
count, so the next line has the same one: the last line of a count is the committed one. Nothing is synced here: SQLite's
own journal protects the database, and a line lost in a power failure leaves a gap in the counts, which readers detect.
"""

import _sqlite3 as sqlite3
import errno
import fcntl
import os
import time

from faser_align.campaign import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Found = TypeVar("Found")

QUEUE_S_MAX = 10.0  # waiting in the queue of the lock
BUSY_S_MAX = 20.0  # waiting for SQLite afterwards
PRIVATE = 0o600  # mode of the database and of lock files; readers have the snapshot
_READING = ("SELECT", "PRAGMA", "WITH")  # first words of statements that the redo log omits
SCHEMA = 2  # newest PRAGMA user_version that this program knows; see ``state.schema``


def utc(at_s: float | None = None) -> str:
    """Return UTC time as ``2026-11-24T07:30:00.123Z``; strings of this form sort by time."""
    now = time.time() if at_s is None else at_s
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def connect(folder: str, *, writing: bool = True) -> sqlite3.Connection:
    """Open the state database of the campaign in ``folder``.

    With ``writing`` a COMMIT lasts. SQLite reads the whole schema for that, which some readers do not need.

    Raises:
        sqlite3.Error: there is no database, or it cannot be opened; it is not created.
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
    """Leave a file (path or descriptor) to its owner alone; a refusal by the file system is not an error.

    Anyone who can open the database or a lock file can lock it, and make every script wait. SQLite gives its journal the
    mode of the database.
    """
    try:
        if os.stat(file).st_mode & 0o077:
            os.chmod(file, PRIVATE)
    except OSError:
        pass


def sync(path: str) -> None:
    """Write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def uri(path: str, query: str) -> str:
    """Return SQLite's name for the file at ``path``, with the parameters ``query``."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?{query}"


def refuse_newer(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if a newer program has migrated the database."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise sqlite3.DatabaseError(newer("the state database", version))


def newer(name: str, version: int) -> str:
    """Say that a newer program has changed a database."""
    return f"{name} has schema {version}, and this faser-align knows schemas up to {SCHEMA}; use the newer version"


class QueueLock:
    """A FIFO lock on a file, released by ``close`` or when the process ends, however it ends.

    After ``wait_s`` in the queue ``acquired`` is False, and the caller decides what to do without the lock.
    """

    __slots__ = ("acquired", "fd")

    def __init__(self, path: str, wait_s: float) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        close_to_others(self.fd)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.acquired = True
        except BlockingIOError:
            self.acquired = _wait(self.fd, wait_s)

    def close(self) -> None:
        os.close(self.fd)


def _wait(fd: int, wait_s: float) -> bool:
    """Wait for the lock, in the order of arrival, for at most ``wait_s``; return whether it was acquired.

    A blocking ``flock`` keeps the order, which polling does not, and has no time limit: so a thread waits in it. One that
    gets the lock too late closes its own descriptor, which releases the lock once the caller's is closed.
    """
    import _thread

    if wait_s <= 0:
        return False
    own = os.dup(fd)
    acquired = _thread.allocate_lock()
    acquired.acquire()

    def queue() -> None:
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            acquired.release()
        finally:
            os.close(own)

    try:
        _thread.start_new_thread(queue, ())
    except RuntimeError:  # the user's limit of processes is reached
        os.close(own)
        return False
    return acquired.acquire(timeout=wait_s)


def rows(
    db: sqlite3.Connection, name: str, columns: "tuple[str, ...]", where: str = "", values: "tuple[object, ...]" = ()
) -> "list[Any]":
    """Return the chosen columns of rows as dictionaries."""
    found = db.execute(f"SELECT {', '.join(columns)} FROM {name} {where}", values)
    return [dict(zip(columns, row)) for row in found]  # noqa: B905 - SQLite gives the requested columns


def processed(
    db: sqlite3.Connection, dag_id: str, node: str, phase: str, job_id: str = "", hold_time: str = ""
) -> "list[tuple[int, int]]":
    """Return (attempt, exit status) of the events with this key that were recorded, latest attempt first."""
    return db.execute(
        "SELECT attempt, exit_status FROM events WHERE dag_id = ? AND node = ? AND phase = ? AND job_id = ? "
        "AND hold_time = ? ORDER BY attempt DESC",
        (dag_id, node, phase, job_id, hold_time),
    ).fetchall()


def read(folder: str, work: "Callable[[sqlite3.Connection], Found]") -> "Found":
    """Run ``work``, which only reads, after the present writer has finished; return its result.

    The commit lock excludes scripts that commit. With SQLite's own lock alone, a reader would find the database locked for
    most of a burst of writers; in the writers' queue it would wait for all of them.

    Raises:
        sqlite3.Error, OSError: the database cannot be read.
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


def transact(folder: str, work: "Callable[[sqlite3.Connection], Found]") -> "Found":
    """Run ``work`` in one immediate transaction, append its statements to the redo log, and commit; return its result.

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
                    append_redo(folder, db, statements)
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


def append_redo(folder: str, db: sqlite3.Connection, statements: "list[str]") -> None:
    """Append what the open transaction of ``db`` has executed to the redo log, and count the transaction.

    An older program's campaign has no redo log until it is resumed; nothing is appended then.

    Raises:
        OSError, sqlite3.Error: the transaction must be rolled back.
    """
    written = [text for text in statements if not text.lstrip().startswith(_READING)]
    if not written:
        return
    try:
        log = os.open(f"{folder}/{layout.REDO}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    count = db.execute("PRAGMA application_id").fetchone()[0]
    try:
        # A line begins with its line break, which ends a partial line of a killed writer or a full disk.
        line = f"\n{count} {written!r}".encode()
        if os.write(log, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), layout.REDO)
    finally:
        os.close(log)
    db.execute(f"PRAGMA application_id = {count + 1}")
