"""Test the versions of Python packages that make installs."""

import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("python", ["3.11.2", "3.12.0", "3.13.5", "3.14.8"])
def test_constraints_pin_every_dependency(python: str) -> None:
    """pool/constraints.txt has exactly one version of each dependency for each Python, within the range of pyproject.toml."""
    environment: dict[str, str] = {**default_environment()}  # type: ignore[dict-item]
    environment |= {"python_version": python.rpartition(".")[0], "python_full_version": python}
    lines = [line for line in (ROOT / "pool" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate(environment)]
    versions = {pin.name: pin.specifier for pin in pins}
    assert len(versions) == len(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        asked = Requirement(text)
        if asked.name != project["name"]:
            (version,) = versions[canonicalize_name(asked.name)]
            assert version.operator == "=="
            assert version.version in asked.specifier, text
