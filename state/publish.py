"""The published copy, which every reading command uses on any host.

A conveyor of two locks makes publishing complete and cheap. Whoever has *next* will copy later than now,
so that everybody else may leave; whoever has *now* copies. Between two copies lies a pause, so that copies
take at most a twentieth of the time. Hot: standard library only.
"""

import fcntl
import os
import sqlite3
import time

from faser_align.config import layout

SHARE = 20  # one part in so many of the time may go into copies
PAUSE_S_MAX = 4.0  # so that the copy holds the last event within 5 s


def publish(folder: str) -> bool:
    """Copy the store of the campaign in ``folder`` for its readers.

    Returns:
        Whether this call made a copy; if not, another process has yet to begin one.

    Raises:
        sqlite3.Error, OSError: no copy was made; the next hook repairs that.
    """
    now = f"{folder}/{layout.PUBLISHED}.now"
    following = _lock(f"{folder}/{layout.PUBLISHED}.next", wait=False)
    if following is None:
        return False
    try:
        current = _lock(now, wait=True)
    except BaseException:
        os.close(following)
        raise
    assert current is not None
    try:
        _pause(current)
        # From here on an event that comes later needs a copy of its own.
        os.close(following)
        started = time.monotonic()
        _copy(folder)
        os.pwrite(current, f"{time.time():.6f} {time.monotonic() - started:.6f}\n".encode().ljust(64), 0)
    finally:
        os.close(current)
    return True


def _lock(path: str, *, wait: bool) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _pause(current: int) -> None:
    """Wait until the last copy is long enough ago; its end and duration (s) stand in the lock file."""
    try:
        ended, took = (float(word) for word in os.pread(current, 64, 0).split())
    except ValueError:
        return
    rest = ended + min(PAUSE_S_MAX, (SHARE - 1) * took) - time.time()
    if 0 < rest <= PAUSE_S_MAX:
        time.sleep(rest)


def _copy(folder: str) -> None:
    """Replace the published copy by one of now, whole at every instant."""
    target = f"{folder}/{layout.PUBLISHED}"
    temporary = f"{target}.new"
    if os.path.exists(temporary):
        os.unlink(temporary)
    path = f"{folder}/{layout.STATE}".replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    db = sqlite3.connect(f"file:{path}?mode=rw", timeout=10.0, isolation_level=None, uri=True)
    try:
        db.execute("VACUUM INTO ?", (temporary,))
    finally:
        db.close()
    for name, flags in ((temporary, os.O_RDWR), (None, os.O_RDONLY)):
        if name is None:
            os.rename(temporary, target)
        descriptor = os.open(name or folder, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
