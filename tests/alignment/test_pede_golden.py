"""Test that every file of pede's reference cases is read exactly."""

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faser_align.alignment.pede.histograms_read import Monitored, read_histograms, read_monitor
from faser_align.alignment.pede.log import read_log
from faser_align.alignment.pede.results import fortran_g
from faser_align.alignment.pede.runner import read_outputs
from faser_align.alignment.pede.solution import accept
from faser_align.fsm.errors import UserError


class Golden(NamedTuple):
    """Content of a case's files; 348 labels each."""

    code: int
    records: int
    sizes: tuple[int, int, int]  # variable, fit, constraints
    chi2_per_ndf: float | None
    rejects: tuple[int, int, int, int]
    decrease: float | None
    defects: tuple[int | None, int | None]  # rank of the constraints, rank defect of the matrix


NONE = (0, 0, 0, 0)
CASES = {
    "case1_free_constraints/expected": Golden(0, 760, (24, 19, 5), 0.98986, NONE, 11757.9, (5, 0)),
    "case1_free_constraints/expected_multipliers": Golden(0, 760, (24, 29, 5), 0.99058, NONE, 11757.9, (5, 0)),
    "case2_presigma_outliers/expected": Golden(1, 780, (70, 64, 6), 1.273056, (0, 0, 0, 36), 2017.961, (6, 0)),
    "case2_presigma_outliers/expected_chisqcut": Golden(1, 780, (70, 64, 6), 1.233024, (0, 0, 0, 142), 2000.0, (6, 0)),
    "case2_presigma_outliers/expected_downweight": Golden(1, 780, (70, 64, 6), 1.359119, NONE, 2017.96, (6, 0)),
    "case2_presigma_outliers/expected_plain": Golden(1, 780, (70, 64, 6), 2.806814, NONE, 2017.96, (6, 0)),
    "case2_presigma_outliers/expected_regularisation": Golden(
        1, 780, (70, 64, 6), 1.271093, (0, 0, 0, 37), 2000.0, (6, 0)
    ),
    "case3_failing/expected": Golden(3, 400, (24, 24, 0), 0.994332, NONE, None, (None, 1)),
    "case3_failing/expected_code00_good": Golden(0, 400, (24, 19, 5), 0.991135, NONE, 18.23, (5, 0)),
    "case3_failing/expected_code01_scaled_errors": Golden(1, 400, (24, 19, 5), 0.247784, NONE, 4.55751, (5, 0)),
    "case3_failing/expected_code02_entries": Golden(2, 400, (24, 19, 5), 0.991135, NONE, 18.23, (5, 0)),
    "case3_failing/expected_code03_duplicate_constraint": Golden(3, 400, (24, 18, 6), 0.993507, NONE, None, (5, 0)),
    "case3_failing/expected_code05_empty_constraint": Golden(5, 400, (24, 18, 6), None, NONE, None, (5, None)),
    "case3_failing/expected_code13_unknown_keyword": Golden(13, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code18_truncated": Golden(18, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code20_nan": Golden(20, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code22_all_fixed": Golden(22, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code26_too_many_rejects": Golden(26, 150, (24, 19, 5), None, NONE, None, (5, None)),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_read_to_the_number(data: Path, case: str) -> None:
    """End code, sizes, chi2, rejects, first decrease and defects of each case are read from its files."""
    expected, folder = CASES[case], data / "pede" / case
    solution = read_outputs(folder / "str.txt")
    assert solution.end_code == expected.code
    assert solution.records == expected.records
    assert (solution.n_variable, solution.n_fit, solution.constraints) == expected.sizes
    assert solution.rejects == expected.rejects
    assert (solution.constraint_rank, solution.rank_defect) == expected.defects
    assert solution.expected_decrease == (None if expected.decrease is None else pytest.approx(expected.decrease))
    if expected.chi2_per_ndf is not None:
        assert solution.chi2_per_ndf == pytest.approx(expected.chi2_per_ndf, abs=2e-5)
    assert len(solution.result) == (348 if expected.code < 5 else 0)
    assert solution.solved == (expected.code < 5)
    assert bool(solution.message) == (expected.code > 1)


def test_every_case_is_looked_at(data: Path) -> None:
    """The table above has every folder of recorded outputs."""
    found = {str(path.relative_to(data / "pede")) for path in (data / "pede").glob("case*/expected*")}
    assert found == set(CASES)


def test_the_log_says_how_it_was_solved(data: Path) -> None:
    """Method, handling of constraints, and pede's own warnings are read."""
    cases = data / "pede"
    real = read_log(cases / "millepede_2024.log")
    assert (real.method, real.elimination, real.labels, real.constraints) == ("matrix inversion", True, 348, 24)
    assert (real.constraint_rank, real.rank_defect, real.subito, real.warnings) == (24, 0, False, ())
    assert [row.chi2 for row in real.iterations] == [5659700.0] + 5 * [5407300.0]
    assert read_log(cases / "case1_free_constraints/expected_multipliers/millepede.log").elimination is False
    bad = read_log(cases / "case3_failing" / "expected" / "millepede.log")
    assert bad.subito
    assert bad.warnings == ("Warning: the rank defect of the symmetric 24 -by- 24 matrix is 1 (should be zero).",)
    twice = read_log(cases / "case3_failing" / "expected_code03_duplicate_constraint" / "millepede.log")
    assert twice.warnings == ("Warning: insufficient constraint equations!",)


@pytest.mark.parametrize(
    ("code", "ok", "solved"), [(0, (), True), (1, (), True), (2, (2, 3, 4), True), (2, (3, 4), False), (3, (), False)]
)
def test_severe_warnings_are_good_enough_if_allowed(data: Path, code: int, ok: tuple[int, ...], solved: bool) -> None:
    """Results with codes 2 to 4 are used only if the configuration allows it; the refusal quotes pede."""
    (folder,) = (data / "pede" / "case3_failing").glob(f"expected_code{code:02d}_*")
    accepted = accept(read_outputs(folder / "str.txt"), ok)
    assert bool(accepted.values) == solved
    if not solved:
        assert accepted.message.startswith(f"{code} Ended with severe warnings")
        assert "solver.warnings_ok" in accepted.message


def test_histograms_are_read(data: Path) -> None:
    """Histograms and points of FASER's own alignment are read with titles, axes, entries and moments."""
    found = read_histograms(data / "pede" / "millepede_2024.his")
    assert (len(found.histograms), len(found.points)) == (22, 7)
    words = found.histograms[0]
    assert (words.number, words.version, words.logarithmic) == (1, 0, True)
    assert words.title == "Number of words/record in binary file"
    assert (words.low, words.high, len(words.bins), sum(words.bins)) == (0.0, 6.0, 120, 513656)
    assert (words.below, words.inside, words.above) == (0, 513656, 0)
    assert (words.smallest, words.largest, words.mean) == (30.0, 926.0, None)
    assert {histogram.version for histogram in found.histograms} == {0, 1, 3}
    assert all(sum(histogram.bins) == histogram.inside for histogram in found.histograms)
    assert found.points[-1].title == "Function value in iterations"
    assert found.expected_decrease() == 6094.536
    pulls = next(histogram for histogram in found.histograms if histogram.number == 13)
    assert pulls.mean is not None
    assert pulls.sigma is not None
    for case in ("case1_free_constraints", "case2_presigma_outliers", "case3_failing"):
        assert read_histograms(data / "pede" / case / "expected" / "millepede.his").histograms


def test_half_a_histogram_file_is_read_as_far_as_it_goes(data: Path, tmp_path: Path) -> None:
    """A truncated file has fewer blocks; a broken block and a missing file are reported."""
    text = (data / "pede" / "millepede_2024.his").read_text()
    (tmp_path / "half.his").write_text(text[: len(text) // 2])
    assert 0 < len(read_histograms(tmp_path / "half.his").histograms) < 22
    (tmp_path / "bad.his").write_text(text.replace("bincontent", "content", 1))
    with pytest.raises(UserError, match=r"bad\.his: Histogram 1 of version 0"):
        read_histograms(tmp_path / "bad.his")
    with pytest.raises(UserError, match=r"none\.his"):
        read_histograms(tmp_path / "none.his")


def test_points_may_be_without_errors(tmp_path: Path) -> None:
    """Points of several binaries have only x and y; the rest of the file is read anyway."""
    head = "XY-Data {} version    0          type {}\nTitle\n          stored  not-stored          1\n"
    text = head.format(6, 1) + "x-y\n        1.000000       2.500000    \nend of xy-data\n"
    text += head.format(1, 4) + "x-y-dx-dy\n   1.0 2.0 0.5 0.0\n   2.0 1.0 0.5 0.25\nend of xy-data\n"
    (tmp_path / "millepede.his").write_text(text)
    found = read_histograms(tmp_path / "millepede.his")
    assert found.points[0].points == ((1.0, 2.5, 0.0, 0.0),)
    assert found.expected_decrease() == 0.25


@given(st.text(alphabet="Histogram XY-Dataversion0123456789.\nendof-bincontentlimits", max_size=300))
@settings(deadline=None)
def test_any_text_is_no_crash(text: str) -> None:
    """Any file is read, or rejected in a sentence."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "millepede.his"
        path.write_text("Histogram 1 version 0 type 1\n" + text)
        for read in (read_histograms, read_monitor, read_log):
            try:
                read(path)
            except UserError as error:
                assert str(path) in str(error)  # noqa: PT017 -- both outcomes are correct


def test_monitors_are_read(tmp_path: Path) -> None:
    """Rows of a monitor have pede's columns, even where numbers touch; other lines are reported."""
    rows = [Monitored(1, 10001, 1234567890, -0.25, 0.875, 0.023), Monitored(2, 42711, 5, 0.0, 12345.0, 1e-9)]
    lines = ["*** Normalized residuals grouped by first global label (per local fit cycle) ***", "! LFC Label Entries"]
    lines += [f"{r[0]:5d}{r[1]:10d}{r[2]:10d}" + "".join(fortran_g(number) for number in r[3:]) for r in rows]
    (tmp_path / "millepede.mon").write_text("\n".join(lines) + "\n")
    found = read_monitor(tmp_path / "millepede.mon")
    assert [row[:3] for row in found] == [row[:3] for row in rows]
    assert [number for row in found for number in row[3:]] == pytest.approx([n for row in rows for n in row[3:]])
    (tmp_path / "bad.mon").write_text("    1   x\n")
    with pytest.raises(UserError, match=r"bad\.mon: line 1"):
        read_monitor(tmp_path / "bad.mon")
