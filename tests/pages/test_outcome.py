"""Test the top of the page: state, reason, and failures."""

from collections.abc import Callable
from pathlib import Path

from browsing import look
from campaigns import hook, make_campaign, run_iteration
from playwright.sync_api import Browser

from faser_align.alignment.parameters.constants import ZERO, write_constants
from faser_align.alignment.parameters.labels import layer_label, module_x_label
from faser_align.alignment.pede.results import Row, write_result
from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.pages.collect import collect

PageOf = Callable[[Path], Path]


def test_a_failed_campaign_says_what_failed(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """The top of the page explains the state, names the failed file, its iteration and reason, and how to continue."""
    record = make_campaign(workdir / "c", files=2, name="c")
    run_iteration(record, 1)
    node = layout.reco_node(1, 2, 401)
    hook("pre", record["folder"], node, 0, 2)
    hook("post", record["folder"], node, 0, 2, 61, "31.0", 0)
    hook("final", record["folder"], "final", 2, 1)
    page = look(browser, page_of(workdir / "c"), 360, "light").page
    assert page.locator("header p").inner_text() == f"A node failed for good: the DAG ended: 1 node failed ({node})"
    facts = dict(zip(page.locator("dt").all_text_contents(), page.locator("dd").all_text_contents(), strict=True))
    failed = page.locator("section[aria-labelledby=failed]")
    assert failed.locator("li").inner_text().startswith("file 401 in iteration 2: raw file missing or unreadable")
    assert failed.locator(".next code").all_text_contents() == ["faser-align resume c", "faser-align analyze c"]
    assert facts["largest correction of the last iteration"] == "−120 µm, y of module 003"
    assert facts["χ²/ndf"] == "1.200"
    assert facts["iterations"] == "1 of at most 4"
    assert facts["next"].startswith("faser-align resume c")


def test_failures_of_one_kind_are_listed_once(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """Failures of the same kind are one entry with all files, the fix, and the end of the first one's log, scrolled to its end."""
    record = make_campaign(workdir / "c", files=4, name="c")
    folder = record["folder"]
    for file in (400, 401, 403):
        node = layout.reco_node(1, 1, file)
        own = layout.job_log(folder, node, "log")
        Path(own).write_text("".join(f"line {at}\n" for at in range(40)) + "x" * 200 + "\nEvent FATAL no geometry\n")
        Path(layout.job_log(folder, node, "err")).write_text(f"reconstruction: status 1 (log: {own})\n")
        hook("pre", folder, node, 2, 2)
        hook("post", folder, node, 2, 2, exit_codes.CRASHED, f"3{file}.0", 0)
    hook("final", folder, "final", 2, 1)
    seen = look(browser, page_of(workdir / "c"), 360, "dark", axe=True)
    (entry,) = seen.page.locator("section[aria-labelledby=failed] li").all()
    words = entry.inner_text()
    assert words.startswith("3 files in iteration 1 (run 011705 files 400-401,403): reconstruction crashed")
    assert "To fix it: read the job's log" in words
    assert "Last error in its log: Event FATAL no geometry" in words
    assert layout.job_log(folder, layout.reco_node(1, 1, 400), "log") in words
    log = entry.locator("pre")
    assert (log.text_content() or "").startswith("line 22\n")
    shown = "pre => Math.abs(pre.scrollTop) < 1 && pre.scrollHeight >= pre.clientHeight"
    assert log.evaluate(shown)  # a reversed column begins at its end
    assert seen.page.locator("nav a").first.text_content() == "Failures"
    assert "No iteration has been solved yet" in seen.page.locator("main").inner_text()


def test_held_jobs_are_at_the_top_with_their_release(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """Held jobs are named with their reason and the command that releases them; a refused message is no decision."""
    targets = {"targets": ["nobody"], "file": str(workdir / "no-targets.toml")}
    record = make_campaign(workdir / "c", files=2, name="c", config={"notify": targets, "htcondor": {"pool": "system"}})
    folder, node = record["folder"], layout.reco_node(1, 1, 400)
    Path(folder, layout.NODES_LOG).write_text(
        "012 (031.000.000) 2026-11-24 07:31:00 Job was held.\n\tno space on device\n\tCode 13 Subcode 2\n...\n"
    )
    hook("pre", folder, node, 0, 2)
    hook("hold", folder, node, "31.0", 0)
    page = look(browser, page_of(workdir / "c"), 360, "light").page
    assert page.locator("header p").inner_text() == "Raw files of an iteration are being reconstructed"
    held = page.locator("section[aria-labelledby=held]")
    assert held.locator("li").inner_text() == "file 400 in iteration 1: no space on device"
    assert held.locator(".next code").all_text_contents() == ["condor_release 31.0"]


def test_dropped_files_lead_to_their_reasons(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """The top of the page counts dropped files; section *Data* has reasons and fixes, and proposes no resumption."""
    record = make_campaign(workdir / "c", files=3, name="c", config={"reconstruction": {"min_files": 0.6}})
    node = layout.reco_node(1, 1, 401)
    hook("pre", record["folder"], node, 2, 2)
    hook("post", record["folder"], node, 2, 2, 61, "31.0", 0)
    page = look(browser, page_of(workdir / "c"), 360, "light").page
    facts = dict(zip(page.locator("dt").all_text_contents(), page.locator("dd").all_text_contents(), strict=True))
    assert facts["dropped files"] == "1 of 3"
    assert facts["nodes now"] == "iteration 1: 3 waiting, 1 dropped"
    (entry,) = page.locator("section[aria-labelledby=data] li").all()
    assert entry.inner_text() == (
        "file 401 in iteration 1: raw file missing or unreadable\nTo fix it: put the raw file in place."
    )


def test_a_running_campaign_tells_its_last_verdict(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """The page of a running campaign shows its state, its progress, and the last decision."""
    record = make_campaign(workdir / "c", files=2, name="c")
    run_iteration(record, 1)
    hook("pre", record["folder"], layout.reco_node(1, 2, 400), 0, 2)
    page = look(browser, page_of(workdir / "c"), 360, "dark").page
    assert page.locator("header p").inner_text() == (
        "Raw files of an iteration are being reconstructed. The last decision: expected Δχ² per parameter 5 is not below 0.01 and expected residual shift 9.00 µm is "
        "not below 0.5 µm"
    )
    facts = dict(zip(page.locator("dt").all_text_contents(), page.locator("dd").all_text_contents(), strict=True))
    assert facts["nodes now"] == "iteration 2: 2 waiting, 1 running"


def test_the_picture_has_one_scale_and_signs(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """The detector shows the displacement first, blue below zero and red above, on one scale for all iterations."""
    record = make_campaign(workdir / "c", files=1)
    folder = record["folder"]
    for at, x_mm in ((1, -4.0), (2, 2.0)):
        run_iteration(record, at)
        write_constants(layout.result_file(folder, 1, at), {"003": (x_mm, 0.0, 0.0, 0.0, 0.0, 0.0)})
        write_result(
            Path(layout.metrics_file(folder, 1, at)).parent / "millepede.res",
            {module_x_label(0, 0, 3, side): Row(x_mm, 0.0, x_mm, 0.001) for side in (0, 1)},
        )
    write_constants(layout.constants_file(folder, 1, 1), {"003": ZERO})
    page = look(browser, page_of(workdir / "c"), 360, "dark").page
    fill = "document.querySelector('.detector rect[data-key=\"003\"]').style.fill"
    assert page.locator("#shown").inner_text() == "displacement from the start, x, iteration 2"
    assert page.locator("#most").inner_text() == "4,000 µm"
    assert "var(--plus) 50%" in page.evaluate(fill)
    page.select_option("#iteration", "1")
    assert page.locator("#most").inner_text() == "4,000 µm"
    assert "var(--minus) 100%" in page.evaluate(fill)
    assert page.locator(".detector rect[data-key='003'] title").text_content() == "module 003: −4,000.0 ± 0.7 µm"
    page.select_option("#quantity", "cut")
    assert page.locator("#most").inner_text() == "0.1996 %"


def test_tables_keep_their_words_together(browser: Browser, workdir: Path, page_of: PageOf) -> None:
    """No table cell is too narrow on any screen: rows stay low, and headings have one line."""
    record = make_campaign(workdir / "c", files=1)
    for iteration in range(1, 5):
        run_iteration(record, iteration)
    page = look(browser, page_of(workdir / "c"), 1600, "light").page
    heights = "rows => rows.map(row => row.getBoundingClientRect().height)"
    for width in (1600, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert max(page.eval_on_selector_all("tr", heights)) < 120
        assert max(page.eval_on_selector_all("thead tr", heights)) < 40


def test_constants_keep_the_errors_of_earlier_stages(workdir: Path) -> None:
    """Constants that only an earlier stage moved have the errors of its last iteration; others have the latest errors."""
    record = make_campaign(
        workdir / "c", files=1, config={"stages": [{"name": name, "iterations": 2} for name in ("layers", "modules")]}
    )
    module = (module_x_label(0, 0, 3, 0), module_x_label(0, 0, 3, 1))
    for stage, labels, error in ((1, (layer_label(1, 0, 1), *module), 0.002), (2, module, 0.001)):
        run_iteration(record, 1, stage=stage)
        place = Path(layout.metrics_file(record["folder"], stage, 1)).parent
        write_result(place / "millepede.res", {label: Row(0.01, 0.0, 0.01, error) for label in labels})
    found = collect(record["folder"])
    first, last = (found.solutions[stage, 1] for stage in (1, 2))
    assert (any(first.errors["10"]), any(last.errors["10"])) == (True, False)
    assert last.all_errors == found.errors
    assert (found.errors["10"], found.errors["003"]) == (first.errors["10"], last.errors["003"])
    assert first.errors["003"] != last.errors["003"]
