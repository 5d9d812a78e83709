"""Test when a file is dropped."""

from typing import Any

import pytest

from faser_align.fsm import dropped_files


@pytest.mark.parametrize(
    ("min_files", "files", "expected"),
    [(1.0, 10, 0), (0.9, 10, 1), (0.9, 9, 0), (0.7, 10, 3), (0.5, 3, 1), (0.01, 5, 4)],
)
def test_the_minimum_fraction_of_files_remains(min_files: float, files: int, expected: int) -> None:
    """The minimum fraction of files must remain; rounding does not change the number by one."""
    assert dropped_files.most(min_files, files) == expected


@pytest.mark.parametrize(
    ("lost", "file_lost", "fatal", "retry", "expected"),
    [
        (0, False, False, 1, False),
        (0, False, False, 2, True),
        (0, False, True, 0, True),
        (1, False, True, 0, False),
        (1, True, True, 0, True),
        (1, True, False, 1, False),
    ],
)
def test_a_file_is_dropped_if_enough_remain(
    lost: int, file_lost: bool, fatal: bool, retry: int, expected: bool
) -> None:
    """A file is dropped after its last attempt, if one more may be dropped or this one is counted already."""
    campaign: Any = {"lost": lost, "lost_max": 1}
    event: Any = {"fatal": fatal, "retry": retry, "max_retries": 2}
    assert dropped_files.may_drop(campaign, event, file_lost) == expected
