"""What whole campaigns share: the next one begins when the DAGMan of the last has left the queue."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from described import undescribed_below
from nowhere import no_dagman

LEAVES_S_MAX = 240.0


@pytest.fixture(autouse=True)
def _an_empty_queue(request: pytest.FixtureRequest, _described: None) -> Iterator[None]:
    """A campaign has ended some seconds before its DAGMan leaves, and ``submit`` refuses another one of its name.

    What is left is looked at afterwards: a hook that still runs writes files under other names first.
    """
    yield
    if "pool" not in request.fixturenames:
        return
    deadline = time.monotonic() + LEAVES_S_MAX
    while not no_dagman() and time.monotonic() < deadline:
        time.sleep(0.5)


@pytest.fixture(autouse=True)
def _described(workdir: Path) -> Iterator[None]:
    """Each file that a campaign of these tests leaves has its description, and each key in those that are ours."""
    yield
    assert undescribed_below(workdir) == []
