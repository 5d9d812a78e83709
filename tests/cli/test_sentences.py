"""Test error messages: one plain sentence per error, with its fix."""

from pathlib import Path

import pytest
from campaigns import make_campaign
from commandline import Command, add, configure

from faser_align.config.load import nearest as nearest_key
from faser_align.config.load import parse_config
from faser_align.config.near import nearest
from faser_align.operations import checks_places
from faser_align.operations.checking import CheckContext
from faser_align.pool.personal import Pool
from faser_align.state import registry
from faser_align.system.site_tools import AbsentError

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = ("-y", "2023", "-r", "11705", "-f")


@pytest.fixture
def here(here: Path) -> Path:
    """Provide a folder with a configuration that looks for raw files there."""
    (here / "faser-align.toml").write_text(
        f'[campaign]\nconstants = "{EXAMPLES}/align_2025.txt"\n[simulation]\ntruth = "{EXAMPLES}/align_2025.txt"\n'
        '[reconstruction]\nraw = "raw/{file}.raw"\n'
    )
    return here


def test_each_reason_not_to_submit_has_a_line(plain_command: Command, pool: Pool, here: Path) -> None:
    """Several failed checks are one error each, without literal line breaks."""
    raw = here / "raw"
    raw.mkdir()
    (raw / "00400.raw").write_bytes(b"raw")
    add('[solver]\nbackend = "pede"\npede = "nowhere/pede"\n[python]\njobs = "/nowhere/python"\n')
    done = plain_command("submit", *DATA, "400", status=1)
    assert "\\n" not in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) >= 3
    assert errors[-1] == "error: nothing was submitted; fix this, or submit without checks with --no-check"
    assert [line for line in errors if line.startswith("error: solver: ")]


@pytest.mark.parametrize("key", ["campaign.folder", "storage.data"])
def test_disk_space_of_a_place_that_is_not_there(key: str, tmp_path: Path) -> None:
    """No disk space is reported for a missing folder."""
    table, name = key.split(".")
    config = parse_config(f'[{table}]\n{name} = "{tmp_path}/nowhere"\n', str(tmp_path / "faser-align.toml"))
    with pytest.raises(AbsentError, match=f"{key} = {tmp_path}/nowhere.* does not exist"):
        checks_places.room(CheckContext(config, 1, 2023, "011705", (400,), "a"))


def test_raw_files_that_are_not(plain_command: Command, here: Path) -> None:
    """A directory in place of a raw file is called a directory; a single file is named without a count."""
    one = plain_command("submit", *DATA, "400", "--dry-run")
    assert one.err == (
        f"error: the raw file {here}/raw/00400.raw does not exist; correct -y, -r, -f or reconstruction.raw\n"
    )
    (here / "raw" / "00401.raw").mkdir(parents=True)
    several = plain_command("submit", *DATA, "400-401", "--dry-run")
    assert several.err.startswith(f"error: {here}/raw/00401.raw is a directory, not a raw file; ")


def test_forbidden_characters_are_named_at_once(plain_command: Command, here: Path) -> None:
    """All forbidden characters of a name or path are in one sentence."""
    named = plain_command("submit", *DATA, "400", "--name", "a/b:c%d", "--dry-run")
    assert ", but not '/' ':' '%'" in named.err
    bad = here / """it's "5 $"""
    bad.mkdir()
    configure("[campaign]\n", f"[campaign]\nfolder = '''{bad}'''\n")
    placed = plain_command("submit", *DATA, "400", "--dry-run")
    assert """DAGMan cannot use a path with "'" or '"' or '$'""" in placed.err


def test_suggestions_are_near() -> None:
    """A misspelling gets a suggestion; a word that is only slightly similar gets none."""
    assert nearest("convergd", ["converged", "stopme"]) == "converged"
    assert nearest("god", ["good"]) == "good"
    assert nearest("nope", ["stopme", "one", "opened"]) == ""
    assert nearest_key("convergence.patiense") == "did you mean convergence.patience?"
    assert nearest_key("convergence.wrong").startswith("known here: ")


@pytest.mark.parametrize("damage", ["is missing", "cannot be read"])
def test_a_snapshot_that_cannot_be_read(damage: str, plain_command: Command, here: Path) -> None:
    """For an unreadable snapshot the message names the command that makes it again, and that command works."""
    record = make_campaign(here / "it", files=1, name="it")
    registry.add("it", record["folder"])
    snapshot = Path(record["folder"], "published.db")
    if damage == "is missing":
        snapshot.unlink()
    else:
        snapshot.write_bytes(b"no database" * 100)
    for command in ("status", "history"):
        shown = plain_command(command, "it")
        assert (shown.status, shown.err.count("\n")) == (1, 1)
        assert f"{snapshot} {damage}" in shown.err
    assert f"`faser-align repair {record['folder']}` makes it again" in shown.err
    assert plain_command("repair", record["folder"], "--without-htcondor").status == 0
    assert plain_command("metrics", "it").status == 0


def test_runs_without_files_are_named(plain_command: Command) -> None:
    """Each -r needs its -f."""
    done = plain_command("submit", "-y", "2023", "-r", "1", "-r", "2", "-f", "3", status=2)
    assert "error: found 2 -r and 1 -f; add one -f for each -r, in the same order" in done.err
