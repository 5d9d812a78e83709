"""Test the solver's histograms and residuals by label against pede's."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from millerecords import pack, words
from pedefiles import blocks, histogram, monitored, points

from faser_align.alignment.pede.log import first_decrease
from faser_align.alignment.pede.results import exponential, general
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.output.histograms import Histogram
from faser_align.alignment.solver.output.monitor import Monitor
from faser_align.alignment.solver.source import Source

Case = Callable[[str], Path]

NOT_MADE = {("XY-Data", 4), ("XY-Data", 5)}  # residuals by record


@pytest.mark.parametrize("case", ["case1_free_constraints", "case2_presigma_outliers"])
def test_histograms_are_pedes(pede_case: Case, case: str) -> None:
    """Titles, limits and contents equal pede's byte for byte, means and widths to the last digit but one."""
    folder = pede_case(case)
    solve(folder / "str.txt")
    own, theirs = blocks(folder / "millepede.his"), blocks(folder / "expected" / "millepede.his")
    assert set(own) == {key for key in theirs if key[:2] not in NOT_MADE}
    for key, lines in own.items():
        for mine, expected in zip(lines, theirs[key], strict=True):
            if mine == expected:
                continue
            got, wanted = ([float(word) for word in re.findall(r"[-+.\dE]{5,}", line)] for line in (mine, expected))
            assert got == pytest.approx(wanted, rel=3e-7, abs=1e-4), key
            assert mine.startswith(("meansigma", "minmax", "   ")), key


def test_the_file_has_the_first_decrease(pede_case: Case) -> None:
    """The histogram file has the first solution's expected decrease in the same place as pede's."""
    folder = pede_case("case2_presigma_outliers")
    solution = solve(folder / "str.txt")
    assert first_decrease(folder / "millepede.his") == pytest.approx(solution.expected_decrease, rel=1e-6)


def test_monitor_has_the_first_and_the_last_pass(pede_case: Case) -> None:
    """monitorresiduals lists each first label's residuals in the first and the last pass."""
    folder = pede_case("case1_free_constraints")
    solve(folder / "str.txt")
    rows = monitored(folder / "millepede.mon")
    assert {row.cycle for row in rows} == {1, 3}
    assert len(rows) == 2 * 192
    for cycle, spread in ((1, 1.16), (3, 1.14)):
        chosen = [row for row in rows if row.cycle == cycle]
        assert sum(row.entries for row in chosen) == 17638
        assert np.median([row.spread for row in chosen]) == pytest.approx(
            spread, abs=0.05
        )  # strips: between normal and uniform
        assert {row.error for row in chosen} == {0.023094}
    assert max(abs(row.median) for row in rows if row.cycle == 3 and row.entries > 100) < 0.4


@pytest.mark.parametrize(("lines", "cycles"), [("monitorpulls 1", {1}), ("monitorresiduals 2", {3}), ("", set())])
def test_monitor_does_what_it_is_asked_for(pede_case: Case, lines: str, cycles: set[int]) -> None:
    """monitorresiduals' number chooses the passes; pulls have another title; without the keyword there is no file."""
    folder = pede_case("case1_free_constraints")
    text = (folder / "str.txt").read_text().replace("monitorresiduals", lines)
    (folder / "str.txt").write_text(text)
    (folder / "millepede.mon").write_text("of an earlier run")
    solve(folder / "str.txt")
    assert (folder / "millepede.mon").exists() == bool(cycles)
    if cycles:
        assert ("Pulls" in (folder / "millepede.mon").read_text()) == ("pulls" in lines)
        assert {row.cycle for row in monitored(folder / "millepede.mon")} == cycles


def test_medians_of_a_label() -> None:
    """Median and spread of normal residuals follow from the bins; values outside count in the outermost ones."""
    random = np.random.default_rng(1)
    source = Source(())
    for label in (9, 7, 0):
        source.sets.number(np.array([[label]], np.int32))
    source.set_counts, source.set_sigmas = np.array([5, 5, 5]), np.array([0.2, 0.1, 0.1])
    monitor = Monitor(source, 100, pulls=False)
    pulls = np.concatenate([random.normal(0.5, 1.0, 20000), [1e6, -1e6]])
    monitor.add(np.zeros(len(pulls), np.int32), pulls, np.full(len(pulls), 0.08))
    monitor.add(np.full(3, 2, np.int32), np.ones(3), np.ones(3))
    first, second = (line.split() for line in monitor.lines(1))
    assert first == ["1", "7", "0", "0.0000", "0.0000", "0.20000E-01"]
    assert second[:3] == ["1", "9", "20002"]
    # twice the mean error
    assert float(second[3]) == pytest.approx(1.0, abs=0.1)
    assert float(second[4]) == pytest.approx(2.0, abs=0.1)


@given(st.lists(st.floats(-1e30, 1e30), max_size=300), st.sampled_from([0.0, 6.0]))
def test_any_values_fill_a_histogram(values: list[float], limit: float) -> None:
    """Every value is counted once, wherever it is."""
    histogram = Histogram(3, "title", -limit, limit)
    for start in range(0, len(values), 50):
        histogram.fill(np.array(values[start : start + 50]))
    lines = histogram.lines(0)
    assert sum(int(word) for word in lines[4].split()[-3:]) == len(values)
    counted = sum(int(word) for line in lines[6:] if not line.startswith(("m", "e")) for word in line.split())
    assert counted == int(lines[4].split()[-2])


@pytest.mark.parametrize(
    ("limits", "values", "counts"),
    [
        ((), [0.0, 3e-45], ["0", "2", "0"]),
        ((), [0.0, 1e-37], ["0", "2", "0"]),
        ((0.0, 2e-36), [0.0] * 120 + [1e30, -1e30], ["1", "120", "1"]),
    ],
)
def test_single_precision_limits_bins(limits: tuple[float, ...], values: list[float], counts: list[str]) -> None:
    """Values too near for single precision share a bin; one whose bin number exceeds it is outside the range."""
    histogram = Histogram(3, "title", *limits)
    histogram.fill(np.array(values))
    assert histogram.lines(0)[4].split()[-3:] == counts


@given(st.floats(-1e30, 1e30))
def test_numbers_are_fortrans(value: float) -> None:
    """Formatted numbers fill their width and are read back to their digits."""
    for text, digits in ((general(value, 15, 7), 7), (exponential(value, 15, 7), 7), (general(value, 15, 5), 5)):
        assert len(text) == 15
        assert math.isclose(float(text), value, rel_tol=10.0 ** (1 - digits), abs_tol=1e-300)


def test_groups_are_neighbours_that_always_come_together(tmp_path: Path) -> None:
    """Labels 5 and 9 with no label in between are a group; a label without data between two others separates them."""
    measured = [(0.0, 1.0, {1: 1.0}, {5: 1.0, 9: 1.0, 20: 1.0}), (0.0, 1.0, {1: 1.0}, {30: 1.0})] * 2
    (tmp_path / "data.bin").write_bytes(pack(words(measured)) * 5)
    (tmp_path / "str.txt").write_text("data.bin\nentries 1 1\nParameter\n15 0 -1\n")
    solve(tmp_path / "str.txt")
    assert histogram(tmp_path / "millepede.his", 15).bins[1:3] == (2, 1)


def test_several_binaries_have_points_each(pede_case: Case) -> None:
    """Records, rejects and fits of each of several binaries are points, as in pede; a single one has none."""
    folder = pede_case("case2_presigma_outliers")
    solve(folder / "str.txt")
    assert [number for kind, number, _ in blocks(folder / "millepede.his") if kind == "XY-Data"] == [1]
    content = (folder / "mp2input.bin").read_bytes()
    (folder / "second.bin").write_bytes(content)
    (folder / "str.txt").write_text(
        (folder / "str.txt").read_text().replace("mp2input.bin", "mp2input.bin\nsecond.bin")
    )
    solution = solve(folder / "str.txt")
    text = (folder / "millepede.his").read_text()
    assert "XY-Data    7          version    0          type 1\nfinal rejection fraction vs file number " in text
    records, rejects, chi2s, ndfs = (points(folder / "millepede.his", number) for number in (6, 7, 8, 9))
    assert records == [[number, pytest.approx(math.log10(780))] for number in (1.0, 2.0)]
    rejected = solution.rejects.total / solution.records
    assert [y for _, y in rejects] == pytest.approx([rejected, rejected])
    assert [y for _, y in ndfs] == pytest.approx([18038 / 780 - 5] * 2, rel=0.02)
    assert 0.5 < chi2s[0][1] < 2.0


def test_measurements_that_the_writer_left_out_are_counted(tmp_path: Path) -> None:
    """The index of a record's first word counts omitted measurements; zero adds no entry."""
    content = b""
    for left_out, double in ((0, False), (3, False), (3, True), (59, True)):
        record = words([(0.0, 1.0, {1: 1.0}, {5: 1.0}), (0.0, 1.0, {1: 1.0}, {})])
        content += pack([(0.0, left_out), *record[1:]], double=double)
    (tmp_path / "data.bin").write_bytes(content)
    (tmp_path / "str.txt").write_text("data.bin\nentries 1 1\n")
    assert solve(tmp_path / "str.txt").records == 4
    found = histogram(tmp_path / "millepede.his", 8)
    assert (found.inside, found.bins[6], found.bins[118]) == (3, 2, 1)
