"""Read the ends of failed jobs' logs for pages and terminals, without the secrets of the user's targets."""

import os

from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm.errors import UserError
from faser_align.notifiers.targets import load_targets, redact
from faser_align.state.logends import LogEnd, log_end


def shown_log(record: Manifest, folder: str, node: str, why: str) -> LogEnd:
    """Return the end of the job's own log of a node that failed for the reason ``why``.

    Returns nothing if the file of targets exists and cannot be read, because its secrets are then unknown.
    """
    file = record.get("targets_file", "")
    try:
        targets = list(load_targets(file).values()) if file and os.path.lexists(os.path.expanduser(file)) else []
    except UserError:
        return LogEnd()
    end = log_end(folder, node, why)
    return LogEnd(end.path, tuple(redact(line, targets) for line in end.lines), redact(end.error, targets))
