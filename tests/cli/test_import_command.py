"""Test ``import config.json``: its output, and planning a campaign with its result."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from calypso import Lxplus
from commandline import Command, configure

from faser_align.campaign import layout
from faser_align.dag.wrapper import render_wrapper
from faser_align.pool.personal import Pool

ROOT = Path(__file__).parents[2]
THEIRS = ROOT / "tests" / "data" / "predecessor"
CONSTANTS = ROOT / "tests" / "data" / "constants" / "align_2022_4st_local.txt"
DATA = ("-y", "2023", "-r", "11705", "-f", "400-401")


def test_what_import_writes_and_says(plain_command: Command, here: Path) -> None:
    """A syntax error gives one sentence; with --lenient the file is written, and unknown keys are listed."""
    shutil.copy(THEIRS / "config.json", here)
    refused = plain_command("import", "config.json", status=2)
    assert refused.err.startswith("error: config.json is not JSON: line 9, column 5: a comma is missing after line 8;")
    assert not Path("faser-align.toml").exists()
    made = plain_command("import", "config.json", "--lenient", status=0)
    assert "a comma is missing after line 8" in made.err
    assert "dag.recoexe" in made.out
    assert "faser-align chooses the file names in a campaign's folder" in made.out
    assert "faser-align submit -y 2022 -r 008294 -f 101-150 --dry-run" in made.out
    assert "already exists" in plain_command("import", "config.json", "--lenient").err
    assert "none.json: cannot read" in plain_command("import", "none.json").err
    told = json.loads(plain_command("import", "config.json", "--lenient", "--force", "--json").out)
    assert told["keys"]["campaign.stations"] == {"value": 4, "from": "raw.stations"}
    assert told["overlooked"][0]["line"] == 9


def test_many_faults_and_lines_are_told_in_few(plain_command: Command, here: Path) -> None:
    """Three faults of a kind are shown and the others counted; a template's lines are grouped after its key."""
    old = json.loads((THEIRS / "config.json").read_text().replace('_layer"\n', '_layer",\n'))
    old["tpl"]["dir"] = str(here)
    (here / "reco.sub.tpl").write_text("universe = vanilla\noutput = x\nrequest_cpus = 3\nmine = 1\n")
    Path("config.json").write_text(json.dumps(old, indent=1).replace('"', "'"))
    made = plain_command("import", "config.json", "--lenient", status=0)
    warned = [line for line in made.err.splitlines() if "single quotes" in line]
    assert len(warned) == 3
    assert "more places (write double quotes); --json lists all of them" in made.err
    assert "\n  tpl.recosub: universe, output\n    part of a job's submit description" in made.out
    assert "  dag.file," in made.out
    assert "tpl.recosub: mine\n    unknown key" in made.out
    assert "cpus = 3 " in Path("faser-align.toml").read_text()


def in_the_tree(text: str, tree: Path) -> str:
    """Return an old configuration whose paths lead into the tree of stand-ins."""
    for old, new in (
        ("/afs/cern.ch/user/u/user", "/afs/cern.ch/user/y/yourusername"),
        ("/eos/home-u/user", "/eos/user/y/yourusername"),
        ("/afs/cern.ch/user/y/yourusername/alignment/templates", f"{tree}/templates"),
        ("/afs/cern.ch/user/y/yourusername/alignment/dag_files", f"{tree}/dag_files"),
        ("/afs/cern.ch/user/y/yourusername/alignment-work", f"{tree}/dag_files"),
        ("/afs/cern.ch/user/y/yourusername/alignment", f"{tree}/calypso"),
        ("/afs/cern.ch/user/y/yourusername/calypso/install", f"{tree}/calypso/install"),
        ("/afs/cern.ch/user/y/yourusername/pede", f"{tree}/pede"),
        ("/eos/user/y/yourusername/Alignment/calypso", f"{tree}/calypso"),
        ("/eos/user/y/yourusername/Alignment/install", f"{tree}/calypso"),
        ("${src.dir}/dag_files", f"{tree}/dag_files"),
        ("/eos/user/y/yourusername", f"{tree}/eos"),
    ):
        text = text.replace(old, new)
    return text


def in_stand_ins(command: Command, here: Path, lxplus: Lxplus, name: str, options: list[str]) -> Path:
    """Import an old configuration with paths in the stand-ins; return their tree."""
    tree = lxplus.folder
    for folder in ("templates", "dag_files", "eos/Alignment/data", "eos/faser-alignment-output", "calypso/install"):
        (tree / folder).mkdir(parents=True, exist_ok=True, mode=0o755)
    shutil.copy(tree / "calypso" / "setup.sh", tree / "calypso" / "install")
    for constants in ("align_2022_4ST_local.txt", "align_2022_3ST.txt"):
        shutil.copy(CONSTANTS, tree / "templates" / constants)
    for number in (400, 401):
        lxplus.raw(number)
    (here / name).write_text(in_the_tree((THEIRS / name).read_text(), tree))
    command("import", name, *options, status=0)
    configure("/eos/experiment/faser/raw", f"{tree}/raw")
    return tree


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "typed"),
    [
        ("config.json", ["--lenient"], "--alignment --noBackward --output_level INFO"),
        ("config_readme.json", [], "--alignment --noBackward --noIFT"),
        ("2026-03-12.json", [], "--alignment --noForward --output_level INFO"),
        (
            "pede-dev.json",
            [],
            "--alignment --noBackward; faser_reco_alignment.py FILE --alignment --noBackward --noIFT",
        ),
        (
            "pede-dev.yaml",
            [],
            "--alignment --noBackward; faser_reco_alignment.py FILE --alignment --noBackward --noIFT",
        ),
    ],
)
def test_a_campaign_can_be_planned_with_it(
    plain_command: Command, here: Path, workdir: Path, name: str, options: list[str], typed: str
) -> None:
    """submit --dry-run plans a campaign with the imported file, unchanged except for raw files."""
    tree = in_stand_ins(plain_command, here, Lxplus(workdir / "lxplus"), name, options)
    record: dict[str, Any] = json.loads(plain_command("submit", *DATA, "--dry-run", "--json", status=0).out)
    assert record["config"]["reconstruction"]["backend"] == "calypso"
    assert record["folder"].startswith(f"{tree}/dag_files/Y2023_R011705_F400-401")
    assert record["data"].startswith(f"{tree}/eos/")
    said = plain_command("submit", *DATA, "--dry-run").out
    assert f"faser_reco_alignment.py FILE {typed}\n" in said
    assert ("backward tracking" in said) == (name == "2026-03-12.json")
    number = "05" if name == "2026-03-12.json" else "04"
    assert f"FASER-{number}_ALLP200.db (TRACKER-ALIGN-05) into a copy of " in said
    wrapper = render_wrapper(record)
    assert f"options=({typed.partition(';')[0].replace(' --noIFT', '')})" in wrapper
    assert f"written=FASER-{number}_ALLP200.db" in wrapper
    if name == "config.json":
        assert record["name"] == "Y2023_R011705_F400-401_ST4_layer"
        assert [len(stage["steps"]) for stage in record["stages"]] == [2, 1, 1]


def on_this_pool(lxplus: Lxplus) -> None:
    """Adapt the imported file to a personal pool without pede and CVMFS: one iteration per set, small jobs."""
    config = Path("faser-align.toml")
    text = re.sub(r"(?m)^(iterations = )\d+", r"\g<1>1", config.read_text())
    text = re.sub(
        r"(?m)^(flavour|requirements|environment|memory_mb|memory_max_mb|disk_mb|cpus|retry_wait_s) = .*\n", "", text
    )
    places = f'[reconstruction.calypso]\natlas_base = "{lxplus.atlas_base}"\ndatabase = "{lxplus.database}"\n'
    text = text.replace("[reconstruction.calypso]\n", places).replace('pool = "system"', 'pool = "personal"')
    few_tracks = "\n[convergence]\nstarved_per_parameter = 0\n"
    config.write_text(text.replace('backend = "pede"', 'backend = "builtin"') + few_tracks)


def test_a_campaign_runs_with_it(plain_command: Command, pool: Pool, here: Path, workdir: Path) -> None:
    """On a pool each set of an imported file is reconstructed with its stations, in the direction of its own script."""
    lxplus = Lxplus(workdir / "lxplus", tracks=1800)
    shutil.copy(ROOT / "examples" / "align_2025.txt", lxplus.folder / "truth.txt")
    (lxplus.folder / "templates").mkdir()
    command = 'CMD="python $SRC_DIR/faser_reco_alignment.py \\"$FILE_PATH\\" --alignment --noForward"\n'
    (lxplus.folder / "templates" / "runAlignment.sh").write_text(command)
    tree = in_stand_ins(plain_command, here, lxplus, "pede-dev.yaml", [])
    shutil.copy(ROOT / "examples" / "ift_misplaced.txt", tree / "templates" / "align_2022_3ST.txt")
    on_this_pool(lxplus)
    # Other tests use the name in the file.
    left = plain_command("submit", *DATA[:-1], "400", "--name", "imported", "--json", status=0)
    folder = json.loads(left.out)["folder"]
    ended = plain_command("wait", folder, "--timeout", "600")
    for stage, without in ((1, " --noIFT"), (2, ""), (3, "")):
        out = Path(layout.job_log(folder, layout.reco_node(stage, 1, 400), "out")).read_text()
        assert f"{lxplus.raw(400)} --alignment --noForward{without}\n" in out, (ended, out)
        assert "AtlCoolCopy FASER-04_ALLP200.db data/sqlite200/ALLP200.db, tag TRACKER-ALIGN-05\n" in out
        assert Path(layout.result_file(folder, stage, 1)).is_file(), ended
    assert (Path(folder) / "iter01" / "3millepede" / "step2").is_dir()


def test_a_configuration_that_cannot_become_a_campaign(plain_command: Command, here: Path) -> None:
    """Each problem is a line with key and fix; the converted part is shown, and nothing is written."""
    old = json.loads((THEIRS / "pede-dev.json").read_text())
    del old["src"], old["env"]["pede"]
    Path("config.json").write_text(json.dumps(old))
    left = plain_command("import", "config.json", status=2)
    assert left.err.splitlines() == [
        "error: config.json: src.dir is missing; write the folder of your checkout of faser-alignment-script",
        "error: config.json: env.pede is missing; write the folder with pede",
    ]
    assert left.out.startswith("# Nothing was written. This part of config.json was understood:\n")
    assert 'fix = ["global", "3ST"]' in left.out
    assert sorted(path.name for path in here.iterdir()) == ["config.json"]
    told = plain_command("import", "config.json", "--json")
    assert (told.status, json.loads(told.out)["written"]) == (2, "")
    assert [problem.partition(" is missing")[0] for problem in json.loads(told.out)["problems"]] == [
        "config.json: src.dir",
        "config.json: env.pede",
    ]


def test_yaml_is_known_by_its_name_or_its_beginning(plain_command: Command, here: Path) -> None:
    """YAML is recognised under any file name; the assumed version is a warning."""
    for name in ("config.yaml", "config.yml", "config.txt"):
        shutil.copy(THEIRS / "pede-dev.yaml", name)
        made = plain_command("import", name, "--force", status=0)
        assert 'warning: reconstruction.direction = "forward", as in versions before 12 March 2026: /afs/' in made.err
        assert "faser-align submit -y 2022 -r 008294 -f 101-150 --dry-run" in made.out
    Path("config.yaml").write_text("raw: [\n")
    broken = plain_command("import", "config.yaml", status=2)
    assert broken.err.startswith("error: config.yaml is not YAML: line 2, column 1: ")
