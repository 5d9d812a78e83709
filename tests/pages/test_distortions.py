"""Test that each simulated distortion is visible in the figure that should show it, and graded (examples/distortions.py)."""

from pathlib import Path

import pytest

from faser_align.examples import distortions
from faser_align.fsm.metrics import Line
from faser_align.pages.collect import collect
from faser_align.pages.figures import distributions, elements
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Cell
from faser_align.pages.figures.source import Source, source

pytestmark = pytest.mark.slow

TRACKS = 600


def distorted(folder: Path, name: str, iterations: int = 1) -> Source:
    """Run the campaign of a distortion; return what its figures show."""
    return source(collect(distortions.campaign(folder, name, TRACKS, iterations)))


def line(shown: Source, name: str) -> Line:
    """Return a line of the quality block of the last iteration."""
    return next(line for line in shown.last.metrics["quality"]["lines"] if line["name"] == name)


def rows(plot: Plot | None) -> list[dict[str, Cell]]:
    assert plot is not None
    columns, cells = plot.table()
    return [dict(zip(columns, row, strict=True)) for row in cells]


def sigmas(row: dict[str, Cell]) -> float:
    return abs(float(row["value"] or 0)) / float(row["error"] or 1e9)


def test_a_shifted_module_has_the_largest_correction(workdir: Path) -> None:
    """The module that is 100 um off gets a correction of that size, by far the largest in units of its error."""
    shown = distorted(workdir, "shifted-module")
    found = sorted(rows(elements.corrections(shown)), key=sigmas)
    assert (found[-1]["quantity"], found[-1]["element"]) == ("x", "112")
    assert -110 < float(found[-1]["value"] or 0) < -70
    assert (line(shown, "residual_means")["grade"], line(shown, "residual_means")["values"]["where"]) == ("bad", "112")


def test_a_rotated_layer_turns_back(workdir: Path) -> None:
    """The layer that is rotated by 1 mrad gets a correction of that size, by far the largest in units of its error."""
    shown = distorted(workdir, "rotated-layer")
    found = sorted(rows(elements.corrections(shown)), key=sigmas)
    assert (found[-1]["quantity"], found[-1]["element"]) == ("layer rz", "21")
    assert float(found[-1]["value"] or 0) == pytest.approx(-1000, abs=5 * float(found[-1]["error"] or 0))
    assert line(shown, "residual_means")["grade"] == "bad"
    assert line(shown, "residual_means")["values"]["where"][:2] == "21"


def test_a_bowing_changes_momenta_by_charge(workdir: Path) -> None:
    """With a bowed spectrometer momenta of both charges change in opposite directions; layers move along y."""
    shown = distorted(workdir, "bowing", 2)
    change = {
        row["series"]: row["value"] for row in rows(distributions.momentum_change(shown)) if row["iteration"] == 2
    }
    assert float(change["positive"] or 0) > 20
    assert float(change["negative"] or 0) < -10
    assert line(shown, "momenta")["grade"] == "bad"
    moved = [row for row in rows(elements.corrections(shown)) if row["quantity"] == "layer y" and sigmas(row) > 20]
    assert {row["element"] for row in moved} >= {"00", "01", "02"}


def test_a_wrong_field_is_that_of_its_magnet(workdir: Path) -> None:
    """A field 10 % above the map is attributed to its magnet, with the right size within three errors."""
    shown = distorted(workdir, "momentum-scale")
    found = rows(distributions.magnets(shown))
    second = next(row for row in found if row["magnet (stations)"] == "1 to 2")
    assert sigmas(second) > 3
    assert float(second["value"] or 0) == pytest.approx(10, abs=3 * float(second["error"] or 0))
    assert line(shown, "momenta")["grade"] == "look"
    assert "the magnet between stations 1 and 2 seems off" in line(shown, "momenta")["text"]


def test_a_dead_module_has_no_hits(workdir: Path) -> None:
    """A module without hits is drawn at zero and named."""
    shown = distorted(workdir, "dead-module")
    plot = elements.occupancy(shown)
    assert plot is not None
    assert "226: dead" in plot.caption
    assert line(shown, "dropped")["grade"] == "look"
    assert line(shown, "dropped")["values"]["empty_modules"] == ["226"]
    assert [row["value"] for row in rows(plot) if (row["quantity"], row["element"]) == ("hits", "226")] == [0.0]
