"""Decide whether a file is dropped: its reconstruction failed for good, and the campaign continues without it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faser_align.fsm.events import Post
    from faser_align.fsm.rows import Campaign


def most(min_files: float, files: int) -> int:
    """Return how many of a campaign's ``files`` may be dropped; the fraction ``min_files`` of them must remain."""
    return int((1.0 - min_files) * files + 1e-9)  # 0.9 of 10 files leaves one to drop, not 0.9999


def may_drop(campaign: "Campaign", event: "Post", dropped: bool) -> bool:
    """Return whether a failed file is dropped: it has no attempts left, and the minimum fraction of files allows it.

    A file that was ``dropped`` before counts already.
    """
    last = event["fatal"] or event["retry"] >= event["max_retries"]
    return bool(last and (campaign["lost"] < campaign["lost_max"] or dropped))
