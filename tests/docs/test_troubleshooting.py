"""The pages *Troubleshooting* and *Faults and their tests*: the quoted sentences are the program's, and tests hold each line."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of all tables of a page whose first column has this heading."""
    found = []
    wanted = False
    for line in (ROOT / "docs" / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        wanted = line.startswith("|") and (wanted or cells[0] == heading)
        if wanted and cells[0] != heading and not line.startswith("|---"):
            found.append(cells)
    return found


SEEN = rows("troubleshooting.md", "you see")
FAULTS = rows("faults.md", "fault")


@pytest.fixture(scope="module")
def sources() -> str:
    """Return the program's text, with adjacent literals joined."""
    text = "\n".join(path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return re.sub(r'"\n\s*f?"', "", text)


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row[1])
def test_each_quotation_is_the_programs(row: list[str], sources: str) -> None:
    """A row has a symptom, a cause and what to do; the symptom's quotations are in the program's text."""
    assert len(row) == 3
    for quotation in re.findall(r'"([^"]+)"', row[0]):
        for words in quotation.split("..."):
            assert words.strip() in sources, words


def test_each_fault_has_tests() -> None:
    """Each cause on the page Troubleshooting is a fault, in the same order; the tests of each fault exist."""
    tests = {
        name
        for path in ROOT.glob("tests/*/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    for row in FAULTS:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row[0]
        assert set(named) <= tests, row[0]
    assert [row[0] for row in FAULTS if len(row) == 2] == [row[1] for row in SEEN]
