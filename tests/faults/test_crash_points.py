"""Every hook is killed at one executed line after another, run again, and must leave what an undisturbed run leaves.

``make test`` tries every 37th line of each hook, beginning at another one each day; FASER_ALIGN_SOAK=1 tries them all.
"""

import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import HOOK, hook, make_campaign, metrics, run_iteration, write_metrics, write_output

from faser_align.config import layout
from faser_align.fsm import statuses
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import verify

STRIDE = 1 if os.environ.get("FASER_ALIGN_SOAK") else 37
PACKAGES = str(Path(HOOK).parents[2])
CRASH = Path(__file__).parents[1] / "support" / "crash.py"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Record = dict[str, Any]
Call = tuple[Any, ...]


def first(record: Record) -> Call:
    """PRE of the campaign's very first node: submitted and reconstructing as well."""
    return ("pre", record["folder"], layout.reco_node(1, 1, 400), 0, 2)


def after_spool(record: Record) -> Call:
    """PRE that has an event of the spool to take in before its own."""
    from faser_align.state import create

    create.record_submitted(record["folder"], 12)
    return first(record)


def succeeded(record: Record) -> Call:
    """POST of a reconstruction that is whole."""
    hook(*first(record))
    write_output(record, 1, 1, 400)
    return ("post", record["folder"], layout.reco_node(1, 1, 400), 0, 2, 0, "13.0", 0)


def failed(record: Record) -> Call:
    """POST of a reconstruction that failed for good."""
    hook(*first(record))
    return ("post", record["folder"], layout.reco_node(1, 1, 400), 0, 2, statuses.RAW_MISSING, "13.0", 0)


def held(record: Record) -> Call:
    """HOLD, which sends a message."""
    hook(*first(record))
    return ("hold", record["folder"], layout.reco_node(1, 1, 400), "13.0", 0)


def solving(record: Record) -> Call:
    """PRE of a Millepede node."""
    for file in record["files"]:
        hook("pre", record["folder"], layout.reco_node(1, 1, file), 0, 2)
    return ("pre", record["folder"], layout.mille_node(1, 1), 0, 2)


def converged(record: Record) -> Call:
    """POST of the Millepede node that ends the campaign, which sends a message."""
    for i in (1, 2, 3):
        run_iteration(record, i)
    hook("pre", record["folder"], layout.reco_node(1, 4, 400), 0, 2)
    hook("pre", record["folder"], layout.mille_node(1, 4), 0, 2)
    write_metrics(record, metrics(4, files=1))
    return ("post", record["folder"], layout.mille_node(1, 4), 0, 2, 0, "904.0", 0)


def removed(record: Record) -> Call:
    """FINAL of a campaign that was removed, which sends a message."""
    hook(*first(record))
    return ("final", record["folder"], "final", 4, 0)


def picture(folder: Path) -> list[Any]:
    """Everything in the store and in its published copy but times, and what waits in the spool."""
    seen: list[Any] = []
    for name in (layout.STATE, layout.PUBLISHED):
        db = sqlite3.connect(":memory:")
        try:
            db.deserialize((folder / name).read_bytes())
            assert verify.findings(db) == []
            db.execute("UPDATE outbox SET tries = 0")  # a claim that was killed counts as a try
            seen.append([TIME.sub("then", line) for line in db.iterdump()])
        finally:
            db.close()
    return [*seen, sorted(path.name for path in (folder / layout.SPOOL).iterdir())]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("prepare", [first, after_spool, succeeded, failed, held, solving, converged, removed])
def test_a_hook_that_is_killed_anywhere_is_completed_by_the_next_run(
    prepare: Callable[[Record], Call], tmp_path: Path
) -> None:
    """Killed at any line and run again, a hook has done everything once, and answers as it should."""
    folder, saved, counted = tmp_path / "campaign", tmp_path / "saved", tmp_path / "counted"
    targets = tmp_path / "targets.toml"
    with Mailbox(tmp_path / "mail") as mailbox:
        targets.write_text(f'[targets]\nme = "{mailbox.url("me@example.org")}"\n')
        targets.chmod(0o600)
        notify = {"targets": ["me"], "events": ["end", "held"], "file": str(targets)}
        record = make_campaign(folder, files=1, config={"notify": notify})
        call = prepare(record)
        shutil.copytree(folder, saved)

        def run(last: int) -> int:
            return hook(
                *call, interpreter=(sys.executable, "-I", "-S", str(CRASH), str(last), str(counted), PACKAGES)
            ).returncode

        # The first run finds no compiled copy of what it imports late, and so on: count in the second.
        for _ in range(2):
            shutil.rmtree(folder)
            shutil.copytree(saved, folder)
            letters = len(mailbox.files())
            expected = run(0)
        told = len(mailbox.files()) - letters
        undisturbed = picture(folder)
        lines = int(counted.read_text())
        start = 1 + int(time.time() // 86400) % STRIDE
        for last in range(start, lines + 1, STRIDE):
            shutil.rmtree(folder)
            shutil.copytree(saved, folder)
            letters = len(mailbox.files())
            assert run(last) == -9, last
            assert hook(*call).returncode == expected, last
            assert picture(folder) == undisturbed, last
            # Between sending and marking a message may be repeated; it is never lost.
            assert told <= len(mailbox.files()) - letters <= 2 * told, last
            new = mailbox.messages()[letters:]
            assert len({letter["X-Faser-Align-Key"] for letter in new}) == told, last
