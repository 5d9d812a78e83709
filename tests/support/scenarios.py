"""One hook of each kind, prepared and ready to run; what it leaves behind; a campaign that is put back again and again."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

from campaigns import hook, make_campaign, metrics, run_iteration, write_metrics, write_output

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import create, redolog, verify

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Record = dict[str, Any]
Call = tuple[Any, ...]
Prepare = Callable[[Record], Call]


def first(record: Record) -> Call:
    """PRE of the campaign's very first node: submitted and reconstructing as well."""
    return ("pre", record["folder"], layout.reco_node(1, 1, 400), 0, 2)


def after_spool(record: Record) -> Call:
    """PRE that has an event of the spool to take in before its own."""
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
    return ("post", record["folder"], layout.reco_node(1, 1, 400), 0, 2, exit_codes.RAW_MISSING, "13.0", 0)


def lost(record: Record) -> Call:
    """POST of a reconstruction that failed for good and may be done without, which sends a message."""
    call = failed(record)
    db = sqlite3.connect(Path(record["folder"], layout.STATE), isolation_level=None)
    db.execute("UPDATE campaign SET lost_max = 1")
    db.close()
    redolog.begin(record["folder"])
    return call


def held(record: Record) -> Call:
    """HOLD, which sends a message."""
    hook(*first(record))
    return ("hold", record["folder"], layout.reco_node(1, 1, 400), "13.0", 0)


def solving(record: Record) -> Call:
    """PRE of a Millepede node."""
    for file in record["files"]:
        hook("pre", record["folder"], layout.reco_node(1, 1, file), 0, 2)
    return ("pre", record["folder"], layout.mille_node(1, 1), 0, 2)


def going_on(record: Record) -> Call:
    """POST of a Millepede node after which the campaign goes on."""
    solving(record)
    hook("pre", record["folder"], layout.mille_node(1, 1), 0, 2)
    write_metrics(record, metrics(1, files=1))
    return ("post", record["folder"], layout.mille_node(1, 1), 0, 2, 0, "901.0", 0)


def unsolved(record: Record) -> Call:
    """POST of a Millepede node that found no solution."""
    solving(record)
    hook("pre", record["folder"], layout.mille_node(1, 1), 0, 2)
    return ("post", record["folder"], layout.mille_node(1, 1), 0, 2, exit_codes.SOLVER, "901.0", 0)


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


def ended_failed(record: Record) -> Call:
    """FINAL of a campaign of which a node failed, which sends a message, with an event in the spool."""
    hook(*failed(record))
    create.record_submitted(record["folder"], 12)
    return ("final", record["folder"], "final", 2, 1)


LIGHT: tuple[Prepare, ...] = (first, after_spool, succeeded, failed, lost)
HEAVY: tuple[Prepare, ...] = (held, solving, going_on, unsolved, converged, removed, ended_failed)


def picture(folder: Path) -> list[Any]:
    """Everything in the store and in its published copy but times, and what waits in the spool."""
    seen: list[Any] = []
    for name in (layout.STATE, layout.PUBLISHED):
        db = sqlite3.connect(":memory:")
        try:
            db.deserialize((folder / name).read_bytes())
            assert verify.findings(db) == []
            assert redolog.compare(db, str(folder)) == redolog.Comparison([])
            db.execute("UPDATE outbox SET tries = 0")  # a claim that was killed counts as a try
            seen.append([TIME.sub("then", line) for line in db.iterdump()])
        finally:
            db.close()
    return [*seen, sorted(path.name for path in (folder / layout.SPOOL).iterdir())]


class Stage:
    """A prepared hook, its campaign as it was before, and the receiver of its messages.

    Attributes:
        call: the hook's words.
        folder: the campaign.
    """

    def __init__(self, base: Path, mailbox: Mailbox, prepare: Prepare) -> None:
        self.folder, self._saved, self._mailbox = base / "campaign", base / "saved", mailbox
        targets = base / "targets.toml"
        targets.write_text(f'[targets]\nme = "{mailbox.url("me@example.org")}"\n')
        targets.chmod(0o600)
        notify = {"targets": ["me"], "events": ["end", "held", "lost"], "file": str(targets)}
        self.call = prepare(make_campaign(self.folder, files=1, config={"notify": notify}))
        shutil.copytree(self.folder, self._saved)
        self._letters = 0
        self._undisturbed: tuple[int, list[str], list[Any]] = (0, [], [])

    def reset(self) -> None:
        """Put everything back to where it was before the hook."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._saved, self.folder)
        self._letters = len(self._mailbox.files())

    def letters(self) -> list[str]:
        """The keys of the messages that have arrived since."""
        new = self._mailbox.files()[self._letters :]
        return [str(message_from_bytes(letter.read_bytes())["X-Faser-Align-Key"]) for letter in new]

    def record_undisturbed(self, run: Callable[[], int]) -> None:
        """Run the hook twice without a fault (the first time it may have to compile modules), and keep what the second left."""
        for _ in range(2):
            self.reset()
            answer = run()
        self._undisturbed = (answer, self.letters(), picture(self.folder))

    def complete(self, place: object) -> bool:
        """Run the hook again after it was killed at a place, and compare; False if the killed one had changed nothing."""
        if not self.letters() and _contents(self.folder) == _contents(self._saved):
            return False  # what would run now is the undisturbed hook
        pause = self.folder / f"{layout.PUBLISHED}.now"
        if pause.exists():
            pause.write_text("0.0 0.0")  # as if some seconds had gone by
        answer, told, undisturbed = self._undisturbed
        assert hook(*self.call).returncode == answer, place
        assert picture(self.folder) == undisturbed, place
        # Between sending and marking a message may be repeated; it is never lost.
        letters = self.letters()
        assert len(told) <= len(letters) <= 2 * len(told), place
        assert set(letters) == set(told), place
        return True


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
