"""Return the name under which the user calls this program, for hints on the next command."""

import os
import shlex


def program() -> str:
    """Return the command that starts this program: from a launcher's variable, else its plain name."""
    return os.environ.get("FASER_ALIGN_COMMAND") or "faser-align"


def named(text: str) -> str:
    """Replace the program's own name in a sentence's commands by the one that the user types."""
    return text.replace("`faser-align ", f"`{program()} ")


def hint(command: str, campaign: str, options: str = "") -> str:
    """Return a command about a campaign with options, as its user types it, in backquotes."""
    return f"`{' '.join(filter(None, (program(), command, shlex.quote(campaign), options)))}`"
