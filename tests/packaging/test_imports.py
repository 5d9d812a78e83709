"""Test that imports between the packages point inwards only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import sources
from sources import PACKAGES, text, tree

# A package may import those of lower rank; packages of the same rank do not import each other.
RANKED: tuple[tuple[str, ...], ...] = (
    ("templates", "examples"),
    ("fsm",),
    ("system",),
    ("config",),
    ("campaign",),
    ("reference", "alignment"),
    ("dag", "pool", "state", "notifiers", "simulation"),
    ("pages",),
    ("predecessor",),
    ("operations",),
    ("api", "cli", "jobs", "hooks"),
)
RANKS = {name: rank for rank, names in enumerate(RANKED) for name in names}
# Scripts run inside a campaign and never make one.
FORBIDDEN = {("hooks", "dag")}

# The example scripts are a user's programs.
MODULES = [path for path in sources.MODULES if path.parts[0] != "examples" or path.name == "__init__.py"]


def imported(module: Path) -> Iterator[tuple[str, int]]:
    """Yield our packages that a module imports anywhere, including functions, with the line."""
    for node in ast.walk(tree(module)):
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


def test_imports_point_inwards() -> None:
    """A module imports its own package and packages of lower rank, and none that is forbidden to it."""
    wrong = [
        f"{module}:{line} imports faser_align.{other}"
        for module in MODULES
        for other, line in imported(module)
        if other != (own := module.parts[0]) and (RANKS[other] >= RANKS[own] or (own, other) in FORBIDDEN)
    ]
    assert wrong == []


def test_every_package_has_a_rank() -> None:
    """Every package has a rank."""
    assert set(PACKAGES) == set(RANKS)


# Ranks inside packages: commands import the show package; in the engine the solver reads pede's texts and Mille records,
# and quality judges its results.
INSIDE = {"cli": ("show", "commands"), "alignment": ("parameters", "pede", "mille", "solver", "quality")}


def test_inner_packages_point_inwards() -> None:
    """An inner package imports only those of lower rank."""
    wrong = []
    for module in (module for module in MODULES if module.parts[0] in INSIDE):
        package, inner = module.parts[:2]
        names = INSIDE[package]
        higher = names[names.index(inner) + 1 :] if inner in names else ()
        wrong += [f"{module}: {name}" for name in higher if f"faser_align.{package}.{name}" in text(module)]
    assert wrong == []


def imported_modules(module: Path) -> set[str]:
    """Return our modules that a module imports at run time, including inside functions."""
    names: set[str] = set()
    for node in runtime(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("faser_align.").replace(".", "/") + ".py" for name in names}


def runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those in it, without blocks for type checkers."""
    yield node
    for inner in ast.iter_child_nodes(node):
        if not (isinstance(inner, ast.If) and ast.unparse(inner.test).endswith("TYPE_CHECKING")):
            yield from runtime(inner)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """No module imports itself through others, not even inside functions."""
    known = {str(module) for module in MODULES}
    graph = {str(module): imported_modules(module) & known - {str(module)} for module in MODULES}
    # Remove modules that import none or that none imports, until circles alone are left.
    while ends := {module for module in graph if not graph[module] or module not in set().union(*graph.values())}:
        graph = {module: needed - ends for module, needed in graph.items() if module not in ends}
    assert graph == {}
