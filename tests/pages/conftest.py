"""Provide a browser for tests of pages, and pages of recorded campaigns."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from recorded import in_utc, unpack

from faser_align.pages.collect import collect
from faser_align.pages.report import render
from faser_align.state.publish import publish

NOW = "2026-11-25T12:00:00.000Z"


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    """Set the time zone to UTC."""
    with in_utc():
        yield


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Write the page of the campaign in a folder."""

    def write(folder: Path) -> Path:
        path = tmp_path / f"{folder.name}.html"
        path.write_text(render(collect(str(folder)), written_utc=NOW), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def recorded_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write the page of a recorded campaign, once, beside its folder, which has the name of the case."""

    @cache
    def write(case: str) -> Path:
        folder = tmp_path_factory.mktemp("recorded") / case
        folder.mkdir()
        unpack(case, folder)
        publish(str(folder))
        path = folder.with_suffix(".html")
        path.write_text(render(collect(str(folder)), written_utc=NOW), encoding="utf-8")
        return path

    return write
