"""Test what `make soak` prints at its end."""

from types import SimpleNamespace

import pytest
from soaked import examples_of, lines


def test_the_summary_adds_what_tests_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """The summaries of trials come first; the last line has the sums of all tests, the duration and the load."""
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 5.0, 2.2))
    stories = SimpleNamespace(hypothesis_statistics="    - 1500 passing, 0 failing\n    - 20 passing, 0 failing\n")
    done = [[("kills", 900)], [("kills", 150), ("summary", "2 trials"), ("trials", 2)], examples_of(stories), []]
    reports = [SimpleNamespace(when=when, user_properties=did) for did in done for when in ("call", "teardown")]
    assert lines(reports, 3725.0) == ["2 trials", "4 tests, 1,520 examples, 1,050 kills, 2 trials; 1 h 02 min, load 2"]
