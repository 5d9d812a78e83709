"""Imports between the packages point inwards only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package may import those of a lower rank; packages of one rank do not know each other.
RANKS = {
    "templates": 0,
    "examples": 0,
    "fsm": 1,
    "config": 2,
    "alignment": 3,
    "dag": 4,
    "pool": 4,
    "state": 4,
    "notifiers": 4,
    "simulation": 4,
    "pages": 5,
    "api": 6,
    "cli": 6,
    "jobs": 6,
    "hooks": 6,
}
# Hooks run where a campaign runs; they never make one.
FORBIDDEN = {("hooks", "dag")}

# The scripts among the examples are a user's programs.
MODULES = sorted(
    path.relative_to(ROOT)
    for package in RANKS
    for path in (ROOT / package).rglob("*.py")
    if package != "examples" or path.name == "__init__.py"
)


def imported(module: Path) -> Iterator[tuple[str, int]]:
    """Packages of ours that a module imports anywhere in its text, functions included, with the line."""
    for node in ast.walk(ast.parse((ROOT / module).read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            package = rest.partition(".")[0]
            if top == "faser_align" and package in RANKS:
                yield package, node.lineno


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_inwards(module: Path) -> None:
    """A module imports its own package and packages of a lower rank, none of those forbidden to it."""
    package = module.parts[0]
    wrong = [
        f"{module}:{line} imports faser_align.{other}"
        for other, line in imported(module)
        if other != package and (RANKS[other] >= RANKS[package] or (package, other) in FORBIDDEN)
    ]
    assert wrong == []


def test_every_package_has_a_rank() -> None:
    """No package escapes this test by being unknown to it."""
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(RANKS)


# Inside the terminal: operations know nothing of it, and commands know how results look.
INSIDE = {"work": 0, "show": 1, "commands": 2}


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "cli"], ids=str)
def test_the_terminal_points_inwards(module: Path) -> None:
    """Operations depend neither on how results look nor on commands, and how results look depends on no command."""
    own = INSIDE.get(module.parts[1], len(INSIDE))
    text = (ROOT / module).read_text()
    assert [name for name, rank in INSIDE.items() if rank > own and f"faser_align.cli.{name}" in text] == []
