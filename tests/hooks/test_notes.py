"""Test that remarks on an iteration reach the history and the message."""

from pathlib import Path
from typing import Any

from campaigns import make_campaign, run_iteration

from faser_align.cli.show import history_view, incidents
from faser_align.cli.show.draw import Line
from faser_align.operations import snapshot
from faser_align.state import database, queries
from faser_align.state.facts import facts
from faser_align.state.outbox import claim

NOTE = "the tracks were converted again with hits up to 0.5 mm, ten times the cut"


def test_notes_are_told(tmp_path: Path) -> None:
    """An iteration's remarks are in the history of its decision, and in a message's payload."""
    notify = {"targets": ["me"], "events": ["iteration"]}
    record = make_campaign(tmp_path / "campaign", files=1, config={"notify": notify})
    assert run_iteration(record, 1, notes=[NOTE], converted_again=True) == 0
    db = database.connect(record["folder"])
    try:
        said = [row for row in queries.history(db) if row["event"] == "go_on"]
        assert said[-1]["facts"]["notes"] == [NOTE]
        assert NOTE in history_view.facts(said[-1])
        db.execute("UPDATE outbox SET state = 'pending', next_utc = ''")
        db.commit()
    finally:
        db.close()
    assert message(record["folder"])["notes"] == [NOTE]


def message(folder: str) -> dict[str, Any]:
    """Return the payload of the due message."""
    claimed = claim(folder, final=True)
    assert claimed is not None
    db = database.connect(folder)
    try:
        return facts(db, claimed)
    finally:
        db.close()


def test_constants_that_were_changed_by_hand_are_told(tmp_path: Path) -> None:
    """History, status and every later message name the iteration whose constants somebody changed."""
    notify = {"targets": ["me"], "events": ["end"], "file": str(tmp_path / "targets.toml")}
    record = make_campaign(tmp_path / "campaign", files=1, config={"notify": notify})
    by_hand, as_found = ({"start_sha256": "1", "result_sha256": "1", "changed_by_hand": who} for who in (True, False))
    sentence = "the constants of iteration 2 were changed by hand"
    for iteration in (1, 2, 3, 4):
        changes = {"constants": by_hand, "notes": [sentence]} if iteration == 2 else {"constants": as_found}
        run_iteration(record, iteration, **changes)
    said = [
        history_view.facts(row) for row in snapshot_history(record["folder"]) if row["event"] in ("go_on", "converged")
    ]
    assert [sentence in text for text in said] == [False, True, False, False]
    assert Line(sentence, "yellow") in incidents.blocks(snapshot.take(record["folder"]))
    assert message(record["folder"])["notes"] == [sentence]


def snapshot_history(folder: str) -> list[dict[str, Any]]:
    """Return the campaign's own history as readers get it."""
    with queries.published(folder) as db:
        return queries.history(db, nodes=False)
