"""Provide folders outside /tmp, and one real HTCondor pool for the whole run."""

import gc
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from nowhere import leave_queue
from properties import SOAK, load_profile

from faser_align.pool import personal

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Two jobs at a time on any machine, so that a campaign always takes the same course.
_PROCESSORS = 2
_BEGAN = time.monotonic()
_IN_ORDER = "FASER_ALIGN_TEST_FOLDER" in os.environ and not SOAK  # whether files come as sorted here
_POOL = ExitStack()  # what ends with the pool of this process
_ON_POOL = pytest.StashKey[set[Path]]()  # the files with tests on a pool
# The slowest files (90 s to 4 min) start first, because a worker that starts one of them late finishes last. They mostly
# wait, so some that need the processor run among them.
_FIRST = (
    *("test_dagman_ways", "test_credentials_on_pool", "test_calypso_campaign", "test_crash_points", "test_demo"),
    *("test_stages_on_pool", "test_reconstruct_wrapper", "test_pages_in_browser", "test_stuck_jobs", "test_secrets"),
    *("test_columns", "test_going_on", "test_solve_steps", "test_whole_campaigns", "test_model", "test_dag_on_pool"),
    *("test_migration_page", "test_pool_faults"),
)


def pytest_configure() -> None:
    """Make SIGTERM end fixtures, above all the pool, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    # A shell makes its background processes ignore Ctrl-C, and their children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else every process that loads numpy starts threads
    load_profile()
    gc.disable()  # until the tests are collected


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need the pool, so that ``-m "not pool"`` deselects them, and those with a browser as slow.

    `make test` runs eight tests at a time, each worker with a pool of its own. Files of ``_FIRST`` come first, then
    those with tests on a pool, which mostly wait.
    """
    for item in items:
        if "pool" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.pool)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    on_pool = {item.path for item in items if item.get_closest_marker("pool")}
    config.stash[_ON_POOL] = on_pool
    place = {stem: number for number, stem in enumerate(_FIRST)}
    items.sort(key=lambda item: (place.get(item.path.stem, len(place)), item.path not in on_pool))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop the pool before the first file that has no test on it, because an idle one takes 1 % of a processor.

    In `make test` no file with such tests follows, but after one of ``_FIRST``; in `make soak`, or with other options,
    any file may follow.
    """
    if _IN_ORDER and item.path not in item.config.stash[_ON_POOL] and item.path.stem not in _FIRST:
        _POOL.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the number of examples to the report of a property test."""
    report = yield
    if SOAK and report.when == "teardown":
        from soaked import examples_of

        report.user_properties += examples_of(item)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what `make soak` did."""
    if SOAK:
        from soaked import lines

        terminalreporter.section("soak")
        reports = [report for some in terminalreporter.stats.values() for report in some]
        for line in lines(reports, time.monotonic() - _BEGAN):
            terminalreporter.write_line(line)


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection, which would visit them again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """Provide a folder with a short path outside /tmp (where DAGMan refuses to work), removed at the end."""
    given = os.environ.get("FASER_ALIGN_TEST_FOLDER")
    if given:  # made and removed by `make test`; each of several workers uses a part of it
        own = Path(given, os.environ.get("PYTEST_XDIST_WORKER", ""))
        own.mkdir(exist_ok=True)
        yield own
        return
    made = Path(tempfile.mkdtemp(prefix="faser-align-test-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_user(session_folder: Path) -> Iterator[None]:
    """Hide the user's own campaigns, targets and pool from every test."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CONFIG", "DATA", "CACHE"):
            patch.setenv(f"XDG_{kind}_HOME", str(session_folder / kind.lower()))
        patch.setenv("FASER_ALIGN_POOL", str(session_folder / "pool"))
        patch.delenv("FASER_ALIGN_COMMAND", raising=False)
        yield


@pytest.fixture(scope="session")
def pool(session_folder: Path) -> Iterator[personal.Pool]:
    """Provide the pool of this run; CONDOR_CONFIG names it until the run ends."""
    if os.geteuid() == 0:
        pytest.fail("HTCondor refuses jobs of root: use `make test`, which runs the tests as an ordinary user", False)
    folder = session_folder / "pool"
    with _POOL:
        patch = _POOL.enter_context(pytest.MonkeyPatch.context())
        _POOL.callback(personal.stop, folder)
        started = personal.start(folder, cpus=_PROCESSORS)
        for name, value in personal.environment(folder).items():
            patch.setenv(name, value)
        personal.use(folder)
        yield started


@pytest.fixture(scope="module")  # only one Playwright can run at a time
def browser() -> "Iterator[Browser]":
    """Provide headless Chromium."""
    from browsing import chromium

    with chromium() as started:
        yield started


@pytest.fixture
def workdir(session_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Provide an empty folder outside /tmp for a campaign; it is removed once no DAGMan in the queue needs it."""
    made = Path(tempfile.mkdtemp(prefix="work-", dir=session_folder))
    yield made
    if "pool" in request.fixturenames:
        leave_queue(made)
    shutil.rmtree(made, ignore_errors=True)  # a job that is ending may still write its log


def _interrupt(number: int, frame: FrameType | None) -> None:
    # The same signal may arrive twice, for the group and the process; the second must not interrupt the clean-up.
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
