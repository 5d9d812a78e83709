"""Test that imports between the packages point inwards only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package may import those of lower rank; packages of the same rank do not import each other.
RANKS = {
    "templates": 0,
    "examples": 0,
    "fsm": 1,
    "system": 2,
    "config": 3,
    "campaign": 4,
    "reference": 5,
    "alignment": 5,
    "dag": 6,
    "pool": 6,
    "state": 6,
    "notifiers": 6,
    "simulation": 6,
    "pages": 7,
    "predecessor": 8,
    "operations": 9,
    "api": 10,
    "cli": 10,
    "jobs": 10,
    "hooks": 10,
}
# Hooks run inside a campaign and never make one.
FORBIDDEN = {("hooks", "dag")}

# The example scripts are a user's programs.
MODULES = sorted(
    path.relative_to(ROOT)
    for package in RANKS
    for path in (ROOT / package).rglob("*.py")
    if package != "examples" or path.name == "__init__.py"
)


def imported(module: Path) -> Iterator[tuple[str, int]]:
    """Yield our packages that a module imports anywhere, including functions, with the line."""
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
    """A module imports its own package and packages of lower rank, and none that is forbidden to it."""
    package = module.parts[0]
    wrong = [
        f"{module}:{line} imports faser_align.{other}"
        for other, line in imported(module)
        if other != package and (RANKS[other] >= RANKS[package] or (package, other) in FORBIDDEN)
    ]
    assert wrong == []


def test_every_package_has_a_rank() -> None:
    """Every package has a rank."""
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(RANKS)


# Ranks inside cli: commands import the show package.
INSIDE = {"show": 0, "commands": 1}


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "cli"], ids=str)
def test_the_terminal_points_inwards(module: Path) -> None:
    """The show package imports no command."""
    own = INSIDE.get(module.parts[1], len(INSIDE))
    text = (ROOT / module).read_text()
    assert [name for name, rank in INSIDE.items() if rank > own and f"faser_align.cli.{name}" in text] == []


# Ranks inside the engine: the solver reads pede's texts and Mille records, and quality judges its results.
ENGINE = {"parameters": 0, "pede": 1, "mille": 2, "solver": 3, "quality": 4}


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "alignment"], ids=str)
def test_the_engine_points_inwards(module: Path) -> None:
    """A package of the engine imports only those of lower rank."""
    own = ENGINE.get(module.parts[1], len(ENGINE))
    text = (ROOT / module).read_text()
    assert [name for name, rank in ENGINE.items() if rank > own and f"faser_align.alignment.{name}" in text] == []
