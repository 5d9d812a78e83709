"""Test which message is sent next: in the order of events, one per cause, none delayed by an undeliverable one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faser_align.fsm import table
from faser_align.fsm.next_message import PASSED_AT, PAUSE_S, PAUSE_S_MAX, TOGETHER, Open, choose, pause_end_s
from faser_align.fsm.reasons import normalise_reason

KINDS = ("submitted", "iteration", "held", "lost", "failed")


def queue(*kinds: str, target: str = "me", **changed: object) -> list[Open]:
    """Return messages to one target, all due and never tried, with changes."""
    return [Open(i, i, target, kind, 0, "", True)._replace(**changed) for i, kind in enumerate(kinds)]  # type: ignore[arg-type]


def kinds_of(waiting: list[Open], **more: object) -> list[str]:
    """Return the kinds of the messages that are sent as one."""
    choice = choose(waiting, **more)  # type: ignore[arg-type]
    return [message.kind for message in choice.messages] if choice else []


MESSAGES = st.lists(
    st.builds(
        Open,
        id=st.integers(0, 30),
        history_id=st.just(0),
        target=st.sampled_from(["me", "group"]),
        kind=st.sampled_from(KINDS),
        tries=st.integers(0, 5),
        leased=st.just(""),
        due=st.booleans(),
    ),
    unique_by=lambda message: message.id,
)


@given(MESSAGES)
def test_the_order_is_that_of_events(waiting: list[Open]) -> None:
    """A message overtakes an earlier one only if the earlier one waits after two refusals; a combined message has one kind."""
    choice = choose(waiting)
    if choice is None:
        assert not any(message.due for message in waiting)
        return
    first, *others = choice.messages
    mine = [message for message in waiting if message.target == first.target]
    assert not [one for one in mine if one.id < first.id and (one.due or one.tries < PASSED_AT)]
    assert any(message.due for message in mine)
    assert {(one.target, one.kind) for one in others} <= {(first.target, first.kind)}
    assert not others or first.kind in TOGETHER


@given(MESSAGES, st.integers(0, 5))
def test_everything_is_sent_in_the_end(waiting: list[Open], refused: int) -> None:
    """The last script tries every message, however many are refused, and the campaign's end also at a silent target."""
    left = [message._replace(due=True) for message in waiting]
    tried = 0
    while choice := choose(left, unresponsive={"me"} if tried > refused else ()):
        left = [message for message in left if message not in choice.messages]
        tried += 1
    assert all(message.target == "me" and message.kind not in table.ENDS for message in left)


def test_holds_between_other_events_keep_their_place() -> None:
    """Consecutive holds and dropped files are one message of each kind; an iteration in between separates them."""
    assert kinds_of(queue("held", "lost", "held", "iteration", "held")) == ["held", "held"]
    assert kinds_of(queue("lost", "held", "lost")) == ["lost", "lost"]
    assert kinds_of(queue("iteration", "iteration")) == ["iteration"]


def test_what_is_due_takes_along_what_came_before() -> None:
    """A message in its pause, or one that failed once, waits until another is due, and is sent before it."""
    paused = queue("held", due=False)
    assert choose(paused) is None
    assert kinds_of([*paused, *queue("x", "iteration")[1:]]) == ["held"]
    failed = queue("submitted", due=False, tries=1)
    assert kinds_of([*failed, *queue("x", "held")[1:]]) == ["submitted"]


def test_a_message_that_cannot_be_sent_is_passed() -> None:
    """After two refusals others overtake a message until its next attempt; one that killed two scripts comes last."""
    refused, killing = (
        queue("submitted", due=False, tries=PASSED_AT),
        queue("submitted", leased="8:00", tries=PASSED_AT),
    )
    others = queue("x", "held")[1:]
    assert kinds_of([*refused, *others]) == ["held"]
    assert kinds_of([*(one._replace(due=True) for one in refused), *others]) == ["submitted"]
    assert kinds_of([*killing, *others]) == ["held"]
    assert kinds_of(killing) == ["submitted"]


def test_a_pause_doubles_while_messages_keep_coming() -> None:
    """The first message begins a pause; one that follows soon after it doubles the pause, up to an hour."""
    assert pause_end_s([]) == 0
    assert pause_end_s([1000.0]) == 1000 + PAUSE_S
    assert pause_end_s([1000.0, 1000.0]) == 1000 + PAUSE_S  # one message about two jobs
    assert pause_end_s([1000.0, 1000 + PAUSE_S]) == 1000 + 3 * PAUSE_S
    assert pause_end_s([1000.0, 1001 + 2 * PAUSE_S]) == 1001 + 3 * PAUSE_S  # long afterwards: a new pause
    sent = [0.0]
    while sent[-1] < 86400:
        sent.append(pause_end_s(sent))
    pauses = [after - before for before, after in pairwise(sent)]
    assert pauses[:4] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S, 8 * PAUSE_S]
    assert max(pauses) == PAUSE_S_MAX
    assert len(sent) < 35  # a day with a held job every second


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("exit status 139: core dumped", "exit status 139: core dumped"),
        ("killed by signal 9", "killed by signal 9"),
        ("used 1234 MB of 999", "used * MB of 999"),
        ("disk full on b7s14p0123.cern.ch (file_00417.root)", "disk full on * *"),
    ],
)
def test_what_differs_from_node_to_node_is_left_out(reason: str, told: str) -> None:
    """Short numbers stay in a normalised reason; sizes, hosts, files and jobs are removed."""
    assert normalise_reason(reason) == told
