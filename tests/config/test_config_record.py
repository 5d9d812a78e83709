"""Test the manifest, written once and read by jobs and scripts."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import make_campaign, manifest

from faser_align.campaign import changes
from faser_align.campaign.manifest import REQUIRED, convergence_of, read_record, write_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config import describe, stored_types
from faser_align.config.schema import Config
from faser_align.fsm.errors import StoreError, UserError
from faser_align.fsm.rules import Rules


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A manifest survives a round trip, and no other file is left."""
    record = manifest(Config(), tmp_path, name="Ünï")
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
    config = Config.model_validate({"storage": {"data": "/eos/me", "use_eos_for_output": use}})
    assert manifest(config, "/afs/me/camp", name="camp")["data"] == place


def test_reading_a_record_is_cheap() -> None:
    """Jobs and scripts read the manifest without importing the configuration's models."""
    code = "import sys, faser_align.campaign.manifest; print(any('pydantic' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_manifest_of_an_older_version_is_completed(tmp_path: Path) -> None:
    """A manifest that lacks keys of today is read with what an older version did without them."""
    record = manifest(Config(), tmp_path)
    lacking = {"job_python": record["python"], "command": "faser-align", "targets_file": ""}
    older = {key: value for key, value in record.items() if key not in lacking}
    write_record(str(tmp_path / "campaign.json"), older)  # type: ignore[arg-type]
    assert read_record(str(tmp_path)) == record | lacking


def test_deprecated_names_of_criteria_are_accepted(tmp_path: Path) -> None:
    """Manifests, changes and stages with the names before the renaming are read with today's names."""
    old = {"rules": ["significance", "effect"], "significance_max": 0.02, "effect_um_max": 0.6, "stalled_effect": 0.2}
    config = Config.model_validate({"convergence": old, "stages": [{"convergence": {"effect_um_max": 3.0}}]})
    record = manifest(config, tmp_path)
    stored = copy.deepcopy(record)
    stored["config"]["convergence"] |= old
    for new in ("delta_chi2_per_parameter_max", "residual_shift_um_max", "stalled_residual_shift"):
        del stored["config"]["convergence"][new]
    stored["stages"][0]["convergence"] = {"effect_um_max": 3.0}
    write_record(str(tmp_path / "campaign.json"), stored)
    assert read_record(str(tmp_path)) == record
    changes.write(str(tmp_path), [{"key": "convergence.significance_max", "before": 0.02, "after": 0.03}])
    criteria = Rules.from_config(convergence_of(read_record(str(tmp_path)), 1))
    assert criteria.rules == ("delta_chi2_per_parameter", "residual_shift")
    assert (criteria.delta_chi2_per_parameter_max, criteria.residual_shift_um_max) == (0.03, 3.0)
    assert criteria.stalled_residual_shift == 0.2
    with pytest.raises(ValueError, match="effect_um_max is the deprecated name of residual_shift_um_max; remove it"):
        Config.model_validate({"convergence": {"effect_um_max": 1.0, "residual_shift_um_max": 1.0}})


def test_types_of_the_configuration_are_current() -> None:
    """The module of types is generated from the schema; `make refresh` updates it."""
    assert Path(stored_types.__file__).read_text(encoding="utf-8") == describe.stored_types()


def test_a_manifest_has_the_keys_of_its_type(tmp_path: Path) -> None:
    """A manifest and its configuration's tables have every required key, and no unknown one."""
    record = make_campaign(tmp_path / "c", files=1)
    assert set(Manifest.__required_keys__) <= set(record) <= set(Manifest.__annotations__)
    assert set(REQUIRED) <= set(Manifest.__required_keys__)
    for name, table in record["config"].items():
        if isinstance(table, dict):
            types = stored_types.Config.__annotations__[name]
            assert list(table) == list(types.__annotations__), name
