"""Provide campaigns in every state, made by the real scripts, and the command line to read them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calypso import Lxplus
from campaigns import hook, make_campaign, reconstruct, run_iteration
from commandline import Command, in_process

from faser_align.campaign import layout
from faser_align.state import registry

Record = dict[str, Any]
LXPLUS = """\
[campaign]
folder = "{here}"
constants = "{constants}"
iterations = 3

{reconstruction}
[storage]
data = "{tree}/eos"

[htcondor.reco]
memory_mb = 300
disk_mb = 50

[htcondor.mille]
memory_mb = 300
disk_mb = 50

"""


@pytest.fixture
def plain_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line with arguments, in this process."""
    return in_process(monkeypatch, capsys)


@pytest.fixture
def command(plain_command: Command, monkeypatch: pytest.MonkeyPatch, campaigns: Path) -> Command:
    """Run the command line with the registry of these campaigns and without a pool."""
    monkeypatch.setenv("XDG_STATE_HOME", str(campaigns / "state"))
    monkeypatch.setenv("FASER_ALIGN_POOL", str(campaigns / "pool"))
    return plain_command


@pytest.fixture
def here(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide an empty current folder outside /tmp, where campaigns may be, and an empty registry."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    (workdir / "here").mkdir(mode=0o755)
    monkeypatch.chdir(workdir / "here")
    return workdir / "here"


@pytest.fixture
def lxplus(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lxplus]:
    """Provide stand-ins for lxplus, three raw files, and a configuration in the current folder, whose name has a space."""
    made = Lxplus(workdir / "lxplus")
    for number in (400, 401, 402):
        made.raw(number)
    (made.folder / "eos").mkdir()
    here = workdir / "with space"
    here.mkdir(mode=0o755)
    constants = Path(__file__).parents[2] / "examples" / "align_2025.txt"
    text = LXPLUS.format(here=here, constants=constants, reconstruction=made.toml(), tree=made.folder)
    (here / "faser-align.toml").write_text(text)
    made.tool("fs", "Volume Name   Quota   Used %Used   Partition\nuser.me   1000000   100000   10%   40%")
    space = "maxlogicalbytes=99000000000"
    made.tool("eos", f"quota=node uid=me space=/eos/user/ usedlogicalbytes=0 {space} usedbytes=0 maxbytes=0")
    made.tool("klist", "01/01/2020 00:00:00  01/01/2099 00:00:00  krbtgt/CERN.CH@CERN.CH")
    made.tool("tokens", "User's (AFS ID 1) tokens for afs@cern.ch [>> Expired <<]")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(here)
    yield made
    shutil.rmtree(here, ignore_errors=True)


@pytest.fixture(scope="session")
def campaigns(session_folder: Path) -> Path:
    """Provide a folder with one registered campaign per case."""
    root = session_folder / "reading"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        for make in (converged, failed, running, held, lost, created, removed, one):
            record = make(root)
            registry.add(record["name"], record["folder"])
    return root


def converged(root: Path) -> Record:
    """Make a campaign of four iterations, the last two below the limits."""
    record = make_campaign(root / "converged", files=2, name="converged")
    assert [run_iteration(record, i) for i in range(1, 5)] == [0, 0, 0, 42]
    assert hook("final", record["folder"], "final", 0, 0).returncode == 0
    return record


def failed(root: Path) -> Record:
    """Make a campaign whose second iteration's first file cannot be read; one late event is ignored."""
    record = make_campaign(root / "failed", files=2, name="failed")
    folder = record["folder"]
    run_iteration(record, 1)
    name = layout.reco_node(1, 2, 400)
    hook("pre", folder, name, 0, 2)
    log = Path(layout.job_log(folder, name, "err"))
    log.parent.mkdir(exist_ok=True)
    log.write_text("FASER-p0001-011705-00400.raw cannot be opened\n")
    assert hook("post", folder, name, 0, 2, 61, "31.0", 0).returncode == 43
    hook("hold", folder, name, "31.0", 0)
    assert hook("final", folder, "final", 2, 1).returncode == 2
    return record


def running(root: Path) -> Record:
    """Make a campaign in its second iteration: one file done, one running."""
    record = make_campaign(root / "running", files=2, name="running")
    run_iteration(record, 1)
    reconstruct(record, 2, 400, "40.0")
    hook("pre", record["folder"], layout.reco_node(1, 2, 401), 0, 2)
    return record


def held(root: Path) -> Record:
    """Make a campaign with a held job and an undelivered message about it."""
    targets = {"targets": ["nobody"], "file": str(root / "no-targets.toml")}
    record = make_campaign(root / "held", files=2, name="held", config={"notify": targets})
    folder, name = record["folder"], layout.reco_node(1, 1, 400)
    Path(folder, layout.NODES_LOG).write_text(
        "012 (031.000.000) 2026-11-24 07:31:00 Job was held.\n"
        "\tTransfer input files failure\n\tCode 13 Subcode 2\n...\n"
    )
    hook("pre", folder, name, 0, 2)
    hook("hold", folder, name, "31.0", 0)
    return record


def lost(root: Path) -> Record:
    """Make a campaign that dropped one of three files, as allowed."""
    quorum = {"reconstruction": {"min_files": 0.6}}
    record = make_campaign(root / "lost", files=3, name="lost", config=quorum)
    name = layout.reco_node(1, 1, 401)
    hook("pre", record["folder"], name, 0, 2)
    assert hook("post", record["folder"], name, 0, 2, 61, "31.0", 0).returncode == 0
    return record


def created(root: Path) -> Record:
    """Make a campaign that was never submitted."""
    return make_campaign(root / "created", files=2, name="created")


def removed(root: Path) -> Record:
    """Make a campaign that its user stopped in the second iteration."""
    record = make_campaign(root / "removed", files=2, name="removed")
    run_iteration(record, 1)
    hook("pre", record["folder"], layout.reco_node(1, 2, 400), 0, 2)
    hook("final", record["folder"], "final", 4, 0)
    return record


def one(root: Path) -> Record:
    """Make a campaign that has used its single allowed iteration."""
    record = make_campaign(root / "one", files=2, name="one", config={"campaign": {"iterations": 1}})
    run_iteration(record, 1)
    hook("final", record["folder"], "final", 2, 1)
    return record
