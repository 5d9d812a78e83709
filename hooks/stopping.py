"""Stopping after an iteration: the wish lies in the campaign's folder, and the POST of the Millepede node answers it.

It halts DAGMan before it ends itself. DAGMan looks for its halt file before it takes in the end of a script, so that no
node of the next iteration is begun; with nothing left to wait for it runs FINAL and leaves a rescue file in which the
iteration is done.
"""

import contextlib
import json
import os

from faser_align.campaign import layout
from faser_align.system import atomic

GOES_ON = ("go_on", "stage_finished", "validation_asked")  # after these DAGMan would begin further nodes


def halt_if_asked(folder: str, moved: str) -> None:
    """Halt DAGMan if somebody wants to stop after an iteration, and the campaign would go on after this one.

    Args:
        folder: the campaign.
        moved: the campaign's event that the iteration's verdict became.
    """
    if moved in GOES_ON and os.path.exists(f"{folder}/{layout.STOP}"):
        atomic.write_text(layout.newest_dag(folder) + layout.ENDING_HALT, "faser-align stop --after iteration\n")


def reason(folder: str) -> str:
    """Why DAGMan was halted, for the history; empty if nobody wanted to stop after an iteration."""
    try:
        with open(f"{folder}/{layout.STOP}", encoding="utf-8") as file:
            who = json.load(file)["who"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return f"{who} asked to stop after the iteration"


def forget(folder: str) -> None:
    """Take the wish away once the campaign has ended."""
    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/{layout.STOP}")
