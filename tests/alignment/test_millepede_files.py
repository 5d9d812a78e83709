"""Test reading and writing pede's result, end and log."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faser_align.alignment.pede.log import read_log
from faser_align.alignment.pede.results import (
    END_TEXTS,
    Row,
    fortran_g,
    read_end,
    read_result,
    write_end,
    write_listing,
    write_result,
)
from faser_align.fsm.errors import UserError

RESULTS = [
    "millepede_2024.res",
    "case1_free_constraints/expected/millepede.res",
    "case2_presigma_outliers/expected_chisqcut/millepede.res",
    "case3_failing/expected_code02_entries/millepede.res",
]


@pytest.mark.parametrize("name", RESULTS)
def test_results_survive_reading_and_writing(data: Path, tmp_path: Path, name: str) -> None:
    """pede's own results survive reading and writing byte for byte."""
    path = data / "pede" / name
    write_result(tmp_path / "out.res", read_result(path))
    assert (tmp_path / "out.res").read_bytes() == path.read_bytes()


def test_columns_mean_what_they_say(data: Path) -> None:
    """Columns distinguish fixed, free and rarely hit parameters."""
    result = read_result(data / "pede" / "millepede_2024.res")
    assert len(result) == 348
    assert result[101] == Row(0.0, -1.0, entries=0)
    assert result[112] == Row(-0.18935e-3, 0.05, -0.18935e-3, 0.67776e-4, 399984)


@pytest.mark.parametrize(
    "row",
    [
        Row(0.5, 0.05, 0.25),
        Row(0.5, 0.05, 0.25, 0.125),
        Row(0.5, 0.05, 0.25, -0.125, -3),
        Row(0.5, 0.05),
        Row(0.5, 0.05, 0.25, 0.125, None, 0.875),
    ],
)
def test_every_kind_of_row_survives(tmp_path: Path, row: Row) -> None:
    """Rows with and without error, entries and correlation are read as they were written."""
    write_result(tmp_path / "x.res", {10001: row})
    assert read_result(tmp_path / "x.res") == {10001: row}


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@settings(deadline=None)
def test_numbers_have_fortrans_form(value: float) -> None:
    """A number has 14 characters and five digits, whatever its size."""
    text = fortran_g(value)
    assert len(text) == 14
    assert float(text) == pytest.approx(float(np.float32(value)), rel=5.1e-5, abs=1e-44)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "    0.0000    "),
        (-1.0, "   -1.0000    "),
        (0.05, "   0.50000E-01"),
        (0.099999999, "   0.10000    "),
        (-0.48049, "  -0.48049    "),
        (12345.6, "    12346.    "),
        (123456.0, "   0.12346E+06"),
        (float("nan"), "           NaN"),
    ],
)
def test_numbers_as_fortran_prints_them(value: float, text: str) -> None:
    """G14.5 prints a fixed point between 0.1 and 100000 and an exponent elsewhere."""
    assert fortran_g(value) == text


def test_a_truncated_result_is_refused(data: Path, tmp_path: Path) -> None:
    """A result that ends within a line, as an interrupted copy leaves it, lacks parameters and is no result."""
    (tmp_path / "cut.res").write_bytes((data / "pede" / "millepede_2024.res").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.res is truncated within its last line"):
        read_result(tmp_path / "cut.res")


def test_listings_and_rubbish_are_no_results(data: Path, tmp_path: Path) -> None:
    """A listing without solution (end code 5), an empty and a foreign file are rejected by name."""
    listing = data / "pede" / "case3_failing" / "expected_code05_empty_constraint" / "millepede.res"
    with pytest.raises(UserError, match="listing without a solution"):
        read_result(listing)
    write_listing(tmp_path / "own.res", ["a", "b"])
    with pytest.raises(UserError, match="listing without a solution"):
        read_result(tmp_path / "own.res")
    for text, words in [("", "no parameters"), ("hello world\n", "line 1"), (" Parameter\n", "no parameters")]:
        (tmp_path / "bad.res").write_text(text)
        with pytest.raises(UserError, match=words):
            read_result(tmp_path / "bad.res")
    with pytest.raises(UserError, match=r"none\.res"):
        read_result(tmp_path / "none.res")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 13, 20, 22, 26])
def test_ends_are_pedes(data: Path, tmp_path: Path, code: int) -> None:
    """The text of each end code is pede's."""
    write_end(tmp_path / "millepede.end", code)
    assert read_end(tmp_path / "millepede.end") == (code, END_TEXTS[code])
    for folder in (data / "pede").glob(f"case*/expected_code{code:02d}_*"):
        assert (folder / "millepede.end").read_bytes() == (tmp_path / "millepede.end").read_bytes()


def test_a_missing_or_empty_end_is_told(tmp_path: Path) -> None:
    """A missing end code means that pede did not finish."""
    (tmp_path / "empty.end").touch()
    for name, words in [("none.end", "did not run"), ("empty.end", "no end code")]:
        with pytest.raises(UserError, match=words):
            read_end(tmp_path / name)


def test_log_of_fasers_own_alignment(data: Path) -> None:
    """Sizes, rejects, chi2 and the first solution's expected decrease are read from a real log."""
    log = read_log(data / "pede" / "millepede_2024.log")
    assert (log.records, log.n_variable, log.n_fit) == (513656, 284, 260)
    assert log.rejects == (23108, 1293, 0, 0)
    assert log.chi2 / log.ndf == pytest.approx(0.84192100084911481)
    assert log.expected_decrease == pytest.approx(252342.0)
    passes = [(row.iteration, row.evaluation) for row in log.iterations]
    assert passes == [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert log.memory_mb == pytest.approx(100.673)
    assert (log.constraints, log.constraint_rank, log.rank_defect) == (24, 24, 0)
    assert [row.chi2 for row in log.iterations] == [5659700.0] + 5 * [5407300.0]


def test_log_without_line_search_has_the_tables_decrease(data: Path) -> None:
    """If the first solution had no line search, the expected decrease is the one of the table."""
    log = read_log(data / "pede" / "case2_presigma_outliers" / "expected_chisqcut" / "millepede.log")
    assert log.expected_decrease == 2000.0
    assert [row.cut_factor for row in log.iterations] == [30.0, 6.0, 2.4, 1.6, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert log.rejects == (0, 0, 0, 142)


def test_log_of_weighted_files_has_their_mean_weight(data: Path, tmp_path: Path) -> None:
    """The mean weight in chi2 of weighted binaries is read from pede's log and from the solver's."""
    whole = (data / "pede" / "case3_failing" / "expected_code00_good" / "millepede.log").read_text()
    plain = read_log(data / "pede" / "case3_failing" / "expected_code00_good" / "millepede.log")
    head, _, rest = whole.partition("Sum(Chi^2)/Sum(Ndf) =")
    first, second, third = rest.split("\n", 2)
    weighted = f"{head}Sum(W*Chi^2)/Sum(Ndf)/<W> ={first}\n{second}\n       /  0.75000000000000000     \n{third}"
    (tmp_path / "millepede.log").write_text(weighted)
    log = read_log(tmp_path / "millepede.log")
    assert (plain.mean_weight, log.mean_weight) == (1.0, 0.75)
    assert replace(log, mean_weight=1.0, expected_decrease=plain.expected_decrease) == plain


def test_rejects_of_a_newer_pede_are_summed_by_reason(tmp_path: Path) -> None:
    """Logs since V04-16-05 have one line for each reason of a rejection."""
    lines = """ Data records rejected in last iteration:
                    3  (local solution contains NaNs)
                   40  (local matrix with rank deficit)
                    5  (local fit with Ndf=0)
                   60  (local fit with huge Chi2(Ndf))
                    7  (local fit with large Chi2(Ndf))

     8  (not one of them)
"""
    (tmp_path / "millepede.log").write_text(lines)
    assert read_log(tmp_path / "millepede.log").rejects == (43, 5, 60, 7)


def test_rows_of_the_table_have_fortrans_numbers(tmp_path: Path) -> None:
    """A cut factor of -1, an overflowing one, and a three-digit exponent are numbers; a line of dots is not a row."""
    rows = (
        "  0  1 0.12345E+06                                       -1.0       0  00000 FMS",
        "  1  2 0.12345+123 0.20E+04                             *****      12  00000 F",
        "  2  3 ...........                                        1.0       0  00000 F",
    )
    (tmp_path / "millepede.log").write_text("\n".join(rows) + "\n")
    log = read_log(tmp_path / "millepede.log")
    numbers = [(row.chi2, row.cut_factor, row.rejects) for row in log.iterations]
    assert numbers == [(123450.0, -1.0, 0), (0.12345e123, math.inf, 12)]
    assert log.iterations[1].expected_decrease == 2000.0


def test_log_of_an_abort_has_less_in_it(data: Path, tmp_path: Path) -> None:
    """A log that ends early is read up to its end; a missing one is reported."""
    log = read_log(data / "pede" / "case3_failing" / "expected_code18_truncated" / "millepede.log")
    assert (log.records, log.expected_decrease, log.iterations) == (0, None, ())
    with pytest.raises(UserError, match="did not run"):
        read_log(tmp_path / "none.log")
