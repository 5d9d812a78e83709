"""Test ``compare``."""

import json
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign, metrics, run_iteration
from commandline import Command

from faser_align.alignment.parameters.constants import write_constants
from faser_align.alignment.parameters.labels import module_x_label
from faser_align.alignment.pede.results import Row, write_result
from faser_align.campaign import layout
from faser_align.pages.collect import collect
from faser_align.pages.compare import differences_of, plots, render


def solved(
    folder: Path, name: str, *, files: int = 1, shift_mm: float, patience: int = 2, place: str = "", **limits: float
) -> dict[str, Any]:
    """Make a campaign with one solved iteration whose constants are shifted in one module, with an error of 3 um."""
    where = folder / (place or name)
    record = make_campaign(where, name=name, files=files, config={"convergence": {"patience": patience, **limits}})
    run_iteration(record, 1)
    result = Path(layout.result_file(str(where), 1, 1))
    write_constants(result, {"003": (shift_mm, 0.0, 0.0, 0.0, 0.0, 0.0)})
    rows = {module_x_label(0, 0, 3, side): Row(shift_mm, 0.05, shift_mm, 0.003) for side in (0, 1)}
    write_result(result.parent / "millepede.res", rows)
    return record


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Provide two campaigns, which tests only read."""
    folder = tmp_path_factory.mktemp("two")
    solved(folder, "a", files=4, shift_mm=0.010, patience=2)
    solved(folder, "b", files=3, shift_mm=0.016, patience=3)
    return f"{folder}/a", f"{folder}/b"


def test_what_differs_is_told(two: tuple[str, str], plain_command: Command) -> None:
    """Configuration, common files, last metrics and constants are compared, the latter relative to their errors."""
    found = json.loads(plain_command("compare", *two, "--json").out)
    assert found["common"] == "run 011705 files 400-402"
    assert found["shares"] == [{"campaigns": ["a"], "files": "run 011705 files 403"}]
    assert found["differences"] == [{"key": "convergence.patience", "values": ["2", "3"]}]
    (row,) = found["apart"]["b"]
    assert (row["kind"], row["dof"], row["where"], row["unit"]) == ("module", "x", "003", "um")
    assert row["rms"] == pytest.approx(6.0)
    # Two sides with 3 um each give 2.1 um for the module, and the difference of two campaigns 3 um.
    assert row["sigma"] == pytest.approx(2.0)


def test_the_screen_says_the_same(two: tuple[str, str], plain_command: Command) -> None:
    """The terminal shows the tables."""
    said = plain_command("compare", *two).out
    for text in (
        "files in common: run 011705 files 400-402",
        "only in a: run 011705 files 403",
        "convergence.patience",
    ):
        assert text in said
    assert "constants of b minus those of a" in said


def test_files_that_some_have_are_told_with_whose_they_are(
    workdir: Path, plain_command: Command, tmp_path: Path
) -> None:
    """A file of two of three campaigns is listed once, with both campaigns."""
    for name, files in (("a", 4), ("b", 3), ("c", 2)):
        solved(workdir, name, files=files, shift_mm=0.010)
    three = [f"{workdir}/{name}" for name in "abc"]
    said = plain_command("compare", *three, "-o", str(tmp_path / "page.html")).out
    assert "files in common of all 3: run 011705 files 400-401\nonly in a: run 011705 files 403\n" in said
    assert "\nonly in a and b: run 011705 files 402\n" in said
    assert "only in c" not in said
    page = (tmp_path / "page.html").read_text()
    assert "<li>only in a: run 011705 files 403</li><li>only in a and b: run 011705 files 402</li></ul>" in page
    assert plain_command("compare", *three[:2], "-o", str(tmp_path / "two.html")).out.count("only in") == 1


def test_a_page_is_written_on_request(two: tuple[str, str], plain_command: Command, tmp_path: Path) -> None:
    """-o writes a page with overlaid curves; it replaces a file only with --force."""
    path = tmp_path / "both.html"
    assert f"{path} written" in plain_command("compare", *two, "-o", str(path)).out
    page = path.read_text()
    assert [page.count(f"<title>{name}, 1: ") for name in "ab"] == [3, 3]
    assert plain_command("compare", *two, "-o", str(path)).status == 2
    assert "is a folder; name a file in it" in plain_command("compare", *two, "-o", str(tmp_path)).err
    assert plain_command("compare", *two, "-o", str(path), "--force").status == 0


def test_the_page_begins_with_the_most_significant_difference(two: tuple[str, str]) -> None:
    """The page gives the difference of the constants in standard deviations before the table of constants."""
    first, other = map(collect, two)
    apart = differences_of(first, other)
    assert apart["x"] == {"003": (pytest.approx(6.0), pytest.approx(3.0))}
    assert apart["y"] == {"003": (0.0, pytest.approx(150.0))}
    page = render([first, other], written_utc="2026-01-01T00:00:00Z")
    words = "b minus a: in units of their errors, their rms is 1.4 σ; the largest is x of module 3 of layer 0 of station 0, 6.0 ± 3.0 µm (2.0 σ)."
    assert 0 < page.index(words) < page.index("Table: constants of b")


def test_equal_constants_are_said_to_be_equal(workdir: Path) -> None:
    """Campaigns with the same constants have no figure, no significance and no table of their differences."""
    found = [collect(solved(workdir, name, shift_mm=0.01)["folder"]) for name in "ab"]
    assert [plot.name for plot in plots(("a", "b"), *found)] == []
    page = render(found, written_utc="2026-01-01T00:00:00Z")
    assert "The constants of b and of a are the same." in page
    assert "Table: constants of b" not in page


def test_a_replay_of_one_decision_is_a_sentence(two: tuple[str, str], plain_command: Command) -> None:
    """`replay` writes one decision in the singular."""
    assert plain_command("replay", two[0]).out == "a: 1 of 1 decision is as stored\n"


def test_one_campaign_is_not_enough(two: tuple[str, str], plain_command: Command) -> None:
    """A comparison needs two campaigns."""
    assert "name two campaigns or more" in plain_command("compare", two[0], status=2).err


def test_a_campaign_is_not_compared_with_itself(two: tuple[str, str], plain_command: Command, tmp_path: Path) -> None:
    """`compare` and `replay` refuse a campaign that is named twice, also through a link."""
    (tmp_path / "link").symlink_to(two[0])
    for name in (two[0], str(tmp_path / "link")):
        for command in ("compare", "replay"):
            done = plain_command(command, two[0], name)
            assert (done.status, done.out) == (2, "")
            assert "is named twice; name each campaign once" in done.err


def test_campaigns_without_numbers_compare(workdir: Path, two: tuple[str, str], plain_command: Command) -> None:
    """A campaign without a solution has dashes, and no constants."""
    make_campaign(workdir / "c", name="c")
    found = json.loads(plain_command("compare", two[0], f"{workdir}/c", "--json").out)
    assert found["apart"] == {}
    assert ["chi2/ndf", ["1.200", "-"]] in found["summary"]
    assert [row for row in found["summary"] if row[0] in ("quality", "dropped data")] == [
        ["quality", ["look", "-"]],
        ["dropped data", ["good", "-"]],
    ]
    assert metrics(1)["chi2_per_ndf"] == 1.2


def test_how_each_converged_is_told(two: tuple[str, str], workdir: Path, plain_command: Command) -> None:
    """Terminal and JSON have the curves as numbers per iteration, also for campaigns of different lengths."""
    record = make_campaign(workdir / "c", name="c", files=1)
    for iteration in (1, 2):
        run_iteration(record, iteration)
    said = plain_command("compare", two[0], f"{workdir}/c", "--plain").out
    assert "Expected residual shift, in um, by iteration" in said
    found = json.loads(plain_command("compare", two[0], f"{workdir}/c", "--json").out)
    assert found["curves"]["residual_shift_um"] == {"a": [9.0], "c": [9.0, 4.5]}
    assert found["curves"]["delta_chi2_per_parameter"] == found["curves"]["significance"]
    assert found["curves"]["effect_um"] == found["curves"]["residual_shift_um"]


def test_campaigns_of_one_name_are_told_apart(workdir: Path, plain_command: Command, tmp_path: Path) -> None:
    """Campaigns with the same name are listed by folder, and none is compared with itself."""
    solved(workdir, "a", shift_mm=0.010)
    for number in (2, 3):
        solved(workdir, "x", shift_mm=0.010 * number, place=f"x{number}")
    folders = [f"{workdir}/{place}" for place in ("a", "x2", "x3")]
    found = json.loads(plain_command("compare", *folders, "--json").out)
    assert found["names"] == ["a", f"x ({workdir}/x2)", f"x ({workdir}/x3)"]
    assert [rows[0]["rms"] for rows in found["apart"].values()] == pytest.approx([10.0, 20.0])
    assert plain_command("compare", *folders, "-o", str(tmp_path / "p.html")).status == 0
    again = plain_command("compare", folders[0], folders[1], f"{folders[0]}/")
    assert (again.status, again.err) == (2, f"error: {folders[0]}/ is named twice; name each campaign once\n")


def test_what_cannot_be_read_is_told(plain_command: Command, tmp_path: Path) -> None:
    """Damaged constants are named with their campaign, on the terminal and on the page."""
    two = [str(solved(tmp_path, name, shift_mm=0.010)["folder"]) for name in ("a", "b")]
    path = Path(layout.result_file(two[1], 1, 1))
    path.write_text("garbage")
    page = tmp_path / "both.html"
    said = plain_command("compare", *two, "-o", str(page), "--plain").out
    assert f"missing for b: {path}: expected" in said
    assert f"Missing of b: {path}: expected" in page.read_text()


def test_limits_that_differ_are_told(workdir: Path, plain_command: Command, tmp_path: Path) -> None:
    """A common limit is drawn; different limits are listed above the chart."""
    solved(workdir, "a", shift_mm=0.010)
    solved(workdir, "b", shift_mm=0.010, effect_um_max=3.0)
    page = tmp_path / "both.html"
    assert plain_command("compare", f"{workdir}/a", f"{workdir}/b", "-o", str(page)).status == 0
    assert "Expected residual shift (limits: a 0.5; b 3)" in page.read_text()
    assert page.read_text().count("class='limit'") == 1


@pytest.mark.slow
def test_six_campaigns_with_odd_names(workdir: Path, plain_command: Command, tmp_path: Path) -> None:
    """Six campaigns, with blanks, special characters and other scripts in their names, fit on one page."""
    names = ["a b", "Łódź", "<b>bold</b>", '"q"', "=1+1", "naïve λ"]
    for at, name in enumerate(names):
        solved(workdir, name, shift_mm=0.001 * at, place=f"c{at}")
    page = tmp_path / "six.html"
    folders = [f"{workdir}/c{at}" for at in range(6)]
    assert plain_command("compare", *folders, "-o", str(page)).status == 0
    text = page.read_text()
    assert "<b>bold" not in text
    assert text.count("<table") == 6  # the metrics, and differences of five from the first
