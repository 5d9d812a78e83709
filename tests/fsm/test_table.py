"""Test the transition tables, and what is generated from them."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faser_align.fsm import diagram, exit_codes, machine, table

EVENTS = sorted({event for _, event, _ in table.CAMPAIGN})


def test_states_of_the_table_are_the_declared_ones() -> None:
    """The tables use every declared state and no other."""
    used = {state for source, _, destination in table.CAMPAIGN for state in (source, destination)}
    assert used == set(table.STATES)
    used = {state for source, _, destination in table.NODE for state in (source, destination)}
    assert used == set(table.NODE_STATES)


@pytest.mark.parametrize("rows", [table.CAMPAIGN, table.NODE])
def test_a_state_and_an_event_lead_to_one_place(rows: tuple[tuple[str, str, str], ...]) -> None:
    """No table has a pair of state and event twice."""
    pairs = [(source, event) for source, event, _ in rows]
    assert len(pairs) == len(set(pairs))


def test_every_state_can_be_reached() -> None:
    """Every state can be reached from the initial one."""
    reached = {table.INITIAL}
    for _ in table.STATES:
        reached |= {destination for source, _, destination in table.CAMPAIGN if source in reached}
    assert reached == set(table.STATES)


def test_ends_are_left_by_resuming_and_extending_only() -> None:
    """An ended campaign continues only on the user's request, and never after a success."""
    leaving = {(a, event) for a, event, b in table.CAMPAIGN if a in table.ENDS and b not in table.ENDS}
    assert {event for _, event in leaving} == {"resumed", "extended"}
    assert not set(table.SUCCESSES) & {source for source, _ in leaving}


def test_every_end_state_has_a_message_of_its_own() -> None:
    """Every end of a campaign requests the message of its end state."""
    for source, event, destination in table.CAMPAIGN:
        if destination in table.ENDS and source != destination:
            assert table.MESSAGES[event] == destination


@pytest.mark.slow
@given(st.lists(st.sampled_from([*EVENTS, "nonsense"]), max_size=30))
def test_the_machine_and_the_table_agree(events: list[str]) -> None:
    """The machine built with the library makes exactly the table's transitions."""
    state = table.INITIAL
    for event in events:
        expected = table.campaign_after(state, event)
        assert machine.campaign_after(state, event) == expected
        state = expected or state
        assert {e for e in EVENTS if machine.campaign_after(state, e)} == {
            e for e in EVENTS if table.campaign_after(state, e)
        }


@pytest.mark.parametrize("which", ["campaign", "node"])
def test_the_diagram_shows_every_transition(which: str) -> None:
    """Both diagrams have every pair of states and every event of the table."""
    for text, arrow in ((diagram.mermaid(which), "-->"), (diagram.dot(which), "->")):
        for source, event, destination in diagram.rows(which):
            lines = [line for line in text.splitlines() if f"{source} {arrow} {destination}" in line]
            assert any(event in line for line in lines)


@pytest.mark.parametrize("which", ["campaign", "node"])
def test_the_picture_has_the_transitions_of_the_table_and_no_other(which: str) -> None:
    """The arrows of the picture are the rows of the table, each once, between states that it draws."""
    layout = diagram.layout(which)
    drawn = [(a, event, arrow["to"]) for arrow in layout["arrows"] for a in arrow["from"] for event in arrow["by"]]
    assert sorted(drawn) == sorted(diagram.rows(which))
    assert set(layout["states"]) == {state for a, _, b in drawn for state in (a, b)}
    ElementTree.fromstring(diagram.svg(which))


@pytest.mark.parametrize(
    ("verdict", "last", "validated", "at_limit", "event", "answer"),
    [
        ("go_on", True, True, "continue", "go_on", 0),
        ("converged", True, False, "continue", "converged", exit_codes.CONVERGED),
        ("converged", True, True, "continue", "validation_asked", 0),
        ("converged", False, True, "stop", "stage_finished", 0),
        ("limit", True, True, "continue", "limit", 0),
        ("limit", True, False, "stop", "limit", 0),
        ("limit", False, False, "continue", "stage_finished", 0),
        ("limit", False, False, "stop", "limit", exit_codes.FATAL),
        ("diverged", False, False, "continue", "diverged", exit_codes.FATAL),
        ("stalled", True, True, "continue", "stalled", exit_codes.FATAL),
        ("starved", True, False, "stop", "starved", exit_codes.FATAL),
    ],
)
def test_what_a_verdict_becomes(
    verdict: str, last: bool, validated: bool, at_limit: str, event: str, answer: int
) -> None:
    """Only convergence ends the DAG early; an end without success fails its node while other nodes could run."""
    assert table.after_verdict(verdict, last=last, validated=validated, at_limit=at_limit) == event
    assert exit_codes.verdict_exit(event, last=last) == answer


def test_what_a_validation_answers() -> None:
    """A failed validation is a fatal failure."""
    assert [exit_codes.verdict_exit(event, last=True) for event in ("confirmed", "refuted")] == [0, exit_codes.FATAL]


def test_a_job_says_nothing_to_dagman_by_itself() -> None:
    """Whatever a job's exit status, its script returns success, failure, or fatal failure."""
    fatal = {status for status, (_, for_good, _) in exit_codes.JOB_FAILURES.items() if for_good}
    assert fatal
    assert fatal < set(exit_codes.JOB_FAILURES)
    for ret in range(-1100, 256):
        assert exit_codes.job_exit(ret) == (0 if ret == 0 else exit_codes.FATAL if ret in fatal else 1)
