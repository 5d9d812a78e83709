"""Test that the manifest's types agree with what is written."""

from pathlib import Path

from campaigns import make_campaign

from faser_align.campaign import manifest
from faser_align.campaign.manifest_types import Manifest
from faser_align.config import describe, stored_types


def test_types_of_the_configuration_are_current() -> None:
    """The module of types is generated from the schema; `make refresh` updates it."""
    assert Path(stored_types.__file__).read_text(encoding="utf-8") == describe.stored_types()


def test_a_manifest_has_the_keys_of_its_type(tmp_path: Path) -> None:
    """A manifest and its configuration's tables have every required key, and no unknown one."""
    record = make_campaign(tmp_path / "c", files=1)
    assert set(Manifest.__required_keys__) <= set(record) <= set(Manifest.__annotations__)
    assert set(manifest.REQUIRED) <= set(Manifest.__required_keys__)
    for name, table in record["config"].items():
        if isinstance(table, dict):
            types = stored_types.Config.__annotations__[name]
            assert list(table) == list(types.__annotations__), name
