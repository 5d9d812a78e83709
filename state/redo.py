"""Write the redo log: every transaction's statements, appended before they are committed. Startup-critical.

``state.db`` can be lost or damaged, and DAGMan's logs contain neither control requests, nor messages, nor which script
was killed after its COMMIT. The redo log contains them: ``state.redolog`` replays it.

The database counts its transactions in ``PRAGMA application_id``, and each line begins with the count before its
transaction. A script that was killed between its line and its COMMIT does not change the count, so the next line has
the same one: the last line of a count is the committed one. Nothing is synced here: SQLite's own journal protects the
database, and a line lost in a power failure leaves a gap in the counts, which readers detect.
"""

import _sqlite3 as sqlite3
import errno
import os

from faser_align.campaign import layout

READING = ("SELECT", "PRAGMA", "WITH")


def append(folder: str, db: sqlite3.Connection, statements: "list[str]") -> None:
    """Append what the open transaction of ``db`` has executed to the redo log, and count the transaction.

    An older program's campaign has no redo log until it is resumed; nothing is appended then.

    Raises:
        OSError, sqlite3.Error: the transaction must be rolled back.
    """
    written = [text for text in statements if not text.lstrip().startswith(READING)]
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
