"""Test what pool/prepare.sh does in unusual environments, in a copy without a virtual environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Provide a checkout with an unusual name that has only the shell scripts, and links to the modules."""
    folder = tmp_path / "it's a dïr & [more]"
    modules = folder / "src" / "faser_align"
    modules.mkdir(parents=True)
    for path in (ROOT / "src" / "faser_align").iterdir():
        if path.name != "__pycache__":
            (modules / path.name).symlink_to(path.resolve())
    (folder / "pool").mkdir()
    for path in (ROOT / "pool").glob("*.sh"):
        shutil.copy(path, folder / "pool")
    (folder / "build").mkdir()
    return folder


def call(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with only these variables."""
    known = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, check=False, env=known, capture_output=True, text=True, timeout=120)


def test_clean_removes_the_folders_that_the_program_uses(checkout: Path, tmp_path: Path) -> None:
    """Clean ignores a relative XDG_STATE_HOME and finds its campaigns below a home that is a link, as the program does."""
    home = tmp_path / "disk" / "home"
    state = home / ".local" / "state" / "faser-align"
    demo, spool = state / "demo" / "demo-1", state / "pool" / "spool"
    for folder in (demo, spool, state / "campaigns"):
        folder.mkdir(parents=True)
    (spool.parent / "condor_config").touch()
    (spool / "job_queue.log").write_text(f'103 1.0 Iwd "{demo}"\n')
    (state / "campaigns" / "demo-1.json").write_text(f'{{"folder": "{demo}"}}')
    (tmp_path / "home").symlink_to(home)
    done = call(checkout / "pool" / "prepare.sh", "clean", HOME=str(tmp_path / "home"), XDG_STATE_HOME="here")
    assert done.returncode == 0, done.stderr
    assert f"campaigns of demonstrations in {state}" in done.stderr
    assert sorted(path.name for path in state.rglob("*")) == ["campaigns"]
    assert not (checkout / "build").exists()


def test_clean_removes_no_folder_without_a_pool(checkout: Path, tmp_path: Path) -> None:
    """A folder that FASER_ALIGN_POOL names by mistake keeps its files."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.tex").touch()
    done = call(checkout / "pool" / "prepare.sh", "clean", HOME=str(tmp_path), FASER_ALIGN_POOL=str(work))
    assert f"{work} was not removed: it has no pool; check FASER_ALIGN_POOL" in done.stderr
    assert [path.name for path in work.iterdir()] == ["thesis.tex"]


def test_clean_without_a_home(checkout: Path) -> None:
    """Without a home, clean says so and removes only what is in the checkout."""
    (checkout / "build").mkdir(exist_ok=True)
    done = call(checkout / "pool" / "prepare.sh", "clean", HOME="relative")
    assert done.returncode == 0
    assert "the pool and demonstrations stay: this user has no home; set HOME" in done.stderr
    assert "unbound" not in done.stderr
    assert not (checkout / "build").exists()


def test_the_launcher_starts_from_any_path(checkout: Path, tmp_path: Path) -> None:
    """The launcher made in the C locale finds a program below a path with other letters, without variables of Python."""
    program = checkout / ".venv" / "bin" / "faser-align"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$FASER_ALIGN_COMMAND" "${PYTHONPATH-unset} ${PYTHONHOME-unset}" "$@"\n'
    )
    program.chmod(0o755)
    script = 'here=$1; source "$1/pool/environment.sh"; launcher "$(printf %q "$2")"'
    made = call("bash", "-euc", script, "bash", checkout, tmp_path / "ü", LC_ALL="C")
    assert made.returncode == 0, made.stderr
    shown = call(checkout / "build" / "faser-align", "a b", "ö", LC_ALL="C.UTF-8", PYTHONPATH="/a", PYTHONHOME="/b")
    command, variables, *words = shown.stdout.splitlines()
    assert (variables, words) == ("unset unset", ["a b", "ö"]), shown.stderr
    assert call("bash", "-c", f"printf %s {command}", LC_ALL="C.UTF-8").stdout == str(tmp_path / "ü")


@pytest.mark.parametrize("character", '"$`\\:')
def test_a_path_with_which_pip_fails_is_refused(checkout: Path, character: str) -> None:
    """A checkout whose path pip or venv cannot use is refused at once, with the reason."""
    moved = checkout.rename(checkout.with_name(f"a{character}b"))
    done = call(moved / "pool" / "prepare.sh", "lint", HOME=str(moved))
    assert done.returncode == 2
    assert f"{moved} contains one of" in done.stderr
    assert not (moved / ".venv").exists()
