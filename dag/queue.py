"""Query the schedd's queue once, in a child process that can be killed.

HTCondor's bindings wait 20 s for a schedd that accepts connections and does not answer. They block the process
meanwhile, and no setting shortens it.
"""

import os
import pwd
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.system import bounded
from faser_align.system.attempt import first_line

ANSWER_S_MAX = 8.0
HELD, IDLE, RUNNING = 5, 1, 2  # HTCondor's JobStatus
ENDS_OF_DAGMAN = (0, 1, 2)  # exit statuses with which DAGMan leaves the queue; the schedd restarts it after any other
KILLED = 9  # by somebody, not DAGMan's own failure
STARTS_MIN, LIFE_S_MAX, FRESH_S_MAX = 4, 60, 300  # criteria of a crash loop
STARTS_MIN_COOLED = 2  # since HTCondor 25.10 the schedd waits for minutes before it restarts a failed DAGMan
SCHEDULER = 7  # HTCondor's JobUniverse of jobs that the schedd itself runs
ATTRIBUTES = (
    *("ClusterId", "ProcId", "JobStatus", "JobUniverse", "HoldReason", "FaserFolder", "FaserNode", "DAGManJobId"),
    *("NumJobStarts", "JobCurrentStartDate", "JobLastStartDate", "ExitCode", "ExitSignal"),
    *("JobCoolDownExpiration", "EnteredCurrentStatus", "JobCurrentReconnectAttempt", "JobLeaseDuration"),
)


class DagmanJob(NamedTuple):
    """A DAGMan job in the queue; times are Unix times."""

    cluster: int
    status: int  # HTCondor's JobStatus
    hold_reason: str
    folder: str = ""  # of the campaign
    crashes: int = 0  # how often HTCondor has started it if it ends at once each time, else 0
    starts_again_s: int = 0  # the schedd does not restart it after a failure before; 0 if it may restart now
    started_s: int = 0  # its last start
    since_s: int = 0  # its current status

    @property
    def works(self) -> bool:
        """Whether it can currently run a script."""
        return self.status != HELD and not self.crashes and not self.starts_again_s


class NodeJob(NamedTuple):
    """The job of a node in the queue."""

    node: str
    job_id: str
    dagman: int  # cluster of its DAGMan
    status: int  # HTCondor's JobStatus
    since_s: int = 0  # Unix time of that status
    hold_reason: str = ""
    reconnects_s: int = 0  # how long it tries to reconnect at most, if its shadow has lost the machine; else 0


class Queue(NamedTuple):
    """The answer: DAGMan jobs, node jobs, the schedd's name; or the reason why there is none."""

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
    except KeyError:  # an account without a name, as in containers, has no jobs
        return dagmen
    return f'{dagmen} || (Owner =?= "{owner}" && FaserNode =!= undefined)'


def ask(constraint: str, environment: Mapping[str, str], schedd: str = "") -> Queue:
    """Query the schedd once, for at most ``ANSWER_S_MAX``; a schedd that does not answer is not an error.

    Args:
        constraint: ``of_campaign`` or ``of_all``.
        environment: variables of the child process, which define the pool.
        schedd: name of the schedd; by default that of this machine.
    """
    try:
        with bounded.Worker(environment) as worker:
            ended = worker.call(__name__, "answer", constraint, schedd, wait_s=ANSWER_S_MAX)
    except OSError as problem:  # the user's limit of processes is reached
        return Queue(problem=f"HTCondor could not be asked: {problem.strerror}")
    if ended.late:
        return Queue(problem=f"the schedd did not answer within {ANSWER_S_MAX:.0f} s")
    if not ended.found:
        return Queue(problem="HTCondor's Python bindings did not answer")
    answer = ended.found[0]
    if "problem" in answer:
        return Queue(problem=answer["problem"])
    return read(answer["ads"], answer["schedd"], time.time())


def read(ads: Sequence[Mapping[str, Any]], schedd: str, now_s: float) -> Queue:
    """Return the queue from the jobs' attributes, at Unix time ``now_s``."""
    dagmen = [ad for ad in ads if ad["JobUniverse"] == SCHEDULER]
    nodes = tuple(_node(ad) for ad in ads if ad["JobUniverse"] != SCHEDULER and "FaserNode" in ad)
    return Queue(tuple(_job(ad, now_s) for ad in dagmen), nodes, schedd)


def _node(ad: Mapping[str, Any]) -> NodeJob:
    status = int(ad["JobStatus"])
    # The shadow of a running job counts its attempts, and removes the attribute after reconnecting (23.9). The time of
    # the last lease renewal is of no use: the schedd renews it meanwhile.
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
    """Return whether DAGMan ended soon after each start with a status after which HTCondor restarts it."""
    started, before = ad.get("JobCurrentStartDate", 0), ad.get("JobLastStartDate", 0)
    pause_s = _cool_down_s(ad, now_s)
    return bool(
        ad.get("NumJobStarts", 0) >= (STARTS_MIN_COOLED if pause_s > LIFE_S_MAX else STARTS_MIN)
        and (ad.get("ExitCode", 0) not in ENDS_OF_DAGMAN or ad.get("ExitSignal", KILLED) != KILLED)
        and started - before < LIFE_S_MAX + pause_s
        and now_s - started < FRESH_S_MAX + pause_s
    )


def _cool_down_s(ad: Mapping[str, Any], now_s: float) -> int:
    """Return how long the schedd waits before it restarts the job, 0 if it does not wait."""
    end = int(ad.get("JobCoolDownExpiration", 0))
    return max(1, end - int(ad.get("EnteredCurrentStatus", now_s))) if ad["JobStatus"] == IDLE and end > now_s else 0


def answer(constraint: str, wanted: str) -> Iterator[dict[str, Any]]:
    """Yield the child's answer: the name of the schedd and the jobs' attributes, or the problem."""
    import htcondor2

    try:
        collector = htcondor2.Collector()
        place = collector.locate(htcondor2.DaemonType.Schedd)
        if wanted and (place is None or place.get("Name") != wanted):
            place = collector.locate(htcondor2.DaemonType.Schedd, wanted)
        if place is None:
            yield {"problem": f"this machine knows no schedd {wanted}" if wanted else "this machine knows no schedd"}
            return
        ads = htcondor2.Schedd(place).query(constraint=constraint, projection=list(ATTRIBUTES))
    except (htcondor2.HTCondorException, OSError, RuntimeError, TypeError) as error:
        said = first_line(error)
        yield {"problem": f"{f'the schedd {wanted}' if wanted else 'the schedd'} does not answer ({said})"}
        return
    # Existing attributes as plain values; one without a value is an IntEnum (Undefined = 2), and is omitted.
    plain = [{key: ad[key] for key in ATTRIBUTES if type(ad.get(key)) in (str, int, float)} for ad in ads]
    yield {"schedd": str(place.get("Name", "")), "ads": plain}
