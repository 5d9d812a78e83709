"""Test that each configuration in examples/ can be rendered unchanged."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import Result
from receivers import write_targets
from typer.testing import CliRunner

from faser_align.cli import main
from faser_align.pool.personal import Pool

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPLETE = ("local_demo", "lxplus_ift", "lxplus_three_stages")
FILES = range(400, 456)
SUBMIT = ("-y", "2023", "-r", "011705", "-f", "400-450", "--no-check")


def submit(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main.app, ["submit", "--config", str(config), *SUBMIT, *words], catch_exceptions=False)


@pytest.fixture
def place(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder with the examples, and with the CERN folders that they name."""
    monkeypatch.setenv("HOME", str(workdir))
    for folder in ("afs/cern.ch/user/y/you/alignment", "eos/user/y/you/faser-align", "eos/user/y/you/www/alignment"):
        (workdir / folder).mkdir(parents=True)
    raw = workdir / "eos/experiment/faser/raw/2023/011705"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / f"Faser-Physics-011705-{file:05d}.raw").write_text("raw")
    for path in EXAMPLES.glob("*.t*t"):
        shutil.copy(path, workdir)
    shutil.copy(EXAMPLES / "align_2025.txt", workdir / "afs/cern.ch/user/y/you/alignment/inputforalign.txt")
    for name in COMPLETE:
        text = (EXAMPLES / f"{name}.toml").read_text()
        for root in ("afs/cern.ch", "eos", "cvmfs"):
            text = text.replace(f'"/{root}/', f'"{workdir}/{root}/')
        (workdir / f"{name}.toml").write_text(text)
    targets = workdir / ".config/faser-align/targets.toml"
    targets.parent.mkdir(parents=True)
    write_targets(targets, me="mailto://localhost?from=a@b.c&to=d@e.f", group="json://localhost")
    return workdir


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_configuration_is_rendered(pool: Pool, place: Path, name: str) -> None:
    """submit --dry-run accepts the example and shows its stages and steps; it has every optional table."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    needed = {"campaign", "reconstruction", "mille", "stages", "convergence", "notify", "htcondor"}
    assert needed <= set(tomllib.loads(text))
    # Every value that is not obvious has a comment.
    assert text.count("#") > 15
    result = submit(place / f"{name}.toml", "--dry-run")
    assert result.exit_code == 0, result.output
    if name == "local_demo":
        assert "48 files (400-407,409-424,426-441,443-450)" in result.output
        assert re.search(r"validation: +3 files that the alignment does not use \(408,425,442\)\n", result.output)
    else:
        assert "51 files (400-450)" in result.output
        assert re.search(r"validation: +5 files that the alignment does not use \(451-455\)\n", result.output)
    assert "nothing was written or submitted" in result.output
    assert "refused" not in result.output
    if name != "local_demo":
        assert (
            "backward tracking: faser_reco_alignment.py FILE --alignment --noForward --output_level INFO"
            in result.output
        )
        assert "FASER-05_ALLP200.db (TRACKER-ALIGN-05) into a copy of " in result.output
        assert ("--noForward --noIFT" in result.output) == (name == "lxplus_three_stages")
    shown = submit(place / f"{name}.toml", "--show-steering")
    assert shown.exit_code == 0
    assert "Cfiles" in shown.output
    assert "pivot" not in result.output


def test_what_they_say(place: Path) -> None:
    """The demonstration is simulated, the IFT example has four stations, the workflow three stages in order."""
    records = {
        name: json.loads(
            CliRunner()
            .invoke(main.app, ["submit", "--config", str(place / f"{name}.toml"), *SUBMIT, "--dry-run", "--json"])
            .stdout
        )
        for name in COMPLETE
    }
    demo, ift, three = (records[name] for name in COMPLETE)
    assert demo["config"]["reconstruction"]["backend"] == "simulation"
    assert demo["data"] == demo["folder"] == str(place / "Y2023_R011705_F400-450")
    assert (ift["stations"], ift["config"]["htcondor"]["pool"]) == (4, "system")
    assert ift["data"] == str(place / "eos/user/y/you/faser-align/Y2023_R011705_F400-450_4ST_IFT")
    assert [(stage["name"], stage["iterations"], stage["stations"]) for stage in three["stages"]] == [
        ("3ST", 10, 3),
        ("IFT", 10, 4),
        ("all", 10, 4),
    ]
    assert three["validation"] == {"files": list(range(451, 456)), "unused": list(range(451, 456))}
    assert demo["validation"] == {name: [408, 425, 442] for name in ("files", "unused", "held_back")}
