"""Test how pages write numbers."""

import pytest

from faser_align.pages.numbers import beside, measured, signed, significant


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.26", "−0.26"),
        ("+3 to -5 µm, (-1)", "+3 to −5 µm, (−1)"),
        ("files 400-405, 2026-11-29, faser-align export -o FILE", "files 400-405, 2026-11-29, faser-align export -o FILE"),
    ],
)  # fmt: skip
def test_negative_numbers_have_a_minus_sign(text: str, shown: str) -> None:
    """Hyphens of ranges, dates and options stay."""
    assert signed(text) == shown


def test_a_value_has_its_error_and_significance() -> None:
    """Digits follow the error; without one there is no number of standard deviations."""
    assert measured(-0.412, 1.24, "µm") == "−0.4 ± 1.2 µm"
    assert significant(286.3, 41.0, "µm") == "290 ± 40 µm (7.0 σ)"
    assert significant(-0.4, 41.0) == "0 ± 40 (0.0 σ)"
    assert significant(-120.0, None, "µm") == "−120 µm"


def test_a_mean_has_the_decimals_of_its_rms() -> None:
    """A mean that differs from zero only by rounding is shown as zero."""
    assert [beside(*pair) for pair in ((-0.000215, 391.0), (17.14, 129.0), (-0.24, 24.3), (0.1, 0.0), (-4064.4, 8716.0))] == [
        "0", "17", "−0.2", "0", "−4,064"
    ]  # fmt: skip
