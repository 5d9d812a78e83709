"""The published page of a campaign that has just ended."""

from faser_align.campaign.manifest import read_record
from faser_align.state import database


def publish(folder: str) -> None:
    """Write the campaign's page where ``report.publish`` says.

    Raises:
        Exception: whatever kept it from being written, for the log of the hooks; the campaign's end does not depend on it.
    """
    where = read_record(folder)["config"].get("report", {}).get("publish")
    if not where:
        return
    from faser_align.pages.bounded import publish as write

    write(folder, where, written_utc=database.utc())
