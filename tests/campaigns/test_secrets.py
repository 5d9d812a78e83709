"""Test a whole campaign with failing and successful deliveries for leaked secrets, and with an unusual path."""

import base64
import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import forking
import pytest
from campaigns import hook
from commandline import Result
from desk import IFT_LOCAL_TOML
from nowhere import no_dagman, no_job_begins, until
from receivers import mattermost

from faser_align.campaign import layout
from faser_align.cli import main
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool.personal import Pool
from faser_align.state import registry

PASSWORD, USER = "Kanarie/p@ss 4711", "canaryuser"
TOKEN, WRONG_TOKEN, PATH_SECRET = "kanarietoken1good6i369yima", "kanarietoken2wrong7j470zj", "kanarie-path-secret-0815"
ENVIRONMENT = "kanarie-environment-2342"
# All ways to spell one of them.
CANARIES = [
    *(PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), json.dumps(PASSWORD)[1:-1], PASSWORD.replace(" ", "+")),
    *(base64.b64encode(text.encode()).decode() for text in (PASSWORD, f"\0{USER}\0{PASSWORD}")),
    *(TOKEN, WRONG_TOKEN, PATH_SECRET, ENVIRONMENT),
]
FOLDER, NAME = "ä; `x` & 100% %41 (a) [b] {c} <d> # ~ *? | é=@", "Ünï code, @+=1.x"
CONFIG = (
    IFT_LOCAL_TOML
    + """[campaign]
constants = "start constants.txt"
iterations = 1
[reconstruction]
raw = "raw; files/{run}-{file}.raw"
[simulation]
tracks = 1000
[notify]
targets = ["good", "mail", "wrong", "web", "letter"]
events = ["submitted", "iteration", "held", "lost", "end"]
file = "my targets.toml"
[htcondor]
retries = 0
[htcondor.reco]
memory_mb = 300
"""
)


class Desk:
    """A working folder; the output of every command is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.campaign = folder / NAME
        self.said: list[str] = []

    def run(self, *words: str, status: int | None = 0) -> Result:
        """Run a command in a shell with a secret in its environment."""
        environment = os.environ | {"MY_TOKEN": ENVIRONMENT, "KRB5CCNAME": f"FILE:/tmp/{ENVIRONMENT}"}
        done = forking.run(list(words), folder=self.folder, environment=environment, timeout_s=660)
        self.said += [done.stdout, done.stderr]
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def write_targets(self, text: str) -> None:
        path = self.folder / "my targets.toml"
        path.write_text(text)
        path.chmod(0o600)


@pytest.fixture
def desk(pool: Pool, workdir: Path) -> Iterator[Desk]:
    """Provide a desk whose folder has an odd name, with the files for a campaign of two raw files."""
    folder = workdir / FOLDER
    (folder / "raw; files").mkdir(parents=True)
    for file in (400, 401):
        (folder / "raw; files" / f"011705-{file:05d}.raw").write_text("raw")
    examples = Path(__file__).parents[2] / "examples"
    (folder / "start constants.txt").write_bytes((examples / "align_2025.txt").read_bytes())
    (folder / "faser-align.toml").write_text(CONFIG)
    yield Desk(folder)
    registry.remove(str(folder / NAME))


def commands_with_json(command: Any = None, name: str = "") -> Iterator[str]:
    """Yield the names of all commands that can write JSON."""
    command = command or main.root()
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands_with_json(inner, f"{name} {word}".strip())
    if any("--json" in parameter.opts for parameter in command.params):
        yield name


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every readable regular file below a folder with its content; a pool's files may vanish meanwhile."""
    for path in (Path(top, name) for top, _, names in os.walk(folder) for name in names):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and os.access(path, os.R_OK):
                yield str(path), path.read_bytes()


def leaks(content: bytes) -> list[str]:
    """Return the secrets in a text."""
    return [canary for canary in CANARIES if canary.encode() in content]


def test_secrets_are_nowhere_and_names_are_names(desk: Desk, pool: Pool) -> None:
    """After failed and successful deliveries no file of the campaign contains a secret, and its unusual path works."""
    with Mailbox(desk.folder.parent / "mail") as mailbox, mattermost() as channel:
        channel.token = TOKEN
        login = f"{USER}:{quote(PASSWORD, safe='')}"
        addresses = {
            "good": channel.url(TOKEN),
            "mail": f"mailto://{login}@127.0.0.1:{mailbox.port}?from=a@example.org&to=b@example.org&smtp=127.0.0.1",
            "wrong": channel.url(WRONG_TOKEN),
            "web": f"json://{login}@127.0.0.1:1/{PATH_SECRET}/",
            "letter": mailbox.url("me@example.org"),
        }
        targets = "[targets]\n" + "".join(f'{name} = "{address}"\n' for name, address in addresses.items())
        desk.write_targets(targets)
        desk.run("check", "--json", status=None)
        assert "refused" in desk.run("notify", "test", status=1).out
        submit = ("submit", "-y", "2023", "-r", "11705", "-f", "400-401", "--name", NAME)
        desk.run(*submit, "--dry-run", "--json")
        raw = desk.folder / "raw; files" / "011705-00401.raw"
        with no_job_begins():
            said = desk.run(*submit).out
            raw.unlink()
        desk.run("wait", NAME, "--timeout", "600", status=15)
        raw.write_text("raw")
        said += desk.run("resume", NAME).out
        desk.run("wait", NAME, "--timeout", "600", status=None)
        until(no_dagman)

        status = json.loads(desk.run("status", NAME, "--json").out)
        assert status["state"] in ("exhausted", "converged"), status["reason"]
        assert {row["target"] for row in status["undelivered"]} == {"mail", "wrong", "web"}
        assert any("failed" in post["text"] for post in channel.posts)
        assert any("failed" in letter["Subject"] for letter in mailbox.messages())
        assert not (desk.campaign / layout.HOOKS_LOG).exists()

        steering = f"{desk.campaign}/iter01/{layout.MILLEPEDE}/str.txt"
        typed = {
            "submit": (*submit[1:], "--dry-run"),
            "reco": (*submit[1:7], "--dry-run"),
            "import": (NAME, "-o", "/proc/none"),
            "mille": ("raw; files/011705-00400.raw", "-o", "/proc/none"),
            "solve": (steering,),
            "compare": (NAME, NAME),
            "replay": (NAME, "--set", "convergence.patience=1"),
            "constants show": (NAME,),
            "constants diff": (NAME, "start constants.txt"),
            "plots": (NAME, "-o", "../plots", "--format", "csv"),
            "report": (NAME, "--text"),
            "repair": (NAME, "--dry-run"),
            "clean": (NAME, "--dry-run"),
            **dict.fromkeys(("check", "list", "pool status", "recipes"), ()),
            **dict.fromkeys(("status", "wait", "history", "metrics", "why", "analyze", "verify"), (NAME,)),
        }
        assert set(typed) == set(commands_with_json())
        for command, words in typed.items():
            desk.run(*command.split(), *words, "--json", status=None)
        for command in ("status", "history", "analyze"):
            desk.run(command, NAME)
        desk.run("export", NAME)
        desk.run("report", NAME, "-o", "../report.html")
        desk.run("notify", "retry", NAME, status=None)
        # With unreadable targets and pending messages, commands refuse, and a script delivers nothing.
        for broken in (
            targets + f'"{PASSWORD}',
            f'[targets]\nmail = ["{WRONG_TOKEN}"]\n',
            f'"{PATH_SECRET}" = 1\n',
            targets,
        ):
            desk.write_targets(broken)
            desk.run("notify", "test", "web", status=None)
            desk.run("check", status=None)
            done = hook("final", str(desk.campaign), layout.FINAL_NODE, 0, 0, dag_id="999.0")
            desk.said += [done.stdout, done.stderr]
        assert len(leaks(targets.encode())) == 4  # the search finds the secrets where they are
        (desk.folder / "my targets.toml").chmod(0o640)
        refused = desk.run("notify", "test", status=2)
        assert "is open to others (mode 640): chmod 600" in refused.err
        posts, letters = json.dumps(channel.posts), [file.read_bytes() for file in mailbox.files()]

    everything = {"output": "".join(desk.said).encode(), "posts": posts.encode(), "letters": b"".join(letters)}
    everything["report"] = (desk.folder.parent / "report.html").read_bytes()
    for command in (["condor_q", "-l"], ["condor_history", "-l"]):
        everything[command[0]] = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    assert (
        f"FaserFolder = {json.dumps(str(desk.campaign), ensure_ascii=False)}".encode() in everything["condor_history"]
    )
    for folder in (desk.campaign, pool.folder, registry.home()):
        everything |= dict(files(folder))
    for log in (layout.SCRIPTS_LOG, layout.DAGMAN_OUT, layout.STATE, layout.PUBLISHED, layout.DAG, layout.JOB_LOG):
        assert everything[str(desk.campaign / log)]
    assert {where: found for where, content in everything.items() if (found := leaks(content))} == {}
    assert b"Traceback" not in everything["output"]

    # The odd names appear unchanged: nothing was executed, split, or left elsewhere.
    clusters = re.findall(r"as job (\d+)", said)
    assert len(clusters) == 2
    assert sorted(path.name for path in desk.folder.iterdir()) == sorted(
        [NAME, "faser-align.toml", "my targets.toml", "raw; files", "start constants.txt"]
    )
    (command,) = {
        line.partition("next:")[2].strip()
        for line in "".join(desk.said).splitlines()
        if "next:" in line and "watch" in line
    }
    assert shlex.split(command)[-1] == NAME
