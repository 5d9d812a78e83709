"""Set the time zone of the recorded campaigns, and provide a small one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign
from recorded import in_utc


@pytest.fixture(autouse=True)
def _utc(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set UTC, whatever time zone a pool of this machine uses in its logs."""
    if "pool" in request.fixturenames:
        yield
        return
    with in_utc():
        yield


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Provide a campaign of three files that notifies two targets of its end and of held jobs."""
    notify = {"targets": ["me", "group"], "events": ["end", "held"]}
    return make_campaign(tmp_path / "campaign", files=3, config={"notify": notify})
