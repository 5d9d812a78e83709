"""Test ``check --probe`` on execute nodes of a real pool, with stand-ins for lxplus."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from calypso import Lxplus
from campaigns import manifest
from commandline import Command, configure, says
from nowhere import no_job_begins, until
from properties import SOAK

from faser_align.campaign import layout
from faser_align.dag.render import render, render_probe
from faser_align.dag.wrapper import render_wrapper
from faser_align.jobs import probe
from faser_align.operations.checks import look_at
from faser_align.operations.probe_jobs import requests
from faser_align.pool.personal import Pool

DATA = ("-y", "2023", "-r", "11705", "-f", "400-401")
Found = dict[str, dict[str, Any]]


def execute_node(command: Command, *words: str) -> Found:
    """Return the results of ``check --probe`` on execute nodes by name, after checking that nothing is left."""
    left = command("check", "--probe", "--json", *words)
    start = "execute node: "
    found = {one["name"].removeprefix(start): one for one in json.loads(left.out) if one["name"].startswith(start)}
    assert left.status == int(any(one["result"] == "failed" for one in json.loads(left.out)))
    nothing_is_left()
    return found


def nothing_is_left() -> None:
    """Check that the folder has only the configuration, and the queue no job."""
    assert sorted(os.listdir()) == ["faser-align.toml"]
    until(lambda: not htcondor2.Schedd().query(projection=["ClusterId"]), 30)


def results(found: Found) -> dict[str, str]:
    """Return results by name."""
    return {name: one["result"] for name, one in found.items()}


def test_jobs_try_on_an_execute_node_what_they_need(plain_command: Command, pool: Pool, lxplus: Lxplus) -> None:
    """One job of each kind starts Python, imports faser-align, uses the configured paths, and measures scratch space."""
    found = execute_node(plain_command, *DATA)
    names = ("Python", "scratch space", "campaign folder", "data folder")
    expected = [
        *(f"reco {name}" for name in (*names, "raw files", "CVMFS", "Calypso", "environment")),
        *(f"mille {n}" for n in names),
    ]
    assert results(found) == dict.fromkeys(expected, "ok")
    assert found["reco Python"]["text"].startswith(f"{sys.executable} 3.")
    assert f"runs faser-align on {os.uname().nodename}" in found["reco Python"]["text"]
    assert "the job requests 50 MB" in found["reco scratch space"]["text"]
    assert "/execute/dir_" in found["mille scratch space"]["text"]
    assert found["reco raw files"]["text"].startswith("2 can be read, the first is ")
    assert list((lxplus.folder / "eos").iterdir()) == []


def test_a_path_that_the_execute_node_cannot_read_is_named(plain_command: Command, pool: Pool, lxplus: Lxplus) -> None:
    """Each path that cannot be used on the execute node fails with its key, host, reason and fix."""
    (lxplus.checkout / "setup.sh").unlink()
    (lxplus.folder / "raw" / "2023" / "011705" / "Faser-Physics-011705-00401.raw").chmod(0)
    (lxplus.folder / "eos").chmod(0o555)
    configure('backend = "calypso"', 'backend = "calypso"\ncopy_with = "xrdcp"')
    found = execute_node(plain_command, *DATA)
    host = os.uname().nodename
    for name, words in {
        "reco raw files": f"00401.raw cannot be read on {host}: Permission denied; name a path that execute nodes see",
        "reco Calypso": f"reconstruction.calypso.setup = {lxplus.checkout}/setup.sh cannot be read on {host}: No such file",
        "reco data folder": f"storage.data = {lxplus.folder}/eos cannot be written on {host}: Permission denied; ",
        "mille data folder": f"storage.data = {lxplus.folder}/eos cannot be written on {host}",
        "reco copying": f"{host} has no xrdcp in ",
    }.items():
        says(found[name], "failed", words)
    assert found["reco CVMFS"]["result"] == "ok"


def test_a_python_that_execute_nodes_lack_is_named_with_the_hold_reason(
    plain_command: Command, pool: Pool, lxplus: Lxplus
) -> None:
    """A job held because python.jobs does not exist on the execute node fails at once, with the reason and the key."""
    configure("[storage]", '[python]\njobs = "/nowhere/python"\n\n[storage]')
    found = execute_node(plain_command)
    for kind in ("reco", "mille"):
        fix = "/nowhere/python does not start there: set python.jobs to a Python that exists on execute nodes"
        says(found[f"{kind} job"], "failed", "HTCondor holds the job (", "No such file or directory", fix)


def test_a_python_without_faser_align_is_named_with_its_last_words(
    plain_command: Command, pool: Pool, lxplus: Lxplus
) -> None:
    """A Python that cannot import faser-align fails with its exit status and last line."""
    configure("[storage]", '[python]\njobs = "/usr/bin/python3"\n\n[storage]')
    found = execute_node(plain_command)
    words = ("/usr/bin/python3 did not run faser-align (exit status 1: ", "No module named 'faser_align'")
    says(found["reco job"], "failed", *words, "set python.jobs to it")


def test_jobs_that_do_not_return_in_time(plain_command: Command, pool: Pool, lxplus: Lxplus) -> None:
    """After --wait, a job without a machine gives a warning, and one whose file server hangs a failure.

    The warning has the job's requests; the failure names what the job tried, and its earlier results are shown.
    """
    configure("[htcondor.mille]", "[htcondor.mille]\nrequirements = 'OpSysAndVer =?= \"AlmaLinux99\"'")
    (lxplus.checkout / "setup.sh").unlink()
    os.mkfifo(lxplus.checkout / "setup.sh")  # opening it waits for a writer
    found = execute_node(plain_command, "--wait", "20", *DATA)
    asked = 'it requests 1 CPUs, 300 MB of memory, 50 MB of disk and OpSysAndVer =?= "AlmaLinux99"'
    says(found["mille job"], "warning", "the job did not start within 2", asked)
    says(found["reco job"], "failed", 'the job runs but did not finish "Calypso" within ')
    assert found["reco CVMFS"]["result"] == "ok"


def test_a_probe_that_cannot_be_submitted_is_one_line(
    plain_command: Command, pool: Pool, lxplus: Lxplus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a schedd, or without the campaign's folder, the other checks are still shown."""
    configure(f'folder = "{Path.cwd()}"', 'folder = "nowhere"')
    found = json.loads(plain_command("check", "--probe", "--json").out)
    assert found[-1]["name"] == "there: DAGMan"
    assert "nowhere: No such file or directory; name a folder that you may write to" in found[-1]["text"]
    assert len(found) > 15
    configure('folder = "nowhere"', f'folder = "{Path.cwd()}"')
    monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / "nowhere"))  # no pool here
    monkeypatch.setattr("faser_align.pool.personal.default_folder", lambda: Path.cwd() / "nowhere")
    found = json.loads(plain_command("check", "--probe", "--json").out)
    assert found[-1]["name"] == "there: DAGMan"
    assert "pool start" in found[-1]["text"]


@pytest.mark.parametrize("number", [signal.SIGINT, *([signal.SIGTERM] if SOAK else []), signal.SIGHUP])
def test_an_interrupted_probe_removes_itself(pool: Pool, lxplus: Lxplus, number: signal.Signals) -> None:
    """A probe interrupted while its jobs wait removes its DAGMan, jobs and folder, with exit status 130."""
    with no_job_begins():
        running = subprocess.Popen(
            [sys.executable, "-m", "faser_align.cli", "check", "--probe"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: len(htcondor2.Schedd().query("JobStatus == 1 && DAGManJobId > 0", ["ClusterId"])) == 2, 60)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, "")
    nothing_is_left()


def test_the_probe_has_the_submit_descriptions_of_the_campaign(lxplus: Lxplus) -> None:
    """The probe's jobs differ from the campaign's only in the program, its arguments and the output folder."""
    configure("[htcondor.reco]", '[htcondor.reco]\nflavour = "workday"\nrequirements = "HasSingularity"')
    configure("[storage]", '[htcondor]\naccounting_group = "group_u_FASER.users"\n\n[storage]')
    look = look_at("faser-align.toml", year=2023, runs=["11705"], files=["400-401"])
    record = manifest(look.config, Path.cwd())

    def descriptions(dag: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for block in dag.split("SUBMIT-DESCRIPTION ")[1:]:
            kind, _, rest = block.partition(" {\n")
            found[kind] = [line.strip() for line in rest.partition("\n}\n")[0].splitlines()]
        return found

    ours, theirs = descriptions(render(record)), descriptions(render_probe(record, "/x/probe.py"))
    assert set(theirs) == {"reco", "mille"}
    for kind, lines in theirs.items():
        differ = [line.partition(" =")[0] for line, other in zip(lines, ours[kind], strict=True) if line != other]
        assert set(differ) <= {"executable", "arguments", "output", "error"}
    assert '+AccountingGroup = "group_u_FASER.users"' in theirs["reco"]
    assert '+JobFlavour = "workday"' in theirs["reco"]
    assert "requirements = HasSingularity" in theirs["reco"]


def answers(folder: Path, kind: str) -> dict[str, dict[str, str]]:
    """Return a job kind's answers, by name, when run in this process."""
    wanted = requests(look_at("faser-align.toml"), str(folder))[kind]
    (folder / f"{kind}.request.json").write_text(json.dumps(wanted))
    assert probe.main(str(folder), kind) == 0
    answer = json.loads((folder / f"{kind}.answer.json").read_text())
    assert answer["running"] == ""
    return {one["name"]: one for one in answer["entries"]}


@pytest.mark.parametrize("kind", ["reco", "mille"])
def test_only_what_jobs_need_must_be_installed(
    workdir: Path, lxplus: Lxplus, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Packages of extras may be missing on an execute node; missing numpy is named with the fix."""
    for extra in ("matplotlib", "yaml", "awkward"):
        monkeypatch.setitem(sys.modules, extra, None)
    assert answers(workdir, kind)["Python"]["result"] == "ok"
    monkeypatch.setitem(sys.modules, "faser_align.jobs.solve", None)
    monkeypatch.setitem(sys.modules, "faser_align.jobs.reconstruct", None)
    found = answers(workdir, kind)["Python"]
    says(found, "failed", f"{sys.executable} on {os.uname().nodename} cannot import faser_align.jobs.")
    assert found["text"].endswith("; reinstall faser-align for it")


def test_pede_is_tried_where_it_will_run(workdir: Path, lxplus: Lxplus) -> None:
    """With solver.backend = "pede" the Millepede job tries pede in its environment; a missing program is named."""
    configure("[storage]", '[solver]\nbackend = "pede"\npede = "/nowhere/pede"\n\n[storage]')
    says(answers(workdir, "mille")["pede"], "failed", "solver.pede = /nowhere/pede is not a program on ")


def test_an_environment_that_cannot_be_set_up_is_named(workdir: Path, lxplus: Lxplus) -> None:
    """A failing set-up of Calypso is named with the script's last line."""
    (lxplus.checkout / "setup.sh").write_text("echo 'no Calypso for this system' >&2\nexit 3\n")
    record = manifest(look_at("faser-align.toml").config, workdir)
    (workdir / layout.WRAPPER).write_text(render_wrapper(record))
    found = answers(workdir, "reco")
    why = f"the environment cannot be set up on {os.uname().nodename} (status 70): environment: "
    says(found["environment"], "failed", why, "no Calypso for this system")
    assert found["Calypso"]["result"] == "ok"
