"""Read files that may be missing."""

import os
import stat
from pathlib import Path


def text_of(path: str | Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def end_of(path: str, most: int) -> bytes:
    """Return the last bytes of a regular file, at most this many; empty if it cannot be read, or is not one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a job may have put a pipe in its place
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return b""
            file.seek(max(0, found.st_size - most))
            return file.read(most)
    except OSError:
        return b""
