"""The published page of a campaign that has just ended."""

import signal

from faser_align.config.record import read_record
from faser_align.state import database

PUBLISH_S_MAX = 60.0


def publish(folder: str) -> None:
    """Write the campaign's page where ``report.publish`` says.

    Raises:
        Exception: whatever kept it from being written, for the log of the hooks; the campaign's end does not depend on it.
    """
    where = read_record(folder)["config"].get("report", {}).get("publish")
    if not where:
        return
    from faser_align.pages.publish import publish as write

    previous = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, PUBLISH_S_MAX)
    try:
        write(folder, where, written_utc=database.utc())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def _late(signum: int, frame: object) -> None:
    raise TimeoutError(f"the page was not written within {PUBLISH_S_MAX:.0f} s")
