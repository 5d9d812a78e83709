"""Read the program's own source, each module once."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@functools.cache
def text(module: Path) -> str:
    """Return the text of a module."""
    return (ROOT / module).read_text(encoding="utf-8")


@functools.cache
def tree(module: Path) -> ast.Module:
    """Return the parsed module."""
    return ast.parse(text(module))


@functools.cache
def names_of_tests() -> frozenset[str]:
    """Return the names of all tests."""
    files = (path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/test_*.py"))
    return frozenset(name for content in files for name in re.findall(r"^def (test_\w+)", content, re.MULTILINE))
