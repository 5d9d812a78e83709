"""Prepare one script of each kind, record what it leaves, and restore its campaign."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

from campaigns import hook, make_campaign, metrics, run_iteration, write_metrics, write_output
from receivers import notify
from stored import change_by_hand

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import create, redolog, verify

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Record = dict[str, Any]
Call = tuple[Any, ...]
Prepare = Callable[[Record], Call]


def first(record: Record) -> Call:
    """Prepare PRE of the campaign's first node, which also moves the campaign to reconstructing."""
    return ("pre", record["folder"], layout.reco_node(1, 1, 400), 0, 2)


def after_spool(record: Record) -> Call:
    """Prepare PRE that must first ingest an event of the event queue."""
    create.record_submitted(record["folder"], 12)
    return first(record)


def succeeded(record: Record) -> Call:
    """Prepare POST of a complete reconstruction."""
    hook(*first(record))
    write_output(record, 1, 1, 400)
    return ("post", record["folder"], layout.reco_node(1, 1, 400), 0, 2, 0, "13.0", 0)


def failed(record: Record) -> Call:
    """Prepare POST of a reconstruction that failed for good."""
    hook(*first(record))
    return ("post", record["folder"], layout.reco_node(1, 1, 400), 0, 2, exit_codes.RAW_MISSING, "13.0", 0)


def lost(record: Record) -> Call:
    """Prepare POST of a reconstruction that failed for good and is dropped, which sends a message."""
    call = failed(record)
    change_by_hand(Path(record["folder"], layout.STATE), "UPDATE campaign SET lost_max = 1")
    return call


def held(record: Record) -> Call:
    """Prepare HOLD, which sends a message."""
    hook(*first(record))
    return ("hold", record["folder"], layout.reco_node(1, 1, 400), "13.0", 0)


def solving(record: Record) -> Call:
    """Prepare PRE of a Millepede node."""
    for file in record["files"]:
        hook("pre", record["folder"], layout.reco_node(1, 1, file), 0, 2)
    return ("pre", record["folder"], layout.mille_node(1, 1), 0, 2)


def going_on(record: Record) -> Call:
    """Prepare POST of a Millepede node after which the campaign continues."""
    solving(record)
    hook("pre", record["folder"], layout.mille_node(1, 1), 0, 2)
    write_metrics(record, metrics(1, files=1))
    return ("post", record["folder"], layout.mille_node(1, 1), 0, 2, 0, "901.0", 0)


def unsolved(record: Record) -> Call:
    """Prepare POST of a Millepede node without a solution."""
    solving(record)
    hook("pre", record["folder"], layout.mille_node(1, 1), 0, 2)
    return ("post", record["folder"], layout.mille_node(1, 1), 0, 2, exit_codes.SOLVER, "901.0", 0)


def converged(record: Record) -> Call:
    """Prepare POST of the Millepede node that ends the campaign, which sends a message."""
    for i in (1, 2, 3):
        run_iteration(record, i)
    hook("pre", record["folder"], layout.reco_node(1, 4, 400), 0, 2)
    hook("pre", record["folder"], layout.mille_node(1, 4), 0, 2)
    write_metrics(record, metrics(4, files=1))
    return ("post", record["folder"], layout.mille_node(1, 4), 0, 2, 0, "904.0", 0)


def removed(record: Record) -> Call:
    """Prepare FINAL of a removed campaign, which sends a message."""
    hook(*first(record))
    return ("final", record["folder"], "final", 4, 0)


def ended_failed(record: Record) -> Call:
    """Prepare FINAL of a campaign with a failed node, which sends a message, with an event in the event queue."""
    hook(*failed(record))
    create.record_submitted(record["folder"], 12)
    return ("final", record["folder"], "final", 2, 1)


LIGHT: tuple[Prepare, ...] = (first, after_spool, succeeded, failed, lost)
HEAVY: tuple[Prepare, ...] = (held, solving, going_on, unsolved, converged, removed, ended_failed)


def picture(folder: Path) -> list[Any]:
    """Return the content of state database and snapshot without times, and of the event queue."""
    seen: list[Any] = []
    for name in (layout.STATE, layout.PUBLISHED):
        db = sqlite3.connect(":memory:")
        try:
            db.deserialize((folder / name).read_bytes())
            assert verify.findings(db) == []
            assert redolog.compare(db, str(folder)) == redolog.Comparison([])
            db.execute("UPDATE outbox SET tries = 0")  # a killed lease counts as an attempt
            seen.append([TIME.sub("then", line) for line in db.iterdump()])
        finally:
            db.close()
    return [*seen, sorted(path.name for path in (folder / layout.SPOOL).iterdir())]


class Stage:
    """A prepared script, its campaign before it, and the receiver of its messages.

    Attributes:
        call: the script's arguments.
        folder: the campaign.
    """

    def __init__(self, base: Path, mailbox: Mailbox, prepare: Prepare) -> None:
        self.folder, self._saved, self._mailbox = base / "campaign", base / "saved", mailbox
        self.call = prepare(
            make_campaign(self.folder, files=1, config={"notify": notify(base, mailbox, "end", "held", "lost")})
        )
        shutil.copytree(self.folder, self._saved)
        self._letters = 0
        self._undisturbed: tuple[int, list[str], list[Any]] = (0, [], [])

    def reset(self) -> None:
        """Restore the state before the script."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._saved, self.folder)
        self._letters = len(self._mailbox.files())

    def letters(self) -> list[str]:
        """Return the keys of the messages that have arrived since."""
        new = self._mailbox.files()[self._letters :]
        return [str(message_from_bytes(letter.read_bytes())["X-Faser-Align-Key"]) for letter in new]

    def record_undisturbed(self, run: Callable[[], int]) -> None:
        """Run the script without a fault and keep the result; an earlier run may compile modules."""
        self.reset()
        hook(*self.call)
        self.reset()
        answer = run()
        self._undisturbed = (answer, self.letters(), picture(self.folder))

    def complete(self, place: object) -> bool:
        """Run the script again after it was killed, and compare; return False if the killed one had changed nothing."""
        if not self.letters() and _contents(self.folder) == _contents(self._saved):
            return False  # the next run would be an undisturbed one
        pause = self.folder / f"{layout.PUBLISHED}.now"
        if pause.exists():
            pause.write_text("0.0 0.0")  # as if some seconds had passed
        answer, told, undisturbed = self._undisturbed
        assert hook(*self.call).returncode == answer, place
        assert picture(self.folder) == undisturbed, place
        # A message may be repeated after a kill between sending and marking; it is never lost.
        letters = self.letters()
        assert len(told) <= len(letters) <= 2 * len(told), place
        assert set(letters) == set(told), place
        return True


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
