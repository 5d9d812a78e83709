"""Test the format of numbers, durations and times."""

from datetime import UTC, datetime

import pytest

from faser_align.system import formatting


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.0123, "0.012"),
        (0.412, "0.41"),
        (9.1, "9.10"),
        (-120.51, "-121"),
        (2.5e7, "2.50e+07"),
    ],
)
def test_sizes_have_three_digits(value: float | None, shown: str) -> None:
    """Lengths have three significant digits, and no exponent where possible."""
    assert formatting.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (192.3, "3 min 12 s"),
        (18420, "5 h 07 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    """A duration has two units at most."""
    assert formatting.duration(seconds) == shown


def test_numbers_that_are_none() -> None:
    """A missing number is a dash, one that is not finite a word, and a boolean is not a number."""
    assert [formatting.number(value) for value in (None, float("nan"), True, "7")] == ["-", "not finite", "-", "-"]
    assert formatting.chi2(123.456) == "123.5"
    assert formatting.largest(None) == "-"
    assert (
        formatting.largest({"dof": "module.rz", "where": "003", "value": -380.2, "unit": "urad"}) == "-380 urad rz 003"
    )


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "-"), (0.0003439, "0.0003439"), (1352.45, "1352"), (17215.0, "17,215"), (2.5e12, "2.5e+12")],
)
def test_large_values_are_written_out(given: float | None, shown: str) -> None:
    """Values have four digits, and no exponent where readable."""
    assert formatting.value(given) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(None, "-"), (0, "0.0%"), (0.0021, "0.21%"), (0.051, "5.1%"), (0.4, "40%")]
)
def test_shares(share: float | None, shown: str) -> None:
    """A fraction keeps at least one significant digit."""
    assert formatting.percent(share) == shown


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
