"""Whether the DAGMan of a campaign is in HTCondor's queue: asked of the schedd once, never in a loop."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from faser_align.cli import snapshot
from faser_align.config.record import read_record
from faser_align.fsm.errors import CampaignError

if TYPE_CHECKING:
    from faser_align.dag.submit import DagmanJob


class Answer(NamedTuple):
    """What the schedd said: the campaign's DAGMan jobs, or why it could not be asked."""

    jobs: tuple["DagmanJob", ...]
    problem: str


def schedd_of(record: Mapping[str, Any]) -> Any:
    """The schedd to which a campaign was submitted; raises UserError if it does not answer."""
    from faser_align.pool.schedd import schedd

    return schedd(record["config"]["htcondor"]["pool"])


def ask(record: Mapping[str, Any]) -> Answer:
    """Ask the schedd for the campaign's DAGMan jobs; one that cannot be asked is no error."""
    try:
        # The pool's configuration is chosen before HTCondor's library is loaded, by whichever module.
        schedd = schedd_of(record)
        from faser_align.dag.submit import dagman_jobs

        return Answer(tuple(dagman_jobs(schedd, record["folder"])), "")
    except CampaignError as problem:
        return Answer((), str(problem))


class Look(NamedTuple):
    """A campaign's snapshot with what is wrong with its DAGMan, in one sentence or empty.

    ``gone`` is true if no DAGMan will ever move this unfinished campaign again.
    """

    seen: snapshot.Snapshot
    trouble: str
    gone: bool


def look(folder: str) -> Look:
    """The campaign as it stands; of an unfinished one the schedd is asked whether its DAGMan is there."""
    seen = snapshot.take(folder)
    if seen["ended"]:
        return Look(seen, "", False)
    answer = ask(read_record(folder))
    if answer.problem:
        return Look(seen, f"whether its DAGMan runs is not known: {answer.problem}", False)
    if answer.jobs:
        return Look(seen, _held(answer.jobs[0], read_record(folder)), False)
    # It may have come to its end since it was looked at: DAGMan leaves only after the last hook.
    seen = snapshot.take(folder)
    if seen["ended"]:
        return Look(seen, "", False)
    if seen["state"] == "created":
        return Look(seen, "it was never submitted: HTCondor has no DAGMan of it in its queue", True)
    return Look(seen, "its DAGMan is gone from HTCondor's queue without an end: nothing moves it any more", True)


def _held(job: "DagmanJob", record: Mapping[str, Any]) -> str:
    from faser_align.dag.submit import HELD

    if job.status != HELD:
        return ""
    cure = snapshot.release(record, f"{job.cluster}.0")
    return f"its DAGMan is on hold ({job.hold_reason}): remove the cause, then: {cure}"
