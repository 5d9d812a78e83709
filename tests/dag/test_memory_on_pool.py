"""Test a job that exceeds its requested memory, on a pool that measures memory and holds such jobs."""

import subprocess
from pathlib import Path

from poolcampaigns import PoolCampaign, own_pool

from faser_align.campaign import layout
from faser_align.pool.personal import Pool
from faser_align.state import queries

HUNGRY = layout.reco_node(1, 1, 401)
ASKED_MB, MOST_MB, EATEN_MB = 64, 256, 150
# HTCondor's own policy; the use of memory is checked every few seconds.
POLICY = "\nuse POLICY : HOLD_IF_MEMORY_EXCEEDED\nSTARTER_UPDATE_INTERVAL = 1\nPERIODIC_EXPR_INTERVAL = 2\n"


def test_a_job_that_a_machine_held_for_its_memory_gets_more(pool: Pool, workdir: Path) -> None:
    """A job held for its memory is released at once with memory_max_mb, and the hold is notified once."""
    with own_pool(workdir / "pool", 2) as own:
        with open(own / "condor_config", "a") as config:
            config.write(POLICY)
        subprocess.run(["condor_reconfig"], check=True, capture_output=True)
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
