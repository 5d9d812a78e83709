"""Test ``check`` with stand-ins for lxplus, and on the access point of a real pool."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calypso import Lxplus
from commandline import Command, add, configure, says
from nowhere import no_job_begins
from receivers import mattermost, write_targets

from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import checks
from faser_align.pool.personal import Pool

DATA = ("-y", "2023", "-r", "11705", "-f", "400-402")
CONSTANTS = Path(__file__).parents[2] / "examples" / "align_2025.txt"
Found = dict[str, dict[str, Any]]


def look(command: Command, *words: str) -> Found:
    """Return the results of ``check`` by name."""
    return {one["name"]: one for one in json.loads(command("check", *words, "--json").out)}


def test_everything_is_looked_at(plain_command: Command, lxplus: Lxplus) -> None:
    """With everything in place each check is ok and has details, including each raw file's size."""
    found = look(plain_command, *DATA)
    bad = {name: one["text"] for name, one in found.items() if one["result"] == "failed"}
    assert set(bad) <= {"user", "HTCondor"}, bad  # root, or no pool of this test
    assert found["raw files"]["text"].startswith("3 files, ")
    assert [f"{path}: {size} bytes" for path, size in sizes(lxplus)] == found["raw files"]["details"]
    assert "922 MB left" in found["AFS quota"]["text"]
    assert "needs about 1.8 MB" in found["AFS quota"]["text"]
    assert "99 GB left, and this campaign needs about 180 MB" in found["EOS quota"]["text"]
    assert "Kerberos ticket valid for" in found["Kerberos"]["text"]
    several = look(plain_command, "-y", "2023", "-r", "11705", "-f", "400", "-r", "11706", "-f", "1")["raw files"]
    assert "Faser-Physics-011706-00001.raw cannot be read" in several["text"]
    assert str(lxplus.database) in found["CVMFS"]["text"]
    assert "Athena,24.0.41" in found["Calypso"]["text"]
    assert "file locks, fsync" in found["file system"]["text"]
    assert found["hook"]["result"] == found["jobs"]["result"] == "ok"
    assert found["AFS token"]["result"] == "warning"  # expired; a personal pool needs none


def sizes(lxplus: Lxplus) -> list[tuple[Path, int]]:
    """Return raw files with their sizes."""
    return [(path, path.stat().st_size) for path in sorted((lxplus.folder / "raw").rglob("*.raw"))]


def test_what_is_missing_is_named_with_its_key_and_cure(plain_command: Command, lxplus: Lxplus) -> None:
    """Each missing thing fails the check with its key; a second bad raw file is counted."""
    (lxplus.checkout / "faser_reco_alignment.py").unlink()
    lxplus.database.unlink()
    raw = lxplus.folder / "raw" / "2023" / "011705"
    (raw / "Faser-Physics-011705-00401.raw").write_text("")
    (raw / "Faser-Physics-011705-00402.raw").unlink()
    lxplus.tool("fs", "Volume Name   Quota   Used %Used   Partition\nuser.me   1000   999   99%   40%")
    lxplus.tool("eos", "#!/bin/sh\necho 'permission denied' >&2\nexit 2\n")
    add('[htcondor]\npool = "system"\n')
    found = look(plain_command, *DATA)
    expected = {
        "Calypso": "reconstruction.calypso.reconstruct =",
        "CVMFS": f"{lxplus.database}: cannot read; mount CVMFS",
        "raw files": "00401.raw is empty, and 1 more; correct -y, -r, -f or reconstruction.raw",
        "AFS quota": "1.02 kB left, and this campaign needs about 1.8 MB; free space, or set campaign.folder",
        "EOS quota": "failed with exit status 2: permission denied",
        "AFS token": "there is no valid AFS token, so HTCondor cannot access your files; run `kinit && aklog`",
    }
    for name, words in expected.items():
        says(found[name], "failed", words)
    assert plain_command("check", *DATA).status == 1


def test_scripts_that_disagree_with_the_configuration(plain_command: Command, lxplus: Lxplus) -> None:
    """`check` warns of a script that writes another database or lacks an option, and names the key."""
    write, reconstruct = (
        lxplus.checkout / name for name in ("WriteAlignmentConfig_Faser04.py", "faser_reco_alignment.py")
    )
    write.write_text(
        '#    connection = "sqlite://;schema=FASER-04_ALLP200.db;dbname=CONDBR3"\n'
        'connection = "sqlite://;schema=FASER-05_ALLP200.db;dbname=CONDBR3"\n'
    )
    says(look(plain_command)["Calypso"], "warning", "reconstruction.calypso.written = FASER-04_ALLP200.db, but ")
    configure("database =", 'written = "FASER-05_ALLP200.db"\ndatabase =')
    reconstruct.write_text(
        'parser.add_argument("--alignment", action="store_true")\nparser.add_argument("--noIFT",\n    default=False)\n'
        'parser.add_argument("-b", "--noBackward", action="store_true")\n'
    )
    says(look(plain_command)["Calypso"], "warning", "does not accept --output_level; correct")
    configure("database =", 'reconstruct_without = ["--output_level"]\ndatabase =')
    assert look(plain_command)["Calypso"]["result"] == "ok"


def test_tickets_that_end_soon_and_tools_that_are_absent(
    plain_command: Command, lxplus: Lxplus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing ticket fails on CERN's pool, a short one gives a warning; without the tool the check is skipped."""
    add('[htcondor]\npool = "system"\n[check]\nticket_h = 1e6\n')
    assert look(plain_command)["Kerberos"]["result"] == "warning"
    lxplus.tool("klist", "#!/bin/sh\necho 'klist: No credentials cache found' >&2\nexit 1\n")
    says(look(plain_command)["Kerberos"], "failed", "run `kinit`")
    for name in ("fs", "eos", "klist", "tokens"):
        (lxplus.bin / name).unlink()
    monkeypatch.setenv("PATH", f"{lxplus.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
    found = look(plain_command)
    for name in ("AFS quota", "EOS quota", "Kerberos", "AFS token"):
        if shutil.which({"AFS quota": "fs", "EOS quota": "eos", "Kerberos": "klist"}.get(name, "tokens")) is None:
            assert (found[name]["result"], found[name]["text"]) == ("skipped", "not on this machine")


def test_what_submit_would_refuse_fails_the_check(plain_command: Command, lxplus: Lxplus) -> None:
    """A method unknown to pede and requirements that HTCondor cannot parse are reported with their key."""
    configure("[htcondor.mille]", '[htcondor.mille]\nrequirements = "OpSys = LINUX &&"')
    add('[solver]\nmethod = "inverse"\n')
    found = look(plain_command)
    assert found["solver"]["result"] == found["HTCondor"]["result"] == "failed"
    assert found["solver"]["text"].startswith("solver.method has 'method inverse'")
    why = "htcondor.mille.requirements = OpSys = LINUX && is not a ClassAd expression"
    assert found["HTCondor"]["text"].startswith(why)


def test_control_files_on_eos_are_refused(plain_command: Command, lxplus: Lxplus) -> None:
    """A campaign's folder on EOS fails the check, which names the keys of both folders."""
    configure(f'folder = "{Path.cwd()}"', 'folder = "/eos/user/m/me"')
    says(look(plain_command)["folder"], "failed", "is on EOS, from where HTCondor accepts no jobs")


def test_constants_that_are_none_are_named_with_their_key(plain_command: Command, lxplus: Lxplus) -> None:
    """Constants that are missing, unreadable or not finite fail the check."""
    config = Path("faser-align.toml")
    text = config.read_text()
    Path("nan.txt").write_text('"00": [0, nan, 0, 0, 0, 0]\n')
    for name, said in (("none.txt", "No such file"), ("nan.txt", "must be a finite number")):
        config.write_text(text.replace(str(CONSTANTS), name))
        found = look(plain_command)["constants"]
        says(found, "failed", said)
        assert found["text"].startswith("campaign.constants: ")
    config.write_text(text.replace(f'folder = "{Path.cwd()}"', 'folder = "nowhere"'))
    found = look(plain_command)
    assert "correct campaign.folder" in found["file system"]["text"]
    assert "create it with `mkdir -p`" in found["folder"]["text"]


def test_interpreters_are_tried_with_an_empty_environment(plain_command: Command, lxplus: Lxplus) -> None:
    """A Python that cannot run, or lacks faser-align, fails the check with its key."""
    add('[python]\njobs = "/usr/bin/python3"\nhooks = "/bin/false"\n')
    found = look(plain_command)
    says(found["jobs"], "failed", "correct python.jobs")
    says(found["hook"], "failed", "correct python.hooks")
    configure("/bin/false", "/nowhere/python")
    assert look(plain_command)["hook"]["text"].endswith(
        "python.hooks = /nowhere/python: no such file; correct the path"
    )


def virtual_environment(folder: Path, base: Path, *, copied: bool = False) -> Path:
    """Make a virtual environment as `python -m venv` does, with a linked or copied Python."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    if copied:
        python.write_text("#!/bin/sh\n")
    else:
        python.symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\nversion = 3.11.9\n")
    return python


def test_a_python_that_other_machines_lack_is_doubted(
    plain_command: Command, lxplus: Lxplus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """check warns of a virtual environment or its base on a local disk; one on AFS made from CVMFS is ok."""
    afs, cvmfs, local = (lxplus.folder / name for name in ("afs", "cvmfs/sft/bin", "usr/bin"))
    monkeypatch.setattr(checks, "SHARED", (f"{afs}/", f"{lxplus.folder}/cvmfs/"))
    for folder in (cvmfs, local):
        folder.mkdir(parents=True)
        (folder / "python").write_text("#!/bin/sh\n")
    good = virtual_environment(afs / "good", cvmfs / "python")
    copied = virtual_environment(afs / "copied", cvmfs / "python", copied=True)
    for python, base in ((good, cvmfs), (copied, cvmfs), (local / "python", local)):
        assert checks.base_of(str(python)) == str(base / "python")
    config = Path("faser-align.toml")
    text = config.read_text()
    for python, said in (
        (good, ""),
        (copied, ""),
        (virtual_environment(afs / "local", local / "python"), f"uses {local}/python, which is on this machine's"),
        (
            virtual_environment(lxplus.folder / "tmp", cvmfs / "python"),
            "is on this machine's local disk, which the access",
        ),
    ):
        config.write_text(f'{text}[python]\njobs = "{python}"\nhooks = "{good}"\n[htcondor]\npool = "system"\n')
        found = look(plain_command)["interpreters"]
        says(found, "warning" if said else "ok", said)
        assert ("python.jobs" in found["text"]) == bool(said)
        assert not said.startswith("uses") or checks.ON_CVMFS in found["text"]
    config.write_text(text)
    assert look(plain_command)["interpreters"]["text"] == "the pool is on this machine"


@pytest.fixture
def told(workdir: Path) -> Iterator[tuple[Path, str]]:
    """Provide a targets file with a working mail server and webhook, and a webhook without a listener."""
    with Mailbox(workdir / "mail") as mailbox, mattermost() as chat, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # not listening: refused
        gone = f"mmost://127.0.0.1:{silent.getsockname()[1]}/{chat.token}"
        yield (
            write_targets(workdir / "targets.toml", mail=mailbox.url("b@example.org"), chat=chat.url(), gone=gone),
            chat.token,
        )
        assert mailbox.messages() == []
        assert chat.posts == []


def test_the_probe_tries_on_the_access_point_what_hooks_need(
    plain_command: Command, pool: Pool, workdir: Path, told: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """check --probe tests interpreter, locks and servers through DAGMan, sends no message, and leaves nothing."""
    path, secret = told
    here = workdir / "with space"
    here.mkdir(mode=0o755)
    monkeypatch.chdir(here)
    names = '["mail", "chat", "gone"]'
    text = f'[campaign]\nconstants = "{CONSTANTS}"\n[notify]\ntargets = {names}\nfile = "{path}"\n'
    Path("faser-align.toml").write_text(text)
    left = plain_command("check", "--probe", "--json")
    found = {
        one["name"].removeprefix("there: "): one for one in json.loads(left.out) if one["name"].startswith("there")
    }
    assert found["interpreter"]["result"] == found["libraries"]["result"] == found["campaign folder"]["result"] == "ok"
    assert "file locks, fsync, links and SQLite work" in found["campaign folder"]["text"]
    says(found["target mail"], "ok", "greets")
    assert found["target chat"]["result"] == "ok"
    says(found["target gone"], "failed", "cannot be reached")
    assert found["DAGMan"]["result"] == "ok"
    assert left.status == 1  # one target is unreachable
    assert secret not in left.out
    assert sorted(os.listdir()) == ["faser-align.toml"]


def test_submit_looks_first(plain_command: Command, pool: Pool, here: Path) -> None:
    """submit refuses what check finds impossible, with the fix, and submits nothing; --no-check skips the checks."""
    assert plain_command("init").status == 0
    add("[check]\ntracks_mb = 1e9\n")
    words = ("submit", *DATA, "-i", "1")
    refused = plain_command(*words, status=1)
    assert "disk space: file system of" in refused.err
    assert "--no-check" in refused.err
    assert sorted(os.listdir()) == ["faser-align.toml"]
    assert "without --dry-run submit refuses this: disk space" in plain_command(*words, "--dry-run").err
    assert "disk space" not in plain_command(*words, "--dry-run", "--no-check").err


def test_a_probe_that_cannot_run_says_why(plain_command: Command, pool: Pool, here: Path) -> None:
    """An interpreter that does not work on the access point fails the probe in seconds, and nothing is left."""
    python = here / "python"
    python.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 127\n")
    python.chmod(0o755)
    Path("faser-align.toml").write_text(f'[campaign]\nconstants = "{CONSTANTS}"\n[python]\nhooks = "{python}"\n')
    found = look(plain_command, "--probe")
    assert found["hook"]["result"] == "failed"
    why = f"{python} did not run the probe's script on the access point; scripts.log ends with: libpython is missing"
    assert found["there: DAGMan"]["result"] == "failed"
    assert found["there: DAGMan"]["text"].startswith(why)
    assert found["there: DAGMan"]["text"].endswith("; set python.hooks to a Python that exists on the access point")
    assert sorted(os.listdir()) == ["faser-align.toml", "python"]


def test_a_campaign_of_the_same_name_in_the_queue_is_named(
    plain_command: Command, pool: Pool, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """check and submit report a running campaign of that name in another folder; after its end the name is free."""
    folders = [workdir / "first", workdir / "second"]
    for folder in folders:
        folder.mkdir(mode=0o755)
        monkeypatch.chdir(folder)
        assert plain_command("init").status == 0
    words = ("submit", *DATA, "-i", "1")
    monkeypatch.chdir(folders[0])
    with no_job_begins():  # so that it is still running when it is examined
        assert plain_command(*words).status == 0
        name = "Y2023_R011705_F400-402"
        monkeypatch.chdir(folders[1])
        there = f"a campaign {name} is already in the queue ({folders[0]}/{name}, job "
        says(look(plain_command, *DATA)["queue"], "failed", there)
        assert "is already in the queue" in plain_command(*words, status=1).err
        assert plain_command("stop", str(folders[0] / name), "--yes").status == 0
    assert look(plain_command, *DATA)["queue"]["result"] == "ok"
