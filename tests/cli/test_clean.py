"""Test ``clean``, which removes large files that nothing needs any more."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign, run_iteration
from commandline import Command

from faser_align.campaign import layout
from faser_align.operations import leftovers


def tracks(record: dict[str, Any], iteration: int) -> list[Path]:
    where = (record["data"], 1, iteration, record["run"])
    return [Path(layout.kfalignment_file(*where, file)) for file in record["files"]]


@pytest.fixture
def command(plain_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run the command line without a pool."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(tmp_path / "no-pool"))
    return plain_command


@pytest.fixture
def judged(workdir: Path) -> dict[str, Any]:
    """Provide a running campaign with two judged iterations and a third in reconstruction."""
    record = make_campaign(workdir / "c", files=2)
    run_iteration(record, 1)
    run_iteration(record, 2)
    for path in tracks(record, 3):
        path.write_bytes(b"not judged yet")
    return record


def test_only_what_is_not_needed_goes(judged: dict[str, Any], command: Command) -> None:
    """Tracks of judged iterations except the latest are removed; those of an unjudged one always stay."""
    said = command("clean", judged["folder"], status=0)
    assert "iter01" in said.out
    assert "2 files, 2 kB, removed" in said.out
    assert [path.exists() for n in (1, 2, 3) for path in tracks(judged, n)] == [False] * 2 + [True] * 4
    command("clean", judged["folder"], "--keep", "0")
    assert [path.exists() for n in (1, 2, 3) for path in tracks(judged, n)] == [False] * 4 + [True] * 2
    assert "nothing to remove" in command("clean", judged["folder"], "--keep", "0").out


def test_more_iterations_may_be_kept_than_were_judged(judged: dict[str, Any], command: Command) -> None:
    """--keep of at least the number of judged iterations removes nothing."""
    for keep in ("2", "3", "4"):
        assert "nothing to remove" in command("clean", judged["folder"], "--keep", keep, status=0).out
    assert all(path.exists() for path in tracks(judged, 1))


def test_a_dry_run_removes_nothing(judged: dict[str, Any], command: Command) -> None:
    """--dry-run lists files with their sizes and removes nothing; it includes leftovers of interrupted jobs."""
    partial = tracks(judged, 1)[0].with_name(".kfalignment_011705_00400.root.77.tmp")
    partial.write_bytes(b"x" * 10)
    found = json.loads(command("clean", judged["folder"], "--dry-run", "--json").out)
    assert (found["campaign"], found["dry_run"]) == (judged["name"], True)
    assert found["bytes"] == 2010
    assert [(row["what"], row["files"]) for row in found["removed"]] == [("unfinished files", 1), ("tracks", 2)]
    assert partial.exists()
    assert all(path.exists() for path in tracks(judged, 1))


def test_a_copy_has_nothing_of_its_own_to_remove(judged: dict[str, Any], command: Command, workdir: Path) -> None:
    """clean refuses a copied campaign, or one moved aside by `submit --force`, whose manifest names another one's files."""
    copy = workdir / "c.old"
    shutil.copytree(judged["folder"], copy)
    for words in ((), ("--dry-run",)):
        assert f"is a copy of the campaign in {judged['folder']}" in command("clean", str(copy), *words, status=2).err
    assert all(path.exists() for path in tracks(judged, 1))


def test_files_may_go_meanwhile(judged: dict[str, Any]) -> None:
    """A file that a job removes during the command is not an error."""
    first, second = tracks(judged, 1)
    found = leftovers._of(judged, 1, 1, mille=False)
    assert next(found).path == str(first)
    second.unlink()
    assert list(found) == []


def test_mille_files_stay_while_they_are_compared(judged: dict[str, Any], command: Command) -> None:
    """--mille is refused while the campaign runs, with the reason."""
    assert "is solving" in command("clean", judged["folder"], "--mille", status=2).err


def test_a_file_that_stays_is_told(judged: dict[str, Any], command: Command) -> None:
    """A file that cannot be removed is named with the reason and is not counted as removed; the exit status is 1."""
    if os.geteuid() == 0:
        pytest.skip("root may remove everything")
    place = tracks(judged, 1)[0].parent
    place.chmod(0o500)
    said, parsed = (command("clean", judged["folder"], *words, status=1) for words in ((), ("--json",)))
    place.chmod(0o700)
    assert "stays: Permission denied" in said.err
    assert "0 files, 0 B, removed" in said.out
    answer = json.loads(parsed.out)
    assert (answer["bytes"], answer["removed"], len(answer["stay"])) == (0, [], 2)
