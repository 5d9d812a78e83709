"""Test the page *What can go wrong, and what you will see* against the program's texts and the tests it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "what-can-go-wrong.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| what happened")
]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def sources() -> str:
    """Return the program's source with adjacent literals joined and quotes unescaped."""
    text = "\n".join(path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return re.sub(r'"\n\s*f?"', "", text)


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """Return the names of all tests."""
    return {
        name
        for path in ROOT.glob("tests/*/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_each_line_is_held(line: list[str], sources: str, tests: set[str]) -> None:
    """Each row has four cells, its quotations are in the program's source, and its tests exist."""
    assert len(line) == 4
    named = re.findall(r"`(test_\w+)`", line[3])
    assert named
    assert set(named) <= tests
    for quotation in re.findall(r'"([^"]+)"', line[1]):
        for words in quotation.split("..."):
            assert words.strip() in sources, words
