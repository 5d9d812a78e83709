"""Set the time zone of the recorded campaigns."""

from collections.abc import Iterator

import pytest
from recorded import in_utc


@pytest.fixture(autouse=True)
def _utc(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set UTC, whatever time zone a pool of this machine uses in its logs."""
    if "pool" in request.fixturenames:
        yield
        return
    with in_utc():
        yield
