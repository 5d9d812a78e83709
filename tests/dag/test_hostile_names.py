"""Test that names and paths are used unchanged or refused in a sentence, wherever they occur."""

import json
import os
import shlex
import string
import subprocess
from pathlib import Path
from typing import Any

import classad2
import htcondor2
import pytest
from campaigns import hook, make_campaign
from hostile import HOSTILE
from plans import START, plan_of
from stored import seen

from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.solver.steering import parse_steering
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record, write_record
from faser_align.campaign.next_steps import next_steps
from faser_align.cli import console
from faser_align.config.files import parse_files, parse_run
from faser_align.config.load import parse_config
from faser_align.dag.plan import Plan
from faser_align.dag.submit import describe_dagman
from faser_align.dag.wrapper import render_wrapper
from faser_align.fsm.errors import UserError
from faser_align.state import queries

pytestmark = pytest.mark.slow

# Characters that no DAG supports; everything else in the list is used unchanged.
REFUSED = set("\"'\\$\n\r\t\x00\x7f\u0085\u2028\u00a0\udcff")


def refused(name: str) -> bool:
    """Return whether DAGMan cannot use a folder of this name."""
    return bool(REFUSED & set(name))


def confusing(name: str) -> bool:
    """Return whether the solver's steering text cannot name files in a folder of this name."""
    return any(sign in name for sign in ("!", " -- ", "  "))


def controls(name: str) -> bool:
    """Return whether TOML cannot contain it, or the configuration refuses it."""
    return any((character < " " and character != "\t") or character in "\x7f\udcff" for character in name)


def make_plan(workdir: Path, *, folder: str = ".", name: str = "camp", **tables: dict[str, Any]) -> Plan:
    """Return a plan with two files and two iterations; further tables of the configuration by name."""
    (workdir / "start.txt").write_text(START)
    campaign = {"folder": folder, "constants": "start.txt", "iterations": 2, **tables.pop("campaign", {})}
    tables = {"campaign": campaign, **tables}
    text = "".join(
        f"{table}.{key} = {json.dumps(value)}\n" for table, keys in tables.items() for key, value in keys.items()
    )
    return plan_of(workdir, text, name=name)


def make_folder(workdir: Path, name: str) -> Path | None:
    """Make a folder of this name for the plan's files; return None if no file system supports it."""
    folder = workdir / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError:
        return None
    return folder


def descriptions(dag: str) -> list[htcondor2.Submit]:
    """Return the submit descriptions inside a DAG, as HTCondor itself reads them."""
    found, body = [], None
    for line in dag.splitlines():
        if line.startswith("SUBMIT-DESCRIPTION"):
            body = []
        elif line == "}" and body is not None:
            found.append(htcondor2.Submit("\n".join([*body, ""])))
            body = None
        elif body is not None:
            body.append(line)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_the_folder_in_a_dag(workdir: Path, name: str) -> None:
    """A campaign's folder is unchanged in DAG, submit descriptions, script arguments and ClassAds, or refused."""
    make_folder(workdir, name)
    if refused(name) or confusing(name):
        with pytest.raises(UserError) as problem:
            make_plan(workdir, folder=name)
        assert len(str(problem.value).splitlines()) == 1
        return
    planned = make_plan(workdir, folder=name)
    plain = make_plan(workdir)
    assert len(planned.dag.splitlines()) == len(plain.dag.splitlines())
    for description in descriptions(planned.dag):
        assert description.expand("initialdir") == planned.folder
        assert description.expand("log") == f"{planned.folder}/{layout.JOB_LOG}"
    for line, other in zip(planned.dag.splitlines(), plain.dag.splitlines(), strict=True):
        assert line.split()[:3] == other.split()[:3] or planned.folder in line
        if line.startswith("SCRIPT"):
            words = line.split()
            assert len(words) == len(other.split())
            encoded = words[[word.endswith("run.py") for word in words].index(True) + 2]
            assert encoded.replace("%20", " ").replace("%25", "%") == planned.folder
        if line.startswith("SET_JOB_ATTR FaserFolder = "):
            assert classad2.ClassAd(f"[{line.removeprefix('SET_JOB_ATTR ')}]")["FaserFolder"] == planned.folder


@pytest.mark.parametrize("name", HOSTILE)
def test_the_name_of_a_campaign(workdir: Path, name: str) -> None:
    """A campaign's name has letters, digits, inner spaces and a few signs; everything else is refused with this rule."""
    allowed = set(string.ascii_letters + string.digits + ".,+=@- _äÖß")
    if set(name) <= allowed and name == name.strip() and not name.startswith("-") and not confusing(name):
        planned = make_plan(workdir, name=name)
        assert planned.record["name"] == name
        assert f"SET_JOB_ATTR FaserCampaign = {json.dumps(name, ensure_ascii=False)}" in planned.dag
        return
    with pytest.raises(
        UserError,
        match=r"is not a valid campaign name; choose with --name at most 100 letters|the solver cannot use a path",
    ):
        make_plan(workdir, name=name)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_folder_of_large_files_in_a_steering_text(workdir: Path, name: str) -> None:
    """The solver finds Mille files in a folder with any accepted name."""
    folder = make_folder(workdir, name)
    if refused(name) or confusing(name):
        with pytest.raises((UserError, UnicodeEncodeError)) as problem:
            make_plan(workdir, storage={"data": name})
        assert len(str(problem.value).splitlines()) == 1
        return
    planned = make_plan(workdir, storage={"data": name})
    assert folder is not None
    binary = folder / "mp2input.bin"
    binary.touch()
    assert planned.data.startswith(str(workdir))
    steering = write_steering(workdir, [str(binary)], frozenset(), {}, SolverOptions())
    assert [found.path for found in parse_steering(steering).binaries] == [Path(os.path.normpath(binary))]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_that_only_programs_of_ours_open(workdir: Path, name: str) -> None:
    """Constants, truth and raw files may have any name in TOML, which is in the manifest and not in the DAG."""
    folder = make_folder(workdir, name)
    if folder is None or controls(name):
        with pytest.raises((UserError, UnicodeEncodeError)):
            make_plan(workdir, campaign={"constants": f"{name}/start.txt"})
        return
    (folder / "start.txt").write_text(START)
    for file in (400, 401):
        (folder / f"{file:05d}.raw").touch()
    pattern = f"{folder}/{{file}}.raw"
    tables = {"simulation": {"truth": f"{name}/start.txt"}, "campaign": {"constants": f"{name}/start.txt"}}
    if "{" in name:  # a field of the pattern, which must be one of ours
        with pytest.raises(UserError, match=r"reconstruction\.raw"):
            make_plan(workdir, reconstruction={"raw": pattern}, **tables)
        return
    record = make_plan(workdir, reconstruction={"raw": pattern}, **tables).record
    write_record(str(workdir / layout.RECORD), record)
    record = read_record(str(workdir))
    source = record["constants"]["source"]
    assert Path(source).samefile(folder / "start.txt")
    assert record["config"]["reconstruction"]["raw"] == os.path.normpath(pattern)


def test_a_configuration_in_a_folder_with_braces(workdir: Path) -> None:
    """The fields of a relative pattern are those that the user wrote, not braces in the file's folder."""
    folder = workdir / "{run} {c} }{"
    folder.mkdir()
    for file in (400, 401):
        (folder / f"{file:05d}.raw").touch()
    record = make_plan(folder, reconstruction={"raw": "{file}.raw"}).record
    pattern = record["config"]["reconstruction"]["raw"]
    assert pattern.format(year=2023, run="011705", file="00400") == str(folder / "00400.raw")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_user_is_told_to_type(name: str) -> None:
    """A name in a displayed command is one word for the user's shell."""
    (step,) = next_steps("failed", command="faser-align", name=name, constants=None, start="start.txt")
    assert shlex.split(step.command) == ["faser-align", "resume", name]
    _, step = next_steps("imported", command="faser-align", name="camp", constants=name, start="start.txt")
    assert shlex.split(step.words.partition("--constants ")[2]) == [name]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_stages_and_steps(workdir: Path, name: str) -> None:
    """Stages and steps may have any one-line name, which does not change the DAG and the solver's texts."""
    stages = (
        f'[[stages]]\nname = {json.dumps(name)}\n[[stages.steps]]\nname = {json.dumps(name)}\nfix = ["layer", "3ST"]\n'
    )
    text = f'[campaign]\nconstants = "start.txt"\niterations = 2\n{stages}'
    (workdir / "start.txt").write_text(START)
    if controls(name):
        with pytest.raises((UserError, UnicodeEncodeError)):
            plan_of(workdir, text)
        return
    plain = plan_of(workdir, text.replace(f"name = {json.dumps(name)}", 'name = "plain"'))
    planned = plan_of(workdir, text)
    assert planned.record["stages"][0]["name"] == planned.record["stages"][0]["steps"][0]["name"] == name
    assert planned.dag == plain.dag


@pytest.mark.parametrize("text", [name for name in HOSTILE if not name.strip().isdigit()])
def test_runs_and_files(text: str) -> None:
    """A malformed run or range is refused in a sentence that shows it on one line."""
    for parse in (parse_run, parse_files):
        with pytest.raises(UserError) as problem:
            parse(text)
        assert len(console.sentence(problem.value).splitlines()) == 1


def test_an_expression_cannot_go_on_in_the_next_line(workdir: Path) -> None:
    """Requirements that end with a backslash, or have several lines, are refused."""
    for expression in ("true \\", "true\nnotify_user = someone", "true\0"):
        text = f"[htcondor.reco]\nrequirements = {json.dumps(expression)}\n"
        with pytest.raises(UserError, match=r"htcondor\.reco\.requirements"):
            parse_config(text, str(workdir / "x.toml"))


@pytest.mark.parametrize("name", [name for name in HOSTILE if not refused(name) and set(name) & set("%#? ;'")])
def test_a_hook_finds_its_campaign(workdir: Path, name: str) -> None:
    """A script, whose argument DAGMan splits at blanks, works in a folder of any name, and no name is executed as SQL."""
    record = make_campaign(workdir / name / "campaign", files=1, name=name)
    node = layout.reco_node(1, 1, 400)
    assert hook("pre", record["folder"], node, 0, 2).returncode == 0
    assert hook("post", record["folder"], node, 0, 2, 63, f"1.0{name}".replace(" ", "_"), 0).returncode == 1
    campaign = seen(record["folder"], queries.campaign)
    assert (campaign["name"], campaign["folder"]) == (name, record["folder"])
    assert seen(record["folder"], queries.nodes, "failed")[0]["job_id"] == f"1.0{name}".replace(" ", "_")
    assert not Path(record["folder"], layout.HOOKS_LOG).exists()


def test_the_dagman_job_in_a_hostile_folder(workdir: Path) -> None:
    """HTCondor's own description of the DAGMan job names DAG and folder unchanged."""
    folder = workdir / "a b; (c) 100% {d} <e> #f"
    folder.mkdir()
    planned = make_plan(workdir, folder=folder.name)
    Path(planned.folder).mkdir()
    Path(planned.folder, layout.DAG).write_text(planned.dag)
    description = describe_dagman(planned.folder)
    assert description["initialdir"] == planned.folder
    words = shlex.split(description["arguments"].strip('"'))  # it is quoted as in a shell, inside double quotes
    assert words[words.index("-Dag") + 1] == f"{planned.folder}/{layout.DAG}"


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.isprintable() and set(n) & set("'\"$`;&<\\")])
def test_a_job_wrapper_runs_nothing_of_a_value(workdir: Path, name: str) -> None:
    """Values of the configuration are one word each in the wrapper: bash executes nothing in them."""
    paths = ("atlas_base", "asetup", "setup", "write_constants", "reconstruct", "database")
    calypso = "".join(f"{key} = {json.dumps(f'/none/{name}')}\n" for key in paths)
    text = f'[reconstruction]\nbackend = "calypso"\nraw = "/none/{{file}}.raw"\n[reconstruction.calypso]\n{calypso}release = {json.dumps(name)}\n'
    config = parse_config(text, str(workdir / "x.toml"))
    values = {"reconstruction": config.model_dump(mode="json")["reconstruction"]}
    record = {"name": "camp", "version": "1", "year": 2023, "job_python": f"/none/{name}/python", "config": values}
    script = workdir / "reconstruct.sh"
    script.write_text(render_wrapper(record))
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False, cwd=workdir)
    assert done.returncode == 0, done.stderr
    lines = script.read_text().splitlines()
    for key, value in (
        ("python", record["job_python"]),
        ("database", f"/none/{name}"),
        ("reconstruct", f"/none/{name}"),
    ):
        line = next(line for line in lines if line.startswith(f"{key}="))
        done = subprocess.run(
            ["bash", "-c", f'{line}\nprintf %s "${key}"'], capture_output=True, text=True, check=True, cwd=workdir
        )
        assert done.stdout == value
    subprocess.run(["bash", script, "1", "1", "400"], capture_output=True, check=False, cwd=workdir, timeout=300)
    assert not list(workdir.rglob("pwned*"))
