"""Test in a browser that the text of charts is readable and does not overlap."""

from pathlib import Path
from typing import Any

import pytest
from browsing import look
from largecampaigns import make_large
from markupsafe import Markup
from playwright.sync_api import Browser, Page

from faser_align.pages import charts
from faser_align.pages.charts import Series
from faser_align.system.jinja import TEMPLATES

SMALLEST_PX = 11
LETTERS = """pictures => pictures.map(picture => [...picture.querySelectorAll('text:not(.sign)')].map(text => {
  const {left, right, top, bottom} = text.getBoundingClientRect(), turned = text.getScreenCTM();
  const scale = Math.hypot(turned.c, turned.d);
  return {words: text.textContent, size: parseFloat(getComputedStyle(text).fontSize) * scale, left, right, top, bottom};
}))"""


def faults(page: Page) -> list[str]:
    """Return text in each picture that is too small, overlaps, or leaves the page."""
    found = []
    wide = page.evaluate("document.documentElement.clientWidth")
    pictures: list[list[dict[str, Any]]] = page.eval_on_selector_all("main svg[role=img]", LETTERS)
    for texts in pictures:
        for at, one in enumerate(texts):
            if one["size"] < SMALLEST_PX:
                found.append(f"{one['words']!r} has {one['size']} px")
            found += [f"{one['words']!r} lies over {other['words']!r}" for other in texts[:at] if _meet(one, other)]
    for texts in page.eval_on_selector_all("svg.chart, svg.nodes", LETTERS):
        found += [f"{one['words']!r} leaves the page" for one in texts if one["left"] < 0 or one["right"] > wide]
    return found


def _meet(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 0.5
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 2  # boxes are higher than their text
    )


def written(drawn: Markup, folder: Path) -> Path:
    """Return a page with these charts and the report's style."""
    head = "<!doctype html><html lang=en><title>charts</title><link rel=icon href='data:,'>"
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    (folder / "page.html").write_text(f"{head}<style>{style}</style><main>{drawn}</main>")
    return folder / "page.html"


@pytest.mark.parametrize("case", ["converged", "failed", "held", "stages"])
def test_letters_of_charts_can_be_read(case: str, browser: Browser, recorded_page: Any) -> None:
    """Text in a picture has at least 11 px, overlaps no other text, and stays on the page."""
    page = look(browser, recorded_page(case), 360, "light").page
    assert faults(page) == []
    for width in (768, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_letters_of_a_large_campaign_can_be_read(browser: Browser, workdir: Path, page_of: Any) -> None:
    """Text of charts stays readable with ten iterations and five-digit file numbers."""
    make_large(workdir / "c", files=100, iterations=10, lost=20, first=10_000)
    page = look(browser, page_of(workdir / "c"), 1600, "dark").page
    for width in (1600, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert faults(page) == []
        assert page.locator("svg.nodes").count() == 10
        words = page.locator("main").inner_text()
        assert "20 files in iteration 1 (run 011705 files 10000-10019): raw file missing or unreadable" in words


@pytest.mark.parametrize("width", [360, 1600])
def test_many_places_and_wide_numbers(width: int, browser: Browser, tmp_path: Path) -> None:
    """With many iterations, many decades, and curves across the limit, labels are omitted instead of overlapping."""
    places = [f"{stage}.{iteration}" for stage in range(1, 5) for iteration in range(1, 11)]
    falling = [10.0 ** (3 - at / 4) for at in range(40)]
    rising = [0.000_2 * 1.5**at for at in range(40)]
    drawn = charts.line_chart(
        "effect", places, [Series("a", falling), Series("b", rising)], unit="um", log=True, limit=0.5
    ) + charts.line_chart("chi2/ndf", ["1"], [Series("chi2/ndf", [1234567.25])])
    page = look(browser, written(drawn, tmp_path), width, "light").page
    assert faults(page) == []
    shown = page.locator("svg[aria-label=effect] .place").all_text_contents()
    assert shown[0] == "1.1"
    assert shown[-1] == "iteration"
    ends = page.eval_on_selector_all(
        "svg[aria-label=effect] .c0 circle",
        "dots => [dots[0], dots.at(-1)].map(d => [d.getAttribute('cx'), +d.dataset.value, d.textContent])",
    )
    assert ends == [["3.0%", falling[0], "a, 1.1: 1,000 µm"], ["97.0%", falling[-1], f"a, 4.10: {falling[-1]:.2e} µm"]]


def test_curves_differ_without_colour(browser: Browser, tmp_path: Path) -> None:
    """Two curves and their legend entries have different line styles."""
    drawn = charts.line_chart("corrections", ["1", "2"], [Series("x", [1, 2]), Series("y", [2, 3])])
    page = look(browser, written(drawn, tmp_path), 360, "light").page
    kinds = "lines => lines.map(line => getComputedStyle(line).strokeDasharray)"
    assert page.eval_on_selector_all(".chart .series line", kinds) == ["none", "9px, 4px"]
    assert page.eval_on_selector_all(".legend .series line", kinds) == ["none", "9px, 4px"]
