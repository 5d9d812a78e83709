"""What should be known beside a verdict reaches the history and the message."""

from pathlib import Path

from campaigns import make_campaign, run_iteration

from faser_align.cli import chronicle
from faser_align.state import database, queries
from faser_align.state.facts import facts
from faser_align.state.outbox import claim

NOTE = "their hits were taken again up to 0.5 mm, ten times the cut"


def test_notes_are_told(tmp_path: Path) -> None:
    """An iteration's notes stand in the history of its verdict, in words, and in the facts of a message."""
    notify = {"targets": ["me"], "events": ["iteration"]}
    record = make_campaign(tmp_path / "campaign", files=1, config={"notify": notify})
    assert run_iteration(record, 1, notes=[NOTE], converted_again=True) == 0
    db = database.connect(record["folder"])
    try:
        said = [row for row in queries.history(db) if row["event"] == "go_on"]
        assert said[-1]["facts"]["notes"] == [NOTE]
        assert NOTE in chronicle.facts(said[-1])
        db.execute("UPDATE outbox SET state = 'pending', next_utc = ''")
        db.commit()
    finally:
        db.close()
    claimed = claim(record["folder"], final=True)
    assert claimed is not None
    db = database.connect(record["folder"])
    try:
        assert facts(db, claimed)["notes"] == [NOTE]
    finally:
        db.close()
