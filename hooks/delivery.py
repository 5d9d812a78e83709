"""Sending what waits in the outbox: after the commit, bounded by an alarm, never a node's failure."""

import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from faser_align.config import layout
from faser_align.config.nextsteps import next_step
from faser_align.config.record import read_record
from faser_align.fsm import statuses
from faser_align.fsm.errors import CampaignError
from faser_align.state import database, outbox
from faser_align.state.facts import facts as about
from faser_align.state.judging import log_end
from faser_align.state.outbox import Claim

DELIVERY_S_MAX = 20.0
DELIVERY_FINAL_S_MAX = 30.0
FOREIGN = ("reason", "failed", "held", "files_lost", "notes")  # of a message's facts: may have words of other programs
LOG_LINES, LOGS_MAX = 12, 5  # lines of a log, and how many logs


class Unwanted(Exception):
    """The target does not want this kind of message."""


def deliver(folder: str, *, final: bool = False) -> int:
    """Send the messages that are due, the oldest first, until the time is up.

    Args:
        folder: the campaign.
        final: no hook comes after this one: do not wait for the back-off, and take a little longer.

    Returns:
        The number of messages that were accepted.
    """
    budget_s = DELIVERY_FINAL_S_MAX if final else DELIVERY_S_MAX
    deadline = time.monotonic() + budget_s
    try:
        if not outbox.due(folder, final=final):
            return 0
        turn = database.Turn(f"{folder}/{layout.OUTBOX_LOCK}", budget_s)
        try:
            return _deliver_in_turn(folder, deadline, final=final) if turn.mine else 0
        finally:
            turn.close()
    except (sqlite3.Error, OSError) as problem:
        print(f"faser-align: messages of {folder} wait for the next hook: {problem}", file=sys.stderr)
        return 0


def _deliver_in_turn(folder: str, deadline: float, *, final: bool) -> int:
    """Send what is due, each message once, while nobody else delivers; returns how many were accepted."""
    sent = 0
    seen: set[int] = set()
    tired: set[str] = set()
    while time.monotonic() < deadline:
        claimed = outbox.claim(folder, final=final, seen=frozenset(seen), tired=frozenset(tired))
        if claimed is None:
            break
        seen.update(claimed.ids)
        # A server that is silent may take its own share of the time, not that of the others.
        share_s = (deadline - time.monotonic()) / claimed.targets
        started = time.monotonic()
        try:
            problem = _attempt(folder, claimed, share_s)
        except Unwanted:
            outbox.decline(folder, claimed)
            continue
        if problem is not None and time.monotonic() - started >= 0.9 * share_s:
            tired.add(claimed.target)
        outbox.mark(folder, claimed, problem)
        sent += problem is None
    return sent


def _attempt(folder: str, claimed: Claim, budget_s: float) -> str | None:
    """Send one message within ``budget_s``; None if it was accepted, else why not."""
    previous = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, budget_s))
    try:
        return _send(folder, claimed)
    except TimeoutError:
        return f"no answer within {budget_s:.0f} s"
    except Unwanted:
        raise
    except CampaignError as problem:
        return str(problem)
    except Exception as problem:  # noqa: BLE001 - a library's failure must not become the node's
        # The text of a foreign exception may carry an address with its password.
        return f"{type(problem).__name__} while sending"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def _late(signum: int, frame: object) -> None:
    raise TimeoutError


def _send(folder: str, claimed: Claim) -> str | None:
    from faser_align.notifiers.message import compose
    from faser_align.notifiers.send import deliver as send
    from faser_align.notifiers.targets import load_targets, redact_all

    record = read_record(folder)
    targets = load_targets(Path(record["targets_file"]))
    target = targets.get(claimed.target)
    if target is None:
        return f"{record['targets_file']} has no target {claimed.target!r}"
    if not target.wants(claimed.kind):
        raise Unwanted
    facts = message_facts(folder, claimed)
    # A program may have printed what it should not: a log, and the reason that is its last line, go out without it.
    foreign = {key: redact_all(facts[key], targets.values()) for key in FOREIGN if key in facts}
    return send(target, compose({**facts, **foreign}), key=facts["key"], thread=facts["thread"])


def message_facts(folder: str, claimed: Claim) -> dict[str, Any]:
    """What a message says: the store's facts, the ends of failed nodes' logs, and the next command."""
    facts = database.read(folder, lambda db: about(db, claimed))
    for place, failed in enumerate(facts["failed"]):
        failed["log"] = log_end(folder, failed["node"], LOG_LINES) if place < LOGS_MAX else []
        failed["cure"] = statuses.cure(failed["why"])
    for lost in facts["files_lost"]:
        # What is lost stays lost in its campaign: resuming would not take it in again.
        what, resume, _ = statuses.cure(lost["why"]).partition(", then resume")
        lost["cure"] = f"{what}; a campaign that is submitted anew takes it in again" if resume else what
    for held in facts["held"]:
        held["cure"] = next(cure for word, cure in statuses.HOLDS if word in (held["reason"] or "").lower())
    record = read_record(folder)
    facts["next"] = next_step(
        claimed.kind,
        command=record.get("command", "faser-align"),
        name=facts["campaign"],
        constants=facts.get("constants"),
        start=record["constants"]["source"],
    )
    return facts
