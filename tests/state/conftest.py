"""What tests of the store share: the time of the recorded campaigns."""

from collections.abc import Iterator

import pytest
from recorded import in_utc


@pytest.fixture(autouse=True)
def _utc(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the machine's time is, in which a pool of today writes its logs."""
    if "pool" in request.fixturenames:
        yield
        return
    with in_utc():
        yield
