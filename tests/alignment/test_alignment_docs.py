"""Test that the pages of the alignment and of metrics explain every displayed number, and only existing labels."""

import re
from pathlib import Path
from typing import Any

import pytest

from faser_align.alignment.parameters.labels import parse
from faser_align.alignment.pede.keywords import KEYWORDS, Noted, Unsupported
from faser_align.alignment.pede.solution import Solution
from faser_align.cli.show import solved

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alignment.md").read_text()
BOTH = PAGE + (ROOT / "docs" / "metrics.md").read_text()
NAMED = set(re.findall(r"[a-z_][a-z0-9_]*", " ".join(re.findall(r"`([^`]+)`", BOTH.replace("```", "")))))
SOLUTION = Solution(0, "Ended normally", "", {}, n_variable=1, n_fit=1, expected_decrease=1.0)
OWN_KEYS = ("layer", "module", "message", "iterations", "label", "words", "weight")  # structure, or free of units


def keys(value: Any) -> set[str]:
    """Return the names at every depth, without those of detector elements."""
    if isinstance(value, dict):
        return {key for key in value if re.fullmatch("[a-z_]+", key)} | {k for v in value.values() for k in keys(v)}
    return {k for v in value for k in keys(v)} if isinstance(value, list) else set()


def test_solutions_are_explained() -> None:
    """The pages explain each number of ``solve --json``."""
    assert keys(solved.as_json(SOLUTION)) - {*OWN_KEYS, "entries_fixed_words"} <= NAMED


def test_keywords_are_explained() -> None:
    """The page lists each keyword of pede in the row for its effect on the solver."""
    of_kind: dict[str, set[str]] = {"supports it": set(), "notes in": {"closeandreopen"}, "refuses by": {"rootfiles"}}
    for keyword, does in KEYWORDS.items():
        kind = {Noted: "notes in", Unsupported: "refuses by"}.get(type(does), "supports it")
        of_kind[kind].add(keyword)
    for start, keywords in of_kind.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {start}"))
        assert set(re.findall(r"`(\w+)`", row)) == keywords


@pytest.mark.parametrize(("label", "words"), re.findall(r"\| (\d+): ([^|]+) \|", PAGE))
def test_labels_on_the_page_are_right(label: str, words: str) -> None:
    """The page's example labels match their descriptions."""
    assert parse(words) == int(label)


def test_examples_on_the_page_are_there() -> None:
    """Example files named on the page exist, and both other pages link to the page."""
    named = set(re.findall(r"`(steps_\w+\.toml)`", PAGE))
    assert named == {path.name for path in (ROOT / "examples").glob("steps_*.toml")}
    assert all((ROOT / "examples" / name).is_file() for name in named)
    assert "alignment.md" in (ROOT / "README.md").read_text()
    assert "alignment.md" in (ROOT / "docs" / "how-it-works.md").read_text()
