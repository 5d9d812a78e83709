"""Test importing the newest versions of faser-alignment-script: words, labels, references and scripts."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imports import TARGET, THEIRS, config_of, imported, read
from properties import examples

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import step_fixed
from faser_align.config.load import parse_config
from faser_align.config.stages import stages_of
from faser_align.fsm.errors import UserError
from faser_align.predecessor.configuration import RefusedError
from faser_align.predecessor.read import read_yaml
from faser_align.predecessor.stages import sets_of

NEWEST = ("2026-03-12.json", "pede-dev.json", "pede-dev.yaml")
FREED: dict[str, list[int]] = json.loads((THEIRS / "freed.json").read_text())
HISTORY: dict[str, dict[str, Any]] = json.loads((THEIRS / "history.json").read_text())
EMPTY = ["paths.calypso_install is empty", "paths.pede_install is empty"]
REFUSED = dict.fromkeys(("2025-11-03 ecae646", "2025-11-03 9187110", "2025-11-04 2dd75bf"), EMPTY)
JUNK = st.one_of(
    *map(st.just, (None, 5, -1, True, 1e400, [], {}, [1], {"a": 1}, [["IFT"]])),
    st.sampled_from(["", "x", "${a}", "{", "}", "a\x00b", "{year", "${set.steps}"]),
)


def refused(old: dict[str, Any]) -> RefusedError:
    """Return the refusal of a configuration that cannot become a campaign."""
    with pytest.raises(RefusedError) as caught:
        imported(old)
    return caught.value


def freed(old: dict[str, Any]) -> list[list[set[int]]]:
    """Return the labels that each step of each stage frees."""
    return [
        [set(PARAMETERS) - set(step_fixed(step, stage["stations"])) for step in stage["steps"]]
        for stage in stages_of(config_of(old))
    ]


def changed(old: dict[str, Any], *keys: str | int, to: object) -> dict[str, Any]:
    """Return the object with another value of a key."""
    copy: dict[str, Any] = json.loads(json.dumps(old))
    place: Any = copy
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    return copy


@pytest.mark.parametrize("version", HISTORY)
def test_every_version_is_imported_or_refused_with_its_problems(version: str) -> None:
    """Each public configuration becomes a campaign, unless a path is missing or empty; every key is known."""
    old = HISTORY[version]
    if version in REFUSED:
        problem = refused(old)
        assert [sentence.removeprefix("config.json: ").partition(";")[0] for sentence in problem.sentences] == (
            REFUSED[version]
        )
        found = problem.understood
    else:
        found = imported(old)
        assert config_of(old).reconstruction.backend == "calypso"
    assert [one.key for one in found.left if one.why.startswith("unknown key")] == []
    assert ("stages" in tomllib.loads(found.text)) == bool({"workflow", "set"} & set(old))


@pytest.mark.slow
@given(
    st.sampled_from([*NEWEST, "config_readme.json"]),
    st.lists(st.tuples(st.integers(0, 99), JUNK), min_size=1, max_size=3),
)
@settings(max_examples=examples(100))
def test_any_value_is_taken_or_refused_in_sentences(name: str, changes: list[tuple[int, Any]]) -> None:
    """Any value of a key is imported or refused with one-line sentences, never with another error."""
    old = read(name)
    for at, value in changes:
        places = [(old, key) for key in old]
        for place, key in places:  # grows during the loop
            inner = place[key]
            if isinstance(inner, (dict, list)):
                places += [(inner, name) for name in (inner if isinstance(inner, dict) else range(len(inner)))]
        place, key = places[at % len(places)]
        place[key] = json.loads(json.dumps(value))
    sentences: list[str] = []
    try:
        imported(old)
    except UserError as problem:
        sentences = problem.sentences
    assert [sentence for sentence in sentences if not sentence.strip() or "\n" in sentence] == []


@pytest.mark.parametrize("name", [*NEWEST, "config.json"])
def test_a_campaign_frees_what_the_predecessor_frees(name: str) -> None:
    """Each step frees exactly the labels that faser-alignment-script's own step frees."""
    local, layers = ({*FREED[f"IFT, fix {what}"]} for what in ("side", "layer"))
    assert [len(labels) for labels in FREED.values()] == [196, 56, 15, 72]
    assert freed(read(name)) == [[{*FREED["3ST, step 1"]}, {*FREED["3ST, step 2"]}], [local], [layers]]


def test_yaml_and_json_are_the_same_campaign() -> None:
    """The two configurations of the development branch give the same configuration."""
    ours = [tomllib.loads(imported(read(f"pede-dev.{form}")).text) for form in ("json", "yaml")]
    assert ours[0] == ours[1]


@pytest.mark.parametrize("name", [*NEWEST, "config.json", "config_readme.json"])
def test_nothing_is_dropped(name: str) -> None:
    """Our file names every old key: in a comment, or among those without a counterpart, with the reason."""
    old = read(name)
    found = imported(old)
    said = {one.key for one in found.left}
    stack = [("", old)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{key}.{inner}".lstrip("."), value[inner]) for inner in value]
        else:
            assert key in said or f"# {key}" in found.text, key
    assert [one.key for one in found.left if one.why.startswith("unknown key")] == []


@pytest.mark.parametrize(
    ("name", "direction", "written", "without"),
    [
        ("2026-03-12.json", "backward", "FASER-05_ALLP200.db", []),
        ("config.json", "forward", "FASER-04_ALLP200.db", []),
        ("pede-dev.json", "forward", "FASER-04_ALLP200.db", ["--output_level"]),
        ("pede-dev.yaml", "forward", "FASER-04_ALLP200.db", ["--output_level"]),
        ("config_readme.json", "forward", "FASER-04_ALLP200.db", ["--output_level"]),
    ],
)
def test_the_words_tell_the_version(name: str, direction: str, written: str, without: list[str]) -> None:
    """Without readable scripts, direction and database follow from the version's words, with the alternative."""
    found = imported(read(name))
    config = parse_config(found.text, TARGET).reconstruction
    assert (config.direction, config.calypso.written) == (direction, written)
    assert config.calypso.reconstruct_without == without
    assert config.calypso.folder_tag == "TRACKER-ALIGN-05"
    assert (config.calypso.geometry, config.calypso.tag) == ("FASERNU-04", "OFLCOND-FASER-05")
    first, second = found.choices
    other = "forward" if direction == "backward" else "backward"
    assert first.startswith(f'reconstruction.direction = "{direction}", as in ')
    assert f'cannot be read here; set it to "{other}" if your jobs use --no' in first
    assert second.startswith(f'reconstruction.calypso.written = "{written}", as in ')


def test_the_scripts_tell_the_version(tmp_path: Path) -> None:
    """Direction, options, release, raw files and names of the database come from the scripts instead of the words."""
    templates = tmp_path / "templates"
    shutil.copytree(THEIRS / "scripts", templates)
    (templates / "WriteAlignmentConfig_Faser06.txt").rename(templates / "WriteAlignmentConfig_Faser06.py")
    old = changed(changed(read("pede-dev.json"), "src", "dir", to=str(tmp_path)), "tpl", "dir", to=str(templates))
    found = imported(old)
    config = parse_config(found.text, TARGET).reconstruction
    assert (config.direction, config.calypso.release) == ("backward", "Athena,24.0.42")
    assert config.raw == "/eos/mine/{year}/{run}/Faser-Physics-{run}-{file}.raw"
    assert config.calypso.reconstruct_options == ["--cond", "OFLCOND-FASER-06"]
    assert config.calypso.reconstruct_without == ["--output_level"]
    assert config.calypso.write_constants == f"{templates}/WriteAlignmentConfig_Faser06.py"
    assert config.calypso.reconstruct == f"{tmp_path}/faser_reco_alignment.py"
    assert config.calypso.written == "FASER-06_ALLP200.db"
    assert config.calypso.pool == "FASER-06_Align.pool.root"
    assert config.calypso.folder_tag == "TRACKER-ALIGN-06"
    assert (config.calypso.geometry, config.calypso.tag) == ("FASERNU-05", "OFLCOND-FASER-06")
    assert found.choices == []
    assert [one.key for one in found.left if one.key.startswith("runAlignment.sh")] == ["runAlignment.sh: -r $TAG"]
    assert f"# as {templates}/runAlignment.sh" in found.text


@pytest.mark.parametrize("knows", [True, False])
def test_the_script_that_reconstructs_tells_its_options(tmp_path: Path, knows: bool) -> None:
    """Without `runAlignment.sh` the options declared by `faser_reco_alignment.py` decide on `--output_level`."""
    declared = ["--alignment", "--noIFT", *(["--output_level"] if knows else [])]
    (tmp_path / "faser_reco_alignment.py").write_text("".join(f'parser.add_argument("{name}")\n' for name in declared))
    old = {"paths": {"calypso_install": "/calypso/install"}}
    calypso = config_of(old, str(tmp_path)).reconstruction.calypso
    assert calypso.reconstruct == f"{tmp_path}/faser_reco_alignment.py"
    assert calypso.reconstruct_without == ([] if knows else ["--output_level"])


@pytest.mark.parametrize(
    ("item", "ours"),
    [
        *((word, [word]) for word in ("IFT", "3ST", "local", "global", "IFT_local")),
        *(("3ST_all", ["3ST"]), ("tracker_global", ["global"]), (10, ["IFT"])),
        *((20, [20, 21, 22]), (40, [40, 41, 42]), (100, [10]), (210, [21]), ("420", [42])),
    ],
)
def test_what_a_step_names_has_its_meaning(item: object, ours: list[object]) -> None:
    """Each word, and each component with a trailing 0, is converted to the item that fixes the same parameters."""
    old = changed(read("pede-dev.json"), "set", "steps", 1, "pedes", to=[[item]])
    assert config_of(old).stages[1].steps[0].fix == ours


def test_the_words_of_every_version_mean_the_same() -> None:
    """`modules`, `side` and `local` fix modules; `layers`, `layer` and `global` fix layers; 21 and 210 are one layer."""
    old = read("2026-03-12.json")
    for words in (("modules", "layers"), ("side", "layer"), ("local", "global")):
        for number, word in enumerate(words, start=1):
            old["workflow"][f"set{number}"]["pede"] = {"step0": [word, "3ST"]}
        assert freed(old)[1:] == [[{*FREED["IFT, fix side"]}], [{*FREED["IFT, fix layer"]}]]
    with_zeros = changed(old, "workflow", "set0", "pede", "step0", to=["IFT", 210, 410])
    with_zeros = changed(with_zeros, "workflow", "set0", "pede", "step1", to=[10, 200, 220, 30, 400, 420])
    assert freed(with_zeros) == freed(old)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("UFO", 'set.steps[0].pedes[0] fixes "UFO", which has no meaning here; write IFT, 3ST, tracker, local, global'),
        ("IFT_x", 'fixes "IFT_x"'),
        (21, "fixes 21, which has no meaning here; append a 0 to the component: 10 (IFT), 20, 30, 40"),
        (2130, "fixes 2130, which has no meaning here; write 210, the layer, or fix it with a file of parameters"),
        (500, "fixes 500"),
        (None, "fixes null"),
        (True, "fixes true"),
    ],
)
def test_what_has_no_meaning_is_named(item: object, said: str) -> None:
    """An item that the old code does not know either is reported with its step and the fix."""
    old = changed(read("pede-dev.json"), "set", "steps", 0, "pedes", to=[[item]])
    assert said in str(refused(old))


def test_each_problem_has_its_line_and_the_rest_is_shown() -> None:
    """Five errors give five sentences with key and fix, and the rest of the file is converted."""
    old = read("pede-dev.json")
    old["env"]["calypso"] = {"asetup": ""}
    old["raw"] |= {"run": "x", "initial": "${tpl.nowhere}/a.txt"}
    old["set"]["steps"][1]["reco"] = 5
    problem = refused(old)
    assert problem.exit_status == 2
    assert problem.sentences == [
        "config.json: raw.initial = ${tpl.nowhere}/a.txt refers to tpl.nowhere, which is not in the file; write the value itself",
        "config.json: set.steps[1].reco = 5 is not a number of stations; write 3 or 4",
        "config.json: env.calypso.asetup is empty; write the path of asetup.faser of your Calypso checkout",
        "config.json: env.calypso.setup is missing; write the path of setup.sh of your Calypso installation",
        'config.json: raw.run = "x" is not valid: -r x is not a run; write a number from 1 to 999999, for example 11705',
    ]
    understood = problem.understood
    assert 'pede = "/eos/home-u/user/Environments/apps/Millepede-II/V04-17-05/pede"' in understood.text
    assert understood.submit == "-y 2022 -f 101-150"
    assert tomllib.loads(understood.text)["stages"][0]["stations"] == 3


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"steps": None}, "set.steps is missing, or not a list of sets; write one set or more there"),
        ({"steps": [{"iters": "2"}]}, "set.steps[0] is not a set with a number of iterations (iters)"),
        ({"steps": [{"iters": 1, "pedes": [1]}]}, "set.steps[0].pedes is not a table of steps"),
        ({"steps": [{"iters": 100, "pedes": [["IFT"]]}]}, "set.steps[0].iters = 100 is not allowed"),
    ],
)
def test_sets_that_are_none_are_named(sets: dict[str, Any], said: str) -> None:
    """A set without iterations or steps is refused with its key."""
    assert said in str(refused(read("pede-dev.json") | {"set": sets}))


def test_sets_run_in_the_order_of_their_numbers() -> None:
    """With more than ten sets set10 becomes a stage after set9, wherever it is in the file."""
    workflow = {f"set{number}": {"iters": 1, "pede": {"step0": ["local"]}} for number in (10, *range(10))}
    sets, problems, _ = sets_of({"workflow": workflow})
    assert ([one.name for one in sets], problems) == ([f"set{number}" for number in range(11)], [])


@pytest.mark.parametrize("name", NEWEST)
def test_a_set_without_iterations_is_listed(name: str) -> None:
    """A set with 0 iterations becomes no stage and is listed without a counterpart."""
    old = read(name)
    second = old["set"]["steps"][1] if "set" in old else old["workflow"]["set1"]
    second["iters"] = 0
    assert len(config_of(old).stages) == 2
    key = "set.steps[1].iters" if "set" in old else "workflow.set1.iters"
    assert [(one.key, one.value) for one in imported(old).left if "without iterations" in one.why] == [(key, "0")]


def test_sizes_and_scripts_of_the_first_generation() -> None:
    """Resources of each kind of job and environment scripts are imported; retries are taken from `htcondor.reco`."""
    job = {
        "job_flavour": "workday",
        "request_cpus": 2,
        "request_memory": "4 GB",
        "request_disk": "8 GB",
        "max_retries": 3,
    }
    scripts = {"reco_env_script": "env/reco.sh", "millepede_env_script": "/env/mille.sh"}
    old = {
        "paths": {"calypso_install": "", "pede_install": "", "work_dir": "", **scripts},
        "htcondor": {"reco": job, "millepede": job | {"request_memory": "256 MB", "max_retries": 2}},
        "storage": {"keep_alignment_constants": True, "cleanup_database_files": True},
    }
    said = refused(old).sentences
    assert said == [
        "config.json: paths.calypso_install is empty; write the folder of your Calypso installation, which has setup.sh"
    ]
    found = imported(changed(old, "paths", "calypso_install", to="/calypso/install"))
    config = parse_config(found.text, TARGET)
    assert config.reconstruction.environment == "/base/env/reco.sh"
    assert (config.solver.environment, config.solver.pede) == ("/env/mille.sh", "pede")
    assert (config.htcondor.reco.memory_mb, config.htcondor.reco.disk_mb) == (4096, 8192)
    assert (config.htcondor.mille.memory_mb, config.htcondor.retries) == (256, 3)
    assert [one for one in found.left if one.why.startswith("unknown key")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raw: [1, 2", "c.yaml is not YAML: line 1, column "),
        ("a: 1\nb:\n\tc: 2\n", "c.yaml is not YAML: line 3, column 1: "),
        ("a: 1\nb: 2\na: 3\n", "c.yaml is not YAML: line 3, column 1: duplicate key 'a'; correct it there"),
        ("- 1\n", "it must be a mapping of keys"),
        ("", "c.yaml is empty"),
        ("a: &a [*a]\n", "c.yaml is not YAML"),
        (
            "a: !!python/object/apply:os.system ['false']\n",
            "c.yaml is not YAML: line 1, column 4: could not determine a constructor",
        ),
    ],
)
def test_yaml_that_cannot_be_read_is_told_with_its_place(text: str, said: str) -> None:
    """A file that is not YAML, or not a mapping, is refused in a sentence; nothing in it is executed."""
    with pytest.raises(UserError) as caught:
        read_yaml(text, "c.yaml")
    assert said in str(caught.value)


def test_digits_of_yaml_stay_as_they_are_written() -> None:
    """A run with a leading zero and a range with a colon stay text; other numbers are numbers."""
    found = read_yaml(
        "run: 011705\nfiles: 40:50\nyear: 2022\niters: 0\nwhen: 2022-03-09\nbase: &b {x: 1}\nc: {<<: *b}\n", "c"
    )
    words = {"run": "011705", "files": "40:50", "when": "2022-03-09"}
    assert found == {**words, "year": 2022, "iters": 0, "base": {"x": 1}, "c": {"x": 1}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${tpl.dir}/${src.dir}/x", None),
        ("${nowhere}/x", "refers to nowhere, which is not in the file"),
        ("${src}/x", "refers to src, which is not a single value"),
        ("${env.root}", "refers to itself through env.root"),
        ("${oc.env:HOME}/x", "refers to oc.env:HOME, which is not in the file"),
    ],
)
def test_references_lead_somewhere_or_are_named(value: str, said: str | None) -> None:
    """A reference is replaced by the key's value; a missing or circular one is named with its key."""
    old = changed(read("pede-dev.yaml"), "env", "root", to=value)
    if said is None:
        assert config_of(old).solver.environment == (
            "/afs/cern.ch/user/u/user/alignment/templates/afs/cern.ch/user/u/user/alignment/x"
        )
    else:
        assert f"config.json: env.root = {value} {said}; write the value itself" in str(refused(old))
