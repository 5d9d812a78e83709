"""Lock a campaign's folder, so that only one command at a time submits its DAGMan or changes it."""

import contextlib
import os
import time
from collections.abc import Iterator

from faser_align.campaign import layout
from faser_align.fsm.errors import UserError
from faser_align.state import database
from faser_align.system import atomic

WAIT_S, POLL_S = 60.0, 0.1  # the other command may wait for HTCondor, which takes seconds


@contextlib.contextmanager
def alone(folder: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of the campaign in ``folder`` until the block or the process ends.

    Raises UserError if another command holds it for longer than ``wait_s``, or it cannot be created.
    """
    path = f"{folder}/{layout.CONTROL_LOCK}"
    deadline = time.monotonic() + wait_s
    try:
        while (lock := _taken(path)) is None:
            if time.monotonic() > deadline:
                raise UserError(f"another command is working on {folder}; wait until it ends, then try again")
            time.sleep(POLL_S)
    except OSError as error:
        raise UserError(f"{path}: cannot lock: {error.strerror}; use a folder that you may write to") from None
    try:
        with atomic.closed_to_others():
            yield
    finally:
        lock.close()


def _taken(path: str) -> database.QueueLock | None:
    """Return the lock, or None while another process holds it or after the folder was moved."""
    lock = database.QueueLock(path, 0.0)
    with contextlib.suppress(FileNotFoundError):
        if lock.acquired and os.path.samestat(os.fstat(lock.fd), os.stat(path)):
            return lock
    lock.close()
    return None
