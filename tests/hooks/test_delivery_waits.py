"""Test scripts with silent, unreachable or refusing receivers: no script exceeds its alarm, and no other message suffers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from campaigns import HOOK, hook, make_campaign
from commandline import faser_align
from properties import SOAK
from receivers import AUTHORITY, TOKEN, Mattermost, SecureMailbox, kept_port, listening, mattermost, write_targets
from worlds import altered

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import without_dagman
from faser_align.state import queries, verify

pytestmark = pytest.mark.slow

ALARM_S, ALARM_FINAL_S = 12.0, 14.0  # within half of it a busy machine sends the other target its mail
SLACK_S = 30.0  # start of a script with its libraries on such a machine; without an alarm it would wait forever
BRIEF = altered(
    "from faser_align.system.libraries import site_packages\nsite_packages()\nfrom faser_align.hooks import delivery\n"
    f"delivery.DELIVERY_S_MAX, delivery.DELIVERY_FINAL_S_MAX = {ALARM_S}, {ALARM_FINAL_S}\n"
    "from faser_align.state import publish\npublish.SHARE = 1"  # no publish interval, even with a slow disk
)
PATIENT = altered(  # where all targets answer, and many of them share the time
    "from faser_align.hooks import delivery\ndelivery.DELIVERY_S_MAX = delivery.DELIVERY_FINAL_S_MAX = 300.0"
)


class World:
    """A campaign with two targets: ``me``, which works, and ``other``, which does not.

    Attributes:
        record: the campaign's manifest.
        took_s: duration of each script (s).
    """

    def __init__(
        self, base: Path, mailbox: Mailbox, program: tuple[str, ...] = BRIEF, others: Collection[str] = ()
    ) -> None:
        self._program = program
        self.mailbox, self.targets, self.took_s = mailbox, base / "targets.toml", dict[str, float]()
        notify = {"targets": ["other", "me", *others], "events": ["end", "held"], "file": str(self.targets)}
        self.record = make_campaign(base / "campaign", files=1, config={"notify": notify})

    def point(self, address: str, **others: str) -> None:
        """Set the addresses of ``other``, and others."""
        write_targets(self.targets, other=address, me=self.mailbox.url("me@example.org"), **others)

    def call(self, *words: object) -> int:
        """Run a script with short alarms; return its exit status after all its processes have ended."""
        mark = f"FASER_TEST_MARK={os.urandom(8).hex()}"
        name, _, value = mark.partition("=")
        environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "CONDOR_ID": "12.0", name: value}
        environment["SSL_CERT_FILE"] = str(AUTHORITY)
        started = time.monotonic()
        phase, *rest = (str(word) for word in words)
        program = [*self._program, phase, self.record["folder"], *rest]
        with subprocess.Popen(program, env=environment, start_new_session=True, stderr=subprocess.PIPE) as child:
            _, said = child.communicate(timeout=200)
        self.took_s[phase] = time.monotonic() - started
        assert said == b""
        with pytest.raises(ProcessLookupError):
            os.killpg(child.pid, 0)
        assert not marked(mark.encode())
        return child.returncode

    def hold(self) -> None:
        """Run PRE of a node, and HOLD of its job."""
        node = layout.reco_node(1, 1, 400)
        assert self.call("pre", node, 0, 2) == 0
        assert self.call("hold", node, "13.0", 0) == 0

    def rows(self, sql: str) -> list[Any]:
        """Return rows of the snapshot, which must be valid."""
        with queries.published(self.record["folder"]) as copy:
            assert verify.findings(copy) == []
            return [tuple(row) for row in copy.execute(sql)]

    def letters(self) -> list[str]:
        """Return the keys of the mails to ``me``."""
        return [str(letter["X-Faser-Align-Key"]) for letter in self.mailbox.messages()]


def marked(mark: bytes) -> list[str]:
    """Return all processes with ``mark`` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def broken(kind: str, world: World, port: int, stack: ExitStack) -> None:
    """Make ``other`` a server that never answers, at ``port``, while the stack is open."""
    stack.enter_context(listening(port, drip=kind == "dripping"))
    world.point(f"mmost://127.0.0.1:{port}/{TOKEN}")


@pytest.fixture(autouse=True)
def _no_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the pool, because `status` would find that no DAGMan is there and send a message."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(tmp_path / "no-pool"))


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_a_receiver_that_never_answers_harms_nobody(kind: str, tmp_path: Path) -> None:
    """No node fails, no script exceeds its alarm, the other target gets all once, and the rest arrives later."""
    with Mailbox(tmp_path / "mail") as mailbox, kept_port() as port:
        world = World(tmp_path, mailbox)
        with ExitStack() as stack:
            broken(kind, world, port, stack)
            world.hold()
        assert world.took_s["pre"] < SLACK_S
        assert world.took_s["hold"] < ALARM_S + SLACK_S
        reasons = undelivered(world, "other")
        assert "other" in faser_align("status", world.record["folder"]).out
        with mattermost(port) as back:
            world.point(back.url())
            # No script follows FINAL, so it does not wait for the retry interval.
            assert world.call("final", "final", 4, 0) == 4
            assert world.took_s["final"] < ALARM_FINAL_S + SLACK_S
            all_arrived(world, back, *reasons)


REFUSALS = {"other": "refused", "recipients": "no such user", "token": "403", "tls": "SSL"}


def test_receivers_that_refuse_harm_nobody(tmp_path: Path) -> None:
    """Without a server, or with a refused recipient, token or protocol, no node fails, and the rest arrives later."""
    with Mailbox(tmp_path / "mail") as mailbox, kept_port() as port, mattermost() as server:
        world = World(tmp_path, mailbox, PATIENT, [name for name in REFUSALS if name != "other"])
        with Mailbox(tmp_path / "refused", refused=["gone@example.org"]) as refusing:
            world.point(
                f"mmost://127.0.0.1:{port}/{TOKEN}",
                recipients=refusing.url("gone@example.org"),
                token=server.url("0" * len(TOKEN)),
                tls=server.url().replace("mmost:", "mmosts:"),
            )
            world.hold()
        reasons = undelivered(world, *REFUSALS)
        assert {name: words in reasons[name] for name, words in REFUSALS.items()} == dict.fromkeys(REFUSALS, True)
        with mattermost(port) as back:
            world.point(back.url(), **{name: back.url() for name in reasons if name != "other"})
            assert world.call("final", "final", 4, 0) == 4
            all_arrived(world, back, *reasons)


def undelivered(world: World, *names: str) -> dict[str, str]:
    """Return by target why it does not have the message about a hold; only these lack it, and `status` says so."""
    assert len(world.letters()) == 1
    assert world.rows("SELECT target, state, tries FROM outbox ORDER BY target") == [
        (name, "sent" if name == "me" else "pending", 1) for name in sorted(["me", *names])
    ]
    failures = "SELECT facts ->> 'target', facts ->> 'reason' FROM history WHERE event = 'delivery_failed'"
    reasons = dict(world.rows(failures))
    assert TOKEN not in str(reasons)
    seen = faser_align("status", "--json", world.record["folder"])
    assert {row["target"]: row["error"] for row in json.loads(seen.out)["undelivered"]} == reasons
    assert set(reasons) == set(names)
    return reasons


def all_arrived(world: World, back: Mattermost, *names: str) -> None:
    """Check that these targets, all at ``back`` now, and the mail server have both messages, each once."""
    assert world.rows("SELECT DISTINCT state FROM outbox") == [("sent",)]
    assert len(back.posts) == 2 * len(names)
    assert len(world.letters()) == len(set(world.letters())) == 2
    assert json.loads(faser_align("status", "--json", world.record["folder"]).out)["undelivered"] == []


def test_readers_do_not_wait_for_a_silent_server(tmp_path: Path) -> None:
    """The snapshot has a script's event while the script still tries to deliver its message."""
    with Mailbox(tmp_path / "mail") as mailbox, kept_port() as port, listening(port, drip=False):
        world = World(tmp_path, mailbox)
        world.point(f"mmost://127.0.0.1:{port}/{TOKEN}")
        node = layout.reco_node(1, 1, 400)
        assert world.call("pre", node, 0, 2) == 0
        held = threading.Thread(target=world.call, args=("hold", node, "13.0", 0))
        held.start()
        try:
            # Of one snapshot: the next one may include the mail to the other target.
            told = "SELECT DISTINCT outbox.state FROM outbox, history WHERE event = 'held'"
            while not (states := world.rows(told)):
                assert held.is_alive()
                time.sleep(0.05)
            assert states == [("pending",)]
        finally:
            held.join()
        assert world.rows("SELECT state FROM outbox ORDER BY id") == [("pending",), ("sent",)]


def test_what_a_target_does_not_want_is_closed(tmp_path: Path) -> None:
    """A target that does not want this kind of message is skipped, and its message does not count as sent."""
    with Mailbox(tmp_path / "mail") as mailbox, kept_port() as port:
        world = World(tmp_path, mailbox, (sys.executable, "-I", "-S", HOOK))
        nobody = f"mmost://127.0.0.1:{port}/{TOKEN}"
        world.point(nobody)
        text = (
            f'[targets]\nme = "{mailbox.url("me@example.org")}"\n[targets.other]\nurl = "{nobody}"\nevents = ["end"]\n'
        )
        world.targets.write_text(text)
        world.hold()
        assert world.rows("SELECT target, state FROM outbox ORDER BY id") == [("other", "unwanted"), ("me", "sent")]


def test_each_channel_is_told_once(tmp_path: Path) -> None:
    """A refused channel gets its messages later, others get no duplicates; the history says who has them."""
    with Mailbox(tmp_path / "mail") as mailbox, mattermost() as server:
        world = World(tmp_path, mailbox, (sys.executable, "-I", "-S", HOOK))
        world.point(f"{server.url()}/?channels=early,late,other")
        server.closed = {"late"}
        world.hold()
        assert [post["channel"] for post in server.posts] == ["early", "other"]
        assert world.rows("SELECT target, state FROM outbox ORDER BY target") == [("me", "sent"), ("other", "pending")]
        assert "; has reached early, other" in faser_align("history", world.record["folder"]).out.replace("\n", " ")
        server.closed = set()
        assert world.call("final", "final", 4, 0) == 4
        told = [(post["channel"], "removed" in post["text"]) for post in server.posts]
        assert sorted(told) == [(name, end) for name in ("early", "late", "other") for end in (False, True)]


DOUBTFUL = {"self_signed": "self-signed", "other_host": "mismatch", "expired": "expired"}
WAYS = ("post", "ssl", "starttls")  # Mattermost, and mail with TLS from the first byte or on request


def secured(way: str, certificate: str, base: Path, stack: ExitStack) -> Mattermost | SecureMailbox:
    """Run a server with this certificate while the stack is open."""
    if way == "post":
        return stack.enter_context(mattermost(certificate=certificate))
    return stack.enter_context(SecureMailbox(base / f"{way} {certificate}", certificate, way))


def test_a_certificate_that_proves_nothing_is_refused(tmp_path: Path) -> None:
    """With a self-signed, foreign or expired certificate nothing is sent, `status` has the reason, and no node fails."""
    kinds = {f"{way}-{certificate}": (way, certificate) for way in WAYS for certificate in DOUBTFUL}
    with Mailbox(tmp_path / "mail") as mailbox, ExitStack() as stack:
        world = World(tmp_path, mailbox, PATIENT, kinds)
        doubtful = {kind: secured(*about, tmp_path, stack) for kind, about in kinds.items()}
        good = {way: secured(way, "good", tmp_path, stack) for way in WAYS}
        world.point(good["post"].url(), **{kind: server.url() for kind, server in doubtful.items()})
        world.hold()
        assert world.rows("SELECT target FROM outbox WHERE state = 'sent' ORDER BY target") == [("me",), ("other",)]
        failures = "SELECT facts ->> 'target', facts ->> 'reason' FROM history WHERE event = 'delivery_failed'"
        reasons = dict(world.rows(failures))
        assert {kind: DOUBTFUL[kinds[kind][1]] in reason for kind, reason in reasons.items()} == dict.fromkeys(
            kinds, True
        )
        seen = faser_align("status", "--json", world.record["folder"]).out
        assert {row["target"]: row["error"] for row in json.loads(seen)["undelivered"]} == reasons
        assert TOKEN not in f"{reasons} {seen} {faser_align('history', '--all', world.record['folder']).out}"
        # With valid certificates everything arrives.
        world.point(good["post"].url(), **{kind: good[way].url() for kind, (way, _) in kinds.items()})
        assert world.call("final", "final", 4, 0) == 4
        assert world.rows("SELECT DISTINCT state FROM outbox") == [("sent",)]
        assert [server.received() for server in doubtful.values()] == [0] * len(doubtful)
        assert {way: server.received() for way, server in good.items()} == {"post": 8, "ssl": 6, "starttls": 6}


@pytest.mark.parametrize("kind", ["silent", "dripping"] if SOAK else ["dripping"])
def test_a_server_that_never_answers_does_not_keep_final(kind: str, tmp_path: Path) -> None:
    """FINAL returns DAGMan's outcome within its alarm, and the next script, run by hand, sends the rest."""
    with Mailbox(tmp_path / "mail") as mailbox, kept_port() as port:
        world = World(tmp_path, mailbox)
        with ExitStack() as stack:
            broken(kind, world, port, stack)
            assert hook("pre", world.record["folder"], layout.reco_node(1, 1, 400), 0, 2).returncode == 0
            assert world.call("final", "final", 2, 1) == 2
        assert world.took_s["final"] < ALARM_FINAL_S + SLACK_S
        assert len(world.letters()) == 1
        with mattermost(port) as back:
            without_dagman.deliver(world.record["folder"])
            assert len(back.posts) == 1
        assert len(world.letters()) == 1
