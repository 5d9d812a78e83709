"""Find the fates of nodes that no script has recorded, from HTCondor's queue.

The state database calls these running: a job on hold whose HOLD script did not run, a job that has lost its machine,
and a job that left the queue without DAGMan having seen its end (a full disk has truncated DAGMan's log). It calls held:
a job that was released, until its POST script.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.dag import queue
from faser_align.operations.snapshot_types import HeldJob, QueuedJob
from faser_align.state import dagmanlogs, database, joblogs, queries
from faser_align.system.read import end_of

UNSEEN_S = 60  # DAGMan reads its log every few seconds
LATEST_BYTES = 64_000_000  # from the end of a log, which has the current iteration
# Lines of JOBSTATE_LOG after which DAGMan believes that a node's job is in the queue.
QUEUED = frozenset(("SUBMIT", "EXECUTE", "JOB_HELD", "JOB_RELEASED", "JOB_EVICTED", "JOB_SUSPENDED", "JOB_UNSUSPENDED"))


class Found(NamedTuple):
    """Nodes that the state database calls running: held jobs, disconnected jobs, and nodes whose job vanished.

    ``all_vanished`` is true if DAGMan waits for nothing else. ``released`` are nodes that the state database calls held.
    """

    held: tuple[HeldJob, ...] = ()
    disconnected: tuple[QueuedJob, ...] = ()
    vanished: tuple[QueuedJob, ...] = ()
    all_vanished: bool = False
    released: frozenset[str] = frozenset()


NOTHING = Found()


def look(folder: str, dagman: queue.DagmanJob, jobs: Iterable[queue.NodeJob], asked_s: float) -> Found:
    """Compare the nodes that the snapshot calls running or held with ``jobs`` in the queue, which has its ``dagman``, at Unix time ``asked_s``."""
    of_dagman = {job.node: job for job in jobs if job.dagman == dagman.cluster}
    with queries.published(folder) as db:
        states = dict(db.execute("SELECT node, state FROM nodes WHERE state IN ('running', 'held')"))
    held = [job for node, job in of_dagman.items() if job.status == queue.HELD and states.get(node) == "running"]
    lost = [job for job in of_dagman.values() if job.reconnects_s]
    without = [node for node in states if node not in of_dagman]
    vanished: list[QueuedJob] = []
    # A DAGMan that was on hold or has just started has not read the latest events of its jobs.
    if without and dagman.status == queue.RUNNING and asked_s - dagman.started_s > UNSEEN_S:
        vanished = _vanished(folder, f"{dagman.cluster}.0", without, asked_s)
    return Found(
        tuple(
            {
                "node": job.node,
                "job_id": job.job_id,
                "why": job.hold_reason,
                "utc": database.utc(job.since_s),
                "recorded": False,
            }
            for job in sorted(held)
        ),
        tuple({"node": job.node, "job_id": job.job_id, "lease_s": job.reconnects_s} for job in sorted(lost)),
        tuple(vanished),
        bool(vanished) and len(vanished) == len(without) and not of_dagman,
        frozenset(n for n, job in of_dagman.items() if job.status != queue.HELD and states.get(n) == "held"),
    )


def _vanished(folder: str, dag_id: str, nodes: Sequence[str], asked_s: float) -> list[QueuedJob]:
    """Return those of ``nodes``, which have no job in the queue, whose job DAGMan still waits for."""
    waited_for = _submitted(end_of(f"{folder}/{layout.JOBSTATE_LOG}", LATEST_BYTES), dag_id, frozenset(nodes), asked_s)
    if not waited_for:
        return []
    # DAGMan's log, truncated or not
    nodes_log = end_of(layout.newest_dag(folder) + layout.ENDING_NODES_LOG, LATEST_BYTES).decode("utf-8", "replace")
    events = joblogs.job_events(nodes_log.split("\n"), (joblogs.TERMINATED, joblogs.ABORTED))
    ended = {event.job_id: joblogs.local_s(event.time) or 0.0 for event in events}
    found = [(node, job_id) for node, job_id in waited_for.items() if asked_s - ended.get(job_id, 0.0) > UNSEEN_S]
    return [{"node": node, "job_id": job_id} for node, job_id in sorted(found)]


def _submitted(jobstate: bytes, dag_id: str, nodes: frozenset[str], asked_s: float) -> dict[str, str]:
    """Return nodes whose job DAGMan has believed to be in the queue for a while, with the job's id."""
    names = {node.encode() for node in nodes} | {dagmanlogs.DAGMAN.encode()}
    lines = [line for line in jobstate.splitlines() if not names.isdisjoint(line.split(None, 2)[1:2])]
    latest: dict[str, dagmanlogs.Line] = {}
    running = ""
    for line in dagmanlogs.jobstate(b"\n".join(lines).decode("utf-8", "replace")):
        if line.node != dagmanlogs.DAGMAN:
            latest[line.node] = line
        elif line.what == "DAGMAN_STARTED" and line.value != running:
            running, latest = line.value, {}  # a new DAGMan resubmits what the previous one waited for
    return {
        node: line.value
        for node, line in latest.items()
        if running in ("", dag_id) and line.what in QUEUED and asked_s - line.at_s > UNSEEN_S
    }
