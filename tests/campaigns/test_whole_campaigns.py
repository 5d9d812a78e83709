"""Test whole campaigns on a real pool, from the command line to the delivered message: the four ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from campaigns import make_old
from desk import COMMAND, SIMULATION, Desk, cluster_of
from nowhere import until
from poolcampaigns import make_stub
from receivers import text_of, words_of
from stored import seen

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import schema

NAME = "Y2023_R011705_F400-401"
SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400-401", "--no-check")
CONFIG = (
    SIMULATION
    + """[python]
jobs = "{stub}/job"
[notify]
targets = ["me", "group"]
file = "targets.toml"
[htcondor]
retries = 1
[htcondor.reco]
memory_mb = 300
requirements = "{requirements}"
"""
)


def configure(desk: Desk, *, requirements: str = "") -> Path:
    """Write the configuration of a campaign that converges in its fourth iteration; return the folder of its jobs' orders."""
    stub = desk.folder / "stub"
    desk.configure(CONFIG, stub=stub, requirements=requirements)
    return make_stub(stub, files=2, iterations=10, quiet_from=3)


def test_a_campaign_converges_and_tells_it_once(desk: Desk) -> None:
    """A campaign submitted in a terminal that is killed converges early, ends with success, and notifies once."""
    configure(desk)
    terminal = subprocess.Popen(
        [*COMMAND, *SUBMIT], cwd=desk.folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    said, _ = terminal.communicate(timeout=300)
    with pytest.raises(ProcessLookupError):  # no process of the session is left for a hang-up
        os.killpg(terminal.pid, signal.SIGHUP)
    desk.wait(NAME)
    dagman = desk.dagman(cluster_of(said))
    assert (dagman["ExitBySignal"], dagman["ExitCode"]) == (False, 0)
    status = desk.read("status", NAME)
    last = status["iteration"]
    assert status["state"] == "converged"
    assert last == 4
    assert {layout.parse_node(node)[2] for node in desk.jobs()} == set(range(1, last + 1))
    assert not list(desk.campaign.glob("*.rescue*"))
    assert sorted(path.name for path in desk.campaign.glob("iter*")) == [f"iter{i:02d}" for i in range(1, last + 1)]
    (letter,) = desk.mailbox.messages()
    assert "converged" in letter["Subject"]
    assert letter["X-Faser-Align-Key"].startswith(NAME)
    (post,) = desk.channel.posts
    assert "converged" in post["text"]
    assert (desk.campaign / f"iter{last:02d}" / layout.MILLEPEDE / layout.CONSTANTS).exists()
    assert desk.events()[-1] == "converged"
    assert not (desk.campaign / layout.HOOKS_LOG).exists()


def test_a_failed_campaign_is_resumed_in_one_history(desk: Desk) -> None:
    """A job that always fails ends the campaign as failed, with names and reasons; resume finishes it.

    A campaign with fewer iterations than convergence needs ends as exhausted, and says so.
    """
    node = layout.reco_node(1, 1, 401)
    order = configure(desk) / node
    order.write_text(str(exit_codes.RAW_MISSING))
    said = desk.run(*SUBMIT, "-i", "1")
    desk.wait(NAME, status=15)
    first = cluster_of(said)
    assert desk.dagman(first)["ExitCode"] != 0
    assert (desk.campaign / f"{layout.DAG}.rescue001").exists()
    (letter,) = desk.mailbox.messages()
    text = text_of(letter)
    assert "failed" in letter["Subject"]
    assert node in text
    assert "raw file missing or unreadable" in text
    assert node in words_of(desk.channel.posts[0])
    assert "raw file missing" in desk.run("status", NAME)

    order.unlink()
    make_old(str(desk.campaign))
    said = desk.run("resume", NAME)
    assert seen(desk.campaign, schema.applied) == schema.names()  # an older program's campaign is migrated
    desk.wait(NAME, status=10)
    assert desk.dagman(cluster_of(said))["ExitCode"] == 0
    assert desk.read("status", NAME)["state"] == "exhausted"
    rows = desk.read("history", NAME)
    assert {row["dag_id"] for row in rows if row["dag_id"]} == {f"{first}.0", f"{cluster_of(said)}.0"}
    events = desk.events()
    assert events[:4] == ["created", "submitted", "reconstruction_started", "final_failed"]
    assert events[4] == "resumed"
    assert events[-1] == "limit"
    done = [row for row in rows if row["subject"] == layout.reco_node(1, 1, 400) and row["event"] == "started"]
    assert len(done) == 1  # completed nodes do not run again
    assert desk.kinds() == ["failed", "exhausted"]


def test_a_stopped_campaign_is_removed_and_nothing_ran_while_it_waited(desk: Desk) -> None:
    """While jobs wait in the queue no process of ours runs; stop ends the campaign as removed, and it can be resumed."""
    configure(desk, requirements="false")
    said = desk.run(*SUBMIT)

    def queued() -> bool:
        return [row["nodes"].get("queued") for row in desk.read("status", NAME)["iterations"][:1]] == [2]

    until(lambda: queued() and not ours_running(desk.folder))
    for _ in range(20):
        assert ours_running(desk.folder) == []
        time.sleep(0.1)
    desk.run("stop", NAME, "--yes")
    assert desk.read("status", NAME)["state"] == "removed"
    desk.dagman(cluster_of(said))
    desk.run("wait", NAME, status=16)
    assert desk.events()[-1] == "final_removed"
    (letter,) = desk.mailbox.messages()
    assert "removed" in letter["Subject"]


def ours_running(folder: Path) -> list[str]:
    """Return the command lines of scripts, jobs and commands of campaigns in ``folder``."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and process.stat().st_uid == os.geteuid() and process.name != str(os.getpid()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                ours = any(word.startswith(b"faser_align.") or word.endswith(b"hooks/run.py") for word in words)
                if ours and any(str(folder).encode() in word for word in words):
                    found.append(b" ".join(words).decode())
        except OSError:
            continue
    return found
