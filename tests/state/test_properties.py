"""What holds for every sequence of events in a real state database."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from campaigns import make_campaign
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import FILES, ITERATIONS, Event, Memory, comparable, events, rows_of
from properties import examples

from faser_align.campaign import layout
from faser_align.state import verify
from faser_align.state.writer import apply

with tempfile.TemporaryDirectory() as _folder:
    make_campaign(
        Path(_folder, "campaign"),
        files=len(FILES),
        config={
            "campaign": {"iterations": len(ITERATIONS)},
            "reconstruction": {"min_files": 0.5},
            "notify": {"targets": ["me"], "events": ["end", "held", "lost"]},
        },
    )
    with closing(sqlite3.connect(Path(_folder, "campaign", layout.STATE))) as _made:
        TEMPLATE = _made.serialize()


@settings(max_examples=examples(150))
@given(st.lists(events(), max_size=40))
def test_a_sequence_of_events_leaves_the_database_as_it_leaves_memory(sequence: list[Event]) -> None:
    """The database is sound after every sequence of events, and holds what the same changes make of rows in memory."""
    memory = Memory()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.deserialize(TEMPLATE)
        assert [apply(db, event) for event in sequence] == [memory.take(event) for event in sequence]
        assert verify.findings(db, files=False) == []
        now = db.execute("SELECT state, stage, iteration, stages, stages_done, lost_max, lost, dag_id FROM campaign")
        assert now.fetchone() == tuple(memory.campaign.values())[:-1]
        nodes = "SELECT node, kind, stage, iteration, file, state, attempts, reason FROM nodes ORDER BY node"
        assert db.execute(nodes).fetchall() == sorted(tuple(node.values()) for node in memory.nodes.values())
        history, processed = rows_of(db.serialize())
        assert history[1:] == [comparable(*row[1:12], row[13]) for row in memory.history]
        assert processed == {(*key, status) for key, status in memory.processed.items()}
        iterations = db.execute("SELECT stage, iteration, verdict FROM iterations").fetchall()
        assert iterations == sorted((*at, name) for at, name in memory.iterations.items())
        wanted = [kind for kind in memory.messages if kind not in ("submitted", "iteration")]
        assert [kind for (kind,) in db.execute("SELECT kind FROM outbox ORDER BY id")] == wanted
