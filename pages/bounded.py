"""Publish a page within a time limit, whatever the state of its folder; scripts and jobs use this."""

from faser_align.fsm.errors import CampaignError
from faser_align.system import bounded

PUBLISH_S_MAX = 60.0


def publish(campaign: str, folder: str, *, written_utc: str) -> None:
    """Publish as ``pages.publish`` does, within ``PUBLISH_S_MAX``; raise CampaignError if the page was not written."""
    ended = bounded.call("faser_align.pages.publish", "publish", campaign, folder, written_utc, wait_s=PUBLISH_S_MAX)
    if ended.late:
        raise CampaignError(f"the page was not written within {PUBLISH_S_MAX:.0f} s")
    if ended.problem:
        raise CampaignError(ended.problem)
