"""Read files that may be missing."""

from pathlib import Path


def text_of(path: str | Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
