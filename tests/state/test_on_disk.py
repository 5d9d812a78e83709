"""Test that files for other processes are completely on disk before they can be found."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign

from faser_align.campaign import layout
from faser_align.state import database, publish, spool
from faser_align.state.repair import rebuild
from faser_align.system import atomic


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Provide a campaign of one file."""
    return make_campaign(tmp_path / "campaign", files=1)


def test_a_store_that_shrinks_is_no_copy(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """If a database shrinks while it is copied, the copy ends, and the previous snapshot stays."""
    folder, sendfile, sent = record["folder"], os.sendfile, []
    before = Path(folder, layout.PUBLISHED).read_bytes()

    def cut_off(out: int, source: int, offset: int, count: int) -> int:
        os.truncate(f"{folder}/{layout.STATE}", 8192)
        sent.append(sendfile(out, source, offset, min(count, 4096)))
        assert len(sent) < 9
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", cut_off)
    with pytest.raises(OSError, match="became shorter while it was copied"):
        publish.publish(folder)
    assert sent == [4096, 4096, 0]
    assert Path(folder, layout.PUBLISHED).read_bytes() == before
    assert Path(folder, f"{layout.PUBLISHED}.new").stat().st_size == 0


def on_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record later calls that sync files and names: the call, and the last part of a name."""
    called: list[str] = []

    def watch(name: str) -> None:
        call = getattr(os, name)

        def watched(what: Any, *others: Any) -> None:
            path = (
                os.readlink(f"/proc/self/fd/{what}")
                if isinstance(what, int)
                else os.fspath(others[0] if others else what)
            )
            empty = " empty" * (os.path.isfile(path) and not os.path.getsize(path))
            called.append(f"{name}{empty} {os.path.basename(path)}")
            call(what, *others)

        monkeypatch.setattr(os, name, watched)

    for name in ("fsync", "rename", "replace", "link", "mkdir"):
        watch(name)
    return called


def test_what_readers_find_is_on_the_disk(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot and a queued event are synced before their rename, and the names before the script continues."""
    folder = record["folder"]
    os.rmdir(f"{folder}/{layout.SPOOL}")
    called = on_disk(monkeypatch)
    assert publish.publish(folder)
    above = os.path.basename(folder)
    assert called == [f"fsync {layout.PUBLISHED}.new", f"rename {layout.PUBLISHED}", f"fsync {above}"]
    called.clear()
    name = spool.put(folder, {"phase": "control"})
    assert called.pop(2).startswith("fsync .")
    assert called == [f"mkdir {layout.SPOOL}", f"fsync {above}", f"link {name}", f"fsync {layout.SPOOL}"]


@pytest.mark.parametrize(("write", "name_it"), [(atomic.write_text, "replace"), (atomic.write_new, "link")])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    write: Callable[[Path, str], None], name_it: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that replaces another, or is new, is completely written before its rename."""
    called = on_disk(monkeypatch)
    write(tmp_path / "file", "text")
    assert [call.split(".")[0] for call in called] == ["fsync ", f"{name_it} file"]


def test_a_store_that_was_made_anew_is_on_the_disk(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Repair syncs the new database before it replaces the old one, then its name, then its redo log."""
    folder = record["folder"]
    scratch = rebuild.scratch_of(folder)
    shutil.copy(f"{folder}/{layout.STATE}", f"{scratch}/fresh.db")
    called = on_disk(monkeypatch)
    aside = rebuild.install(folder, rebuild.Rebuilt((), f"{scratch}/fresh.db", rebuild.LOGS, 0, (), (), "", 0))
    kept = os.path.basename(aside)
    names = f"fsync {os.path.basename(folder)}"
    assert called[:4] == ["fsync fresh.db", f"link {kept}", f"replace {layout.STATE}", names]
    assert called[4].startswith(f"fsync .{layout.REDO}.")
    assert called[5:] == [f"replace {layout.REDO}", names]


def test_a_commit_is_on_the_disk(record: dict[str, Any]) -> None:
    """SQLite syncs a script's commit, including the end of its journal."""
    with contextlib.closing(database.connect(record["folder"])) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
