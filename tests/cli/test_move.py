"""Test ``move`` of large files, with interruptions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, reconstruct, run_iteration
from commandline import Command
from killing import STRACE, fault_at
from stored import history, seen

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_record
from faser_align.hooks import post
from faser_align.pool.personal import Pool
from faser_align.state import queries

# System calls at which a move is killed: while copying, renaming, changing the manifest, notifying the scripts, removing.
KILLS = [["fsync:1", "rename:2", "link:1", "unlink:3", "rmdir:1"], ["rename:7", "unlink:3"]]
IN_FULL = {"fsync": 17, "rename": 7, "link": 1, "unlink": 14, "rmdir": 4}
if os.environ.get("FASER_ALIGN_SOAK"):
    KILLS += [[f"{name}:{number}"] for name, count in IN_FULL.items() for number in range(1, count + 1)]


def contents(record: dict[str, Any], place: str) -> dict[str, bytes]:
    """Return the large files below ``place`` by path."""
    found = {}
    for stage, number in layout.iterations(record):
        folder = Path(layout.iteration_folder(place, stage, number), layout.KFALIGNMENT)
        for path in folder.glob("[!.]*"):
            found[str(path.relative_to(place))] = path.read_bytes()
    return found


def published(record: dict[str, Any]) -> str:
    return str(seen(record["folder"], queries.campaign)["data"])


def moves(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return source and target of each move in the history."""
    rows = [row["facts"] for row in history(record["folder"], "changed")]
    return [(row["before"], row["after"]) for row in rows if row["key"] == changes.DATA]


@pytest.fixture
def stopped(workdir: Path) -> dict[str, Any]:
    """Provide a campaign removed in its second iteration, with one completed file and a partial one."""
    record = make_campaign(workdir / "c", files=2, name="camp")
    for logs in (workdir / "c").glob(f"iter*/{layout.KFALIGNMENT}/logs"):
        logs.rmdir()
    run_iteration(record, 1)
    reconstruct(record, 2, 400, "40.0")
    assert hook("final", record["folder"], "final", 4, 0).returncode == 4
    (workdir / "c" / "iter02" / layout.KFALIGNMENT / ".kfalignment_011705_00401.root.7.tmp").write_bytes(b"half")
    (workdir / "eos").mkdir()
    return record


def moved(folder: str, place: Path, call: str, fault: str) -> subprocess.CompletedProcess[str]:
    """Move with a fault at a system call, such as ``fsync:3``, the third fsync."""
    name, _, number = call.partition(":")
    strace = (str(STRACE), "-o", "/dev/null", *fault_at(name, number, fault))
    command = (sys.executable, "-m", "faser_align.cli", "move", folder, str(place))
    return subprocess.run([*strace, *command], capture_output=True, text=True, timeout=300, check=False)


def test_a_move(pool: Pool, stopped: dict[str, Any], workdir: Path, plain_command: Command) -> None:
    """Only large files move; all readers and scripts use the new place; the history names the user."""
    folder, eos = stopped["folder"], workdir / "eos"
    before, older = contents(stopped, folder), Path(folder, layout.STATE).read_bytes()
    assert len(before) == 6
    assert "iter01" in plain_command("move", folder, str(eos), "--dry-run", status=0).out
    assert os.listdir(eos) == []

    left = plain_command("move", folder, str(eos))
    assert (left.status, left.err) == (0, "")
    assert f"the large files of camp are in {eos}/camp; 6 files in {folder} removed" in left.out
    record = read_record(folder)
    assert record["data"] == published(record) == f"{eos}/camp"
    assert moves(record) == [(folder, f"{eos}/camp")]
    assert contents(record, record["data"]) == before
    assert not list(Path(folder).glob("iter*/2kfalignment"))
    assert (Path(folder) / "iter01" / "3millepede" / "metrics.json").exists()
    assert sorted(path.name for path in (eos / "camp").iterdir()) == ["iter01", "iter02", "iter03", "iter04"]
    assert "data: " in plain_command("history", folder).out
    assert plain_command("status", folder).status == plain_command("metrics", folder).status == 0
    assert plain_command("verify", folder).status == 0
    cleaned = json.loads(plain_command("clean", folder, "--keep", "0", "--dry-run", "--json").out)
    assert [row["files"] for row in cleaned["removed"]] == [2]
    Path(folder, layout.STATE).write_bytes(older)
    plain_command("repair", folder, status=0)
    assert (published(record), moves(record)) == (f"{eos}/camp", [(folder, f"{eos}/camp")])
    assert (plain_command("move", folder, str(eos)).status, moves(record)) == (0, [(folder, f"{eos}/camp")])


def test_there_and_back(pool: Pool, stopped: dict[str, Any], workdir: Path, plain_command: Command) -> None:
    """Moved files can be moved again; with --keep the old files stay until the command is repeated without it."""
    folder, eos, other = stopped["folder"], workdir / "eos", workdir / "other"
    other.mkdir()
    before = contents(stopped, folder)
    assert plain_command("move", folder, str(eos)).status == 0
    kept = plain_command("move", folder, str(other), "--keep")
    assert "6 files in" in kept.out
    assert "stay (--keep)" in kept.out
    assert contents(stopped, f"{eos}/camp") == contents(stopped, f"{other}/camp") == before
    changed = Path(layout.kfalignment_file(f"{other}/camp", 1, 2, "011705", 400))
    changed.write_bytes(b"made anew")
    assert "was not removed: " in plain_command("move", folder, str(other), status=1).err
    assert list(contents(stopped, f"{eos}/camp")) == ["iter02/2kfalignment/kfalignment_011705_00400.root"]
    assert eos.exists()


@pytest.mark.parametrize("calls", KILLS, ids=lambda calls: "-".join(calls))
def test_a_move_that_is_killed(
    pool: Pool, stopped: dict[str, Any], workdir: Path, plain_command: Command, calls: list[str]
) -> None:
    """A move killed at any point leaves every file complete where manifest and scripts use it; repeating it finishes."""
    folder, eos = stopped["folder"], workdir / "eos"
    before = contents(stopped, folder)
    node = layout.reco_node(1, 2, 400)
    for call in calls:
        assert moved(folder, eos, call, "signal=KILL").returncode == -9, call
        place = read_record(folder)["data"]
        assert contents(stopped, place) == before, (call, place)
        # A script of a resumed campaign finds the output where jobs write it.
        assert post.output_problem(folder, node) is None, call
    left = plain_command("move", folder, str(eos))
    assert (left.status, left.err) == (0, "")
    record = read_record(folder)
    assert record["data"] == published(record) == f"{eos}/camp"
    assert moves(record) == [(folder, f"{eos}/camp")]
    assert contents(record, record["data"]) == before
    assert not list(Path(folder).glob("iter*/2kfalignment"))
    assert not list(eos.glob("**/.*"))
    assert plain_command("verify", folder).status == 0


def test_where_they_cannot_go(pool: Pool, stopped: dict[str, Any], workdir: Path, plain_command: Command) -> None:
    """Unsuitable targets and foreign files there are refused in one sentence without changes."""
    folder, eos = stopped["folder"], workdir / "eos"
    before = contents(stopped, folder)
    for place, word in (
        ("/tmp", "is under /tmp"),
        (folder, "the current folder of the large files"),
        (f"{eos}/no", "is not a folder"),
        ("/usr", "cannot write"),
    ):
        if place == "/usr" and os.geteuid() == 0:
            continue
        refused = plain_command("move", folder, place, status=2)
        assert word in refused.err
    there = eos / "camp" / "iter01" / layout.KFALIGNMENT
    there.mkdir(parents=True)
    for name, word in (
        ("other.root", "does not belong to the campaign"),
        ("kfalignment_011705_00400.root", "already exists and differs from"),
    ):
        (there / name).write_bytes(b"of somebody else")
        refused = plain_command("move", folder, str(eos))
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert word in refused.err
        (there / name).unlink()
    link = Path(folder) / "iter01" / layout.KFALIGNMENT / "link"
    link.symlink_to("nowhere")
    assert "is not a regular file" in plain_command("move", folder, str(eos)).err
    link.unlink()
    assert contents(stopped, folder) == before
    assert read_record(folder)["data"] == folder
    assert not (Path(folder) / layout.CHANGES).exists()


def test_nobody_can_tell_whether_it_runs(
    stopped: dict[str, Any], workdir: Path, plain_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is moved if the schedd does not answer whether the campaign's DAGMan is in its queue."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(workdir / "no-pool"))
    refused = plain_command("move", stopped["folder"], str(workdir / "eos"), status=2)
    assert "move was refused, nothing was done" in refused.err
    assert os.listdir(workdir / "eos") == []


def test_a_full_disk(pool: Pool, stopped: dict[str, Any], workdir: Path) -> None:
    """A move that runs out of space reports the cause, and the campaign keeps its files."""
    done = moved(stopped["folder"], workdir / "eos", "fsync:4", "error=ENOSPC")
    assert done.returncode == 1
    assert "No space left on device; the campaign still uses the old files" in done.stderr
    assert read_record(stopped["folder"])["data"] == stopped["folder"]
