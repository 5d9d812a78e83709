"""The pages *Troubleshooting* and *Faults and their tests*: the quoted sentences are the program's, and tests hold each line."""

import re

import pytest
from sources import MODULES, ROOT, names_of_tests, text


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
def program() -> str:
    """Return the program's text, with adjacent literals joined."""
    return re.sub(r'"\n\s*f?"', "", "\n".join(map(text, MODULES)))


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row[1])
def test_each_quotation_is_the_programs(row: list[str], program: str) -> None:
    """A row has a symptom, a cause and what to do; the symptom's quotations are in the program's text."""
    assert len(row) == 3
    for quotation in re.findall(r'"([^"]+)"', row[0]):
        for words in quotation.split("..."):
            assert words.strip() in program, words


def test_each_fault_has_tests() -> None:
    """Each cause on the page Troubleshooting is a fault, in the same order; the tests of each fault exist."""
    for row in FAULTS:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row[0]
        assert set(named) <= names_of_tests(), row[0]
    assert [row[0] for row in FAULTS if len(row) == 2] == [row[1] for row in SEEN]
