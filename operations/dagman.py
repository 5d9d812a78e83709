"""Ask the schedd once, in bounded time, whether a campaign's scripts can still run."""

import contextlib
import os
import shlex
import time
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from faser_align.campaign import layout, submissions
from faser_align.campaign.manifest import moved_from, read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.campaign.next_steps import Step, spoken
from faser_align.dag import queue
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.operations import queued, snapshot
from faser_align.operations.snapshot_types import Listed, Snapshot
from faser_align.system import formatting
from faser_align.system.program import hint, program

Seen = TypeVar("Seen", Snapshot, Listed)


class DagmanStatus(NamedTuple, Generic[Seen]):
    """A campaign's snapshot, or its row of `list`, and the problem of its DAGMan, in one sentence or empty.

    ``stuck`` is true if no script can run as things are, and ``gone`` if there is no DAGMan that could ever call one;
    ``cure`` is then the fix. ``key`` identifies the cause, of which the recipients are notified once; it is empty if
    the cause may pass.
    """

    seen: Seen
    trouble: str = ""
    stuck: bool = False
    gone: bool = False
    cure: tuple[Step, ...] = ()
    key: str = ""

    @property
    def sentence(self) -> str:
        """Why no script can advance the campaign, with the fix; empty if one can, or if unknown."""
        if not self.stuck:
            return ""
        return f"{self.seen['name']} is {self.seen['state']}, but {self.trouble}; next: {spoken(self.cure)}"


def schedd_of(record: Manifest) -> Any:
    """Return the schedd to which campaigns are submitted from here; raise UserError if it does not answer."""
    from faser_align.pool.schedd import schedd

    return schedd(record["config"]["htcondor"]["pool"])


def ask(record: Manifest, dag_id: str = "") -> queue.Queue:
    """Ask the schedd to which the campaign was submitted for its DAGMan; a schedd that cannot be asked is not an error.

    ``dag_id`` names a DAGMan whose waiting jobs are returned, too.
    """
    known = submissions.latest(record["folder"])
    kind = record["config"]["htcondor"]["pool"]
    here = os.uname().nodename
    if kind == "personal" and known.host not in ("", here):
        # On another host, the pool's address may lead to a pool of this machine, which does not know the campaign.
        return queue.Queue(
            problem=f"it belongs to the personal pool of {known.host}, and this is {here}; run the command there"
        )
    return ask_pool(kind, queue.of_campaign(record["folder"], dag_id), known.schedd if kind == "system" else "")


def refuse_second(record: Manifest, what: str, why: str = "two DAGMans would corrupt the campaign") -> None:
    """Raise UserError if a DAGMan of the campaign may be in the queue: ``what`` must not run beside it."""
    answer = ask(record)
    if answer.problem:
        raise UserError(
            f"cannot tell whether a DAGMan of {record['name']} is in HTCondor's queue ({answer.problem}), "
            f"and {why}; {what} was refused, nothing was done"
        )
    if answer.jobs:
        raise UserError(
            f"{record['name']} is already running as job {answer.jobs[0].cluster}.0, and {why}; stop it before {what}, or wait until it ends"
        )


def interrupted(name: str, cluster: int) -> str:
    """Return the sentence for Ctrl-C that takes effect after the submission of the campaign's DAGMan."""
    return f"interrupted, but {name} runs as job {cluster}.0; end it with {hint('stop', name)}"


def ask_pool(kind: str, constraint: str, schedd: str = "") -> queue.Queue:
    """Ask the schedd of a kind of pool, see ``queue.ask``; an answer without jobs says why."""
    environment = dict(os.environ)
    cure = ""
    if kind == "personal":
        from faser_align.pool import personal

        environment |= personal.environment()
        start = f"`{program()} pool start`"
        if not os.path.exists(environment["CONDOR_CONFIG"]):
            folder = os.path.dirname(environment["CONDOR_CONFIG"])
            return queue.Queue(problem=f"no pool in {folder}; start one with {start}")
        cure = f"; start the pool with {start}"
    answer = queue.ask(constraint, environment, schedd)
    return answer._replace(problem=f"{answer.problem}{cure}") if answer.problem else answer


def look(folder: str) -> DagmanStatus[Snapshot]:
    """Return the campaign's state; for an unfinished one ask the schedd whether its DAGMan can work."""
    seen = snapshot.take(folder)
    if seen["ended"]:
        return DagmanStatus(seen)
    record = read_record(folder)
    asked_s = time.time()
    answer = ask(record, seen["dag_id"])
    if not answer.problem and not answer.jobs:
        # The campaign may have ended meanwhile: DAGMan leaves only after the last script.
        seen = snapshot.take(folder)
        if seen["ended"]:
            return DagmanStatus(seen)
    # Jobs were requested for one DAGMan; one that was resumed just now has recorded nothing yet.
    known = answer.jobs and seen["dag_id"].partition(".")[0] == str(answer.jobs[0].cluster)
    found = queued.look(folder, answer.jobs[0], answer.nodes, asked_s) if known else queued.NOTHING
    if not answer.problem:
        seen = snapshot.with_queue(seen, answer.waiting, found)
    return _judge(seen, record, answer, found)


def look_at_all(rows: Sequence[Listed]) -> tuple[list[DagmanStatus[Listed]], list[str]]:
    """Examine the unfinished ones of many campaigns, with one query per kind of pool.

    Returns one result per row, and why a schedd could not be asked. Campaigns of another schedd are not examined.
    """
    found = {row["folder"]: DagmanStatus(row) for row in rows}
    records = {}
    for folder in (row["folder"] for row in rows if row["state"] in table.UNFINISHED):
        with contextlib.suppress(CampaignError):  # its row already reports that it cannot be read
            records[folder] = read_record(folder)
    problems = []
    for kind in sorted({record["config"]["htcondor"]["pool"] for record in records.values()}):
        asked_s = time.time()
        answer = ask_pool(kind, queue.of_all())
        if answer.problem:
            problems.append(f"cannot tell whether DAGMan runs: {answer.problem}")
            continue
        for folder, record in records.items():
            if record["config"]["htcondor"]["pool"] == kind and _is_of(record, answer.schedd):
                jobs = tuple(job for job in answer.jobs if job.folder == record["folder"])
                differences = queued.look(folder, jobs[0], answer.nodes, asked_s) if jobs else queued.NOTHING
                row: Listed = {
                    **found[folder].seen,
                    "disconnected": list(differences.disconnected),
                    "vanished": list(differences.vanished),
                    "held": list(differences.held),
                    "nodes_held": max(0, found[folder].seen.get("nodes_held", 0) - len(differences.released)),
                }
                found[folder] = _judge(row, record, answer._replace(jobs=jobs), differences)
    return list(found.values()), problems


def _is_of(record: Manifest, schedd: str) -> bool:
    """Return whether this schedd has the campaign's DAGMan, as far as is known."""
    known = submissions.latest(record["folder"])
    return known.schedd in ("", schedd) and known.host in ("", os.uname().nodename)


def _judge(seen: Seen, record: Manifest, answer: queue.Queue, found: queued.Found) -> DagmanStatus[Seen]:
    """Interpret the schedd's answer for an unfinished campaign."""
    if there := moved_from(seen["folder"], record):  # a DAGMan with that path may be another campaign's
        sentence = f"no script will continue it here: it was submitted in {there}"
        cure: tuple[Step, ...] = (Step("next", f"{program()} metrics {shlex.quote(seen['folder'])}"),)
        return DagmanStatus(seen, sentence, stuck=True, cure=cure)
    if answer.problem:
        return DagmanStatus(seen, f"cannot tell whether its DAGMan runs: {answer.problem}")
    name, typed = shlex.quote(record["name"]), program()
    if not answer.jobs:
        if snapshot.state_now(record["folder"]) in table.ENDS:
            return DagmanStatus(seen)
        resume = f"{typed} resume {name}"
        if seen["state"] == table.INITIAL:
            sentence = "it was never submitted: HTCondor's queue has no DAGMan of it"
            return DagmanStatus(seen, sentence, stuck=True, gone=True, cure=(Step("next", resume),))
        sentence = "its DAGMan left HTCondor's queue without recording an end: no script will run any more"
        cure = (Step("next", f"{typed} repair {name}"), Step("then", resume))
        return DagmanStatus(seen, sentence, True, True, cure, key=f"gone {seen['dag_id']}")
    return _judge_job(seen, record, answer.jobs[0], found)


def _judge_job(seen: Seen, record: Manifest, job: queue.DagmanJob, found: queued.Found) -> DagmanStatus[Seen]:
    """Interpret the DAGMan job of an unfinished campaign."""
    name, typed = shlex.quote(record["name"]), program()
    again = (Step("next", f"{typed} stop {name}"), Step("then", f"{typed} resume {name}"))
    if job.status == queue.HELD:
        release = (Step("next", snapshot.release(record, f"{job.cluster}.0")),)
        sentence = f"its DAGMan is on hold ({job.hold_reason}); no script runs until it is released"
        return DagmanStatus(seen, sentence, stuck=True, cure=release, key=f"held {job.cluster} {job.since_s}")
    out = layout.newest_dag(record["folder"]) + layout.ENDING_DAGMAN_OUT
    if job.crashes:
        times = formatting.count(job.crashes, "time")
        sentence = f"its DAGMan was started {times} and exits immediately each time; see {out}"
        return DagmanStatus(seen, sentence, True, False, again, key=f"ends at once {job.cluster}")
    if job.starts_again_s:
        minutes = max(1, round((job.starts_again_s - time.time()) / 60))
        return DagmanStatus(seen, f"its DAGMan exited; HTCondor restarts it in about {minutes} min; see {out}")
    if found.all_vanished:
        jobs = formatting.count(len(found.vanished), "job")
        sentence = f"its DAGMan waits for {jobs} that left HTCondor's queue without an event in its log: no script will run any more"
        return DagmanStatus(seen, sentence, True, False, again, key=f"vanished {job.cluster}")
    if snapshot.is_halted(record["folder"]):
        sentence = "its DAGMan is halted: it starts no new nodes and ends after its running jobs; end it now with "
        stop, resume = hint("stop", record["name"]), hint("resume", record["name"])
        return DagmanStatus(seen, f"{sentence}{stop}; {resume} continues it afterwards")
    return DagmanStatus(seen)
