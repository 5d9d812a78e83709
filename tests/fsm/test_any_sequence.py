"""Test invariants of every sequence of events, in memory."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import FILES, Event, Memory, events, events_of
from properties import examples

from faser_align.campaign import layout
from faser_align.fsm import table


def taken(sequence: list[Event], *, lost_max: int = 1) -> Memory:
    """Return a campaign after a sequence of events."""
    memory = Memory(lost_max)
    for event in sequence:
        memory.take(event)
    return memory


@settings(max_examples=examples(100))
@given(st.lists(events(), max_size=40))
def test_no_sequence_leaves_the_table(sequence: list[Event]) -> None:
    """Each change in the history is a row of a table that begins where the last one ended; only two events leave an end."""
    memory = taken(sequence)
    where = {"campaign": table.INITIAL}
    for _, subject, source, event, destination, ignored, *_ in memory.history:
        assert source == where.get(subject, "waiting")
        if ignored:
            assert destination == source
        else:
            after = table.campaign_after if subject == "campaign" else table.node_after
            assert after(source, event) == destination
            if subject == "campaign" and source in table.ENDS:
                assert event in ("resumed", "extended")
        where[subject] = destination
    assert memory.campaign["state"] == where["campaign"]
    assert {name: node["state"] for name, node in memory.nodes.items()} == {
        name: where.get(name, "waiting") for name in memory.nodes
    }


@settings(max_examples=examples(100))
@given(st.lists(events(), max_size=40))
def test_counts_follow_from_rows(sequence: list[Event]) -> None:
    """A node counts its attempts, at most its last one is open, and a campaign counts its dropped files within the limit."""
    memory = taken(sequence)
    for name, attempts in memory.attempts.items():
        assert [attempt["attempt"] for attempt in attempts] == list(range(1, memory.nodes[name]["attempts"] + 1))
        assert all(attempt["closed_utc"] for attempt in attempts[:-1])
    lost = {node["file"] for node in memory.nodes.values() if node["state"] == "lost"}
    assert memory.campaign["lost"] == len(lost) <= memory.campaign["lost_max"]


@settings(max_examples=examples(100))
@given(st.lists(events(), max_size=25))
def test_an_event_taken_in_twice_in_a_row_changes_nothing(sequence: list[Event]) -> None:
    """A script that runs again at once gets the first run's exit status and changes nothing."""
    memory = Memory()
    for event in sequence:
        first = memory.take(event)
        before = copy.deepcopy(vars(memory))
        assert memory.take(event) == first
        assert vars(memory) == before


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(st.data())
def test_events_of_different_nodes_commute(data: st.DataObject) -> None:
    """The reconstructions of an iteration may report in any order."""
    lives = []
    for file in FILES:
        own = data.draw(st.lists(events_of(layout.reco_node(1, 1, file)), max_size=5))
        lives.append([{**event, "dag_id": "1.0"} for event in own])
    pictures = []
    for _ in range(2):
        merged: list[Event] = []
        rest = [list(life) for life in lives]
        while any(rest):
            pick = data.draw(st.sampled_from([i for i, life in enumerate(rest) if life]))
            merged.append(rest[pick].pop(0))
        # All files share the budget of dropped files: the first to fail uses it. So no file is dropped here.
        memory = taken(merged, lost_max=0)
        pictures.append([{**memory.campaign, "updated_utc": ""}, memory.nodes, memory.iterations])
    assert pictures[0] == pictures[1]
