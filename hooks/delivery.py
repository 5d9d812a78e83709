"""Send the messages that wait in the outbox, in a process that is killed at its time limit; no error here fails a node."""

import contextlib
import sqlite3
import sys
import time
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.fsm.next_message import PASSED_AT
from faser_align.notifiers import LATE
from faser_align.state import database, outbox, publish, writer
from faser_align.state.outbox import Claim
from faser_align.system.bounded import Worker

DELIVERY_S_MAX = 20.0
DELIVERY_FINAL_S_MAX = 30.0
PREPARATION_S_MAX = 30.0  # for the sender's start, which no server is to blame for


class Outcome(NamedTuple):
    """Result of an attempt: the problem, or None if the message was accepted; the recipients or channels that have it."""

    problem: str | None
    reached: tuple[str, ...]
    wanted: bool = True


def deliver(folder: str, *, final: bool = False) -> int:
    """Send due messages with ``send_due``; write problems to standard error, because they fail no node."""
    try:
        return send_due(folder, final=final)
    except (sqlite3.Error, OSError) as problem:
        print(f"faser-align: messages of {folder} wait for the next script: {problem}", file=sys.stderr)
        return 0


def send_due(folder: str, *, final: bool = False) -> int:
    """Send the messages that are due, in the order of ``fsm.next_message``, until the time is up.

    If ``final``, no script comes after this one: do not wait for the back-off or a pause, and take a little longer.

    The time for sending begins when no other process delivers and the sender has its libraries: on a busy machine both take
    many seconds, and a server would have none left. The sender is killed at the end of a silent server's time; the
    start of the next sender does not count either.

    Returns:
        The number of messages that were accepted.

    Raises:
        sqlite3.Error, OSError: the messages wait.
    """
    budget_s = DELIVERY_FINAL_S_MAX if final else DELIVERY_S_MAX
    if not outbox.due(folder, final=final):
        return 0
    # Readers do not wait for a silent server; the script publishes again after the delivery, and reports errors then.
    with contextlib.suppress(sqlite3.Error, OSError):
        publish.publish(folder)
    with contextlib.closing(database.QueueLock(f"{folder}/{layout.OUTBOX_LOCK}", budget_s)) as lock, Worker() as worker:
        if not lock.acquired:
            return 0
        _prepare(worker)
        return _deliver_with_lock(worker, folder, time.monotonic() + budget_s, final=final)


def without_dagman(folder: str, sending: bool) -> None:
    """Act as a script without DAGMan: apply the event queue and, if ``sending``, send due messages.

    Raises:
        sqlite3.Error, OSError: the database could not be read or written.
    """
    writer.take(folder, None)
    if sending:
        send_due(folder, final=True)
    publish.publish(folder)


def _deliver_with_lock(worker: Worker, folder: str, deadline: float, *, final: bool) -> int:
    """Send due messages unless another process delivers; return the number of accepted ones.

    Each message is tried once, or twice if later ones of its target are due: a server that refuses one by chance gets it
    before the others, and one that cannot be sent does not delay them.
    """
    sent = 0
    seen: set[int] = set()
    unresponsive: set[str] = set()
    while time.monotonic() < deadline:
        claimed = outbox.claim(folder, final=final, seen=seen, unresponsive=unresponsive)
        if claimed is None:
            break
        if final or not claimed.behind or claimed.tries >= PASSED_AT:
            seen.update(claimed.ids)
        deadline += _prepare(worker)
        # A silent server may use its own share of the time, not that of other targets or of the campaign's end.
        share_s = (deadline - time.monotonic()) / claimed.shares
        started = time.monotonic()
        outcome = _attempt(worker, folder, claimed, share_s)
        if not outcome.wanted:
            outbox.decline(folder, claimed)
            continue
        if outcome.problem is not None and time.monotonic() - started >= 0.9 * share_s:
            unresponsive.add(claimed.target)
            seen.update(claimed.ids)
        outbox.mark(folder, claimed, outcome.problem, outcome.reached)
        sent += outcome.problem is None
    return sent


def _prepare(worker: Worker) -> float:
    """Start the sender unless it runs; return how long that took (s)."""
    if worker.running:
        return 0.0
    began = time.monotonic()
    worker.call("faser_align.hooks.message", "prepare", wait_s=PREPARATION_S_MAX)
    return time.monotonic() - began


def _attempt(worker: Worker, folder: str, claimed: Claim, budget_s: float) -> Outcome:
    """Send one message within ``budget_s``, in the worker's process."""
    ended = worker.call("faser_align.hooks.message", "send", folder, claimed, wait_s=max(0.1, budget_s))
    reached = (*claimed.reached, *(name for kind, name in ended.found if kind == "reached"))
    kind, words = ended.found[-1] if ended.found else ("", "")
    if kind in ("accepted", "unwanted"):
        return Outcome(None, reached, wanted=kind != "unwanted")
    if kind == "refused":
        return Outcome(words, reached)
    if not ended.late:
        return Outcome(ended.problem, reached)
    return Outcome(LATE.format(claimed.target), reached)
