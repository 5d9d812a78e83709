"""Test ``constants export --sqlite``."""

import json
from pathlib import Path

import pytest
from calypso import Lxplus
from campaigns import make_campaign, run_iteration
from commandline import Command, add
from stored import rows

from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign import layout
from faser_align.reference.files import FORMATS
from faser_align.state import publish

EXAMPLE = Path(__file__).parents[2] / "examples" / "align_2025.txt"
POOL = "data/poolcond/PoolFileCatalog.xml"


@pytest.fixture
def lxplus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lxplus:
    """Provide the stand-ins, and a configuration for them in the current folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Lxplus(tmp_path / "lxplus")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("faser-align.toml").write_text(made.toml(raw="/raw/{file}"))
    return made


def test_a_file_becomes_a_database(plain_command: Command, lxplus: Lxplus) -> None:
    """One folder has the unchanged text, database, POOL files and a JSON with run range, tag and geometry."""
    left = plain_command(
        *("constants", "export", str(EXAMPLE), "--sqlite", "-o", "out", "--runs", "11705-11800", "--year", "2023"),
        status=0,
    )
    assert "runs 11705-11800, tag OFLCOND-FASER-05" in left.out
    out = Path("out")
    assert (out / "inputforalign.txt").read_bytes() == EXAMPLE.read_bytes()
    told = json.loads((out / "export.json").read_text())
    assert (told["runs"], told["tag"], told["geometry"]) == ([11705, 11800], "OFLCOND-FASER-05", "FASERNU-04")
    assert set(told) == {key.name for key in FORMATS["The folder of `constants export --sqlite`"].keys}
    assert told["pool"]
    assert all((out / name).is_file() for name in (told["database"], told["catalog"], *told["pool"]))
    assert (out / "data" / "poolcond" / "PoolCat_oflcond.xml").exists()
    assert "TRACKER-ALIGN-05" in str(rows(out / "data" / "sqlite200" / "ALLP200.db", "SELECT * FROM folders"))
    assert sorted(path.name for path in Path().iterdir()) == ["faser-align.toml", "out"]


def test_a_campaign_gives_runs_and_year(plain_command: Command, lxplus: Lxplus, tmp_path: Path) -> None:
    """A campaign's latest constants are exported with its own Calypso, year and run, without a configuration."""
    settings = lxplus.reconstruction()
    record = make_campaign(tmp_path / "camp", files=1, name="camp", config={"reconstruction": settings})
    run_iteration(record, 1)
    folder = record["folder"]
    Path(layout.result_file(folder, 1, 1)).write_bytes(EXAMPLE.read_bytes())
    publish.publish(folder)
    Path("faser-align.toml").unlink()
    plain_command("constants", "export", folder, "--sqlite", "-o", "out", "--tag", "MY-TAG", status=0)
    told = json.loads(Path("out/export.json").read_text())
    assert (told["campaign"], told["runs"], told["tag"]) == ("camp", [11705, 11705], "MY-TAG")
    assert read_constants("out/inputforalign.txt") == read_constants(EXAMPLE)
    plain_command("constants", "export", folder, "--sqlite", "-o", "older", "--year", "2022", status=0)
    geometries = [json.loads(Path(name, "export.json").read_text())["geometry"] for name in ("out", "older")]
    assert geometries == ["FASERNU-04", "FASERNU-03"]


def test_names_of_the_database(plain_command: Command, lxplus: Lxplus) -> None:
    """The export uses the jobs' names for database, POOL file and tag."""
    lxplus.orders("write:05")
    add('written = "FASER-05_ALLP200.db"\npool = "FASER-05_Align.pool.root"\n')
    plain_command(
        "constants", "export", str(EXAMPLE), "--sqlite", "-o", "out", "--runs", "1", "--year", "2023", status=0
    )
    told = json.loads(Path("out/export.json").read_text())
    assert (told["written"], told["folder_tag"]) == ("FASER-05_ALLP200.db", "TRACKER-ALIGN-05")
    assert told["pool"] == ["data/poolcond/FASER-05_Align.pool.root"]


def test_what_fails_is_said_and_leaves_nothing(plain_command: Command, lxplus: Lxplus) -> None:
    """A failing script is named with exit status 1, and usage errors with 2; no partial folder is left."""
    words = ("constants", "export", str(EXAMPLE), "--sqlite", "-o", "out")
    assert "--year is missing" in plain_command(*words, "--runs", "1-2").err
    assert "write the first and the last run" in plain_command(*words, "--year", "2023").err
    assert "the first run is larger than the last" in plain_command(*words, "--year", "2023", "--runs", "9-8").err
    lxplus.orders("AtlCoolCopy:fail")
    left = plain_command(*words, "--year", "2023", "--runs", "11705", status=1)
    assert "Calypso's scripts did not write the database" in left.err
    assert "AtlCoolCopy" in left.err
    lxplus.orders()
    Path("out").mkdir()
    assert "already exists" in plain_command(*words, "--year", "2023", "--runs", "11705").err
    assert plain_command(*words, "--year", "2022", "--runs", "11705", "--force").status == 0
    assert json.loads(Path("out/export.json").read_text())["geometry"] == "FASERNU-03"
    Path("faser-align.toml").write_text("[campaign]\n")
    refused = plain_command(*words, "--year", "2023", "--runs", "11705", "--force")
    assert 'reconstruction.backend = "simulation"' in refused.err
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
