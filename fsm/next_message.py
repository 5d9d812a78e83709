"""Choose the next message of the outbox: a pure function of the messages that were not sent and of those that were.

The rules, for each target by itself:

1. Messages go out in the order of their events.
2. Held jobs and dropped files that follow one another are one message of each kind. After such a message, further ones of
   the same cause are not due before the end of a pause, which doubles while they keep coming (``pause_end_s``).
3. A message that is due takes along the ones before it, also those in their pause and those that failed once.
4. A message that was refused ``PASSED_AT`` times is overtaken by others until its next attempt is due. A message whose
   scripts were killed as often comes last, because it may be the cause.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from faser_align.fsm import table

TOGETHER = ("held", "lost")
PASSED_AT = 2  # tries
PAUSE_S, PAUSE_S_MAX = 30.0, 3600.0


class Open(NamedTuple):
    """A message that was not sent: ``leased`` is the time at which a script that died leased it, '' for the others."""

    id: int
    history_id: int
    target: str
    kind: str
    tries: int
    leased: str
    due: bool
    reached: tuple[str, ...] = ()


class Choice(NamedTuple):
    """The messages that are sent as one."""

    messages: tuple[Open, ...]
    behind: bool  # whether later ones of the target are due
    # Of the time left: one for each target, and one more for each end of a campaign that has other messages before it.
    shares: int


def choose(waiting: Iterable[Open], *, unresponsive: Collection[str] = ()) -> Choice | None:
    """Return the message to send next, or None if none is due.

    Args:
        waiting: the open messages, without those that this script has already handled.
        unresponsive: targets that did not answer this script in time: only the campaign's end is sent to them.
    """
    queues: dict[str, list[Open]] = {}
    for message in sorted(waiting, key=_place):
        if message.target not in unresponsive or message.kind in table.ENDS:
            queues.setdefault(message.target, []).append(message)
    queues = {target: queue for target, queue in queues.items() if any(message.due for message in queue)}
    if not queues:
        return None
    firsts = {
        target: next(message for message in queue if message.due or message.tries < PASSED_AT)
        for target, queue in queues.items()
    }
    first = min(firsts.values(), key=_place)
    queue = queues[first.target]
    group = _group(first, queue)
    behind = any(message.due and message not in group for message in queue)
    ends = (any(m.kind in table.ENDS and m is not firsts[target] for m in queue) for target, queue in queues.items())
    return Choice(group, behind, len(queues) + sum(ends))


def _place(message: Open) -> tuple[bool, int]:
    return bool(message.leased) and message.tries >= PASSED_AT, message.id


def _group(first: Open, queue: Sequence[Open]) -> tuple[Open, ...]:
    """Return the messages that are sent with ``first``: those of its lease, or of one kind up to the next other event.

    A lease is repeated as it was, with its key. A message that some recipients of a target already have is sent only to
    the others.
    """
    if first.kind not in TOGETHER:
        return (first,)
    found: list[Open] = []
    for message in queue[queue.index(first) :]:
        if message.kind not in TOGETHER:
            break
        if (message.kind, message.leased, message.reached) == (first.kind, first.leased, first.reached):
            found.append(message)
    return tuple(found)


def pause_end_s(sent_s: Iterable[float]) -> float:
    """Return until when a further message about a cause waits, after those sent at the times ``sent_s``; 0 without any.

    The pause doubles if the message follows the last pause within the length of that pause; otherwise it starts at its
    shortest.
    """
    pause_s, end_s = 0.0, 0.0
    for at_s in sorted(set(sent_s)):
        pause_s = min(2 * pause_s, PAUSE_S_MAX) if pause_s and at_s <= end_s + pause_s else PAUSE_S
        end_s = at_s + pause_s
    return end_s
