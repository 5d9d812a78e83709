"""Lines in a campaign's ``hooks.log``."""

import sys

from faser_align.campaign import layout
from faser_align.state import database


def write(folder: str, text: str) -> None:
    """Add a text with its time to ``hooks.log``, or write it to standard error if that fails."""
    text = f"{database.utc()} {text.rstrip()}\n"
    try:
        with open(f"{folder}/{layout.HOOKS_LOG}", "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)
    except OSError:
        sys.stderr.write(text)
