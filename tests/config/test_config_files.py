"""Test parsing raw files, runs and years as users type them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faser_align.campaign.data import hold_back
from faser_align.config.files import FILE_MAX, check_year, format_files, parse_files, parse_run
from faser_align.fsm.errors import UserError

NUMBERS = st.sets(st.integers(0, FILE_MAX), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        *((text, [400, 401, 402, 403]) for text in ("400-403", "400:403", "400-402,401-403,402")),
        *((text, [400, 401, 402, 415]) for text in ("400-402,415", "415, 400 - 402")),
        *(("400", [400]), ("400-400", [400]), ("00400", [400]), ("0", [0])),
    ],
)
def test_ranges_include_both_ends(text: str, files: list[int]) -> None:
    """Every notation includes both ends; the files are sorted and have no duplicates."""
    assert parse_files(text) == files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "names no raw files") for text in ("", " ", "400-401-402", "400,,401", "4e2", "٤")),
        *((text, "from 0 to 99999") for text in ("0-100000", "9" * 5000)),
        *(
            ("450-400", "write 400-450"),
            ("abc", "-f abc"),
            ("-5", "-f -5"),
            ("400-", "400-450"),
            ("400,x", "'x' in -f 400,x"),
        ),
    ],
)
def test_what_names_no_files_is_refused(text: str, said: str) -> None:
    """Text that names no files gets one sentence that explains the notation."""
    with pytest.raises(UserError) as caught:
        parse_files(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(NUMBERS)
def test_formatting_is_undone_by_parsing(files: set[int]) -> None:
    """The short text names exactly the files that it was made from."""
    assert parse_files(format_files(files)) == sorted(files)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text gives files in range or a sentence for the user."""
    try:
        files = parse_files(text)
    except UserError:
        return
    assert files == sorted(set(files))
    assert 0 <= files[0] <= files[-1] <= FILE_MAX


def test_the_short_text_is_short() -> None:
    """Consecutive files become one range; a single file stays a number."""
    assert format_files([415, 400, 401, 402]) == "400-402,415"


@pytest.mark.parametrize(
    ("files", "fraction", "expected"),
    [
        *((range(9), 0.05, []), (range(10), 0.05, [5]), (range(29), 0.05, [14]), (range(40), 0.05, [10, 30])),
        *((range(10), 0.0, []), (range(10), 0.5, [1, 3, 5, 7, 9])),
        ([400, 500, *range(1000, 1018)], 0.1, [1003, 1013]),
    ],
)
def test_files_held_back_are_spread_evenly(files: Sequence[int], fraction: float, expected: list[int]) -> None:
    """A validation gets a rounded fraction of the files, evenly spread: at least one of ten, and none of fewer."""
    assert hold_back(files, fraction) == expected


@pytest.mark.parametrize(("text", "run"), [("11705", "011705"), ("011705", "011705"), (" 8294 ", "008294")])
def test_runs_have_six_digits(text: str, run: str) -> None:
    """A run is padded with zeros to six digits."""
    assert parse_run(text) == run


@pytest.mark.parametrize("text", ["", "0", "abc", "-1", "1234567", "11705.0"])
def test_what_is_no_run_is_refused(text: str) -> None:
    """A run that is not an integer of at most six digits is refused."""
    with pytest.raises(UserError, match=r"write a number from 1 to 999999"):
        parse_run(text)


@pytest.mark.parametrize(
    ("year", "why"),
    [(23, "is before 2021"), (2020, "is before 2021, when FASER was installed"), (20230, "is in the future")],
)
def test_years_without_data_are_refused(year: int, why: str) -> None:
    """A year in the future or before FASER, or with too few digits, is refused with the reason and the range."""
    with pytest.raises(UserError, match=f"-y {year} {why}.*; write a year from 2021 to 20"):
        check_year(year)
    assert check_year(2023) == 2023
