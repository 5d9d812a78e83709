"""Test the manifest, written once and read by jobs and hooks."""

import subprocess
import sys
from pathlib import Path

import pytest

from faser_align.campaign.manifest import make_record, read_record, write_record
from faser_align.config.schema import Config
from faser_align.fsm.errors import StoreError, UserError


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A manifest survives a round trip, and no other file is left."""
    record = make_record(
        Config(),
        name="Ünï",
        year=2023,
        run="011705",
        files=[400, 401],
        folder=str(tmp_path),
        constants="/c.txt",
        sha256="0" * 64,
        created_utc="2026-11-24T07:30:00Z",
    )
    write_record(str(tmp_path / "campaign.json"), record)
    assert read_record(str(tmp_path)) == record
    assert [path.name for path in tmp_path.iterdir()] == ["campaign.json"]
    assert record["config"]["campaign"]["iterations"] == record["stages"][0]["iterations"] == 10
    assert record["data"] == record["folder"]


def test_a_folder_without_a_record_is_no_campaign(tmp_path: Path) -> None:
    """A foreign folder, and a missing one, give a UserError."""
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"is not a campaign"):
            read_record(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    """A truncated or malformed manifest is a StoreError with a sentence."""
    (tmp_path / "campaign.json").write_text(text)
    with pytest.raises(StoreError, match=r"campaign\.json"):
        read_record(str(tmp_path))


@pytest.mark.parametrize(("use", "place"), [(True, "/eos/me/camp"), (False, "/afs/me/camp")])
def test_where_large_files_go(use: bool, place: str) -> None:
    """storage.data has a folder for each campaign's large files, unless use_eos_for_output = false."""
    record = make_record(
        Config.model_validate({"storage": {"data": "/eos/me", "use_eos_for_output": use}}),
        name="camp",
        year=2023,
        run="011705",
        files=[400],
        folder="/afs/me/camp",
        constants="/c.txt",
        sha256="0" * 64,
        created_utc="2026-11-24T07:30:00Z",
    )
    assert record["data"] == place


def test_reading_a_record_is_cheap() -> None:
    """Jobs and hooks read the manifest without importing the configuration's models."""
    code = "import sys, faser_align.campaign.manifest; print(any('pydantic' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
