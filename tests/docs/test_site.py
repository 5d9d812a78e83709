"""Test the documentation site."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsing import PATIENCE_MS, chromium

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(session_folder: Path) -> Path:
    """Return the site, built as by `make docs`."""
    folder = session_folder / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    """Each page of docs/ is a page of the site; a broken link would stop the build."""
    pages = {path.stem for path in ROOT.glob("docs/*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert not [*site.rglob("__pycache__"), *site.rglob("*.py")]


def test_each_page_stands_once_in_the_navigation() -> None:
    """The navigation names every page of docs/ once."""
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in ROOT.glob("docs/*.md"))


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures of every page come from the site."""
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=[\"']?([^\"' >]+)", text)
        loaded += re.findall(r"<link[^>]+rel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]*>", text)
        assert [url for url in loaded if "//" in url] == [], page.name


def test_pages_are_shown_without_a_network(site: Path) -> None:
    """A browser shows diagrams, pictures and keys from the files, without network requests."""
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name, picture in (("states", "campaign.svg"), ("tutorial", "report.png")):
            page.goto((site / f"{name}.html").as_uri())
            assert page.locator(f'img[src$="{picture}"]').evaluate("image => image.naturalWidth") > 100
        page.goto((site / "configuration.html").as_uri())
        keys = page.locator("td:first-child code")
        assert keys.count() > 100
        assert keys.evaluate_all("keys => keys.filter(key => key.getClientRects().length > 1).length") == 0
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
