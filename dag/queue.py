"""What the schedd has in its queue of campaigns: asked once, in a process of its own that can be given up.

HTCondor's bindings wait 20 s for a schedd that listens and is silent, let nothing else run meanwhile, and no setting
shortens it. Whoever only wants to know must not be kept waiting so long.
"""

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ANSWER_S_MAX = 8.0
HELD, IDLE, RUNNING = 5, 1, 2  # HTCondor's JobStatus
ENDS_OF_DAGMAN = (0, 1, 2)  # exit statuses with which DAGMan leaves the queue; after any other it is started again
KILLED = 9  # somebody's doing, not DAGMan's
STARTS_MIN, LIFE_S_MAX, FRESH_S_MAX = 4, 60, 300  # what makes a crash loop of it
STARTS_MIN_COOLED = 2  # from HTCondor 25.10 the schedd lets a DAGMan that failed cool down for minutes between starts
SCHEDULER = 7  # HTCondor's JobUniverse of what the schedd itself runs
ATTRIBUTES = (
    *("ClusterId", "ProcId", "JobStatus", "JobUniverse", "HoldReason", "FaserFolder", "FaserNode", "DAGManJobId"),
    *("NumJobStarts", "JobCurrentStartDate", "JobLastStartDate", "ExitCode", "ExitSignal"),
    *("JobCoolDownExpiration", "EnteredCurrentStatus", "JobCurrentReconnectAttempt", "JobLeaseDuration"),
)


class DagmanJob(NamedTuple):
    """A DAGMan job in the queue: its cluster, HTCondor's JobStatus, why it is held, and the campaign's folder.

    ``crashes`` is how often HTCondor has started it if it ends at once each time, else 0. ``starts_again_s`` is the Unix time
    before which the schedd does not start it again after a failure, 0 if nothing keeps it from that. ``started_s`` and
    ``since_s`` are when it was started last and when it got its status.
    """

    cluster: int
    status: int
    hold_reason: str
    folder: str = ""
    crashes: int = 0
    starts_again_s: int = 0
    started_s: int = 0
    since_s: int = 0

    @property
    def works(self) -> bool:
        """Whether it can run a script as things are."""
        return self.status != HELD and not self.crashes and not self.starts_again_s


class NodeJob(NamedTuple):
    """The job of a node in the queue.

    The node, the job's id, the cluster of its DAGMan, HTCondor's JobStatus, since when it has that (Unix time, s), why it is
    held, and if its shadow has lost the machine and tries to reconnect, for how long it does so at most (s; else 0).
    """

    node: str
    job_id: str
    dagman: int
    status: int
    since_s: int = 0
    hold_reason: str = ""
    reconnects_s: int = 0


class Queue(NamedTuple):
    """The answer: DAGMan jobs, jobs of nodes, the schedd's name; or why there is none."""

    jobs: tuple[DagmanJob, ...] = ()
    nodes: tuple[NodeJob, ...] = ()
    schedd: str = ""
    problem: str = ""

    @property
    def waiting(self) -> frozenset[str]:
        """Nodes whose job waits in the queue."""
        return frozenset(job.node for job in self.nodes if job.status == IDLE)


def of_campaign(folder: str, dag_id: str = "") -> str:
    """Return the constraint for the DAGMan of the campaign in ``folder``, and for all jobs of DAGMan ``dag_id``."""
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    dagman = f'(JobUniverse == {SCHEDULER} && FaserFolder =?= "{quoted}")'
    cluster = dag_id.partition(".")[0]
    return f"{dagman} || (DAGManJobId == {cluster})" if cluster.isdigit() else dagman


def of_all() -> str:
    """Return the constraint for the DAGMan of every campaign, and for all jobs of this user's campaigns."""
    dagmen = f"(JobUniverse == {SCHEDULER} && FaserFolder =!= undefined)"
    try:
        owner = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as in containers; it has no jobs
        return dagmen
    return f'{dagmen} || (Owner =?= "{owner}" && FaserNode =!= undefined)'


def ask(constraint: str, environment: Mapping[str, str], schedd: str = "") -> Queue:
    """Ask the schedd once, and wait for at most ``ANSWER_S_MAX``; a schedd that does not answer is no error.

    Args:
        constraint: ``of_campaign`` or ``of_all``.
        environment: variables of the process that asks; they lead to the pool.
        schedd: name of the schedd; that of this machine without.
    """
    command = [sys.executable, "-I", "-m", "faser_align.dag.queue", constraint, schedd]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=ANSWER_S_MAX, check=False
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Queue(problem=f"the schedd did not answer within {ANSWER_S_MAX:.0f} s")
    except (OSError, ValueError):
        return Queue(problem="HTCondor's bindings gave no answer")
    if "problem" in answer:
        return Queue(problem=answer["problem"])
    return read(answer["ads"], answer["schedd"], time.time())


def read(ads: Sequence[Mapping[str, Any]], schedd: str, now_s: float) -> Queue:
    """The queue from the jobs' attributes, at Unix time ``now_s``."""
    dagmen = [ad for ad in ads if ad["JobUniverse"] == SCHEDULER]
    nodes = tuple(_node(ad) for ad in ads if ad["JobUniverse"] != SCHEDULER and "FaserNode" in ad)
    return Queue(tuple(_job(ad, now_s) for ad in dagmen), nodes, schedd)


def _node(ad: Mapping[str, Any]) -> NodeJob:
    status = int(ad["JobStatus"])
    # The shadow of a job that runs counts its attempts, and takes the attribute away when it has reconnected (23.9). The
    # time of the last renewal of the lease does not tell: the schedd renews it meanwhile.
    lost = status == RUNNING and ad.get("JobCurrentReconnectAttempt", 0) > 0
    return NodeJob(
        str(ad["FaserNode"]),
        f"{ad.get('ClusterId', 0)}.{ad.get('ProcId', 0)}",
        int(ad.get("DAGManJobId", 0)),
        status,
        int(ad.get("EnteredCurrentStatus", 0)),
        str(ad.get("HoldReason", "")) if status == HELD else "",
        int(ad.get("JobLeaseDuration", 0)) or 1 if lost else 0,
    )


def _job(ad: Mapping[str, Any], now_s: float) -> DagmanJob:
    return DagmanJob(
        int(ad["ClusterId"]),
        int(ad["JobStatus"]),
        str(ad.get("HoldReason", "")),
        str(ad.get("FaserFolder", "")),
        int(ad.get("NumJobStarts", 0)) if _crashes(ad, now_s) else 0,
        int(ad["JobCoolDownExpiration"]) if _cool_down_s(ad, now_s) else 0,
        int(ad.get("JobCurrentStartDate", 0)),
        int(ad.get("EnteredCurrentStatus", 0)),
    )


def _crashes(ad: Mapping[str, Any], now_s: float) -> bool:
    """Whether DAGMan ends soon after every start, with a status after which HTCondor starts it again."""
    started, before = ad.get("JobCurrentStartDate", 0), ad.get("JobLastStartDate", 0)
    pause_s = _cool_down_s(ad, now_s)
    return bool(
        ad.get("NumJobStarts", 0) >= (STARTS_MIN_COOLED if pause_s > LIFE_S_MAX else STARTS_MIN)
        and (ad.get("ExitCode", 0) not in ENDS_OF_DAGMAN or ad.get("ExitSignal", KILLED) != KILLED)
        and started - before < LIFE_S_MAX + pause_s
        and now_s - started < FRESH_S_MAX + pause_s
    )


def _cool_down_s(ad: Mapping[str, Any], now_s: float) -> int:
    """Return how long the schedd pauses before it starts the job again, 0 if it does not pause now."""
    end = int(ad.get("JobCoolDownExpiration", 0))
    return max(1, end - int(ad.get("EnteredCurrentStatus", now_s))) if ad["JobStatus"] == IDLE and end > now_s else 0


def _answer(constraint: str, wanted: str) -> dict[str, Any]:
    """What the process that asks writes: the name of the schedd and the jobs' attributes, or the problem."""
    import htcondor2

    try:
        collector = htcondor2.Collector()
        place = collector.locate(htcondor2.DaemonType.Schedd)
        if wanted and (place is None or place.get("Name") != wanted):
            place = collector.locate(htcondor2.DaemonType.Schedd, wanted)
        if place is None:
            return {"problem": f"the schedd {wanted} is not known here" if wanted else "no schedd is known here"}
        ads = htcondor2.Schedd(place).query(constraint=constraint, projection=list(ATTRIBUTES))
    except (htcondor2.HTCondorException, OSError, RuntimeError, TypeError) as error:
        said = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        return {"problem": f"{f'the schedd {wanted}' if wanted else 'the schedd'} does not answer ({said})"}
    # The attributes that are there, as plain values; one without a value is an IntEnum (Undefined = 2), and is left out.
    plain = [{key: ad[key] for key in ATTRIBUTES if type(ad.get(key)) in (str, int, float)} for ad in ads]
    return {"schedd": str(place.get("Name", "")), "ads": plain}


if __name__ == "__main__":
    json.dump(_answer(*sys.argv[1:3]), sys.stdout)
