"""Test every command with closed streams, encodings that lack characters, and closed pipes."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import forking
import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import commands
from nowhere import no_job_begins

from faser_align.alignment.parameters.constants import write_constants
from faser_align.cli import main, streams
from faser_align.dag import submit
from faser_align.pool.personal import Pool
from faser_align.state import registry

COMMAND = [sys.executable, "-m", "faser_align.cli"]
NAME = "żółw"

# Arguments of each command; {name} is a converged campaign, {old} a file of constants, {new} a new file.
WORDS = {
    "init": ("init", "-o", "{new}"),
    "check": ("check", "--config", "nowhere-ż.toml"),
    "submit": ("submit", "-y", "2023", "-r", "11705", "-f", "400", "--config", "nowhere-ż.toml"),
    "import": ("import", "nowhere-ż.json"),
    "reco": ("reco", "-y", "2023", "-r", "11705", "-f", "400", "--config", "nowhere-ż.toml"),
    "metrics": ("metrics", "{name}", "--plot"),
    "report": ("report", "{name}", "--text"),
    "compare": ("compare", "{name}", "other"),
    "plots": ("plots", "{name}", "-o", "{new}-plots", "--format", "csv"),
    "replay": ("replay", "{name}", "--set", "convergence.patience=ż"),
    "extend": ("extend", "{name}", "-i", "2"),
    "set": ("set", "{name}", "convergence.patience=ż"),
    "repair": ("repair", "{name}", "--dry-run", "--without-htcondor"),
    "clean": ("clean", "{name}", "--dry-run"),
    "move": ("move", "{name}", "nowhere-ż/ż", "--dry-run"),
    "mille": ("mille", "nowhere-ż.root", "-o", "{new}"),
    "solve": ("solve", "nowhere-ż"),
    "demo": ("demo", "--help"),
    "notify test": ("notify", "test", "ż"),
    "notify retry": ("notify", "retry", "{name}"),
    "constants show": ("constants", "show", "{name}"),
    "constants diff": ("constants", "diff", "{name}", "{old}"),
    "constants add": ("constants", "add", "{old}", "{old}", "-o", "{new}"),
    "constants correction": ("constants", "correction", "nowhere-ż.res", "-o", "{new}"),
    "constants export": ("constants", "export", "{name}", "-o", "{new}"),
    "pool start": ("pool", "start", "--help"),
    "pool stop": ("pool", "stop"),
    "pool status": ("pool", "status"),
    **{verb: (verb,) for verb in ("recipes", "list", "diagram")},
    **{verb: (verb, "{name}") for verb in ("status", "watch", "wait", "history", "why", "analyze", "export", "verify")},
    **{verb: (verb, "{name}") for verb in ("stop", "resume")},
}


@pytest.fixture(scope="module")
def place(session_folder: Path) -> Iterator[Path]:
    """Provide a folder with two converged campaigns, one with a non-ASCII name, and a file of constants."""
    root = session_folder / "streams"
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CONFIG", "CACHE"):
            patch.setenv(f"XDG_{kind}_HOME", str(root / kind))
        for name in (NAME, "other"):
            record = make_campaign(root / name, files=1, name=name)
            for i in range(1, 5):
                run_iteration(record, i)
            hook("final", record["folder"], "final", 0, 0)
            registry.add(record["name"], record["folder"])
        write_constants(root / "old.txt", {"00": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)})
        yield root


def typed(command: str, place: Path) -> list[str]:
    """Return the arguments of a command."""
    (place / "new").unlink(missing_ok=True)
    return [word.format(name=NAME, old=place / "old.txt", new=place / "new") for word in WORDS[command]]


def run(words: list[str], place: Path, redirection: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a shell, which redirects its streams."""
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", *COMMAND, *words]
    env = os.environ | {"LC_ALL": "C.UTF-8"} | environment
    return subprocess.run(
        shell, cwd=place, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=120, check=False,
    )  # fmt: skip


def test_every_command_is_tried() -> None:
    """The table above has every command of the program."""
    assert {" ".join(path) for path in commands(main.root())} == set(WORDS)


@pytest.mark.parametrize("command", WORDS)
def test_streams_that_lack_something(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ASCII or Latin-1 output, or with a closed stream, a command ends in the same way, without a traceback."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(place / "no-pool"))  # `pool stop` must not stop the pool of other tests
    expected = forking.run(typed(command, place), folder=place)
    ascii_only = forking.run(typed(command, place), folder=place, encoding="ascii")
    unseen = forking.run(typed(command, place), folder=place, closed=(1,))
    for done in (expected, ascii_only, unseen):
        assert "Traceback" not in done.stderr, done.stderr
    silent = forking.run(typed(command, place), folder=place, encoding="latin-1", closed=(0, 2))
    assert [done.returncode for done in (ascii_only, unseen, silent)] == [expected.returncode] * 3
    assert unseen.stdout == ""


def test_file_names_are_utf8_in_any_locale(place: Path) -> None:
    """Where Python would take file names as ASCII, a campaign with other letters is found; output stays ASCII."""
    ascii_names = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name in (NAME, str(registry.find(NAME))):
        shown = run(["status", name, "--json"], place, **ascii_names)
        assert (json.loads(shown.stdout)["name"], shown.stderr) == (NAME, "")
    assert run(["status", NAME], place, **ascii_names).stdout.isascii()


def test_a_drawing_in_ascii(place: Path) -> None:
    """If the encoding lacks Braille, `metrics --plot` draws curves in ASCII."""
    drawn = run(typed("metrics", place), place, PYTHONIOENCODING="ascii").stdout
    assert re.search(r"\| .*o", drawn)
    assert drawn.isascii()
    assert "\\u" not in drawn.split("chi2/ndf of the reconstruction")[1]


def test_a_closed_stream_takes_no_file_of_a_campaign(place: Path) -> None:
    """With closed streams no output gets into a file that the command writes."""
    assert run(typed("init", place), place, ">&- 2>&- <&-").returncode == 0
    text = (place / "new").read_text()
    assert forking.run(typed("init", place), folder=place).returncode == 0
    assert (place / "new").read_text() == text


def unread(words: list[str], place: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run([*COMMAND, *words], cwd=place, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)  # fmt: skip
    finally:
        os.close(writing)


def test_a_command_is_carried_out_without_a_reader(place: Path) -> None:
    """A command that changes something completes after its pipe is closed, and says so; one that only shows ends."""
    for command in ("init", "constants add"):
        done = unread(typed(command, place), place)
        assert (done.returncode, (place / "new").exists()) == (0, True)
        assert done.stderr == "warning: the reader of the output has left; the command ran to its end\n"
    for words in (typed("history", place), ["constants", "show", "old.txt"]):
        shown = unread(words, place)
        assert (shown.returncode, shown.stderr) == (1, "")


def test_commands_that_only_show_are_named() -> None:
    """Each command or group listed as ending with its pipe exists."""
    assert set(streams.SHOWING) <= {command.partition(" ")[0] for command in WORDS}


def test_submit_into_head_submits(pool: Pool, workdir: Path) -> None:
    """`submit ... | head -n 1` submits the campaign, shows its first line, and reports the closed pipe."""
    assert forking.run(["init"], folder=workdir).returncode == 0
    submit = f"{shlex.join(COMMAND)} submit -y 2023 -r 11705 -f 400 -i 1 --name headed"
    with no_job_begins():
        done = subprocess.run(
            ["bash", "-c", f"{{ {submit}; echo status $? >&2; }} | head -n 1"],
            cwd=workdir,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout == "campaign:     headed\n"
        assert "status 0\n" in done.stderr
        assert "the reader of the output has left; the command ran to its end" in done.stderr
        assert "Traceback" not in done.stderr
        assert forking.run(["stop", "headed", "--yes"], folder=workdir).returncode == 0


def test_two_threads_that_submit_keep_standard_output() -> None:
    """Standard output is the same file after two threads have silenced HTCondor's bindings at the same time."""
    expected, leave = os.fstat(1), threading.Event()

    def other() -> None:
        with submit._silent():
            leave.wait(10)

    thread = threading.Thread(target=other)
    with submit._silent():
        thread.start()
        time.sleep(0.2)
    leave.set()
    thread.join()
    assert os.path.samestat(os.fstat(1), expected)
