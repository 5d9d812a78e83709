"""Test the page's node timeline in a browser against HTCondor's log."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsing import look, look_everywhere
from campaigns import make_campaign
from largecampaigns import make_large
from playwright.sync_api import Browser, Page
from properties import SOAK
from recorded import unpack

from faser_align.campaign import layout
from faser_align.pages import nodetimes, timeline
from faser_align.state import dagmanlogs, joblogs

Pages = Callable[[str], Path]
LINES = """pictures => pictures.map(picture => [...picture.querySelectorAll('g[data-node]')].map(line => ({
  node: line.dataset.node,
  label: line.querySelector('.tick')?.textContent ?? '',
  spans: [...line.querySelectorAll('rect')].map(r => [
    r.getAttribute('class'), parseFloat(r.getAttribute('x')), parseFloat(r.getAttribute('width')), r.textContent]),
  signs: [...line.querySelectorAll('.sign')].map(sign => sign.textContent),
})))"""
BEGIN_S = 1_795_000_000


def _lines(page: Page) -> list[list[dict[str, Any]]]:
    """Return the lines of each picture."""
    found: list[list[dict[str, Any]]] = page.eval_on_selector_all("svg.nodes", LINES)
    return found


def _events(folder: Path) -> list[tuple[int, int, str]]:
    """Return each change of a node according to another log reader: (code, Unix time, node)."""
    nodes: dict[str, str] = {}
    found = []
    for event in joblogs.job_events((folder / layout.JOB_LOG).read_text().splitlines()):
        if event.code == 0:
            nodes[event.job_id] = event.node
        if event.code in (0, 1, 4, joblogs.TERMINATED, joblogs.ABORTED, joblogs.HELD, joblogs.RELEASED):
            found.append((event.code, int(datetime.fromisoformat(event.time).timestamp()), nodes[event.job_id]))
    return found


def _clock(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def test_a_repeated_node_shows_every_attempt(browser: Browser, recorded_page: Pages) -> None:
    """Every attempt of a node that failed three times is drawn, failed ones marked, the last one in another shade."""
    page = look(browser, recorded_page("failed"), 1600, "light").page
    events = _events(recorded_page("failed").with_suffix(""))
    pictures = _lines(page)
    assert [[line["node"] for line in lines][-1] for lines in pictures] == [f"mille_s1_i{i:02d}" for i in range(1, 5)]
    line = next(line for line in pictures[1] if line["node"] == "reco_s1_i02_00401")
    assert line["label"] == "file 401"
    assert line["signs"] == ["×", "×", "×"]
    runs = [span for span in line["spans"] if span[0] != "waiting"]
    assert [kind for kind, *_ in runs] == ["failed", "failed", "failed", "later"]
    assert runs[0][3].endswith("UTC, failed")
    of_node = [(code, at) for code, at, node in events if node == line["node"]]
    begin, end = [at for code, at in of_node if code == 1][-1], of_node[-1][1]
    assert runs[-1][3] == f"file 401, attempt 4: running {end - begin} s, {_clock(begin)} to {_clock(end)} UTC"
    # The axes of all pictures are as long as the longest iteration.
    times = [[at for _, at, node in events if f"_i{i:02d}" in node] for i in range(1, 5)]
    scale = max(max(of) - min(of) for of in times)
    assert runs[-1][1] == pytest.approx(100 * (begin - min(times[1])) / scale, abs=0.01)
    assert runs[-1][2] == pytest.approx(max(0.3, 100 * (end - begin) / scale), abs=0.01)
    sentence = page.locator("svg.nodes").nth(1).get_attribute("aria-label") or ""
    assert "1 retried" in sentence
    assert f"slowest: file 401, {end - of_node[0][1]} s" in sentence


def test_a_held_node_shows_how_long(browser: Browser, recorded_page: Pages) -> None:
    """Times on hold are drawn with a pattern where they were, and their sum equals the table's."""
    page = look(browser, recorded_page("held"), 360, "dark").page
    held: dict[int, list[int]] = {400: [], 401: []}  # seconds
    for file in held:
        events = _events(recorded_page("held").with_suffix(""))
        times = [(code, at) for code, at, node in events if node == f"reco_s1_i01_00{file}"]
        spans = [(at, end) for (code, at), (_, end) in pairwise(times) if code == joblogs.HELD]
        line = next(line for line in _lines(page)[0] if line["node"] == f"reco_s1_i01_00{file}")
        assert [words for kind, _, _, words in line["spans"] if kind == "held"] == [
            f"file {file}: held {end - at} s, {_clock(at)} to {_clock(end)} UTC" for at, end in spans
        ]
        held[file] = [end - at for at, end in spans]
    assert [len(spans) for spans in held.values()] == [1, 2]
    assert page.eval_on_selector("svg.nodes rect.held", "bar => getComputedStyle(bar).fill").startswith('url("#held")')
    row = page.locator("[aria-label='Table: Times'] tbody tr").first.locator("td").all_text_contents()
    assert row[:3] == ["1", "reconstruction", "2"]
    assert row[7] == f"{sum(map(sum, held.values()))} s"


@pytest.mark.parametrize("case", ["converged", "removed", "killed", "lost", "stages", "gone"])
def test_every_node_of_the_log_is_drawn(case: str, browser: Browser, recorded_page: Pages) -> None:
    """Each submitted node has its line, and each failed attempt its cross, on any screen."""
    path = recorded_page(case)
    nodes = nodetimes.read(str(path.with_suffix("")), {}, None)
    for page in look_everywhere(browser, path, axe=SOAK or case == "gone"):
        lines = [line for picture in _lines(page) for line in picture]
        assert sorted(line["node"] for line in lines) == sorted(node.name for node in nodes)
    crossed = {line["node"] for line in lines if "×" in line["signs"]}
    assert crossed == {
        "removed": {"reco_s1_i01_00401"},
        "killed": {"reco_s1_i01_00400", "reco_s1_i02_00400"},
        "lost": {"reco_s1_i01_00401"},
        "gone": {"reco_s1_i01_00401"},
    }.get(case, set())


def test_the_table_beside_has_the_unusual_nodes_first(browser: Browser, recorded_page: Pages) -> None:
    """A table repeats the lines' information: held or retried nodes first, then the slowest."""
    page = look(browser, recorded_page("killed"), 1600, "light").page
    page.locator("summary", has_text="unusual nodes").click()
    table = page.locator("[aria-label='Table: Unusual nodes'] tr").all()
    rows = [row.locator("td").all_text_contents() for row in table]
    assert {tuple(row[:3]) for row in rows[1:3]} == {("1", "file 400", "2"), ("2", "file 400", "2")}
    assert all(row[2] == "1" and row[8] == "done" for row in rows[3:])


def test_very_many_nodes_are_summed_up_in_words(
    browser: Browser, workdir: Path, page_of: Callable[[Path], Path]
) -> None:
    """Of thousands of nodes the slowest are drawn below the mean of the others, with their number."""
    make_large(workdir / "c", files=1200, iterations=2)
    page = look(browser, page_of(workdir / "c"), 360, "light").page
    pictures = _lines(page)
    assert [len(lines) for lines in pictures] == [1 + timeline.UNUSUAL_MAX] * 2
    mean, *others, fit = pictures[0]
    assert mean["label"] == "mean of others"
    assert mean["spans"][0][3] == "mean of 1,177 other nodes: waiting 1 min 30 s"
    assert fit["node"] == "mille_s1_i01"
    ends = [line["spans"][-1][1] + line["spans"][-1][2] for line in others]
    assert min(ends) > mean["spans"][-1][1] + mean["spans"][-1][2]
    words = page.locator("section[aria-labelledby=time]").text_content() or ""
    assert "24 are drawn; of the other 1,177, none failed, held or retried." in words
    assert "Its first line is the mean of the others, 2,354 in all iterations." in words


def test_the_unusual_ones_are_among_the_drawn() -> None:
    """The few nodes that failed, were held or retried are drawn; if there are too many, the rest is counted."""

    def node(number: int, *jobs: nodetimes.Job) -> nodetimes.Node:
        return nodetimes.Node(f"reco_s1_i01_{number:05d}", "reco", 1, 1, number, list(jobs))

    def job(seconds: int, state: str = "running", failed: bool = False) -> nodetimes.Job:
        return nodetimes.Job([nodetimes.Span(state, BEGIN_S, BEGIN_S + seconds)], failed, open=False)

    usual = [node(number, job(100 + number)) for number in range(1000)]
    few = [node(2000, job(1, failed=True)), node(2001, job(1, "held")), node(2002, job(1, failed=True), job(1))]
    drawn = str(timeline.panels([*usual, *few], staged=False)[0].drawn)
    assert [f"data-node='reco_s1_i01_{number:05d}'" in drawn for number in (2000, 2001, 2002, 999, 992, 1)] == [
        True
    ] * 5 + [False]
    many = [node(3000 + number, job(1, failed=True)) for number in range(30)]
    words = timeline.panels([*usual, *many], staged=False)[0].words
    assert "1,030 nodes in 18 min 19 s, 30 failed; slowest: file 999, 18 min 19 s." in words
    assert words.endswith("24 are drawn; of the other 1,006, 14 failed.")


def test_what_goes_on_ends_now(workdir: Path) -> None:
    """An unfinished job is drawn until now, and marked; in an ended campaign until the end of the log."""
    make_campaign(workdir / "c", files=2)
    begun = [("000", 0, "7.0", "reco_s1_i01_00400"), ("001", 60, "7.0", ""), ("000", 90, "8.0", "reco_s1_i01_00401")]
    _log(workdir / "c", begun)
    running, waiting = nodetimes.read(str(workdir / "c"), {}, BEGIN_S + 100.0)
    spans = [(span.state, span.end_s - span.begin_s) for span in running.jobs[0].spans]
    assert spans == [("waiting", 60), ("running", 40)]
    assert waiting.seconds("waiting") == 10
    assert running.jobs[0].open
    assert "›" in timeline.panels([running, waiting], staged=False)[0].drawn
    running, _ = nodetimes.read(str(workdir / "c"), {}, None)
    assert running.end_s == BEGIN_S + 90


def test_job_ids_of_another_schedd_are_other_jobs(workdir: Path) -> None:
    """Job ids that another schedd repeats after `move` are separate jobs."""
    make_campaign(workdir / "c", files=2)
    first = [("000", 0, "7.0", "reco_s1_i01_00400"), ("001", 5, "7.0", ""), ("005", 15, "7.0", "")]
    again = [("000", 50, "7.0", "reco_s1_i01_00401"), ("001", 55, "7.0", ""), ("009", 56, "7.0", "")]
    _log(workdir / "c", [*first, *again])
    one, other = nodetimes.read(str(workdir / "c"), {("reco_s1_i01_00400", "7.0"): "succeeded"}, None)
    assert (one.seconds("running"), one.failed) == (10, False)
    assert (other.seconds("failed"), other.failed) == (1, True)


def test_a_log_of_nonsense_has_no_nodes(workdir: Path) -> None:
    """A truncated or damaged log shows what can be read; a missing one shows nothing."""
    make_campaign(workdir / "c", files=1)
    assert nodetimes.read(str(workdir / "c"), {}, None) == []
    (workdir / "c" / layout.JOB_LOG).write_text("000 (x.y) never\n001 (7.000.000) 2026\n    DAG Node: nobody\n000 (9")
    assert nodetimes.read(str(workdir / "c"), {}, None) == []


@pytest.mark.parametrize("case", ["failed", "25.14/failed"])
def test_the_logs_of_both_versions_have_all_nodes(case: str, tmp_path: Path) -> None:
    """Logs of HTCondor 23.9 and 25.14 give the node of every job."""
    unpack(case, tmp_path)
    submitted = {
        line.node for line in dagmanlogs.jobstate((tmp_path / layout.JOBSTATE_LOG).read_text()) if line.what == "SUBMIT"
    }
    found = nodetimes.read(str(tmp_path), {}, None)
    assert {node.name for node in found} == submitted - {layout.FINAL_NODE}
    assert max(len(node.jobs) for node in found) == 4


def test_the_validation_has_pictures_of_its_own(workdir: Path) -> None:
    """The validation's reconstructions are named by their constants, iterations of several stages by both numbers."""
    make_campaign(workdir / "c", files=1)
    names = ("reco_s2_i01_00400", "before_00400", "after_00400", "validate")
    for at, name in enumerate(names):
        _log(workdir / "c", [("000", 100 * at, f"{at}.0", name), ("005", 100 * at + 9, f"{at}.0", "")])
    found = timeline.panels(nodetimes.read(str(workdir / "c"), {}, None), staged=True)
    with_constants = "Validation with the {} constants".format
    assert [panel.name for panel in found] == ["Iteration 2.1", with_constants("first"), with_constants("last")]
    assert "comparison" in found[2].drawn


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (0, ["0", "1 s"]),
        (7, ["0", "2 s", "4 s", "6 s"]),
        (5000, ["0", "30 min", "60 min"]),
        (90_000, ["0", "12 h", "24 h"]),
        (3_000_000, ["0", "16 d", "32 d"]),
    ],
)
def test_the_axis_has_round_times(seconds: int, ticks: list[str]) -> None:
    """The axis has a few round times, for iterations of seconds or weeks."""
    job = nodetimes.Job([nodetimes.Span("running", BEGIN_S, BEGIN_S + seconds)], failed=False, open=False)
    panel = timeline.panels([nodetimes.Node("mille_s1_i01", "mille", 1, 1, -1, [job])], staged=False)[0]
    assert re.findall(r"class='place[^>]*>([^<]*)<", panel.drawn) == ticks


def _log(folder: Path, events: list[tuple[str, int, str, str]]) -> None:
    """Add to a job event log: (code, seconds after the start, job id, node)."""
    with open(folder / layout.JOB_LOG, "a", encoding="utf-8") as log:
        for code, at, job, node in events:
            cluster, proc = map(int, job.split("."))
            log.write(f"{code} ({cluster:03d}.{proc:03d}.000) {datetime.fromtimestamp(BEGIN_S + at)} Job did.\n")
            log.write(f"    DAG Node: {node}\n...\n" if node else "...\n")
