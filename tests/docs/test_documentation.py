"""What the documentation shows is what the code says."""

import re
from pathlib import Path

import pytest

from faser_align.fsm import diagram, statuses

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def failures() -> str:
    """The table of the jobs' exit statuses."""
    rows = ["| status | name | tried again | cure |", "|---|---|---|---|"]
    for status, (name, fatal, cure) in statuses.JOB_FAILURES.items():
        rows.append(f"| {status} | {name} | {'no' if fatal else 'yes'} | {cure} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("page", "name", "expected"),
    [
        ("how-it-works", "campaign", f"```mermaid\n{diagram.mermaid('campaign')}```\n"),
        ("how-it-works", "node", f"```mermaid\n{diagram.mermaid('node')}```\n"),
        ("when-it-fails", "statuses", failures()),
    ],
)
def test_generated_parts_are_up_to_date(page: str, name: str, expected: str) -> None:
    """The diagrams and the table of exit statuses are those of the code."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->\n", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    assert found is not None
    assert found.group(1) == expected


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the documentation leads to a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
