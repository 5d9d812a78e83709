"""Separate whole campaigns: the next one begins after the last DAGMan has left the queue."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from described import undescribed_below
from desk import Desk
from nowhere import no_dagman
from receivers import mattermost

from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool.personal import Pool

LEAVES_S_MAX = 240.0


@pytest.fixture(autouse=True)
def _an_empty_queue(request: pytest.FixtureRequest, _described: None) -> Iterator[None]:
    """Wait for an empty queue, because DAGMan leaves some seconds after its campaign's end.

    Until then ``submit`` refuses the same name. What is left is checked afterwards, because a running script first writes
    files under other names.
    """
    yield
    if "pool" not in request.fixturenames:
        return
    deadline = time.monotonic() + LEAVES_S_MAX
    while not no_dagman() and time.monotonic() < deadline:
        time.sleep(0.5)


@pytest.fixture(autouse=True)
def _described(workdir: Path) -> Iterator[None]:
    """Check that each file and key that a campaign leaves is described."""
    yield
    assert undescribed_below(workdir) == []


@pytest.fixture
def desk(pool: Pool, workdir: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Provide a desk with a permanent mail server and channel, for the campaign that the module calls ``NAME``."""
    with Mailbox(workdir / "mail") as mailbox, mattermost() as channel:
        yield Desk(workdir, getattr(request.module, "NAME", f"any-{workdir.name}"), mailbox, channel)
