"""Test waiting for campaigns and following them."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command
from stored import change

from faser_align.campaign import layout
from faser_align.fsm import table
from faser_align.operations import snapshot, waiting
from faser_align.state import create, database, publish, writer
from faser_align.system import interrupts


def test_every_end_has_an_exit_status_of_its_own() -> None:
    """Successes exit with 0; each other end has its own status, different from errors and the timeout."""
    assert set(waiting.STATUSES) == set(table.ENDS)
    assert {end for end, status in waiting.STATUSES.items() if status == 0} == set(table.SUCCESSES)
    statuses = [*(status for status in waiting.STATUSES.values() if status), waiting.TIMEOUT, 0, 1, 2]
    assert len(set(statuses)) == len(statuses)


@pytest.mark.parametrize("state", table.ENDS)
def test_wait_says_how_it_ended(state: str, command: Command, campaigns: Path, tmp_path: Path) -> None:
    """The exit status and the sentence give the end state."""
    folder = shutil.copytree(campaigns / "converged", tmp_path / "c")
    change(folder / layout.PUBLISHED, "UPDATE campaign SET state = ?", state)
    left = command("wait", str(folder), status=waiting.STATUSES[state])
    assert left.out.startswith(f"converged  {state}: ")


def test_wait_gives_up(command: Command) -> None:
    """A timeout has its own exit status."""
    left = command("wait", "running", "--timeout", "0.2", "--interval", "0.05", status=waiting.TIMEOUT)
    assert "(timeout)" in left.out
    assert "cannot tell whether its DAGMan runs" in left.err
    seen = json.loads(command("wait", "running", "--timeout", "0", "--json").out)
    assert (seen["state"], seen["timeout"], seen["exit_status"]) == ("reconstructing", True, 17)


def test_wait_sees_the_end_come(tmp_path: Path) -> None:
    """An end that is published meanwhile ends the wait."""
    record = make_campaign(tmp_path / "c", files=1)
    hook("pre", record["folder"], layout.reco_node(1, 1, 400), 0, 2)
    timer = threading.Timer(0.3, hook, ("final", record["folder"], "final", 4, 0))
    timer.start()
    try:
        assert waiting.wait(record["folder"], timeout_s=30, interval_s=0.05).end == "removed"
    finally:
        timer.join()


def test_an_end_that_was_resumed_is_none(tmp_path: Path) -> None:
    """After ``resume`` the old end state does not count, even before a script has run."""
    record = make_campaign(tmp_path / "c", files=1)
    hook("final", record["folder"], "final", 4, 0)
    assert waiting.ended(record["folder"]) == "removed"
    create.record_submitted(record["folder"], 13, resumed=True)
    assert waiting.ended(record["folder"]) is None
    assert waiting.wait(record["folder"], timeout_s=0.1, interval_s=0.05) == (None, "")


@pytest.mark.slow
def test_a_copy_that_is_just_being_made_is_waited_for(tmp_path: Path) -> None:
    """Between a script's recording of a resumption and its snapshot the old end is ignored."""
    record = make_campaign(tmp_path / "c", files=1)
    folder = record["folder"]
    hook("final", folder, "final", 4, 0)
    event = {"phase": "control", "event": "resumed", "dag_id": "13.0", "utc": database.utc(), "host": "h"}
    # The previous copy took so long that the next one begins 3 s after it.
    Path(folder, f"{layout.PUBLISHED}.now").write_text(f"{time.time():.6f} 0.13".ljust(64))
    writer.take(folder, event)
    hooks = threading.Thread(target=publish.publish, args=(folder,))
    hooks.start()
    try:
        assert waiting.ended(folder) is None
    finally:
        hooks.join()


def test_watch_without_a_terminal_writes_a_line_for_each_change(tmp_path: Path) -> None:
    """Without a terminal watch prints changes in order, the end last, and exits."""
    record = make_campaign(tmp_path / "c", files=1, config={"campaign": {"iterations": 2}})
    watching = subprocess.Popen(
        [sys.executable, "-m", "faser_align.cli", "watch", record["folder"], "--interval", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FASER_ALIGN_POOL": str(tmp_path / "no-pool")},  # no DAGMan in a running pool
    )
    try:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        for iteration in (1, 2):
            run_iteration(record, iteration)
        out, err = watching.communicate(timeout=120)
    finally:
        watching.kill()
    assert watching.returncode == 0, err
    assert first == "Y2023_R011705_F400-405  created: it was created, but HTCondor has not started it\n"
    events = re.findall(r"^\d\d:\d\d:\d\d  campaign  (\S+ -> [^\s:]+|[^\s:]+)", out, re.MULTILINE)
    assert events == [
        "created -> submitted",
        *("submitted -> reconstructing", "reconstructing -> solving", "solving"),
        *("solving -> reconstructing", "reconstructing -> solving", "solving -> exhausted"),
    ]
    assert (
        "next:\n  faser-align metrics Y2023_R011705_F400-405\nfor five more iterations, unless the reason says to start again:\n  faser-align extend "
        in out
    )


def test_a_hold_that_came_late_is_told_and_names_no_job_to_release(tmp_path: Path) -> None:
    """watch shows every hold; `status` names only currently held jobs for release."""
    record = make_campaign(tmp_path / "c", files=1)
    folder, node = record["folder"], layout.reco_node(1, 1, 400)
    hook("pre", folder, node, 0, 2)
    hook("post", folder, node, 0, 2, 1, "33.0", 0)
    hook("pre", folder, node, 1, 2)
    for job in ("34.0", "33.0"):
        hook("hold", folder, node, job, 1)
    (held,) = snapshot.take(folder)["held"]
    assert held["job_id"] == "34.0"
    hook("final", folder, "final", 4, 0)
    seen: list[Any] = []
    assert waiting.follow(folder, seen.append, after=0, interval_s=0.05) == "removed"
    assert [row["job_id"] for row in seen if row["event"] == "held"] == ["34.0", "33.0"]


def test_watch_of_a_campaign_that_has_ended(command: Command) -> None:
    """For an ended campaign watch shows the end and the path of the constants."""
    left = command("watch", "converged", status=0)
    assert left.out.startswith("converged  converged: expected delta chi2 per parameter 0.004")
    assert "next:\n  faser-align report converged" in left.out


def _on_a_terminal(
    folder: Path, *, interrupt_at: bytes = b"", command: str = "watch", number: signal.Signals = signal.SIGINT
) -> tuple[int, bytes]:
    """Watch or wait on a terminal, with Ctrl-C or another signal after an output; return the exit status and the output."""
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
    environment["FASER_ALIGN_POOL"] = str(folder / "no-pool")  # no DAGMan in a running pool
    watching = subprocess.Popen(
        [sys.executable, "-m", "faser_align.cli", command, str(folder)],
        stdout=other,
        stderr=other,
        stdin=other,
        env=environment,
    )
    os.close(other)
    shown = b""
    try:
        while True:
            if interrupt_at and interrupt_at in shown:
                watching.send_signal(number)
                interrupt_at = b""
            try:
                part = os.read(main, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not part:
                break
            shown += part
        return watching.wait(timeout=60), shown
    finally:
        os.close(main)
        watching.kill()


def _plain(shown: bytes) -> str:
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().replace("\r\n", "\n")


def test_watch_on_a_terminal_draws_the_status(campaigns: Path) -> None:
    """On a terminal the status is drawn, and remains after the campaign's end."""
    status, shown = _on_a_terminal(campaigns / "converged")
    assert status == 0
    assert "converged  converged" in _plain(shown)
    assert "faser-align report converged" in _plain(shown)
    assert b"\x1b[" in shown


def test_wait_that_is_interrupted_says_that_the_campaign_goes_on(campaigns: Path) -> None:
    """After Ctrl-C wait prints the command to wait again."""
    folder = campaigns / "running"
    status, shown = _on_a_terminal(folder, interrupt_at=b"pool start`", command="wait")
    assert status == 130
    assert _plain(shown).endswith(f"the campaign continues; wait again with `faser-align wait {folder}`\n")


@pytest.mark.parametrize("number", interrupts.INTERRUPTS)
def test_watch_that_is_interrupted_leaves_the_last_screen(campaigns: Path, number: signal.Signals) -> None:
    """After Ctrl-C, SIGTERM or SIGHUP the last screen and the command to watch again remain; the campaign is unchanged."""
    folder = campaigns / "running"
    status, shown = _on_a_terminal(folder, interrupt_at=b"constants so far", number=number)
    assert status == 130
    last = _plain(shown.rpartition(b"\x1b[2K")[2])  # the live display was erased
    assert last.lstrip("\n").startswith("▸ running  reconstructing\n")
    assert "iteration 2: 1 of 3 nodes done, 1 in HTCondor\n" in last
    end = " ".join(last.partition("next:\n")[2].split())
    assert end == (f"faser-align watch running the campaign continues; watch again with `faser-align watch {folder}`")
