"""Test init, check and submit as commands: their output, and that an error writes nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign
from click.testing import Result
from commandline import add, configure, says
from killing import STRACE, fault_at, may_trace
from nowhere import no_job_begins, until
from stored import seen
from typer.testing import CliRunner

from faser_align.campaign.manifest import read_record
from faser_align.cli import main
from faser_align.config.profiles import PROFILES
from faser_align.dag.submit import dagman_jobs, stop_dag
from faser_align.fsm.errors import UserError
from faser_align.operations import dagman, extension, lifecycle, submission
from faser_align.pool.personal import Pool
from faser_align.state import queries, registry

GOOD = ("submit", "-y", "2023", "-r", "11705", "-f", "400-402,405", "--dry-run")


def run(*words: str) -> Result:
    return CliRunner().invoke(main.app, words)


def mistake(*words: str) -> str:
    """Return the sentence of a refused command."""
    result = run(*words)
    assert isinstance(result.exception, UserError), (result.output, result.exception)
    return str(result.exception)


@pytest.fixture
def here(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a current folder with the configuration of profile local."""
    monkeypatch.chdir(workdir)
    assert run("init").exit_code == 0
    return workdir


@pytest.mark.parametrize("profile", PROFILES)
def test_init_writes_a_profile_once(workdir: Path, profile: str) -> None:
    """init writes the profile, refuses to overwrite it, and moves it aside with --force."""
    path = workdir / "a.toml"
    result = run("init", "--profile", profile, "-o", str(path))
    assert f"faser-align check --config {path}" in result.output
    assert f'profile "{profile}"' in path.read_text()
    path.write_text("mine")
    assert "already exists" in mistake("init", "-o", str(path))
    assert path.read_text() == "mine"
    assert run("init", "-o", str(path), "--force").exit_code == 0
    assert [old.read_text() for old in workdir.glob("a.toml.old-*")] == ["mine"]


def test_init_names_the_profiles(workdir: Path) -> None:
    """An unknown profile is refused with the known ones."""
    assert "must be local or lxplus" in mistake("init", "--profile", "x", "-o", str(workdir / "x"))
    assert "cannot write" in mistake("init", "-o", str(workdir / "none" / "x.toml"))


def test_a_dry_run_says_all_and_does_nothing(here: Path) -> None:
    """submit --dry-run shows campaign, files, stages and constants, warns of missing recipients, and writes nothing."""
    result = run(*GOOD, "-i", "7", "--threest")
    assert result.exit_code == 0
    for words in (
        "Y2023_R011705_F400-402_405",
        "run 011705, 4 files (400-402,405)",
        "at most 7 iterations",
        "3 (without the IFT)",
        "personal pool, 35 nodes",
        "nobody is notified",
        "nothing was written",
    ):
        assert words in result.output
    assert [path.name for path in here.iterdir()] == ["faser-align.toml"]


def test_a_dry_run_says_that_the_real_one_would_be_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, and without a pool, --dry-run succeeds with a warning that names the fix."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(here / "pool"))
    monkeypatch.delenv("CONDOR_CONFIG", raising=False)
    result = run(*GOOD)
    assert result.exit_code == 0
    assert "warning: without --dry-run submit refuses this: " in result.stderr
    assert ("refuses jobs of root" if os.geteuid() == 0 else "`faser-align pool start`") in result.stderr


def test_a_name_that_is_taken_is_told(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another campaign of the same name in another folder is named; one in the same folder is not."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    other = tmp_path / "elsewhere"
    registry.add("mine", make_campaign(other, name="mine")["folder"])
    assert f"warning: a campaign in {other} has the same name mine; " in run(*GOOD, "--name", "mine").stderr
    assert "has the same name" not in run(*GOOD, "--name", "another").stderr


def test_no_campaign_runs_that_cannot_be_listed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a registry that cannot be written nothing is submitted and no folder stays, and the sentence names the place."""
    (here / "full").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "full"))
    planned = submission.prepare(submission.Request(year=2023, runs=("1",), files=("1-2",), name="mine"))
    with pytest.raises(UserError, match=f"{here}/full/.*: cannot add mine .*: Not a directory; free space there"):
        submission.carry_out(planned, None)  # no schedd is asked
    assert sorted(path.name for path in here.iterdir()) == ["faser-align.toml", "full"]


def test_a_validation_with_files_of_several_runs_is_refused(here: Path) -> None:
    """validation.files has no run; in a campaign of several it would fail after days, with files that do not exist."""
    two = ("submit", "-y", "2023", "-r", "1", "-f", "1-2", "-r", "2", "-f", "1-2", "--dry-run")
    assert run(*two).exit_code == 0
    add('[validation]\nfiles = "5-6"\n')
    assert "validation.files names files of one run, and the campaign has several; remove it" in mistake(*two)
    assert run(*two[:7], "--dry-run").exit_code == 0


def test_a_dry_run_can_be_read_by_programs(here: Path) -> None:
    """With --json standard output has only the manifest."""
    record = json.loads(run(*GOOD, "--json", "--name", "mine").stdout)
    assert (record["name"], record["files"], record["cluster"]) == ("mine", [400, 401, 402, 405], None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"-f": "450-400"}, "write 400-450"),
        ({"-f": "abc"}, "-f abc"),
        ({"-r": "x"}, "-r x is not a run"),
        ({"-y": "1999"}, "-y 1999"),
        ({"-i": "0"}, "-i 0: must be a whole number"),
        ({"-i": "100"}, "from 1 to 99"),
        ({"--config": "none.toml"}, "none.toml: no such configuration file"),
        ({"--config": "."}, "cannot read"),
        ({"--config": "empty.toml"}, "is empty"),
        ({"--config": "bad.toml"}, "did you mean campaign.iterations?"),
        ({"--config": "told.toml"}, "targets.toml"),
        ({"--config": "tmp.toml"}, "under /tmp"),
        ({"--constants": "none.txt"}, "none.txt"),
        ({"--constants": "empty.toml"}, "empty.toml"),
        ({"--name": "a/b"}, "is not a valid campaign name"),
        ({"--name": "taken"}, "already exists"),
        ({"--threest": None, "--fourst": None}, "exclude each other"),
        ({"--config": "fixed.toml"}, "stage 'all', step 'nothing': fix = [IFT, 3ST] fixes every parameter"),
    ],
)
def test_a_mistake_writes_nothing(here: Path, changes: dict[str, str | None], said: str) -> None:
    """Every error gives one sentence and leaves the folder unchanged, also without a dry run."""
    (here / "empty.toml").write_text("")
    (here / "bad.toml").write_text("[campaign]\niteration = 1\n")
    (here / "told.toml").write_text(f'notify.targets = ["me"]\nnotify.file = "{here}/targets.toml"\n')
    (here / "tmp.toml").write_text('campaign.folder = "/tmp"\n')
    step = '{name = "nothing", fix = ["IFT", "3ST"]}'
    (here / "fixed.toml").write_text(f'[[stages]]\nname = "all"\nsteps = [{step}]\n')
    (here / "taken").mkdir()
    options = {"-y": "2023", "-r": "11705", "-f": "400"} | changes
    if options.get("--config") in ("told.toml", "tmp.toml", "fixed.toml"):
        options["--constants"] = str(Path(main.__file__).parents[1] / "examples" / "align_2025.txt")
    words = [word for pair in options.items() for word in pair if word is not None]
    before = sorted(path.name for path in here.iterdir())
    sentence = mistake("submit", *words)
    assert said in sentence
    assert len(sentence.splitlines()) == 1
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused before the pool is looked for")
def test_without_a_pool_nothing_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no schedd answers, submit says how to start the pool, and check fails with the same words."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(here / "pool"))
    monkeypatch.delenv("CONDOR_CONFIG", raising=False)
    assert "pool start" in mistake(*(word for word in GOOD if word != "--dry-run"))
    assert [path.name for path in here.iterdir()] == ["faser-align.toml"]
    result = run("check", "--json")
    assert result.exit_code == 1
    found = {check["name"]: check for check in json.loads(result.stdout)}
    says(found["HTCondor"], "failed", "pool start")
    assert found["hook"]["result"] == "ok"
    assert found["notification"]["result"] == "warning"


@pytest.mark.parametrize("words", [("check",), ("check", "--json")])
def test_check_of_a_configuration_that_cannot_be_used(here: Path, words: tuple[str, ...]) -> None:
    """A configuration that cannot be used gives the same sentences as submit."""
    (here / "faser-align.toml").write_text("x = 1\n[campaign]\niterations = 0\n")
    said = mistake(*words)
    assert "x is not a key of the configuration" in said
    assert "campaign.iterations = 0 is not allowed" in said
    (here / "faser-align.toml").unlink()
    assert "faser-align.toml: no such configuration file" in mistake(*words)


def test_submit_submits(here: Path, pool: Pool) -> None:
    """submit makes the campaign, submits its DAGMan job and prints the next command; --force is refused while it runs."""
    import htcondor2

    words = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "-i", "1", "--name", "my camp")
    with no_job_begins():  # so that it is still running when it is examined
        result = run(*words)
        assert result.exit_code == 0, result.exception
        assert "faser-align status 'my camp'" in result.output
        folder = str(here / "my camp")
        schedd = htcondor2.Schedd()
        (job,) = dagman_jobs(schedd, folder)
        assert f"submitted as job {job.cluster};" in result.output
        assert read_record(folder)["files"] == [400]
        assert "already exists" in mistake(*words)
        assert f"is already running as job {job.cluster}.0" in mistake(*words, "--force")
    stop_dag(schedd, folder, job.cluster)
    assert run(*words, "--force", "--json").exit_code == 0
    assert len(list(here.glob("my camp.old-*"))) == 1
    for job in dagman_jobs(schedd, folder):
        stop_dag(schedd, folder, job.cluster)


class Interrupting:
    """A schedd that gets a DAGMan while its user types Ctrl-C."""

    def __init__(self, schedd: Any) -> None:
        self.query, self.act = schedd.query, schedd.act
        self._submit = schedd.submit

    def submit(self, description: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return self._submit(description)


@pytest.mark.usefixtures("pool")
def test_an_interrupt_says_that_the_campaign_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C while HTCondor accepts the DAGMan job, submit, resume and extend name it and the command that ends it."""
    planned = submission.prepare(submission.Request(year=2023, runs=("1",), files=("1",), iterations=1, name="mine"))
    folder, schedd = str(here / "mine"), submission.find_schedd(planned)
    begin: tuple[Callable[[], object], ...] = (
        lambda: submission.carry_out(planned, Interrupting(schedd)),
        lambda: lifecycle.resume(folder),
        lambda: extension.extend(folder, 1),
    )
    with no_job_begins():
        for one in begin:
            with monkeypatch.context() as patch:
                patch.setattr(dagman, "schedd_of", lambda _: Interrupting(schedd))
                with pytest.raises(KeyboardInterrupt) as interrupt:
                    one()
            (job,) = dagman_jobs(schedd, folder)
            (sentence,) = interrupt.value.args
            assert sentence.startswith(f"interrupted, but mine runs as job {job.cluster}.0; end it with `")
            assert lifecycle.stop(folder).state == "removed"


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_an_interrupt_while_htcondor_works_leaves_the_campaign_of_its_dagman(here: Path) -> None:
    """Ctrl-C while HTCondor accepts the DAGMan job ends `submit` afterwards, and the campaign runs; it also ends `stop`."""
    import htcondor2

    if not may_trace(here):
        pytest.skip("strace may not trace here")
    words = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "-i", "1", "--no-check", "--name")
    program, calls = (sys.executable, "-m", "faser_align.cli"), here / "calls"
    schedd = htcondor2.Schedd()
    with no_job_begins():
        subprocess.run((str(STRACE), "-qq", "-o", calls, "-e", "trace=sendto", *program, *words, "one"), check=True)
        within = calls.read_text(errors="replace").count("sendto(") - 20  # the description takes about 50 of them
        interrupted = (str(STRACE), "-qq", "-o", "/dev/null", *fault_at("sendto", within, "signal=INT"))
        submitted = subprocess.run(
            (*interrupted, *program, *words, "two"), stderr=subprocess.PIPE, text=True, check=False
        )
        assert submitted.returncode == main.INTERRUPTED
        assert re.search(
            r"^interrupted, but two runs as job \d+\.0; end it with `.* stop two`$", submitted.stderr, re.MULTILINE
        )
        for name in ("one", "two"):
            (job,) = dagman_jobs(schedd, str(here / name))
            # The next script records the submission.
            until(lambda folder=here / name, job=job: seen(folder, queries.campaign)["dag_id"] == f"{job.cluster}.0")
        halfway = (str(STRACE), "-qq", "-o", "/dev/null", *fault_at("sendto", 7, "signal=INT"))
        stopped = subprocess.run((*halfway, *program, "stop", "two", "--yes"), check=False)
        assert stopped.returncode == main.INTERRUPTED
        for name in ("one", "two"):
            for job in dagman_jobs(schedd, str(here / name)):  # a halted one may have left
                stop_dag(schedd, str(here / name), job.cluster)


def test_steering_texts_are_shown(here: Path) -> None:
    """A dry run says what each step frees; --show-steering adds all its texts, and nothing is written."""
    before = sorted(here.iterdir())
    assert (
        "all in one step: 307 free: 9 layer.y, 10 layer.rz, 192 x of module sides (two per module give module.x and module.y), 96 module.rz; 41 fixed"
        in run(*GOOD).output
    )
    shown = run(*GOOD[:-1], "--show-steering").output
    assert "* stage 'all', step 'all in one step': 307 free" in shown
    assert "\nParameter\n" in shown
    assert "\nmethod inversion 3 0.001\n" in shown
    assert shown.count("Constraint 0.0") == 26
    assert "nothing was written or submitted" in shown
    assert sorted(here.iterdir()) == before


def test_check_says_whether_pede_runs(here: Path) -> None:
    """A working pede is named with its version; another program fails the check."""
    program = here / "pede"
    configure('backend = "builtin"', 'backend = "pede"\npede = "./pede"')
    lines = {
        "echo '   10   Aborted, no steering file' > millepede.end; echo V04-16-00": (
            f"{program} runs (V04-16-00)",
            "ok",
        ),
        "exit 127": ("it is not pede", "failed"),
    }
    for commands, (words, result) in lines.items():
        program.write_text(f"#!/bin/sh\n{commands}\n")
        program.chmod(0o755)
        (check,) = (row for row in json.loads(run("check", "--json").output) if row["name"] == "solver")
        says(check, result, words)


def test_check_and_submit_warn_of_rotations_about_hits(here: Path) -> None:
    """A step that frees rx and ry of layers with pivot = "calypso" warns; one that fixes them, and the default do not."""
    doubt = "frees rx or ry of layers"
    configure("[mille]\n", '[mille]\npivot = "calypso"\n')
    assert doubt not in run(*GOOD).output
    add('\n[[stages]]\n[[stages.steps]]\nfix = ["IFT", 21, 41]\n')
    assert doubt in run(*GOOD).output
    assert doubt in " ".join(run("check", "--json").output.split())
    configure('pivot = "calypso"\n', "")
    assert doubt not in run(*GOOD).output


def test_check_warns_of_a_cut_that_takes_tilted_layers(here: Path) -> None:
    """check warns of faser-alignment-script's cut, which rejects hits of the tilted IFT, and not of the default."""
    doubt = "cuts a good part of the hits of layers 00, 01, 02"
    assert doubt not in " ".join(run("check", "--json").output.split())
    configure("[mille]\n", '[mille]\npivot = "calypso"\nderivative_max = 2.0\n')
    assert doubt in " ".join(run("check", "--json").output.split())
