"""Test shell completion of campaign names."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import make_campaign

from faser_align.state import registry


def completed(typed: str, shell: str = "bash", **more: str) -> list[str]:
    """Return what a shell would offer after these words."""
    environment = {
        "PATH": os.environ["PATH"],
        "_FASER_ALIGN_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    program = Path(sys.executable).with_name("faser-align")
    done = subprocess.run([program], env=environment | more, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("verb", ["status", "resume", "compare", "clean", "submit --from", "solve --from"])
def test_names_of_campaigns_are_completed(shell: str, verb: str, campaigns: Path) -> None:
    """After a command the shell offers the campaigns that begin with the typed text."""
    found = " ".join(completed(f"faser-align {verb} con", shell, XDG_STATE_HOME=str(campaigns / "state")))
    assert "converged" in found
    assert "failed" not in found


def test_a_name_with_a_space_is_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bash inserts a name with its spaces escaped; other shells escape them themselves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    registry.add("my own", make_campaign(tmp_path / "my own", files=1, name="my own")["folder"])
    for shell, escaped in (("bash", True), ("zsh", False), ("fish", False)):
        offered = " ".join(completed("faser-align status my", shell, XDG_STATE_HOME=str(tmp_path)))
        assert (r"my\ own" in offered) == escaped
        assert ("my own" in offered) != escaped


def test_without_a_home_nothing_is_completed() -> None:
    """An error, such as a home that is not a folder, offers nothing and writes nothing into the typed line."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "relative",
        "_FASER_ALIGN_COMPLETE": "complete_bash",
        "COMP_WORDS": "faser-align status ",
        "COMP_CWORD": "2",
    }
    program = Path(sys.executable).with_name("faser-align")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("list --state re", ["reconstructing", "reconstructed", "rejected", "removed"]),
        ("export x --format ", ["json", "csv"]),
        ("export x --table it", ["iterations"]),
        ("diagram --format d", ["dot"]),
        ("init --profile l", ["local", "lxplus"]),
        ("stop x --after i", ["iteration"]),
        ("constants export x -o y --format c", ["calypso", "csv"]),
    ],
)
def test_values_complete_in_the_shell(typed: str, found: list[str]) -> None:
    """The shell completes states, formats and tables."""
    assert completed(f"faser-align {typed}") == found


# Each shell's configuration from the page "First campaign on lxplus", and how to recognise its prompt.
SET_UP = {
    "bash": (".bashrc", 'eval "$(faser-align --show-completion)"\n', "PS1='ready'\n"),
    "zsh": (
        ".zshrc",
        'autoload -Uz compinit; compinit -u\neval "$(faser-align --show-completion)"\n',
        "unsetopt prompt_cr prompt_sp\nPS1='ready'\n",
    ),
    "fish": (
        ".config/fish/config.fish",
        "faser-align --show-completion | source\n",
        "function fish_prompt\n    echo -n ready\nend\n",
    ),
}
WAIT_S = 60.0
# Queries of fish to a terminal, and the answers.
ASKED = {b"\x1b[c": b"\x1b[?62;c", b"\x1b[0c": b"\x1b[?62;c", b"\x1b[6n": b"\x1b[1;1R"}


def _read_until(terminal: int, wanted: str) -> str:
    """Read a shell's terminal output until ``wanted`` appears, or until a timeout."""
    written = b""
    while wanted not in re.sub(r"\x1b\[[0-9;?>=]*[A-Za-z]", "", written.decode(errors="replace")):
        ready, _, _ = select.select([terminal], [], [], WAIT_S)
        if not ready:
            break
        part = os.read(terminal, 65536)
        written += part
        for question, answer in ASKED.items():
            if question in part:
                os.write(terminal, answer)
    return written.decode(errors="replace")


@pytest.mark.parametrize("shell", [shell for shell in SET_UP if shutil.which(shell)])
def test_a_real_shell_completes_names(shell: str, campaigns: Path, tmp_path: Path) -> None:
    """On a terminal the first Tab completes a campaign's name, with the documented shell configuration."""
    page = (Path(__file__).parents[2] / "docs" / "first-campaign-on-lxplus.md").read_text(encoding="utf-8")
    name, text, prompt = SET_UP[shell]
    assert text.splitlines()[-1] in page
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + prompt)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "XDG_STATE_HOME": str(campaigns / "state"),
    }
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe(shell, [shell, "-i"], environment)
    try:
        assert "ready" in _read_until(terminal, "ready")
        os.write(terminal, b"faser-align status conv\t")
        assert "converged" in _read_until(terminal, "converged")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
