"""Test permissions: the owner writes and locks a campaign's files, others read the snapshot."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, make_old, run_iteration
from recorded import unpack

from faser_align.campaign import layout
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, create, database, publish, queries, spool, verify
from faser_align.state.repair import rebuild
from faser_align.system import atomic

OWNERS = {  # files whose lock can delay a script
    *(layout.STATE, f"{layout.STATE}-journal", layout.STATE_LOCK, layout.COMMIT_LOCK, layout.OUTBOX_LOCK),
    *(layout.CONTROL_LOCK, f"{layout.PUBLISHED}.now", f"{layout.PUBLISHED}.next"),
}


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Provide the umask of the user's shell."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened_by_others(folder: Path) -> list[str]:
    """Return files that another user could lock, and files and folders, except those of jobs, that they could write."""
    found = [f"{name}: {mode(folder / name):o}" for name in sorted(OWNERS) if (folder / name).exists()]
    locks = [line for line in found if not line.endswith(": 600")]
    ours = [path for path in [folder, *folder.rglob("*")] if path.relative_to(folder).parts[:1] != ("iter01",)]
    return locks + [str(path) for path in ours if mode(path) & 0o022]


def live(record: dict[str, Any]) -> None:
    """Run an iteration, a request and an undeliverable message."""
    folder = record["folder"]
    assert run_iteration(record, 1) == 0
    with alone(folder):
        os.rmdir(f"{folder}/{layout.SPOOL}")
        control_requests.put(folder, "stop_asked", {"after": "iteration"})
    spool.put(folder, {"no": "event"})
    assert hook("hold", folder, layout.reco_node(1, 2, 400), "31.0", 0).returncode == 0
    assert os.listdir(f"{folder}/{layout.SPOOL}/{spool.ASIDE}")
    hook("final", folder, "final", "no number", 0)
    assert os.path.exists(f"{folder}/{layout.HOOKS_LOG}")


@pytest.fixture
def record(tmp_path: Path, mask: int) -> dict[str, Any]:
    """Provide a campaign that was made with a umask."""
    notify = {"targets": ["nobody"], "file": str(tmp_path / "no-targets.toml"), "events": ["held", "end"]}
    with atomic.closed_to_others():  # as `submit` makes its folders
        return make_campaign(tmp_path / "c", files=2, config={"notify": notify})


def test_a_campaign_belongs_to_its_owner(record: dict[str, Any], mask: int) -> None:
    """With any umask, only the owner can lock or write a campaign's files, from its creation on.

    The files of an older program's campaign become private with the next command and the next script.
    """
    folder = Path(record["folder"])
    assert opened_by_others(folder) == []
    live(record)
    assert OWNERS - {path.name for path in folder.iterdir()} == {f"{layout.STATE}-journal"}
    assert opened_by_others(folder) == []
    assert mode(folder / layout.PUBLISHED) == 0o644 & ~mask
    for name in OWNERS - {f"{layout.STATE}-journal"}:
        (folder / name).chmod(0o644)
    assert hook("final", folder, "final", 2, 1).returncode == 2
    with alone(str(folder)):
        assert opened_by_others(folder) == []


def test_the_journal_belongs_to_the_owner(record: dict[str, Any]) -> None:
    """SQLite's journal of an open transaction has the mode of the database."""
    folder = Path(record["folder"])
    seen: list[int] = []

    def work(db: Any) -> int:
        db.execute("UPDATE campaign SET lost = 1")
        seen.append(mode(folder / f"{layout.STATE}-journal"))
        return 0

    database.transact(str(folder), work)
    assert seen == [0o600]


@pytest.mark.parametrize("lost", ["the store", "both", "nothing"])
def test_a_repaired_database_belongs_to_the_owner(tmp_path: Path, mask: int, lost: str) -> None:
    """Repair makes no database that others can lock, whatever its source."""
    record = unpack("failed", tmp_path / "c")
    folder = Path(record["folder"])
    publish.publish(str(folder))
    assert mask in (0o002, 0o022, 0o077)
    for name in {"the store": [layout.STATE], "both": [layout.STATE, layout.PUBLISHED], "nothing": []}[lost]:
        (folder / name).write_bytes(b"damage")
        (folder / name).chmod(0o644)
    with alone(str(folder)), rebuild.locked(str(folder)):
        scratch = rebuild.scratch_of(str(folder))
        rebuilt = rebuild.rebuild(str(folder), record, scratch)
        if rebuilt.path:
            rebuild.install(str(folder), rebuilt)
        shutil.rmtree(scratch)
    publish.publish(str(folder))
    found = {name: mode(folder / name) for name in OWNERS if (folder / name).exists()}
    assert set(found.values()) == {0o600}, found


def test_a_migrated_or_copied_database_belongs_to_the_owner(record: dict[str, Any], tmp_path: Path) -> None:
    """A migrated database, or one copied with its folder, becomes private as soon as it is written."""
    folder = record["folder"]
    make_old(folder)
    os.chmod(f"{folder}/{layout.STATE}", 0o644)
    assert create.bring_up_to_date(folder)
    assert opened_by_others(Path(folder)) == []
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    create.record_submitted(str(copy), 12)
    assert hook("pre", copy, layout.reco_node(1, 1, 400), 0, 2).returncode == 0
    assert mode(copy / layout.STATE) == 0o600


@pytest.mark.parametrize("mask", [0o022], indirect=True, ids=oct)
def test_readers_have_the_snapshot(record: dict[str, Any]) -> None:
    """Reading commands open no private file."""
    folder = Path(record["folder"])
    live(record)
    for name in OWNERS - {f"{layout.STATE}-journal"}:
        (folder / name).chmod(0)
    with queries.published(str(folder)) as db:
        assert queries.campaign_now(db, str(folder))["state"] in ("solving", "failed")
    json.loads((folder / layout.RECORD).read_text())


@pytest.mark.parametrize("mask", [0o022], indirect=True, ids=oct)
def test_another_user_can_verify_the_snapshot(record: dict[str, Any]) -> None:
    """Without the owner's database and redo log the snapshot and the iterations' files are checked, and are sound."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    run_iteration(record, 1)
    folder = Path(record["folder"])
    for name in (layout.STATE, layout.STATE_LOCK, layout.REDO):
        (folder / name).chmod(0)
    checked = verify.check(str(folder))
    assert checked.findings == []
    assert checked.rows > 0
    assert "belongs to another user" in checked.note
