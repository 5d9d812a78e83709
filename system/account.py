"""Return the user's name and the folder of this program's data, whatever the environment lacks."""

import os
from pathlib import Path

from faser_align.fsm.errors import UserError


def user() -> str:
    """Return the name of the user who runs the command; the number where the machine knows no name."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def state_folder() -> Path:
    """Return the folder of this program's data for the user: faser-align below the XDG state home.

    Raises UserError if neither the environment nor the machine names a home.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification tells programs to ignore a relative path here.
    home = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
    if not os.path.isabs(home):
        raise UserError("this user has no home; set HOME to a folder that you may write to")
    return Path(home, "faser-align").resolve()
