"""Test waits before retries, releases of held jobs, and a job that exceeds its memory, on a real pool."""

import datetime
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from poolcampaigns import PoolCampaign, own_pool

from faser_align.campaign import layout
from faser_align.pool.personal import Pool
from faser_align.state import queries

WAIT_S, BUSY_S = 10, 60  # and an allowance for a busy machine
TRIED, HELD = (layout.reco_node(1, 1, file) for file in (400, 401))
HUNGRY = layout.reco_node(1, 1, 401)
ASKED_MB, MOST_MB, EATEN_MB = 64, 256, 150
# HTCondor's own policy; the use of memory is checked every few seconds.
POLICY = "\nuse POLICY : HOLD_IF_MEMORY_EXCEEDED\nSTARTER_UPDATE_INTERVAL = 1\nPERIODIC_EXPR_INTERVAL = 2\n"


def submit(folder: Path) -> PoolCampaign:
    """Submit a campaign whose jobs wait, and are released, as configured."""
    campaign = PoolCampaign(
        folder,
        files=2,
        iterations=1,
        fails={TRIED: 63},
        config={
            "notify": {"targets": ["me"], "events": ["held"]},
            "htcondor": {"retries": 1, "retry_wait_s": WAIT_S, "release_wait_s": 0, "releases": 20},
        },
    )
    (campaign.folder / f"iter01/1reco/logs/{HELD}.out").mkdir()  # blocks the output
    campaign.submit()
    return campaign


def events(campaign: PoolCampaign, node: str, event: str) -> list[dict[str, Any]]:
    return [row for row in campaign.history() if row["node"] == node and row["event"] == event]


def test_nodes_wait_and_held_jobs_go_on(pool: Pool, workdir: Path) -> None:
    """A retry waits as configured; held jobs are notified once and released."""
    campaign = submit(workdir / "waits")
    campaign.wait(lambda: events(campaign, TRIED, "failed"))
    (campaign.orders / TRIED).unlink()
    campaign.wait(lambda: len(events(campaign, HELD, "held")) >= 2)
    (campaign.folder / f"iter01/1reco/logs/{HELD}.out").rmdir()
    campaign.wait_end()

    failed, started = events(campaign, TRIED, "failed")[0], events(campaign, TRIED, "started")
    waited = [datetime.datetime.fromisoformat(row["utc"]) for row in (failed, started[1])]
    assert len(started) == 2
    assert WAIT_S - 1 <= (waited[1] - waited[0]).total_seconds() < WAIT_S + BUSY_S
    assert {row["state"] for node, row in campaign.nodes().items() if "reco" in node} == {"done"}
    (ad,) = htcondor2.Schedd().history(f'FaserCampaign == "waits" && FaserNode == "{HELD}"', ["NumHolds"], match=1)
    with queries.published(str(campaign.folder)) as db:
        told = [row[0] for row in db.execute("SELECT history_id FROM outbox WHERE kind = 'held' ORDER BY history_id")]
    held = [row for row in campaign.history() if row["event"] == "held"]
    assert told == [row["id"] for row in held]
    assert [row["node"] for row in held] == [HELD] * ad["NumHolds"]
    assert len(held) >= 2


def test_a_stop_does_not_wait(pool: Pool, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign that is stopped while a node waits for its retry ends at once."""
    campaign = PoolCampaign(
        workdir / "stops",
        files=1,
        iterations=1,
        fails={TRIED: 63},
        config={"htcondor": {"retries": 3, "retry_wait_s": 600}},
    )
    campaign.submit()
    campaign.wait(lambda: events(campaign, TRIED, "failed"))
    assert campaign.command("stop", "--yes").returncode == 0
    assert campaign.wait_end(BUSY_S) == "removed"


def test_a_job_that_a_machine_held_for_its_memory_gets_more(pool: Pool, workdir: Path) -> None:
    """A job held for its memory is released at once with memory_max_mb, and the hold is notified once."""
    with own_pool(workdir / "pool", 2, POLICY):
        campaign = PoolCampaign(
            workdir / "memory",
            files=2,
            iterations=1,
            config={
                "notify": {"targets": ["me"], "events": ["held"]},
                "htcondor": {"reco": {"memory_mb": ASKED_MB, "memory_max_mb": MOST_MB, "disk_mb": 1}},
            },
        )
        (campaign.orders / f"{HUNGRY}.eats_mb").write_text(str(EATEN_MB))
        (campaign.orders / f"{HUNGRY}.wait_s").write_text("600")
        campaign.submit()
        campaign.wait(lambda: any(row["event"] == "held" for row in campaign.history()))
        (campaign.orders / f"{HUNGRY}.wait_s").write_text("1")
        assert campaign.wait_end() == "exhausted"
        ads = {job["FaserNode"]: job for job in campaign.schedd.history("JobUniverse == 5", [], match=9)}
        ad = ads[HUNGRY]
        assert ads[layout.reco_node(1, 1, 400)].eval("RequestMemory") == ASKED_MB
        assert (ad.eval("RequestMemory"), ad["NumHolds"], ad["ExitCode"]) == (MOST_MB, 1, 0)
        assert ad["MemoryProvisioned"] >= MOST_MB
        assert campaign.nodes()[HUNGRY]["state"] == "done"
        (held,) = [row for row in campaign.history() if row["event"] == "held"]
        assert (held["node"], "memory usage exceeded request_memory" in held["facts"]["reason"]) == (HUNGRY, True)
        with queries.published(str(campaign.folder)) as db:
            assert db.execute("SELECT history_id FROM outbox WHERE kind = 'held'").fetchall() == [(held["id"],)]
