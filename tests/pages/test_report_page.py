"""Test the report in a browser: sorting, printing, no script, and what a colleague needs to repeat the campaign."""

import json
import re
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import look, reached_with_tab
from campaigns import make_campaign, metrics, run_iteration
from playwright.sync_api import Browser, Page

from faser_align.alignment.histograms import Bins, Categories, Histogram
from faser_align.alignment.parameters.constants import ZERO, write_constants
from faser_align.alignment.quality.figure_data import FigureData
from faser_align.alignment.quality.grades import DESCRIBED
from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.cli.show.draw import Line
from faser_align.cli.show.report import blocks
from faser_align.config.schema import Config
from faser_align.operations import snapshot
from faser_align.pages import repeat
from faser_align.pages.collect import Facts, collect
from faser_align.pages.numbers import measured
from faser_align.pages.report import render

NOW = "2026-11-25T12:00:00.000Z"
TRACKS = (1_200_000, 950, 17_000)
STAGES = [{"name": "one", "iterations": 1, "convergence": {"effect_um_max": 3.0}}, {"name": "two", "iterations": 2}]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Return a campaign of three iterations with unordered tracks and no effect in the first."""
    record = make_campaign(tmp_path_factory.mktemp("page") / "c", files=1)
    folder = record["folder"]
    for at, tracks in enumerate(TRACKS, start=1):
        changes: dict[str, Any] = {"effect_um": None} if at == 1 else {}
        run_iteration(record, at, tracks={"used": tracks}, versions={"Python": f"3.13.{at}"}, **changes)
        write_constants(layout.result_file(folder, 1, at), {"003": (0.0, 0.005 * at, 0.0, 0.0, 0.0, 0.0)})
    write_constants(layout.constants_file(folder, 1, 1), {"003": (0.0, 0.002, 0.0, 0.0, 0.0, 0.0), "004": ZERO})
    return collect(folder)


def written(found: Facts, path: Path) -> Path:
    """Return the report as a file."""
    path.write_text(render(found, written_utc=NOW), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(found: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of that campaign."""
    return written(found, tmp_path_factory.mktemp("report") / "page.html")


def sorted_by(page: Page, table: str, heading: str) -> list[str]:
    """Return the first column after pressing the heading with the keyboard."""
    button = page.locator(f"[aria-label='Table: {table}'] th button", has_text=heading).first
    button.focus()
    page.keyboard.press("Enter")
    return page.locator(f"[aria-label='Table: {table}'] tbody tr td:first-child").all_text_contents()


def test_tables_sort_by_what_numbers_mean(report: Path, browser: Browser) -> None:
    """Each table of rows sorts; thousands, missing numbers and signed sizes sort by value, missing ones last in both orders."""
    page = look(browser, report, 1600, "light").page
    still = page.eval_on_selector_all(
        "table:not(.sortable)", "tables => tables.filter(t => t.rows.length > 2).map(t => t.parentElement.ariaLabel)"
    )
    assert set(still) <= {"Table: Times"}
    for heading, orders in (("tracks", ("231", "132")), ("shift (µm)", ("321", "231"))):
        for order in orders:
            assert sorted_by(page, "Iterations", heading) == [*order]
    assert sorted_by(page, "Iterations", "largest correction") == ["3", "2", "1"]


def test_all_is_reached_with_the_keyboard(report: Path, browser: Browser) -> None:
    """The Tab key reaches links, folds, buttons and scrolled tables; a fold opens with Enter."""
    page = look(browser, report, 360, "light").page
    reached, wanted = reached_with_tab(page)
    assert reached == wanted
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_what_is_drawn_stands_in_tables(report: Path, browser: Browser) -> None:
    """Tables have the numbers of charts and picture: corrections of each iteration, modules of the last."""
    page = look(browser, report, 1600, "light").page
    rows = page.locator("[aria-label='Table: Corrections'] tbody tr").all_text_contents()
    assert rows[:2] == ["1module.y30−120003µm", "1module.rz80200004µrad"]
    assert len(rows) == 2 * len(TRACKS)
    modules = page.locator("[aria-label='Table: Modules'] tbody tr").all_text_contents()
    assert modules == ["0001,0020.2"]


def test_medians_of_layers_have_their_errors(found: Facts, browser: Browser, tmp_path: Path) -> None:
    """Where the data of figures are known the table of residuals has the figure's medians with errors, and sorts by them."""
    bins = Bins.evenly("residual", "residual [um]", 50, -100.0, 100.0)
    contents = np.zeros((8, 2, 52), np.int64)
    contents[:, :, 16:32] = 5
    keys = tuple(f"00{module}" for module in range(8))
    axes = (Categories("module", "module", keys), Categories("side", "side", ("0", "1")), bins)
    data = FigureData(1, 3, 0.5, histograms={"residuals": Histogram(axes, contents)})
    (centre,) = (data.layer_medians() or {}).values()
    found = deepcopy(found)
    for at, row in enumerate(found.judged):
        row["metrics"]["residuals"] = {"00": {"median_um": -6.0 + at, "width_um": centre.width_um}}
    path = written(found._replace(figures={(1, 3): data}), tmp_path / "page.html")
    cells = look(browser, path, 1600, "light").page.locator("[aria-label='Table: Residuals'] tbody td")
    assert cells.all_text_contents()[1:3] == ["−6", measured(centre.median_um, centre.error_um)]
    assert cells.nth(2).get_attribute("data-value") == str(centre.median_um)
    assert 0.5 < centre.error_um < 1.5


def test_names_sort_by_their_numbers(browser: Browser, workdir: Path) -> None:
    """Iteration 1.10 sorts after 1.9."""
    record = make_campaign(workdir / "c", files=1, config={"campaign": {"iterations": 11}, "stages": [STAGES[1]]})
    found = collect(record["folder"])
    rows = [{**metrics(at), "stage": 1} for at in range(1, 12)]
    empty = {"verdict": "go_on", "reason": "", "criteria": [], "largest": None, "tracks": 1, "solver": ""}
    numbers = {"files_used": 1, "files_expected": 1, "chi2_per_ndf": 1.0, "effect_um": 1.0, "significance": 1.0}
    found.iterations.extend({"stage": 1, "iteration": m["iteration"], "metrics": m, **empty, **numbers} for m in rows)
    found.record["stages"] *= 2
    page = look(browser, written(found, workdir / "page.html"), 1600, "light").page
    assert sorted_by(page, "Iterations", "iteration")[-3:] == ["1.9", "1.10", "1.11"]


def test_paper_is_short_and_not_dark(report: Path, browser: Browser) -> None:
    """A print of three iterations has fewer than eight pages: what is folded stays folded, and text is dark on white."""
    page = browser.new_context(color_scheme="dark", viewport={"width": 760, "height": 1000}).new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() > 0
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    wide = "[...document.querySelectorAll('.wide')].filter(e => getComputedStyle(e).overflowX != 'visible').length"
    assert page.evaluate(wide) == 0
    assert page.locator(".controls").is_hidden()
    assert page.locator("#shown").is_visible()
    assert page.locator("[aria-label='Table: Iterations'] th button").first.is_visible()
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert 0 < pages < 8


def test_without_its_script_the_page_says_the_same(report: Path, browser: Browser) -> None:
    """Without scripts the page shows the last iteration's picture with its scale, and no dead controls."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    assert page.locator("#shown").text_content() == "hits, iteration 3"
    assert page.locator("#most").text_content() == "1,002"
    assert page.locator("figure svg.figure").first.is_visible()
    assert page.locator(".controls").is_hidden()


def test_warnings_of_the_solver_are_explained(found: Facts, browser: Browser, tmp_path: Path) -> None:
    """The page says what caused a warning of the solver, and whether it matters."""
    found = deepcopy(found)
    for row, rejected in zip(found.judged, (0, 300, 0), strict=True):
        solver = {"end_code": 1, "end_text": "Warned", "records": 9000, "chi2_per_ndf": 1.0}
        row["metrics"]["solver"] |= {**solver, "rejects": {"cut": rejected}}
    page = look(browser, written(found, tmp_path / "page.html"), 360, "light").page
    lines = page.locator("section[aria-labelledby=solver] li").all_text_contents()
    assert lines[0].endswith(
        "end code 1, Warned: harmless, because some constraints contain only fixed parameters; 0 of 9,000 records rejected, χ²/ndf 1.000"
    )
    assert "300 of 9,000 records rejected (3.3 %), which the solution leaves out" in lines[1]


def test_what_to_do_is_beside_each_grade_that_is_not_good(workdir: Path) -> None:
    """Page and text say what to do about a line of the quality block that is not good, and nothing about a good one."""
    record = make_campaign(workdir / "c", files=1)
    weak = {"directions": 66, "weak": 0, "drift_sigma": 0.0, "drift_um": 0.0, "modes": []}
    run_iteration(record, 1, hits={"read": 100, "kept": 85, "cut": {"residual": 15}}, weak_modes=weak)
    advice = {name: line["advice"] for name, line in DESCRIBED.items()}
    page = render(collect(record["folder"]), written_utc=NOW)
    assert re.search(
        r"look</span>: Dropped data; <span [^>]*>good</span>: Weak modes; <span [^>]*>unknown</span>: Precision, ", page
    )
    for shown in (
        render(collect(record["folder"]), written_utc=NOW),
        " ".join(block.text for block in blocks(record["folder"]) if isinstance(block, Line)),
    ):
        assert shown.lower().count("what to do:") == 1
        assert advice["dropped"]["hits"] in shown
        assert advice["dropped"]["files"] not in shown
        assert advice["weak_modes"] not in shown
    older: Any = snapshot.take(record["folder"])["quality"]
    for line in older["lines"]:
        line.pop("advice")
    run_iteration(record, 2, quality=older)
    assert "What to do:" not in render(collect(record["folder"]), written_utc=NOW)
    older["lines"] = [{**older["lines"][0], "name": name, "grade": "good"} for name in DESCRIBED if name != "truth"]
    run_iteration(record, 3, quality=older)
    assert re.search(r"good</span>: all lines</p>", render(collect(record["folder"]), written_utc=NOW))


def test_files_that_the_validation_takes_are_named(workdir: Path) -> None:
    """Page, text and status say which raw files are held back for the validation, so that none seems missing."""
    record = make_campaign(workdir / "c", files=2)
    record["validation"] = {"files": [402], "unused": [402], "held_back": [402]}
    write_record(f"{record['folder']}/{layout.RECORD}", record)
    page = render(collect(record["folder"]), written_utc=NOW)
    assert "2023, run 011705 files 400-401; held back for the validation: run 011705 files 402" in page
    text = [block.text for block in blocks(record["folder"]) if isinstance(block, Line)]
    assert "data: 2023 run 011705, 2 files and 1 for the validation" in text
    assert "3 requested, 1 held back for the validation (402), 0 dropped; at most 0 may be dropped" in text


def test_without_matplotlib_the_page_says_so(found: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where matplotlib is missing, the page has its tables and one sentence that names the interpreter and the fix."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = render(found, written_utc=NOW)
    assert f"The page has no figures: figures need matplotlib, which is not installed for {sys.executable}" in text
    assert "<svg class='figure'" not in text
    assert "Table: Iterations" in text


def test_a_limit_of_a_stage_is_drawn(workdir: Path, browser: Browser) -> None:
    """Different limits of stages are a stepped line; a common limit is a straight one."""
    record = make_campaign(workdir / "c", files=1, config={"stages": STAGES})
    run_iteration(record, 1)
    run_iteration(record, 1, stage=2)
    page = look(browser, written(collect(record["folder"]), workdir / "page.html"), 1600, "light").page
    titles = page.locator("svg[aria-label='expected residual shift'] title").all_text_contents()
    assert {"limit, 1.1: 3 µm", "limit, 2.1: 0.5 µm"} <= set(titles)
    assert page.locator("svg[aria-label='expected Δχ²'] .limit title").text_content() == "limit 0.01"


@pytest.mark.parametrize(
    ("rules", "drawn", "words"),
    [
        (
            {"rules": ["absolute"], "absolute_um_max": 2.5, "patience": 1},
            {"corrections, largest, in µm": "limit 2.5 µm", "corrections, largest, in µrad": "limit 10 µrad"},
            "The alignment has converged when the largest correction is below its limit (dashed); no other curve has a limit.",
        ),
        (
            {"rules": ["relative", "effect"], "require": "all"},
            {"relative": "limit 0.001", "expected residual shift": "limit 0.5 µm"},
            "The alignment has converged when relative and the expected residual shift are below their limits (dashed)",
        ),
    ],
    ids=["absolute", "relative and effect"],
)
def test_limits_are_those_of_the_rules(
    rules: dict[str, Any], drawn: dict[str, str], words: str, workdir: Path, browser: Browser
) -> None:
    """Each criterion's limit is in its own chart; without a criterion there is no limit, and the page says so."""
    record = make_campaign(workdir / "c", files=1, config={"convergence": rules})
    for iteration in (1, 2):
        run_iteration(record, iteration, relative=0.01 / iteration)
    page = look(browser, written(collect(record["folder"]), workdir / "page.html"), 1600, "light").page
    shown = {
        str(chart.get_attribute("aria-label")): chart.locator(".limit title").text_content()
        for chart in page.locator("svg.chart").all()
        if chart.locator(".limit").count()
    }
    assert shown == drawn
    assert page.get_by_text(words).count() == 1


def test_a_colleague_can_repeat_it(found: Facts, report: Path, browser: Browser) -> None:
    """The page has the command, a valid configuration, the initial constants, checksums and versions."""
    page = look(browser, report, 1600, "light").page
    command, toml, start = page.locator("section[aria-labelledby=repeat] pre").all_text_contents()
    assert command == "faser-align submit -y 2023 -r 011705 -f 400 --config faser-align.toml --constants start.txt"
    config = Config.model_validate(tomllib.loads(toml))
    mine = Config.model_validate(found.record["config"])
    assert (config.mille, config.solver, config.convergence) == (mine.mille, mine.solver, mine.convergence)
    assert start == Path(layout.constants_file(found.record["folder"], 1, 1)).read_text()
    assert "Python 3.13.3" in str(page.locator("[aria-label='Table: Constants and programs']").text_content())
    assert "from 2.00 to 15.0: module 3 of layer 0 of station 0, y" in page.content()


def test_any_configuration_is_written_as_it_is() -> None:
    """Quotes, other scripts, control characters, stages and nested tables survive a round trip."""
    config = {
        "stages": [
            {"name": 'a "b" \\ λ\x7f\n', "steps": [{"name": "x", "fix": ["3ST"], "presigma": {"layer_x": 0.1}}]}
        ],
        "solver": {"weights": {"011706": 0.5}, "options": [], "hugecut": 2000.0, "threads": 1},
        "storage": {"data": "/eos/mine", "keep_iterations": 0},
        "notify": {"targets": ["me"]},
    }
    back = tomllib.loads(repeat.configuration(json.loads(json.dumps(config))))
    assert back == {"stages": config["stages"], "solver": config["solver"], "storage": {"keep_iterations": 0}}
