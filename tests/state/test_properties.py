"""Test invariants of every sequence of events, with a real state database."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaigns import make_campaign, metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from faser_align.campaign import layout
from faser_align.fsm import exit_codes, table
from faser_align.state import verify
from faser_align.state.apply import apply

Event = dict[str, Any]

with tempfile.TemporaryDirectory() as _folder:
    make_campaign(
        Path(_folder, "campaign"),
        files=2,
        config={"reconstruction": {"min_files": 0.5}, "notify": {"targets": ["me"], "events": ["end", "held", "lost"]}},
    )
    _made = sqlite3.connect(Path(_folder, "campaign", layout.STATE))
    TEMPLATE = _made.serialize()
    _made.close()

DAGS = st.sampled_from(["1.0", "2.0"])
NODES = [layout.reco_node(1, i, f) for i in (1, 2) for f in (400, 401)] + [layout.mille_node(1, i) for i in (1, 2)]


@contextmanager
def store() -> Iterator[sqlite3.Connection]:
    """Return an initial state database in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.deserialize(TEMPLATE)
        yield db
    finally:
        db.close()


def events() -> st.SearchStrategy[Event]:
    """Draw events of hooks, in any order."""
    final = {"phase": st.just("final"), "dag_id": DAGS, "node": st.just("final"), "dag_status": st.integers(0, 6)}
    control = {"phase": st.just("control"), "dag_id": DAGS, "event": st.sampled_from(["submitted", "resumed"])}
    others = [st.fixed_dictionaries(final), st.fixed_dictionaries(control)]
    return st.one_of(*_of_nodes(NODES), *others).map(_complete)


def events_of(node: str) -> st.SearchStrategy[Event]:
    """Draw events of one node."""
    return st.one_of(*_of_nodes([node])).map(_complete)


def _of_nodes(nodes: list[str]) -> list[st.SearchStrategy[Event]]:
    """Draw events of PRE, POST and HOLD."""
    common = {"dag_id": DAGS, "node": st.sampled_from(nodes)}
    job, retry = st.sampled_from(["11.0", "12.0", "13.0"]), st.integers(0, 2)
    pre = {"phase": st.just("pre"), "retry": retry}
    post = {
        "phase": st.just("post"),
        "job_id": job,
        "retry": retry,
        "ret": st.sampled_from([0, 0, 1, exit_codes.RAW_MISSING, -9, -1002]),
        "verdict": st.sampled_from(table.VERDICTS),
    }
    hold = {
        "phase": st.just("hold"),
        "job_id": job,
        "hold_time": st.sampled_from(["8", "9"]),
        "reason": st.just("quota"),
    }
    return [
        st.fixed_dictionaries(common | pre),
        st.fixed_dictionaries(common | post).map(_finish_post),
        st.fixed_dictionaries(common | hold),
    ]


def _complete(event: Event) -> Event:
    return {"exit": 0, "utc": "2026-11-24T08:00:00.000Z", "host": "ap", **event}


def _finish_post(event: Event) -> Event:
    ret, name = event["ret"], event.pop("verdict")
    failure = exit_codes.JOB_FAILURES.get(ret)
    event["exit"] = 0 if ret == 0 else exit_codes.FATAL if failure and failure[1] else 1
    event["fatal"] = event["exit"] == exit_codes.FATAL
    event |= {"max_retries": 2, "outcome": "failed" if ret else "succeeded", "reason": "because"}
    if ret == 0 and event["node"].startswith("mille"):
        iteration = layout.parse_node(event["node"])[2]
        text = str(metrics(iteration)).replace("'", '"').replace("False", "false").replace("True", "true")
        event |= {"verdict": name, "verdict_reason": "so", "criteria": "[]", "metrics": text}
        event["moves"] = table.after_verdict(name, last=True, validated=False, at_limit="continue")
        event["exit"] = exit_codes.verdict_exit(event["moves"], last=True)
    return event


def picture(db: sqlite3.Connection) -> list[Any]:
    """Return states and counters of the campaign and its nodes, which must not depend on accidents."""
    return [
        db.execute("SELECT state, stage, iteration, stages_done, lost FROM campaign").fetchall(),
        db.execute("SELECT node, state, attempts, reason FROM nodes").fetchall(),
        db.execute("SELECT stage, iteration, verdict FROM iterations").fetchall(),
    ]


@settings(max_examples=examples(150))
@given(st.lists(events(), max_size=40))
def test_no_sequence_leaves_the_table(sequence: list[Event]) -> None:
    """Every change in the history is a row of a table and starts where the last one ended; ends need a named event."""
    with store() as db:
        for event in sequence:
            apply(db, event)
        where: dict[str, str] = {"campaign": ""}
        rows = db.execute("SELECT subject, source, event, destination, ignored FROM history ORDER BY id").fetchall()
        for subject, source, event, destination, ignored in rows:
            assert source == where.get(subject, "waiting")
            if ignored:
                assert destination == source
            elif event != "created":
                after = table.campaign_after if subject == "campaign" else table.node_after
                assert after(source, event) == destination
                if subject == "campaign" and source in table.ENDS:
                    assert event in ("resumed", "extended")
            where[subject] = destination
        assert db.execute("SELECT state FROM campaign").fetchone()[0] == where["campaign"]
        for node, state in db.execute("SELECT node, state FROM nodes"):
            assert state == where.get(node, "waiting")


@settings(max_examples=examples(150))
@given(st.lists(events(), max_size=30))
def test_every_sequence_leaves_a_sound_store(sequence: list[Event]) -> None:
    """Verification finds no problem after any sequence of events."""
    with store() as db:
        for event in sequence:
            apply(db, event)
        assert verify.findings(db, files=False) == []


@settings(max_examples=examples(100))
@given(st.lists(events(), max_size=30))
def test_the_same_history_gives_the_same_state(sequence: list[Event]) -> None:
    """Two databases with the same events are equal, with equal exit statuses."""
    with store() as one, store() as two:
        assert [apply(one, e) for e in sequence] == [apply(two, e) for e in sequence]
        assert list(one.iterdump()) == list(two.iterdump())


@settings(max_examples=examples(150))
@given(st.lists(events(), max_size=25))
def test_an_event_taken_in_twice_in_a_row_changes_nothing(sequence: list[Event]) -> None:
    """A script that is repeated at once returns its status and changes nothing."""
    with store() as db:
        for event in sequence:
            first = apply(db, event)
            before = list(db.iterdump())
            assert apply(db, event) == first
            assert list(db.iterdump()) == before


@settings(max_examples=examples(150))
@given(st.data())
def test_events_of_different_nodes_commute(data: st.DataObject) -> None:
    """The reconstructions of an iteration may report in any order."""
    lives = []
    for file in (400, 401):
        node = layout.reco_node(1, 1, file)
        own = data.draw(st.lists(events_of(node), max_size=5))
        lives.append([{**event, "dag_id": "1.0"} for event in own])
    orders = []
    for _ in range(2):
        merged, rest = [], [list(life) for life in lives]
        while any(rest):
            pick = data.draw(st.sampled_from([i for i, life in enumerate(rest) if life]))
            merged.append(rest[pick].pop(0))
        orders.append(merged)
    # Without the limit on dropped files, which is common to all files: the first ones use it.
    with store() as one, store() as two:
        for db, order in zip((one, two), orders, strict=True):
            db.execute("UPDATE campaign SET lost_max = 0")
            for event in order:
                apply(db, event)
        assert picture(one) == picture(two)
