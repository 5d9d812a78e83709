"""Test importing finished campaigns of faser-alignment-script."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from browsing import SIZES, chromium, look
from campaigns import make_campaign, run_iteration
from commandline import Command, in_process
from described import undescribed_below
from stored import findings

from faser_align.campaign import layout
from faser_align.state import queries, verify

DATA = Path(__file__).parents[1] / "data"
START = DATA / "constants" / "align_2022_4st_local.txt"
SUM = DATA / "constants" / "align_2022_4st_local_plus_correction_2024.txt"
FAILED = DATA / "pede" / "case3_failing" / "expected_code26_too_many_rejects"
BEGAN = 1_719_700_000.0  # 29 June 2024, 22:26:40 UTC
HOUR_S = 3600.0


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command line in an empty folder, with a registry of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return in_process(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _described(tmp_path: Path) -> Iterator[None]:
    """Check that each file and key that an import writes is described."""
    yield
    assert undescribed_below(tmp_path / "here") == []


def put(source: Path | str, target: Path, at: float) -> None:
    """Write a file with a given time: a copy of another, or a text."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes() if isinstance(source, Path) else source.encode())
    os.utime(target, (at, at))


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Make two iterations in the old layout: a good one with two raw files, and one that pede aborted."""
    root = tmp_path / "Y2022_R008294_F101-103_ST4_layer"
    first, second = root / "iter01", root / "iter02"
    put(START, first / "1reco" / "inputforalign.txt", BEGAN)
    for number in (101, 102):
        put("root", first / "2kfalignment" / f"kfalignment_008294_{number:05d}.root", BEGAN + HOUR_S)
    for ending in ("res", "end", "log", "his"):
        put(
            DATA / "pede" / f"millepede_2024.{ending}", first / "3millepede" / f"millepede.{ending}", BEGAN + 2 * HOUR_S
        )
    put(SUM, second / "1reco" / "inputforalign.txt", BEGAN + 2 * HOUR_S)
    for ending in ("end", "log"):
        put(FAILED / f"millepede.{ending}", second / "3millepede" / f"millepede.{ending}", BEGAN + 3 * HOUR_S)
    return root


def fingerprint(root: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of every file of a tree."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_folder_becomes_a_campaign_that_every_reader_reads(command: Command, theirs: Path) -> None:
    """status, metrics, report, history, constants and verify work on an imported campaign."""
    before = fingerprint(theirs)
    made = command("import", str(theirs))
    assert made.status == 0, made.err
    assert "which was not changed: 2 iterations" in made.out
    assert fingerprint(theirs) == before
    name = f"{theirs.name}-imported"

    rows = json.loads(command("metrics", name, "--json").out)
    good, bad = (row["metrics"] for row in rows)
    assert good["solver"]["end_code"] == 1
    assert good["solver"]["chi2_per_ndf"] == pytest.approx(0.841921, abs=1e-6)
    assert good["tracks"]["used"] == good["solver"]["records"] > 100_000
    assert good["files"] == {"expected": 2, "used": 2, "lost": []}
    assert good["significance"] > 0
    assert good["corrections"]["layer.y"]["unit"] == "um"
    assert good["relative"] > 0
    assert good.get("notes", []) == []
    assert bad["solver"]["end_code"] == 26
    assert [row["verdict"] for row in rows] == ["go_on", ""]

    told = json.loads(command("history", name, "--campaign-only", "--utc", "--json").out)
    assert [row["event"] for row in told][-1] == "final_failed"
    assert told[1]["utc"].startswith("2024-06-29T22:26:40")
    assert told[0]["facts"]["imported"] == str(theirs)
    status = json.loads(command("status", name, "--json").out)
    assert status["reason"] == "imported: iter02 has no result (Aborted, too many rejects)"
    assert "resume" not in status["next"]
    report = command("report", name, "--text").out
    assert str(theirs) in report
    assert "8294" in report
    for words in (
        *(("status", name), ("metrics", name), ("list",), ("metrics", name, "--csv"), ("report", name, "--json")),
        *(("report", name), ("import", str(theirs), "-o", "again"), ("compare", name, "again"), ("why", name)),
    ):
        assert command(*words).status == 0, words
    shown = command("constants", "diff", str(START), name, "--json")
    assert json.loads(shown.out)["00"] == pytest.approx(
        json.loads(command("constants", "diff", str(START), str(SUM), "--json").out)["00"]
    )
    with queries.published(name) as db:
        assert verify.findings(db) == []
        assert {(row["return_value"], row["host"]) for row in queries.nodes(db)} == {(None, "")}


def test_what_is_not_known_is_blank(command: Command, theirs: Path) -> None:
    """Numbers that need the tracks are empty, and the import adds no configuration of ours."""
    command("import", str(theirs), "-o", "mine")
    metrics = json.loads(command("metrics", "mine", "--json").out)[0]["metrics"]
    for key in ("chi2_per_ndf", "effect_um", "residual_max_mm", "converted_again", "wall_s", "max_memory_mb"):
        assert metrics[key] is None, key
    assert (metrics["hits"], metrics["momentum"], metrics["residuals"]) == ({}, {}, {})
    record = json.loads(Path("mine/campaign.json").read_text())
    assert record["imported"]["from"] == str(theirs)
    assert set(record["config"]) == {"notify", "htcondor", "solver"}
    assert (record["year"], record["run"], record["stations"]) == (2022, "008294", 4)
    report = command("report", "mine", "--text").out
    assert "[convergence]" not in report
    assert "simulation" not in report


def test_stages_and_steps_come_from_the_configuration_that_was_kept(command: Command, theirs: Path) -> None:
    """With config.json of the newest generation in the folder, its sets become stages, counted from iter00."""
    (theirs / "iter01").rename(theirs / "iter00")
    (theirs / "iter02").rename(theirs / "iter01")
    sets = {f"set{i}": {"iters": 1, "comment": f"part {i}", "pede": {"step0": ["layer", "3ST"]}} for i in (0, 1)}
    (theirs / "config.json").write_text(json.dumps({"raw": {"year": 2022, "run": 8294}, "workflow": sets}))
    assert command("import", str(theirs), "-o", "mine").status == 0
    record = json.loads(Path("mine/campaign.json").read_text())
    assert [(stage["name"], stage["steps"]) for stage in record["stages"]] == [
        (f"part {i}", [{"name": "step0", "fix": ["layer", "3ST"]}]) for i in (0, 1)
    ]
    assert Path("mine/stage02/iter01/1reco/inputforalign.txt").read_text() == SUM.read_text()
    assert json.loads(Path("mine/config.json").read_text())["raw"]["run"] == 8294
    assert "part 1" in command("report", "mine", "--text").out
    assert findings(f"mine/{layout.PUBLISHED}") == []


def test_faults_of_the_predecessor_are_told(command: Command, theirs: Path) -> None:
    """Constants that are not the start plus pede's result, an empty file and a missing one are reported."""
    put(START, theirs / "iter02" / "1reco" / "inputforalign.txt", BEGAN)
    third = theirs / "iter03" / "1reco" / "inputforalign.txt"
    put("", third, BEGAN + 4 * HOUR_S)
    for ending in ("res", "end", "log"):
        source = DATA / "pede" / f"millepede_2024.{ending}"
        put(source, theirs / "iter03" / "3millepede" / f"millepede.{ending}", BEGAN + 5 * HOUR_S)
    made = command("import", str(theirs), "-o", "mine")
    assert "iter01: the constants that it passed on are not the initial ones plus pede's result" in made.err
    assert "iter02: pede ended with code 26" in made.err
    assert "iter03: 1reco/inputforalign.txt is empty: it reconstructed with all constants 0" in made.err
    assert "iter03: its constants are the initial ones plus pede's result" in made.err
    assert findings(f"mine/{layout.PUBLISHED}") == []


def test_a_missing_iteration_is_not_part_of_the_correction_before_it(command: Command, theirs: Path) -> None:
    """An iteration before a gap has the correction that pede found, not the difference to the next existing iteration."""
    for path in ("1reco/inputforalign.txt", "3millepede/millepede.end"):
        put(theirs / "iter02" / path, theirs / "iter03" / path, BEGAN + 5 * HOUR_S)
    put(START, theirs / "iter03" / "1reco" / "inputforalign.txt", BEGAN + 5 * HOUR_S)
    shutil.rmtree(theirs / "iter02")
    made = command("import", str(theirs), "-o", "mine")
    assert "iterations are missing: iter02" in made.err
    assert "iter01: its constants are the initial ones plus pede's result; it passed on none" in made.err
    shown = command("constants", "diff", str(SUM), layout.result_file("mine", 1, 1), "--json")
    assert not any(any(six) for six in json.loads(shown.out).values())


def test_a_result_of_pede_without_initial_constants_is_not_pedes_failure(command: Command, theirs: Path) -> None:
    """If an iteration's constants are unknown, the import says so, and not that pede ended without a result."""
    (theirs / "iter01" / "1reco" / "inputforalign.txt").unlink()
    shutil.rmtree(theirs / "iter02")
    assert command("import", str(theirs), "-o", "mine").status == 0
    reason = json.loads(command("status", "mine", "--json").out)["reason"]
    assert reason == "imported: iter01 has no result (its initial constants are unknown)"


def test_a_raw_file_without_tracks_in_an_iteration_is_lost(command: Command, theirs: Path) -> None:
    """Raw files whose tracks only another iteration has are listed as lost, in agreement with the number of files used."""
    put("root", theirs / "iter02" / "2kfalignment" / "kfalignment_008294_00102.root", BEGAN + 2 * HOUR_S)
    put("root", theirs / "iter02" / "2kfalignment" / "kfalignment_008294_00105.root", BEGAN + 2 * HOUR_S)
    assert command("import", str(theirs), "-o", "mine").status == 0
    files = [row["metrics"]["files"] for row in json.loads(command("metrics", "mine", "--json").out)]
    assert files == [{"expected": 3, "used": 2, "lost": [105]}, {"expected": 3, "used": 2, "lost": [101]}]


def test_an_import_is_repaired_from_its_copies_without_htcondor(command: Command, theirs: Path) -> None:
    """`repair` restores an imported campaign from a sound copy; without one it names the `import` command that repeats it."""
    assert command("import", str(theirs), "-o", "mine").status == 0
    before = command("history", "mine", "--json").out
    Path("mine", layout.PUBLISHED).unlink()
    assert command("repair", "mine").status == 0
    assert command("history", "mine", "--json").out == before
    for name in (layout.PUBLISHED, layout.STATE):
        Path("mine", name).unlink()
    assert command("repair", "mine").status == 0
    assert command("history", "mine", "--json").out == before
    assert command("verify", "mine").status == 0
    for name in (layout.PUBLISHED, layout.STATE, layout.REDO):
        Path("mine", name).unlink()
    done = command("repair", "mine")
    assert (done.status, done.out) == (2, "")
    assert f"import it again with `faser-align import {theirs}`" in done.err
    assert not Path("mine", layout.STATE).exists()


def test_compare_and_report_count_the_dropped_files_of_an_import(command: Command, theirs: Path) -> None:
    """`compare` and the page count the files that the last solved iteration lacks, as `status` does."""
    for number in (101, 102, 103):
        put("root", theirs / "iter02" / "2kfalignment" / f"kfalignment_008294_{number:05d}.root", BEGAN + 2 * HOUR_S)
    for name in ("mine", "again"):
        assert command("import", str(theirs), "-o", name).status == 0
    assert "Dropped data: 1 of 3 files" in command("status", "mine").out
    summary = json.loads(command("compare", "mine", "again", "--json").out)["summary"]
    assert ["files dropped", ["1", "1"]] in summary
    assert command("report", "mine", "-o", "page.html").status == 0
    assert "files 101-103. 1 dropped" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("raw", "workflow", "said"),
    [
        ({"year": "2022a", "run": [8294], "stations": {"set0": 3}}, {}, ""),
        ({}, {"set0": 3}, "workflow.set0 is not a set with a number of iterations"),
        ({}, {"set0": {"iters": "two"}}, "workflow.set0 is not a set with a number of iterations"),
        ({}, {"set0": {"iters": 2, "pede": {"step0": "layer"}}}, "workflow.set0.pede is not a table of steps"),
        ({}, {"set0": {"iters": -1}, "set1": {"iters": 3}}, ""),
        ({}, [1], "workflow is not a table of sets"),
    ],
)
def test_a_kept_configuration_with_faults_does_not_matter(
    command: Command, theirs: Path, raw: dict[str, Any], workflow: Any, said: str
) -> None:
    """Values that the configuration lacks come from the folder's name; without described stages there is one stage."""
    (theirs / "config.json").write_text(json.dumps({"raw": raw, "workflow": workflow}))
    made = command("import", str(theirs), "-o", "mine")
    assert made.status == 0, made.err
    assert not said or f"its stages are unknown: {said}" in made.err
    record = json.loads(Path("mine/campaign.json").read_text())
    assert (record["year"], record["run"], record["stations"]) == (2022, "008294", 4)
    assert [(stage["name"], stage["iterations"], stage["steps"]) for stage in record["stages"]] == [("imported", 2, [])]


def test_a_result_without_an_end_is_taken_and_its_end_is_blank(command: Command, theirs: Path) -> None:
    """A result without millepede.end and log is imported; the values that these files contain are empty."""
    shutil.rmtree(theirs / "iter02" / "3millepede")
    for ending in ("end", "log", "his"):
        (theirs / "iter01" / "3millepede" / f"millepede.{ending}").unlink()
    assert command("import", str(theirs), "-o", "mine").status == 0
    rows = json.loads(command("metrics", "mine", "--json").out)
    assert len(rows) == 1
    assert rows[0]["verdict"] == "limit"
    solver = rows[0]["metrics"]["solver"]
    assert solver["end_code"] == ""
    assert solver["records"] is solver["chi2_per_ndf"] is rows[0]["metrics"]["significance"] is None
    assert rows[0]["metrics"]["corrections"]["layer.y"]["largest"] is not None
    assert command("metrics", "mine").status == 0


def test_an_imported_campaign_is_not_run(command: Command, theirs: Path) -> None:
    """resume refuses an imported campaign in one sentence that says how to continue from its constants."""
    command("import", str(theirs), "-o", "mine")
    left = command("resume", "mine")
    assert left.status == 2
    assert "was imported" in left.err
    assert "--constants" in left.err
    assert "was imported" in command("extend", "mine", "-i", "2").err + command("set", "mine", "patience=3").err
    fork = command("submit", "--from", "mine", "--dry-run")
    assert (fork.status, "add --config FILE" in fork.err) == (2, True)
    again = command("solve", "--from", "mine", "--iteration", "1", "-o", "again")
    assert (again.status, "was imported without tracks" in again.err) == (2, True)


def test_what_cannot_be_imported_is_refused(command: Command, theirs: Path, tmp_path: Path) -> None:
    """A folder without iterations, an output that exists or is inside it, and a campaign of faser-align are refused."""
    (tmp_path / "none").mkdir()
    assert "has no iteration" in command("import", str(tmp_path / "none")).err
    assert "must not change" in command("import", str(theirs), "-o", str(theirs / "x")).err
    assert command("import", str(theirs), "-o", "mine").status == 0
    assert "already exists" in command("import", str(theirs), "-o", "mine").err
    assert "is already a campaign of faser-align" in command("import", "mine").err


def test_several_runs_of_pede_are_the_steps_of_an_iteration(command: Command, theirs: Path) -> None:
    """Several runs of pede become steps, each with its end code; the files of the last run belong to the last step."""
    millepede = theirs / "iter01" / "3millepede"
    for step in ("step0", "step1"):
        for ending in ("res", "end", "log", "his"):
            put(
                DATA / "pede" / f"millepede_2024.{ending}", millepede / step / f"millepede.{ending}", BEGAN + 2 * HOUR_S
            )
    for path in millepede.glob("millepede.*"):
        path.unlink()
    sets = {"set0": {"iters": 2, "comment": "3ST", "pede": {"step0": ["IFT", 21, 41], "step1": ["IFT", 20]}}}
    (theirs / "config.json").write_text(json.dumps({"raw": {"year": 2022, "run": 8294}, "workflow": sets}))
    assert command("import", str(theirs), "-o", "mine").status == 0
    metrics = json.loads(command("metrics", "mine", "--json").out)[0]["metrics"]
    assert [(step["name"], step["end_code"]) for step in metrics["steps"]] == [("step0", 1), ("step1", 1)]
    assert Path("mine/iter01/3millepede/step2/millepede.res").is_file()
    assert command("report", "mine").status == 0


@pytest.mark.slow
def test_pages_of_an_imported_campaign_are_sound(command: Command, theirs: Path, workdir: Path) -> None:
    """The report of an imported campaign, and a comparison with one of ours, work in a browser and name the unknown values."""
    assert command("import", str(theirs)).status == 0
    name = f"{theirs.name}-imported"
    ours = make_campaign(workdir / "ours", files=2, name="ours")
    run_iteration(ours, 1)
    report, both = workdir / "report.html", workdir / "both.html"
    assert command("report", name, "-o", str(report)).status == 0
    assert command("compare", name, ours["folder"], "-o", str(both)).status == 0
    assert command("export", name, "--format", "csv", "-o", str(workdir / "exported")).status == 0
    with chromium() as browser:
        for width, scheme in SIZES:
            page = look(browser, report, width, scheme).page
            assert "another program ran it" in page.locator("section[aria-labelledby=repeat]").inner_text()
            assert "submit --constants" in page.locator("section[aria-label=Outcome]").inner_text()
            assert look(browser, both, width, scheme).page.locator("svg.chart").count() == 3


@pytest.mark.parametrize(
    ("name", "raw", "files", "told"),
    [
        ("Y2024_R013657_F100-150", {}, range(100, 150), "100-149, without the excluded last file"),
        ("Y2024_R013657_F7,100:103_ST4_layer", {}, [7, 100, 101, 102], "7,100-102, without the excluded last file"),
        (
            "elsewhere",
            {"year": 2024, "run": 13657, "files": "100-103"},
            [100, 101, 102],
            "raw.files of its configuration gives",
        ),
        ("Y2024_R013657_F100-150", {"files": "all of them"}, range(100, 150), "its name gives"),
    ],
)
def test_raw_files_come_from_the_name_if_the_tracks_are_gone(
    command: Command, theirs: Path, name: str, raw: dict[str, Any], files: Sequence[int], told: str
) -> None:
    """Without ROOT files the raw files come from the configuration or the folder's name, which exclude the end of a range."""
    shutil.rmtree(theirs / "iter01" / "2kfalignment")
    folder = theirs.rename(theirs.with_name(name))
    if raw:
        (folder / "config.json").write_text(json.dumps({"raw": raw}))
    made = command("import", str(folder), "-o", "mine")
    assert made.status == 0, made.err
    assert f"gives {len(files)} raw files, " in made.err
    assert told in made.err
    record = json.loads(Path("mine/campaign.json").read_text())
    assert (record["year"], record["run"], record["files"]) == (2024, "013657", list(files))
    for words in (("status", "mine"), ("report", "mine", "--text"), ("metrics", "mine"), ("list",)):
        assert command(*words).status == 0, words
    assert findings(f"mine/{layout.PUBLISHED}") == []


def test_an_imported_campaign_is_forked(
    command: Command, theirs: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of an imported campaign without tracks uses its raw files and constants; without files it is refused."""
    monkeypatch.chdir(workdir)
    shutil.rmtree(theirs / "iter01" / "2kfalignment")
    assert command("init", "--profile", "local").status == 0
    assert command("import", str(theirs), "-o", "mine").status == 0
    fork = ("submit", "--from", "mine", "--config", "faser-align.toml", "--dry-run", "--no-check")
    planned = command(*fork)
    assert planned.status == 0, planned.err
    assert "2022, run 008294, 2 files (101-102)" in planned.out
    nameless = theirs.rename(theirs.with_name("nameless"))
    made = command("import", str(nameless), "-o", "other")
    assert "neither its name nor its configuration gives the raw files" in made.err
    refused = command(*fork[:2], "other", *fork[3:])
    assert refused.status == 2
    assert "the raw files of other are unknown; name them with -r and -f" in refused.err
    again = command(*fork[:2], "other", *fork[3:], "-r", "8294", "-f", "101-102")
    assert (again.status, "missing option -y; see" in again.err) == (2, True)
    assert command(*fork[:2], "other", *fork[3:], "-y", "2022", "-r", "8294", "-f", "101").status == 0
