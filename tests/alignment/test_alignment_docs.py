"""The page on the alignment names every number that the program shows, and only labels that there are."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from faser_align.alignment.constants import read_constants
from faser_align.alignment.counts import Counts
from faser_align.alignment.fixrules import fix_rules
from faser_align.alignment.keywords import LISTS, NOTED, SETTERS, UNSUPPORTED
from faser_align.alignment.labels import parse
from faser_align.alignment.metrics import Data, Resources, Step, iteration_metrics
from faser_align.alignment.solution import Rejects, Solution
from faser_align.cli.show import solved

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alignment.md").read_text()
NAMED = set(re.findall(r"[a-z_][a-z0-9_]*", " ".join(re.findall(r"`([^`]+)`", PAGE.replace("```", "")))))
SOLUTION = Solution(0, "Ended normally", "", {}, n_variable=1, n_fit=1, expected_decrease=1.0)
OWN_KEYS = ("layer", "module", "message", "iterations", "label", "words", "weight")  # of structure, or plain


def keys(value: Any) -> set[str]:
    """Names at every depth; those of elements are none."""
    if isinstance(value, dict):
        return {key for key in value if re.fullmatch("[a-z_]+", key)} | {k for v in value.values() for k in keys(v)}
    return {k for v in value for k in keys(v)} if isinstance(value, list) else set()


def test_counts_are_explained() -> None:
    """Each number of a conversion is on the page."""
    assert {field.name for field in dataclasses.fields(Counts)} <= NAMED


def test_metrics_are_explained(data: Path) -> None:
    """Each name in metrics.json is on the page."""
    counts = Counts(files=1, tracks_written=10, measurements=100, chi2=1.0, ndf=1)
    constants = read_constants(data / "constants" / "align_2025.txt")
    metrics = iteration_metrics(
        stage=1,
        iteration=1,
        data=Data(1, [], counts, 0.05, residual_max_final=True),
        steps=[Step("a", fix_rules(["layer", "3ST"]), SOLUTION)],
        constants=constants,
        correction=constants,
        backend="builtin",
        resources=Resources(1.0, 1.0, 1.0),
    )
    kinds = {"module.x", "module.y", "module.rz", "chi2", "pz", "residual", "derivative"}
    assert keys(metrics) - kinds <= NAMED
    assert set(Rejects._fields) <= NAMED


def test_solutions_are_explained() -> None:
    """Each number of ``solve --json`` is on the page."""
    assert keys(solved.as_json(SOLUTION)) - {*OWN_KEYS, "entries_fixed_words"} <= NAMED


def test_keywords_are_explained() -> None:
    """Each keyword of pede is on the page, in the row of what the solver does with it."""
    rows = {
        "does it": {*LISTS, *SETTERS},
        "notes in": set(NOTED),
        "refuses by": {*UNSUPPORTED, "rootfiles"},
    }
    for start, keywords in rows.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {start}"))
        assert set(re.findall(r"`(\w+)`", row)) == keywords


@pytest.mark.parametrize(("label", "words"), re.findall(r"\| (\d+): ([^|]+) \|", PAGE))
def test_labels_on_the_page_are_right(label: str, words: str) -> None:
    """An example of a label is the label of its words."""
    assert parse(words) == int(label)


def test_examples_on_the_page_are_there() -> None:
    """Files of examples that the page names exist, and both other pages lead to it."""
    named = set(re.findall(r"`(steps_\w+\.toml)`", PAGE))
    assert named == {path.name for path in (ROOT / "examples").glob("steps_*.toml")}
    assert all((ROOT / "examples" / name).is_file() for name in named)
    assert "alignment.md" in (ROOT / "README.md").read_text()
    assert "alignment.md" in (ROOT / "docs" / "how-it-works.md").read_text()
