"""Test the format of numbers, durations and times."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from faser_align.system import formatting

# What each function shows of a value.
SHOWN: dict[Callable[..., str], dict[float | None, str]] = {
    # Lengths have three significant digits, and no exponent where possible.
    formatting.size: {
        None: "-",
        0.0: "0",
        0.0123: "0.012",
        0.412: "0.41",
        9.1: "9.10",
        -120.51: "-121",
        4810: "4,810",
        2.5e7: "2.50e+07",
    },
    # A residual shift has at most two decimals, and a smaller one is not shown as zero.
    formatting.shift: {
        None: "-",
        0: "0.00",
        0.0055: "<0.01",
        0.0692: "0.07",
        0.9996: "1.00",
        10.98: "11.0",
        12345.6: "12,346",
        float("inf"): "not finite",
    },
    # A duration has two units at most.
    formatting.duration: {
        None: "-",
        0.42: "0.4 s",
        9.96: "10 s",
        59.6: "1 min 00 s",
        192.3: "3 min 12 s",
        18420: "5 h 07 min",
        273600: "3 d 04 h",
    },
    # Values have three digits, and no exponent where readable.
    formatting.value: {None: "-", 0.0003439: "0.000344", 1352.45: "1,352", 17215.0: "17,215", 2.5e12: "2.5e+12"},
    # A fraction keeps at least one significant digit.
    formatting.percent: {None: "-", 0: "0.0 %", 0.0021: "0.21 %", 0.051: "5.1 %", 0.4: "40 %"},
    # A number about the quality has two digits, at most two of them decimals, and no exponent.
    formatting.rounded: {
        0.0024: "<0.01",
        0.0976: "0.10",
        0.0996: "0.10",
        1.04: "1.0",
        0.0: "0.0",
        51.3: "51",
        1234.0: "1,200",
        -2.37: "-2.4",
    },
}


@pytest.mark.parametrize("function", SHOWN, ids=lambda function: function.__name__)
def test_numbers_have_the_digits_of_their_kind(function: Callable[..., str]) -> None:
    """Each kind of number is shown with the digits that the table above has."""
    assert {value: function(value) for value in SHOWN[function]} == SHOWN[function]


def test_numbers_that_are_none() -> None:
    """A missing number is a dash, one that is not finite a word, and a boolean is not a number."""
    assert [formatting.number(value) for value in (None, float("nan"), True, "7")] == ["-", "not finite", "-", "-"]
    assert formatting.chi2(123.456) == "123.5"
    assert formatting.largest(None) == "-"
    assert (
        formatting.largest({"dof": "module.rz", "where": "003", "value": -380.2, "unit": "urad"}) == "-380 urad rz 003"
    )


def test_the_largest_correction_has_its_error_and_its_size_in_errors() -> None:
    """The largest correction is shown with its error and the number of standard deviations, which has no sign."""
    found = {"dof": "module.y", "where": "014", "value": -276.3, "unit": "um", "error": 40.2}
    assert formatting.largest(found) == "-280±40 um (6.9 sigma) y 014"
    assert formatting.significant(-276.3, 40.2, "µm") == "-280 ± 40 µm (6.9 σ)"
    assert formatting.significant(276.3, 8.9, "µm") == "276 ± 9 µm (31 σ)"
    assert formatting.significant(276.3, None, "µm") == "276 µm"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("30m", "2026-11-24T07:00:00.000Z"),
        ("2h", "2026-11-24T05:30:00.000Z"),
        ("1d", "2026-11-23T07:30:00.000Z"),
        ("2026-11-24T08:30:00+01:00", "2026-11-24T07:30:00.000Z"),
        ("2026-11-24T07:30Z", "2026-11-24T07:30:00.000Z"),
        ("yesterday", None),
        ("", None),
        ("m", None),
        ("99999999999d", None),
    ],
)
def test_points_in_time(text: str, utc: str | None) -> None:
    """Times before now and dates are parsed, anything else is not."""
    assert formatting.since_utc(text, datetime(2026, 11, 24, 7, 30, tzinfo=UTC)) == utc


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (276.31, 65.2, "280±70"),
        (276.31, 33.4, "276±33"),
        (-0.884, 51.0, "0±50"),
        (37.95, 1.822, "38.0±1.8"),
        (37.95, 0.9513, "38.0±1.0"),
        (37.95, 0.827, "38.0±0.8"),
        (12345.6, 1234.0, "12,300±1,200"),
        (1.0, 0.0996, "1.00±0.10"),
        (0.5, 0.0354, "0.500±0.035"),
        (0.5, 0.0356, "0.50±0.04"),
        (0.312, None, "0.31"),
        (276.31, 0.0, "276"),
        (276.31, float("nan"), "276"),
    ],
)
def test_values_have_the_digits_of_their_errors(value: float, error: float | None, shown: str) -> None:
    """Errors have two digits if these are 10 to 35, else one; values without errors have three digits."""
    assert formatting.plus_minus(value, error) == shown


def test_symbols_replace_ascii() -> None:
    """Units and signs become symbols; words that contain them stay."""
    text = "x +-1.0 um, 8.3 +- 1.4 %, rz +- 24 urad, chi2/ndf 1.3 -> 1.0, 0.4 sigma; number, momentum, sigma"
    assert (
        formatting.symbols(text)
        == "x ±1.0 µm, 8.3 ± 1.4 %, rz ±24 µrad, χ²/ndf 1.3 → 1.0, 0.4 σ; number, momentum, sigma"
    )
