"""Test deliveries in this process: order, time limits, and cleanup."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from campaigns import NAME, make_campaign
from receivers import TOKEN, notify, text_of
from taking import BASE, FINAL, PRE, take

from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError
from faser_align.hooks import delivery, message
from faser_align.hooks.delivery import Outcome
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import database, outbox
from faser_align.state.outbox import Claim
from faser_align.system.bounded import Ended, Worker

CLAIM = Claim((1,), (1,), "me", "held", 1, 1, ("first",))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Provide a campaign with a held job and an end, notified to three targets."""
    notify = {"targets": ["slow", "me", "group"], "events": ["end", "held"]}
    folder = str(make_campaign(tmp_path / "campaign", files=1, config={"notify": notify})["folder"])
    hold = {**BASE, "phase": "hold", "job_id": "13.0", "hold_time": "2026-11-24 08:00:01", "reason": "quota"}
    take(folder, PRE, hold, FINAL)
    return folder


def rows(folder: str) -> list[Any]:
    """Return the state of each message."""
    with contextlib.closing(database.connect(folder)) as db:
        return db.execute("SELECT target, kind, state, tries FROM outbox ORDER BY id").fetchall()


class Answering:
    """Stands for a worker whose function yielded these values before it ended or was killed."""

    def __init__(self, *found: tuple[str, str], late: bool = False, problem: str = "") -> None:
        self._ended = Ended(list(found), late, problem)

    def call(self, module: str, function: str, folder: str, claimed: Claim, *, wait_s: float) -> Ended:
        assert (module, function, folder, claimed) == (message.__name__, "send", "/campaign", CLAIM)
        assert wait_s > 0.0
        return self._ended


@pytest.mark.parametrize(
    ("worker", "outcome"),
    [
        (Answering(("reached", "a"), ("accepted", "")), Outcome(None, ("first", "a"))),
        (Answering(("reached", "a"), ("refused", "no such user")), Outcome("no such user", ("first", "a"))),
        (Answering(("unwanted", "")), Outcome(None, ("first",), wanted=False)),
        (
            Answering(("reached", "a"), late=True),
            Outcome("target 'me' timed out: its server did not answer in time", ("first", "a")),
        ),
        (Answering(problem="it died"), Outcome("it died", ("first",))),
    ],
)
def test_what_became_of_a_message(worker: Any, outcome: Outcome) -> None:
    """Recipients that got a message are recorded, whether others accepted, refused or suppressed it or its sender was killed."""
    assert delivery._attempt(worker, "/campaign", CLAIM, -1.0) == outcome


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (CampaignError("no target of that name"), "no target of that name"),
        (ValueError("https://chat/hooks/secret"), "ValueError while sending"),
    ],
)
def test_what_a_library_raises_is_named_without_its_words(
    problem: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the text of an error of ours; of any other error, whose text may contain an address, only its type."""

    def fail(*_: object) -> Iterator[tuple[str, str]]:
        raise problem

    monkeypatch.setattr(message, "_send", fail)
    assert list(message.send("/campaign", CLAIM)) == [("refused", words)]


class Tries:
    """A sender with a simulated clock: ``slow`` uses its whole share and ends the process, ``group`` wants nothing.

    Attributes:
        made: (target, kind, share of the time, who has it already) of each attempt.
        worker: its process, which takes ``start_s`` to start.
        running: whether it runs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start_s: float = 0.0) -> None:
        self.made: list[tuple[str, str, float, tuple[str, ...]]] = []
        self.worker, self.running = cast(Worker, self), True
        self._now, self._start_s = 0.0, start_s
        monkeypatch.setattr(delivery, "_attempt", self)
        monkeypatch.setattr(delivery.time, "monotonic", lambda: self._now)
        monkeypatch.setattr(outbox, "BACKOFF_S", 1e6)  # longer than any test

    def __call__(self, worker: Worker, folder: str, claimed: Claim, share_s: float) -> Outcome:
        self.made.append((claimed.target, claimed.kind, share_s, claimed.reached))
        self._now += share_s if claimed.target == "slow" else 1.0
        self.running = claimed.target != "slow"
        if claimed.target == "group":
            return Outcome(None, (), wanted=False)
        return Outcome(
            "no answer" if claimed.target == "slow" else None, (*claimed.reached, f"one of {claimed.target}")
        )

    def call(self, module: str, function: str, *, wait_s: float) -> None:
        """Start the process."""
        assert (module, function) == (message.__name__, "prepare")
        self.running = True
        self._now += self._start_s


@pytest.mark.parametrize("start_s", [0.0, 7.0])
def test_each_target_has_its_share_of_the_time(folder: str, start_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages keep the order of events; a silent target has only its share, and another attempt for the end.

    Starting the process again after that takes no time from any target.
    """
    tries = Tries(monkeypatch, start_s)
    assert delivery._deliver_with_lock(tries.worker, folder, 30.0, final=True) == 2
    assert tries.made == [
        ("slow", "held", 5.0, ()),
        ("me", "held", 5.0, ()),
        ("group", "held", 6.0, ()),
        ("slow", "failed", 23.0 / 3, ()),
        ("me", "failed", pytest.approx((23.0 - 23.0 / 3) / 2), ()),
        ("group", "failed", pytest.approx(23.0 - 23.0 / 3 - 1.0), ()),
    ]
    assert rows(folder) == [
        ("slow", "held", "pending", 1),
        ("me", "held", "sent", 1),
        ("group", "held", "unwanted", 1),
        ("slow", "failed", "pending", 1),
        ("me", "failed", "sent", 1),
        ("group", "failed", "unwanted", 1),
    ]


def test_who_has_a_message_is_handed_on(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt knows whom the previous one reached; it waits for its time, except in the last script."""
    tries = Tries(monkeypatch)
    assert delivery._deliver_with_lock(tries.worker, folder, 12.0, final=False) == 2
    tries.made.clear()
    assert delivery._deliver_with_lock(tries.worker, folder, 100.0, final=False) == 0
    assert tries.made == []
    assert delivery._deliver_with_lock(tries.worker, folder, 1000.0, final=True) == 0
    assert [(*made[:2], made[3]) for made in tries.made] == [
        ("slow", "held", ("one of slow",)),
        ("slow", "failed", ("one of slow",)),
    ]


def test_the_time_that_all_have_ends(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time limit nothing is leased, and untried messages wait."""
    tries = Tries(monkeypatch)
    assert delivery._deliver_with_lock(tries.worker, folder, 2.0, final=True) == 1
    assert [made[:2] for made in tries.made] == [("slow", "held"), ("me", "held"), ("group", "held")]
    assert delivery._deliver_with_lock(tries.worker, folder, 0.0, final=True) == 0


def test_the_last_script_tries_each_message_once_in_order(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused message is overtaken, and waits for its time or for `notify retry`."""
    tried = refusing(monkeypatch)
    order = [(target, kind) for kind in ("held", "failed") for target in ("slow", "me", "group")]
    for _ in range(2):
        assert delivery.deliver(folder, final=True) == 0
        assert tried == order
        tried.clear()


def test_a_refused_message_is_tried_again_before_the_ones_behind_it_pass(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message refused twice is overtaken by later due ones; without others it is tried once, and again when its wait
    is over."""
    tried = refusing(monkeypatch)
    assert delivery.deliver(folder) == 0
    once = [(target, "failed") for target in ("slow", "me", "group")]
    assert sorted(tried) == sorted([(target, "held") for target, _ in once * 2] + once)
    for target, _ in once:
        assert [kind for name, kind in tried if name == target] == ["held", "held", "failed"]
    tried.clear()
    assert delivery.deliver(folder) == 0
    assert tried == []


def refusing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Refuse every message at once without passing time; return the list of attempts."""
    tried: list[tuple[str, str]] = []

    def refuse(worker: Worker, folder: str, claimed: Claim, share_s: float) -> Outcome:
        tried.append((claimed.target, claimed.kind))
        return Outcome("refused", ())

    monkeypatch.setattr(delivery, "_attempt", refuse)
    monkeypatch.setattr(delivery, "DELIVERY_S_MAX", 600.0)
    monkeypatch.setattr(delivery, "DELIVERY_FINAL_S_MAX", 600.0)
    monkeypatch.setattr(outbox, "BACKOFF_S", 1e6)
    return tried


def test_one_process_delivers_at_a_time(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not get the lock in time sends nothing; the holder always releases it."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    path = f"{folder}/{layout.OUTBOX_LOCK}"
    monkeypatch.setattr(delivery, "_attempt", lambda *_: Outcome(None, ()))
    monkeypatch.setattr(delivery, "DELIVERY_S_MAX", 0.1)
    with contextlib.closing(database.QueueLock(path, 60.0)) as lock:
        assert lock.acquired
        assert delivery.deliver(folder) == 0
    assert {state for _, _, state, _ in rows(folder)} == {"pending"}
    monkeypatch.setattr(delivery, "DELIVERY_S_MAX", 600.0)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark", fail)
        assert delivery.deliver(folder) == 0
    # On a busy machine the thread that queued in vain may begin to wait only now, and has the lock for a moment.
    with contextlib.closing(database.QueueLock(path, 60.0)) as lock:
        assert lock.acquired
    assert delivery.deliver(folder) == 6
    with contextlib.closing(database.QueueLock(path, 60.0)) as lock:
        assert lock.acquired


def test_where_there_is_no_store_nothing_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder, and an invalid lock, are written to the scripts' log, and fail no node."""
    assert delivery.deliver(str(tmp_path / "away")) == 0
    assert "wait for the next script" in capsys.readouterr().err


def test_templates_of_the_user_in_a_script(tmp_path: Path) -> None:
    """A script uses the templates of the user; hooks.log names a template error, without secrets of an address."""
    with Mailbox(tmp_path / "mail") as mailbox:
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "failed.j2").write_text('{% set subject = "Alas, " ~ campaign %}')
        (mine / "message.html.j2").write_text(f"{{{{ {TOKEN} }}}}")
        table = notify(tmp_path, mailbox, "end", group=f"mmost://127.0.0.1/{TOKEN}", templates=str(mine))
        folder = str(make_campaign(tmp_path / "campaign", files=1, config={"notify": table})["folder"])
        take(folder, PRE, FINAL)
        assert delivery.deliver(folder) == 1
        (letter,) = mailbox.messages()
    assert letter["Subject"] == f"[faser-align] Alas, {NAME}"
    assert f"<h1>Alas, {NAME}</h1>" in text_of(letter, "html")
    log = Path(folder, layout.HOOKS_LOG).read_text(encoding="utf-8")
    assert "message.html.j2 cannot be used: UndefinedError: '***' is undefined" in log
    assert TOKEN not in log
