"""Write HTCondor's commands as the user of a campaign types them."""

import shlex
from collections.abc import Iterable

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.campaign.next_steps import Step, held_steps


def to_pool(record: Manifest, config: str = "") -> str:
    """Return the prefix that directs HTCondor's commands to the campaign's pool; empty unless it is a personal pool.

    ``config`` is the pool's configuration file if known; by default that of the user's own pool.
    """
    if record["config"]["htcondor"]["pool"] != "personal":
        return ""
    from faser_align.pool import personal

    return f"CONDOR_CONFIG={shlex.quote(config or personal.environment()['CONDOR_CONFIG'])} "


def release_held(record: Manifest, held: Iterable[tuple[str, str, str]], dag_id: str, config: str = "") -> list[Step]:
    """Return the commands that let held jobs continue; empty if no job's id is known.

    ``held`` has node, job and reason of each, ``dag_id`` is their DAGMan; for ``config`` see ``to_pool``.
    """
    known = [(node, job, why) for node, job, why in held if job]
    if not known:
        return []
    asked = [
        record["config"]["htcondor"]["reco" if layout.parse_node(node)[0] == "reco" else "mille"]["memory_mb"]
        for node, _, why in known
        if "memory" in why.lower()
    ]
    jobs = list(dict.fromkeys(job for _, job, _ in known))
    return held_steps(to_pool(record, config), jobs, dag_id, 2 * max(asked, default=0))
