"""Provide the engine's reference data, made by real programs; see tests/data/README.md."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def data() -> Path:
    """Return the folder of the reference data."""
    return DATA


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    """Unpack a gzipped file of the reference data."""

    def unpack(name: str) -> Path:
        path = tmp_path / Path(name).name
        path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def pede_case(tmp_path: Path) -> Callable[[str], Path]:
    """Return a folder with the inputs of a case that the real pede has solved."""

    def copy(case: str) -> Path:
        folder = tmp_path / case
        shutil.copytree(DATA / "pede" / case, folder)
        for packed in folder.glob("*.gz"):
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        return folder

    return copy
