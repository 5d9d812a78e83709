"""Do the scripts' work from a command, if there is no DAGMan to run a script."""

import os

from faser_align.fsm.errors import CampaignError
from faser_align.system import bounded

# As of a script; the last two lead to the user's personal pool, which messages name.
VARIABLES = ("PATH", "HOME", "USER", "LANG", "FASER_ALIGN_POOL", "XDG_STATE_HOME")
DELIVERY_S_MAX = 120.0  # the scripts limit their own sending to half a minute


def deliver(folder: str) -> None:
    """Deliver due messages; raise CampaignError if they could not be delivered."""
    _work(folder, "the messages could not be delivered", send=True)


def take_in(folder: str) -> None:
    """Ingest the event queue; raise CampaignError if the database could not be written."""
    _work(folder, f"the state database of {folder} could not be written", send=False)


def _work(folder: str, failed: str, *, send: bool) -> None:
    """Let the scripts, the only writers of the state database, work in a process that can be killed."""
    environment = {key: os.environ[key] for key in VARIABLES if key in os.environ}
    with bounded.Worker(environment) as worker:
        ended = worker.call("faser_align.hooks.delivery", "without_dagman", folder, send, wait_s=DELIVERY_S_MAX)
    if ended.late:
        raise CampaignError(f"{failed}: this took longer than {DELIVERY_S_MAX:.0f} s")
    if ended.problem:
        raise CampaignError(f"{failed}: {ended.problem}")
