"""Test usage errors, which every command reports in the same way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import Command

SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("submit",), "missing options -y, -r and -f; see `faser-align submit --help`"),
        (("submit", "-y", "2023", "-f", "400"), "missing option -r; see `faser-align submit --help`"),
        (("submit", "-y", "2023", "-r", "1"), "missing option -f; see `faser-align submit --help`"),
        ((*SUBMIT, "-i", "abc"), "-i abc: must be a whole number; see"),
        (("extend", "x", "-i", "many"), "-i many: must be a whole number; see"),
        (("why", "x", "--iteration", "-1"), "--iteration -1: must be at least 1; see"),
        (("list", "--year", "soon"), "--year soon: must be a whole number; see"),
        (("wait", "x", "--timeout", "soon"), "--timeout soon: must be a number; see"),
        (("wait", "x", "--timeout", "-1"), "--timeout -1: must be at least 0; see"),
        (("wait", "x", "--interval", "inf"), "--interval inf: must be at most 3600; see"),
        (("watch", "x", "--interval", "1e300"), "--interval 1e300: must be at most 3600; see"),
        (("reco", *SUBMIT[1:], "-n", "100"), "-n 100: must be at most 99; see"),
        (("status",), "missing the name of a campaign, which `faser-align list` shows; see"),
        (("pool", "start", "--cpus", "0"), "--cpus 0: must be at least 1; see"),
        (("stat",), "no such command 'stat'; did you mean 'status' or 'constants'; see"),
        (("metrics", "x", "--plto"), "no such option: --plto; did you mean --plain or --plot; see"),
        (("constants", "export", "x", "-o", "y", "--format=z"), "--format z: must be one of 'calypso', 'json', 'csv'"),
        (("status", "a", "b"), "unexpected argument b; see"),
        (("--verbose",), "no such option: --verbose"),
    ],
)
def test_one_sentence(words: tuple[str, ...], said: str, plain_command: Command) -> None:
    """A usage error gives exit status 2 and one line that refers to the help."""
    left = plain_command(*words)
    assert (left.status, left.out) == (2, "")
    assert left.err.startswith(f"error: {said}")
    assert left.err.count("\n") == 1
    assert "--help`" in left.err


def test_each_mistake_of_a_file_has_its_line(
    plain_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two errors in one configuration are two lines on standard error."""
    monkeypatch.chdir(tmp_path)
    Path("faser-align.toml").write_text('[campaign]\niterations = 0\n[reconstruction]\ndirection = "up"\n')
    first, second = plain_command(*SUBMIT, "--dry-run", status=2).err.splitlines()
    assert first.startswith("error: faser-align.toml: campaign.iterations = 0 is not allowed")
    assert second.startswith(
        'error: faser-align.toml: reconstruction.direction = "up" is not allowed: it must be "forward" or'
    )


def test_a_current_folder_that_was_removed(tmp_path: Path) -> None:
    """If the current folder is gone, a command that needs it says so."""
    words = ["sh", "-c", 'rmdir "$PWD" && exec "$0" -P -m faser_align.cli status x', sys.executable]
    left = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (left.returncode, left.stderr) == (1, "error: the current folder is gone; change to another one\n")


def test_the_command_is_named_as_it_was_typed(plain_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the launcher that was typed."""
    monkeypatch.setenv("FASER_ALIGN_COMMAND", "build/faser-align")
    assert plain_command("pool", "start", "now").err.endswith("; see `build/faser-align pool start --help`\n")


@pytest.mark.parametrize("words", [(), ("pool",), ("constants",), ("notify",)])
def test_without_a_command_the_help_is_shown(words: tuple[str, ...], plain_command: Command) -> None:
    """A group without a command lists its commands."""
    left = plain_command(*words)
    assert ("Commands:" if words else "Follow and judge:") in left.out + left.err
    assert "error" not in left.err


def test_help_and_version_succeed(plain_command: Command) -> None:
    """--help and --version write to standard output, with exit status 0."""
    for words in (("--help",), ("--version",), ("pool", "--help")):
        left = plain_command(*words)
        assert (left.status, left.err) == (0, "")
        assert left.out


@pytest.mark.parametrize("words", [("list",), ("--help",), ("list", "--json"), ("diagram",)])
@pytest.mark.parametrize(
    ("to", "status", "said"), [("/dev/full", 1, "error: No space left on device\n"), (None, 1, "")]
)
def test_output_that_nobody_takes(
    words: tuple[str, ...], to: str | None, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is reported in one sentence, a closed pipe is not reported; neither gives a traceback."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # `list` would ask about campaigns that other tests left
    command = [sys.executable, "-m", "faser_align.cli", *words]
    reader, unread = os.pipe()
    os.close(reader)
    with open(to or unread, "wb", buffering=0) as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)
