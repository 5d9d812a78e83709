"""``compare``: campaigns against the first of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign, metrics, run_iteration
from commandline import Command

from faser_align.alignment.constants import write_constants
from faser_align.alignment.labels import module_x_label
from faser_align.alignment.millepede import Row, write_result
from faser_align.config import layout


def solved(folder: Path, name: str, *, files: int, shift_mm: float, patience: int) -> dict[str, Any]:
    """A campaign with one solved iteration whose constants are shifted in one module, with an error of 3 um."""
    record = make_campaign(folder / name, name=name, files=files, config={"convergence": {"patience": patience}})
    run_iteration(record, 1)
    place = Path(layout.result_file(str(folder / name), 1, 1))
    write_constants(place, {"003": (shift_mm, 0.0, 0.0, 0.0, 0.0, 0.0)})
    rows = {module_x_label(0, 0, 3, side): Row(shift_mm, 0.05, shift_mm, 0.003) for side in (0, 1)}
    write_result(place.parent / "millepede.res", rows)
    return record


@pytest.fixture
def two(workdir: Path) -> tuple[str, str]:
    solved(workdir, "a", files=4, shift_mm=0.010, patience=2)
    solved(workdir, "b", files=3, shift_mm=0.016, patience=3)
    return f"{workdir}/a", f"{workdir}/b"


def test_what_differs_is_told(two: tuple[str, str], command: Command) -> None:
    """Configuration, files in common, last numbers and constants are compared, the latter over their errors."""
    found = json.loads(command("compare", *two, "--json").out)
    assert found["common"] == "run 011705 files 400-402"
    assert found["alone"] == ["run 011705 files 403", "none"]
    assert found["differences"] == [{"key": "convergence.patience", "values": ["2", "3"]}]
    (row,) = found["apart"]["b"]
    assert (row["kind"], row["dof"], row["where"], row["unit"]) == ("module", "x", "003", "um")
    assert row["rms"] == pytest.approx(6.0)
    # Two sides of 3 um each are 2.1 um for the module; two campaigns of that are 3 um.
    assert row["sigma"] == pytest.approx(2.0)


def test_the_screen_says_the_same(two: tuple[str, str], command: Command) -> None:
    """On the terminal there are the tables."""
    said = command("compare", *two).out
    for text in (
        "files in common: run 011705 files 400-402",
        "only in a: run 011705 files 403",
        "convergence.patience",
    ):
        assert text in said
    assert "constants of b less those of a" in said


def test_a_page_is_written_on_request(two: tuple[str, str], command: Command, tmp_path: Path) -> None:
    """-o writes a page with the curves over each other; it replaces nothing without --force."""
    path = tmp_path / "both.html"
    assert f"{path} written" in command("compare", *two, "-o", str(path)).out
    page = path.read_text()
    assert page.count("<polyline") == 6
    assert command("compare", *two, "-o", str(path)).status == 2
    assert command("compare", *two, "-o", str(path), "--force").status == 0


def test_one_campaign_is_not_enough(two: tuple[str, str], command: Command) -> None:
    """A comparison needs two campaigns."""
    said = command("compare", two[0])
    assert said.status == 2
    assert "name two campaigns or more" in said.err


def test_campaigns_without_numbers_compare(workdir: Path, two: tuple[str, str], command: Command) -> None:
    """A campaign in which nothing was solved yet has dashes, and no constants."""
    make_campaign(workdir / "c", name="c")
    found = json.loads(command("compare", two[0], f"{workdir}/c", "--json").out)
    assert found["apart"] == {}
    assert ["chi2/ndf", ["1.2000", "-"]] in found["summary"]
    assert metrics(1)["chi2_per_ndf"] == 1.2
