"""Sum trials, kills and examples over the tests of a run."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from faser_align.system.formatting import duration

Record = Callable[[str, object], None]  # the fixture record_property
_PASSING = re.compile(r"- (\d+) passing")


def examples_of(item: pytest.Item) -> list[tuple[str, object]]:
    """Return the number of examples that hypothesis tried in a test, as a property of its report."""
    passed = sum(map(int, _PASSING.findall(getattr(item, "hypothesis_statistics", ""))))
    return [("examples", passed)] if passed else []


def lines(reports: Iterable[Any], seconds: float) -> list[str]:
    """Return the summaries of all tests, then the sums of what they counted, duration and load."""
    ends = [report for report in reports if getattr(report, "when", "") == "teardown"]
    properties = [pair for report in ends for pair in report.user_properties]
    sums: Counter[str] = Counter()
    for name, value in properties:
        if isinstance(value, int):
            sums[name] += value
    text = [value for name, value in properties if name == "summary"]
    did = [f"{number:,} {name}" for name, number in sums.most_common()]
    return [*text, f"{', '.join([f'{len(ends):,} tests', *did])}; {duration(seconds)}, load {os.getloadavg()[2]:.0f}"]
