"""``import config.json``, as typed: what it writes and says, and that a campaign can be planned with it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from calypso import Lxplus
from commandline import Command

THEIRS = Path(__file__).parents[1] / "data" / "predecessor"
CONSTANTS = Path(__file__).parents[1] / "data" / "constants" / "align_2022_4st_local.txt"


@pytest.fixture
def here(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder outside /tmp, where campaigns may lie."""
    folder = workdir / "here"
    folder.mkdir(mode=0o755)
    monkeypatch.chdir(folder)
    return folder


def test_what_import_writes_and_says(plain_command: Command, here: Path) -> None:
    """The fault is told in one sentence; with --lenient the file is written, and what has no key is listed with why."""
    shutil.copy(THEIRS / "config.json", here)
    refused = plain_command("import", "config.json")
    assert refused.status == 2
    assert refused.err.startswith("error: config.json is not JSON: line 9, column 5: a comma is missing after line 8;")
    assert not Path("faser-align.toml").exists()
    made = plain_command("import", "config.json", "--lenient")
    assert made.status == 0
    assert "a comma is missing after line 8" in made.err
    assert "dag.recoexe" in made.out
    assert "file names in a campaign's folder are the program's own" in made.out
    assert "faser-align submit -y 2022 -r 008294 -f 101-150 --dry-run" in made.out
    assert "exists already" in plain_command("import", "config.json", "--lenient").err
    assert "none.json cannot be read" in plain_command("import", "none.json").err
    told = json.loads(plain_command("import", "config.json", "--lenient", "--force", "--json").out)
    assert told["keys"]["campaign.stations"] == {"value": 4, "from": "raw.stations"}
    assert told["overlooked"][0]["line"] == 9


def test_many_faults_and_lines_are_told_in_few(plain_command: Command, here: Path) -> None:
    """Of faults of one kind three are told and the others counted; lines of a template stand together behind its key."""
    old = json.loads((THEIRS / "config.json").read_text().replace('_layer"\n', '_layer",\n'))
    old["tpl"]["dir"] = str(here)
    (here / "reco.sub.tpl").write_text("universe = vanilla\noutput = x\nrequest_cpus = 3\nmine = 1\n")
    Path("config.json").write_text(json.dumps(old, indent=1).replace('"', "'"))
    made = plain_command("import", "config.json", "--lenient")
    assert made.status == 0, made.err
    warned = [line for line in made.err.splitlines() if "single quotes" in line]
    assert len(warned) == 3
    assert "more such places (write double quotes); --json lists them all" in made.err
    assert "\n  tpl.recosub: universe, output\n    of a job's description" in made.out
    assert "  dag.file," in made.out
    assert "tpl.recosub: mine\n    not known" in made.out
    assert "cpus = 3 " in Path("faser-align.toml").read_text()


def in_the_tree(text: str, tree: Path) -> str:
    """An old configuration whose paths lead into the tree of stand-ins."""
    for old, new in (
        ("/afs/cern.ch/user/y/yourusername/alignment/templates", f"{tree}/templates"),
        ("/afs/cern.ch/user/y/yourusername/alignment/dag_files", f"{tree}/dag_files"),
        ("/afs/cern.ch/user/y/yourusername/alignment-work", f"{tree}/dag_files"),
        ("/afs/cern.ch/user/y/yourusername/alignment", f"{tree}/calypso"),
        ("/afs/cern.ch/user/y/yourusername/calypso/install", f"{tree}/calypso/install"),
        ("/afs/cern.ch/user/y/yourusername/pede", f"{tree}/pede"),
        ("/eos/user/y/yourusername/Alignment/calypso", f"{tree}/calypso"),
        ("/eos/user/y/yourusername/Alignment/install", f"{tree}/calypso"),
        ("/eos/user/y/yourusername", f"{tree}/eos"),
    ):
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(("name", "options"), [("config.json", ["--lenient"]), ("config_readme.json", [])])
def test_a_campaign_can_be_planned_with_it(
    plain_command: Command, here: Path, workdir: Path, name: str, options: list[str]
) -> None:
    """What import writes loads without error, and submit --dry-run plans the campaign with it, unchanged but for raw files."""
    lxplus = Lxplus(workdir / "lxplus")
    tree = lxplus.folder
    for folder in ("templates", "dag_files", "eos/Alignment/data", "eos/faser-alignment-output", "calypso/install"):
        (tree / folder).mkdir(parents=True, mode=0o755)
    shutil.copy(CONSTANTS, tree / "templates" / "align_2022_4ST_local.txt")
    for number in (400, 401):
        lxplus.raw(number)
    (here / "config.json").write_text(in_the_tree((THEIRS / name).read_text(), tree))
    assert plain_command("import", "config.json", *options).status == 0
    config = Path("faser-align.toml")
    config.write_text(config.read_text().replace("/eos/experiment/faser/raw", f"{tree}/raw"))
    left = plain_command("submit", "-y", "2023", "-r", "11705", "-f", "400-401", "--dry-run", "--json")
    assert left.status == 0, left.err
    record: dict[str, Any] = json.loads(left.out)
    assert record["config"]["reconstruction"]["backend"] == "calypso"
    assert record["folder"].startswith(f"{tree}/dag_files/Y2023_R011705_F400-401")
    assert record["data"].startswith(f"{tree}/eos/")
    if name == "config.json":
        assert record["name"] == "Y2023_R011705_F400-401_ST4_layer"
        assert [len(stage["steps"]) for stage in record["stages"]] == [2, 1, 1]
