"""Test that FINAL ingests what earlier hooks left in the event queue."""

import sqlite3
from pathlib import Path

import pytest
from campaigns import hook, make_campaign, run_iteration, write_output
from worlds import IMPATIENT

from faser_align.campaign import layout
from faser_align.state import queries, spool, verify


@pytest.mark.parametrize("dag_status", [0, 2, 4])
def test_final_replays_what_is_left_of_the_spool(tmp_path: Path, dag_status: int) -> None:
    """Queued events, the last of them a node's failure, are in the history before the end, and the queue is empty."""
    record = make_campaign(tmp_path / "campaign", files=1)
    folder = record["folder"]
    assert run_iteration(record, 1) == 0
    node = layout.reco_node(1, 2, 400)
    blocker = sqlite3.connect(f"{folder}/{layout.STATE}", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert hook("pre", folder, node, 0, 2, interpreter=IMPATIENT).returncode == 0
        write_output(record, 1, 2, 400)
        ended = hook("post", folder, node, 2, 2, 0 if dag_status == 0 else 63, "7.0", 0, interpreter=IMPATIENT)
        assert (ended.returncode == 0) == (dag_status == 0)
    finally:
        blocker.close()
    assert len(spool.waiting(folder)) == 2
    hook("final", folder, layout.FINAL_NODE, dag_status, 1)
    assert spool.waiting(folder) == []
    with queries.published(folder) as db:
        told = [(row["subject"], row["event"]) for row in queries.history(db)]
        assert verify.findings(db) == []
        state = queries.campaign(db)["state"]
    ended_as = "succeeded" if dag_status == 0 else "failed"
    assert told.index((node, "started")) < told.index((node, ended_as))
    if dag_status:
        assert told.index((node, ended_as)) < max(i for i, (who, _) in enumerate(told) if who == "campaign")
        assert state == ("failed" if dag_status == 2 else "removed")
