"""Read the ends of failed jobs' logs for pages and terminals, without the secrets of the user's targets."""

import os

from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm.errors import UserError
from faser_align.notifiers.targets import Target, load_targets, redact
from faser_align.state.logends import LogEnd, log_end


def hidden(record: Manifest, text: str) -> str:
    """Return a text without the secrets of the user's targets, as far as their file can be read."""
    return redact(text, _targets(record) or [])


def shown_log(record: Manifest, folder: str, node: str, why: str) -> LogEnd:
    """Return the end of the job's own log of a node that failed for the reason ``why``.

    Returns nothing if the file of targets exists and cannot be read, because its secrets are then unknown.
    """
    targets = _targets(record)
    if targets is None:
        return LogEnd()
    end = log_end(folder, node, why)
    return LogEnd(end.path, tuple(redact(line, targets) for line in end.lines), redact(end.error, targets))


def _targets(record: Manifest) -> list[Target] | None:
    """Return the user's targets; none without a file, None if it cannot be read."""
    file = record.get("targets_file", "")
    try:
        return list(load_targets(file).values()) if file and os.path.lexists(os.path.expanduser(file)) else []
    except UserError:
        return None
