"""Check whether a folder can hold a state database, by trying its file operations there."""

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from faser_align.fsm.errors import UserError
from faser_align.system import atomic

LOCK_WAIT_S = 20


def try_folder(folder: str) -> str:
    """Do in ``folder`` what the state database does; raise OSError or UserError if that fails."""
    path = f"{folder}/lock"
    with open(path, "wb") as file:
        file.write(b"1")
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX)
        # Another process must find it locked: a file system may grant every lock.
        code = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, path],
            env={},
            capture_output=True,
            timeout=LOCK_WAIT_S,
            check=False,
        )
        if other.returncode == 0 or b"BlockingIOError" not in other.stderr:
            raise UserError(f"{folder}: two processes got the same file lock; use a file system with locks")
    os.link(path, f"{folder}/taken")
    os.rename(path, f"{folder}/renamed")
    with closing(sqlite3.connect(f"{folder}/try.db", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("CREATE TABLE t (a)")
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (1)")
        db.execute("COMMIT")
    atomic.sync(folder)
    return "file locks, fsync, links and SQLite work"
