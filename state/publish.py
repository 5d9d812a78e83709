"""Publish the snapshot, which every reading command uses on any host.

Copies take less than a twentieth of the time, because of a publish interval between them. A process that has written
something takes a number and waits for the end of the interval, but only until another one takes a later number: that
one copies later, so the others can leave. Thus many simultaneous scripts are delayed little, and the last one always
copies. Startup-critical: standard library only.
"""

import _sqlite3 as sqlite3
import fcntl
import os
import time

from faser_align.campaign import layout
from faser_align.state import database

SHARE = 24  # copies take at most one part in this many of the time: a twentieth, with a margin
PAUSE_S_MAX = 4.3  # so that the snapshot has the last event within 5 s
STEP_S = 0.03  # how often a waiting process checks whether a later one has come


def publish(folder: str, *, last: bool = False) -> bool:
    """Copy the database of the campaign in ``folder`` for its readers, soon.

    With ``last`` it is copied even if a later process has come: that may be killed with DAGMan, which ends after this script.

    Returns:
        Whether this call made a copy; if not, another process has yet to begin one.

    Raises:
        sqlite3.Error, OSError: no copy was made; the next script makes one.
    """
    numbers = _open(f"{folder}/{layout.PUBLISHED}.next")
    try:
        mine = f"{time.time_ns():020d} {os.getpid():011d}".encode()
        os.pwrite(numbers, mine, 0)
        while (current := _free(folder)) is None:
            time.sleep(STEP_S)
            if not last and os.pread(numbers, len(mine), 0) != mine:
                return False
    finally:
        os.close(numbers)
    try:
        took_s = _copy(folder)
        os.pwrite(current, f"{time.time():.6f} {took_s:.6f}\n".encode().ljust(64), 0)
    finally:
        os.close(current)
    return True


def _free(folder: str) -> int | None:
    """Return the publishing lock if nobody holds it and the interval is over; it ends with its descriptor."""
    descriptor = _open(f"{folder}/{layout.PUBLISHED}.now")
    free = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = _rest_s(descriptor) <= 0
    except BlockingIOError:
        pass
    finally:
        if not free:
            os.close(descriptor)
    return descriptor if free else None


def _rest_s(current: int) -> float:
    """Return how long the interval still lasts (s); the lock's file has the end and duration of the last copy."""
    try:
        ended, took = (float(word) for word in os.pread(current, 64, 0).split())
    except ValueError:
        return 0.0
    rest_s = ended + min(PAUSE_S_MAX, (SHARE - 1) * took) - time.time()
    return rest_s if rest_s <= PAUSE_S_MAX else 0.0  # otherwise somebody has set the clock back


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, database.PRIVATE)
    database.close_to_others(descriptor)
    return descriptor


def _copy(folder: str) -> float:
    """Replace the snapshot atomically by a current one; return how long that took (s)."""
    target = f"{folder}/{layout.PUBLISHED}"
    temporary = f"{target}.new"
    copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        took_s = _fill(folder, copy)
        started = time.monotonic()
        os.fsync(copy)
    except OSError:
        os.ftruncate(copy, 0)  # a partial copy must not fill the disk
        raise
    finally:
        os.close(copy)
    os.rename(temporary, target)
    database.sync(folder)
    return took_s + time.monotonic() - started


def _fill(folder: str, copy: int) -> float:
    """Copy the database's bytes into the open file ``copy``; return how long writers had to wait (s).

    While SQLite's shared lock is held nobody changes the file, and a killed script's journal has been rolled back.
    """
    # POSIX drops all locks of a process on a file when it closes any descriptor of it: close this one last.
    source = os.open(f"{folder}/{layout.STATE}", os.O_RDONLY | os.O_CLOEXEC)
    try:

        def work(db: sqlite3.Connection) -> float:
            started = time.monotonic()
            db.execute("BEGIN")
            db.execute("PRAGMA user_version").fetchone()  # takes the lock without reading the schema
            size, done = os.fstat(source).st_size, 0
            while done < size:
                sent = os.sendfile(copy, source, done, size - done)
                if sent == 0:
                    raise OSError(f"{folder}/{layout.STATE} became shorter while it was copied")
                done += sent
            return time.monotonic() - started

        return database.read(folder, work)
    finally:
        os.close(source)
