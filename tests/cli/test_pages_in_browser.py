"""Test the pages in a real browser: no requests, no errors, accessible."""

import os
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from browsing import SIZES, Seen, look, reached_with_tab
from campaigns import make_campaign, metrics, run_iteration, write_metrics
from largecampaigns import make_large
from playwright.sync_api import Browser

from faser_align.alignment.parameters.constants import ZERO
from faser_align.fsm import table
from faser_align.pages import compare
from faser_align.pages.collect import Facts, collect
from faser_align.pages.publish import index, publish
from faser_align.pages.report import render

pytestmark = pytest.mark.slow

NOW = "2026-11-25T12:00:00.000Z"


def written(folder: Path, facts: Facts) -> Path:
    """Write the page of a campaign into a folder; return its path."""
    path = folder / "page.html"
    path.write_text(render(facts, written_utc=NOW), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["converged", "failed", "removed", "running", "held", "lost", "created", "one"])
def test_report_of_every_campaign_is_sound(name: str, browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """The report of every campaign fits a phone in dark mode and a large screen in light mode.

    A report is accessible on a phone, and that of a whole campaign also on a large screen.
    """
    path = written(tmp_path, collect(str(campaigns / name)))
    for width, scheme in SIZES:
        seen = look(browser, path, width, scheme, axe=scheme == "dark" or name == "converged")
        assert name.split("-")[0] in seen.page.title()
        seen.page.context.close()


@pytest.mark.parametrize("style", ["td { color: #888; background: #777 }", "tr:nth-child(30) { opacity: .3 }"])
def test_one_bad_contrast_is_found_among_many_texts(browser: Browser, style: str) -> None:
    """The check of accessibility, which measures contrasts of three texts of each look, finds each text with too little contrast."""
    rows = "<tr><td>equal text" * 50
    page = browser.new_page()
    page.set_content(f"<html lang=en><title>t</title><main><h1>h</h1><table>{rows}</table></main>")
    assert Seen(page).violations() == []
    page.add_style_tag(content=style)
    (found,) = Seen(page).violations()
    assert found.startswith("color-contrast: <td")


def test_charts_show_the_right_values(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """The curves have the campaign's numbers, with the limits across them."""
    page = look(browser, written(tmp_path, collect(str(campaigns / "converged"))), 1600, "light").page
    values = page.eval_on_selector_all(
        "svg.chart",
        "charts => charts.map(c => [c.ariaLabel, [...c.querySelectorAll('circle')].map(p => +p.dataset.value)])",
    )
    curves = dict(values)
    assert curves["χ²/ndf"] == [metrics(i)["chi2_per_ndf"] for i in range(1, 5)]
    assert curves["expected residual shift"] == [metrics(i)["effect_um"] for i in range(1, 5)]
    assert page.locator("svg[aria-label='expected residual shift'] .limit title").text_content() == "limit 0.5 µm"


def test_a_table_sorts_and_the_detector_changes(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """A heading sorts its column both ways, also from the keyboard; the picture shows the chosen iteration."""
    page = look(browser, written(tmp_path, collect(str(campaigns / "converged"))), 1600, "light").page
    heading = page.locator("#convergence ~ div table.sortable th button", has_text="shift (µm)")
    column = "#convergence ~ div table.sortable tbody td:nth-child(5)"
    heading.focus()
    page.keyboard.press("Enter")
    up = page.locator(column).all_text_contents()
    assert up == sorted(up, key=float)
    heading.click()
    assert page.locator(column).all_text_contents() == up[::-1]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.select_option("#quantity", "cut")
    page.select_option("#iteration", "1")
    module = page.locator('.detector rect[data-key="000"]')
    assert module.locator("title").text_content() == "module 000: 0.1996 %"
    assert "var(--plus) 100%" in str(module.get_attribute("style"))


def test_the_next_command_is_copied_with_a_button(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """A button beside each of the next commands copies it, or selects it where the clipboard is closed."""
    page = look(browser, written(tmp_path, collect(str(campaigns / "converged"))), 1600, "light").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator(".next button").first
    command = page.locator(".next code").first.text_content()
    button.click()
    page.wait_for_function("() => document.querySelector('.next button').textContent !== 'copy'")
    copied = "navigator.clipboard.readText()" if button.text_content() == "copied" else "String(getSelection())"
    assert page.evaluate(copied) == command


def test_hostile_names_stay_text(browser: Browser, workdir: Path) -> None:
    """Texts of users and programs are shown unchanged and never become markup."""
    record = make_campaign(workdir / "c", files=1, name="<script>alert(1)</script>")
    run_iteration(record, 1, notes=["</script><img src=x onerror=alert(2)>"])
    page = look(browser, written(workdir, collect(record["folder"])), 1600, "light").page
    assert "<script>alert(1)</script> is solving" in (page.locator("h1").text_content() or "")
    assert page.locator("img").count() == 0


def test_missing_numbers_are_said(browser: Browser, workdir: Path) -> None:
    """With incomplete metrics and missing results the page says what is missing."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1, chi2_per_ndf=None, effect_um=None, corrections={}, hits={}, residuals={})
    page = look(browser, written(workdir, collect(record["folder"])), 360, "light").page
    assert "no numbers yet" in page.content()
    assert "Missing: cannot read" in (page.locator("section[aria-label=Outcome]").text_content() or "")


def test_an_iteration_that_is_not_judged_yet_is_there(browser: Browser, workdir: Path) -> None:
    """After a Millepede job its iteration is on the page, before its script has judged it."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1)
    run_iteration(record, 2)
    write_metrics(record, metrics(2))
    found = collect(record["folder"])
    found.iterations[1].update(verdict="", reason="", criteria=[])
    assert "not judged yet" in look(browser, written(workdir, found), 1600, "dark").page.content()


def test_ten_thousand_files(browser: Browser, workdir: Path) -> None:
    """A report of 10,000 files stays small by summarising jobs by iteration and dropped files by reason."""
    record = make_large(workdir / "c", files=10_000, iterations=1, lost=200)
    path = written(workdir, collect(record["folder"]))
    assert path.stat().st_size < 200_000
    page = look(browser, path, 1600, "light").page
    assert "200 files in iteration 1 (run 011705 files 400-599): raw file missing or unreadable" in page.content()
    assert "10,000 raw files" in page.content()
    assert "In all: 10,001 jobs in 2 rows" in page.content()
    assert page.locator("svg.chart").count() == 5
    assert page.locator("[aria-label='Table: Times'] tbody tr").count() == 2


@pytest.mark.parametrize(("name", "words"), [("removed", "removed"), ("one", "limit")])
def test_a_single_iteration_is_a_point(
    name: str, words: str, browser: Browser, campaigns: Path, tmp_path: Path
) -> None:
    """A campaign with one solved iteration has charts of one point each, with its value and its end."""
    page = look(browser, written(tmp_path, collect(str(campaigns / name))), 360, "light").page
    values = page.eval_on_selector_all(
        "svg.chart circle", "dots => dots.map(dot => [dot.closest('svg').ariaLabel, +dot.dataset.value])"
    )
    assert dict(values)["χ²/ndf"] == metrics(1)["chi2_per_ndf"]
    assert dict(values)["expected residual shift"] == metrics(1)["effect_um"]
    assert len(values) == page.locator("svg.chart .series").count()
    assert words in page.locator("main").inner_text()


def test_index_leads_to_every_page(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """The index lists the newest campaign first, links to all, and filters them; a line has each iteration's shift."""
    names = ("converged", "created", "failed", "one", "removed")
    for name in names:
        publish(str(campaigns / name), str(tmp_path), written_utc=NOW)
    look(browser, tmp_path / "index.html", 1600, "light", axe=True).page.context.close()
    seen = look(browser, tmp_path / "index.html", 360, "dark", axe=True)
    links = seen.page.eval_on_selector_all("tbody a", "links => links.map(link => link.href)")
    assert sorted(os.path.basename(link) for link in links) == [f"{name}.html" for name in names]
    row = seen.page.locator("tbody tr", has_text="converged")
    assert row.first.locator(".spark title").text_content() == "9, 4.5, 0.1, 0.1 µm"
    states = {
        str(cell.text_content()): str(cell.get_attribute("class"))
        for cell in seen.page.locator("tbody td:nth-child(2)").all()
    }
    assert states == {
        "✓converged": "good",
        "▸created": "going",
        "✗failed": "bad",
        "!exhausted": "doubt",
        "!removed": "doubt",
    }
    assert row.first.locator("[data-label=quality]").text_content() == "look"  # its metrics have no precision
    assert "5 campaigns, newest first: 1 " in seen.page.locator("main").inner_text()
    seen.page.fill("#filter", "node failed")
    assert seen.page.locator("tbody tr:visible a").all_text_contents() == ["failed"]
    assert seen.page.locator("#found").inner_text() == "1 of 5"
    with seen.page.expect_navigation():  # wait for the end: a partially loaded page has no title
        seen.page.locator("tbody a", has_text="failed").click()
    assert "failed" in seen.page.title()


def test_an_index_of_hundreds_of_campaigns(browser: Browser, tmp_path: Path) -> None:
    """The index of 500 campaigns fits screens and paper, is below 1 MB and is filtered at once; the empty one says how to fill it."""
    published = [entry(number, state) for number, state in zip(range(500), cycle(table.STATES), strict=False)]
    path = tmp_path / "index.html"
    path.write_text(index(published, written_utc=NOW), encoding="utf-8")
    assert path.stat().st_size < 1_000_000
    for width, scheme in SIZES:
        page = look(browser, path, width, scheme).page
        page.fill("#filter", "exhausted")
        colours = "cells => cells.filter(c => c.checkVisibility()).map(c => getComputedStyle(c).color)"
        (colour,) = set(page.eval_on_selector_all("tbody td:nth-child(2)", colours))
        page.fill("#filter", "reconstructing")
        (other,) = set(page.eval_on_selector_all("tbody td:nth-child(2)", colours))
        assert colour != other
        assert page.locator("#found").inner_text() == "36 of 500"
        page.context.close()
    page = look(browser, path, 718, "light").page  # A4 within its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    path.write_text(index([], written_utc=NOW), encoding="utf-8")
    page = look(browser, path, 360, "dark", axe=True).page
    assert "No campaign is published here yet" in page.locator("main").inner_text()


@pytest.mark.parametrize("width", [360, 1600])
def test_the_index_is_used_with_the_keyboard(browser: Browser, tmp_path: Path, width: int) -> None:
    """The Tab key reaches filter, headings and links; a filter is typed, Enter sorts a column and opens a campaign."""
    published = [entry(number, state) for number, state in enumerate(("converged", "failed", "converged"))]
    for number, one in enumerate(published):
        one["chi2_per_ndf"] = (1.2, None, 1.1)[number]
    path = tmp_path / "index.html"
    path.write_text(index(published, written_utc=NOW), encoding="utf-8")
    (tmp_path / "2.html").write_text("<title>campaign-2</title>", encoding="utf-8")
    page = look(browser, path, width, "light").page
    reached, wanted = reached_with_tab(page)
    assert reached == wanted
    links = page.locator("tbody tr:visible a")
    if width > 360:  # on a phone a campaign is a block, and the table has no headings
        for order in (["campaign-2", "campaign-0", "campaign-1"], ["campaign-0", "campaign-2", "campaign-1"]):
            page.locator("th button", has_text="χ²/ndf").focus()
            page.keyboard.press("Enter")
            assert links.all_text_contents() == order
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("χ²/ndf")
    page.locator("#filter").focus()
    page.keyboard.type("converged campaign-2")
    assert links.all_text_contents() == ["campaign-2"]
    assert page.locator("#found").inner_text() == "1 of 3"
    reached, wanted = reached_with_tab(page)
    assert reached == wanted
    links.focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.title() == "campaign-2"


def entry(number: int, state: str) -> dict[str, Any]:
    """Return the entry of a campaign in the index."""
    return {
        "name": f"campaign-{number}",
        "state": state,
        "reason": "a reason " * 30,
        "year": 2023,
        "run": "011705",
        "files": 50,
        "iterations": 5,
        "chi2_per_ndf": 1.01,
        "effect_um": 0.1,
        "shifts_um": [9.0, 4.5, None, 0.1],
        "created_utc": NOW,
        "updated_utc": NOW,
        "written_utc": NOW,
        "page": f"{number}.html",
        **({"grade": "look", "quality": "Precision: x ±1.0 um"} if number % 2 else {}),
    }


def test_a_comparison_is_sound(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """The page of a comparison has overlaid curves and is valid."""
    path = tmp_path / "both.html"
    found = [collect(str(campaigns / name)) for name in ("converged", "running", "created", "removed", "one")]
    path.write_text(compare.render(found, written_utc=NOW), encoding="utf-8")
    for width, scheme in SIZES:
        page = look(browser, path, width, scheme, axe=True).page
        assert page.locator("svg.chart").count() == 3


def test_a_comparison_is_used_with_the_keyboard(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """The Tab key reaches each heading, fold and table; Enter sorts and opens, and arrows scroll a table on a phone."""
    path = tmp_path / "both.html"
    found = [collect(str(campaigns / name)) for name in ("converged", "one")]
    start = {"003": (0.0, 0.005, 0.0, 0.0, 0.0, 0.0), "004": (0.0, 0.0, 0.0, 0.0, 0.0, 0.002)}
    found = [of._replace(found=start if at else dict.fromkeys(start, ZERO)) for at, of in enumerate(found)]
    path.write_text(compare.render(found, written_utc=NOW), encoding="utf-8")
    page = look(browser, path, 360, "light").page
    reached, wanted = reached_with_tab(page)
    assert reached == wanted
    grid = page.locator("[aria-label='Table: constants of one']")
    for order in (["rz", "y"], ["y", "rz"]):
        grid.locator("th button", has_text="degree of freedom").focus()
        page.keyboard.press("Enter")
        assert grid.locator("tbody td:nth-child(2)").all_text_contents() == order
    grid.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open] li").first.is_visible()


def test_long_names_are_readable_on_a_phone(browser: Browser, campaigns: Path, tmp_path: Path) -> None:
    """Names of two compared campaigns wrap after underscores, so that a phone shows both without scrolling."""
    path = tmp_path / "both.html"
    long = {"converged": "Y2023_R011705_F400-450", "one": "Y2024_R014321_F000-150_frame"}
    found = [collect(str(campaigns / folder)) for folder in long]
    found = [of._replace(record={**of.record, "name": name}) for of, name in zip(found, long.values(), strict=True)]
    path.write_text(compare.render(found, written_utc=NOW), encoding="utf-8")
    page = look(browser, path, 390, "light").page
    table = page.locator("[aria-label='Table: summary']")
    assert table.locator("thead th").all_text_contents() == list(long.values())
    assert table.evaluate("of => of.scrollWidth <= of.clientWidth")
