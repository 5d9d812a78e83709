"""Stop and resume a campaign: the requests to HTCondor and their order."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import moved_from, read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import exit_codes, table
from faser_align.fsm.errors import CampaignError, StoreError, UserError
from faser_align.operations import dagman, notice, snapshot, waiting
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, create, database, queries
from faser_align.system import account, atomic, interrupts
from faser_align.system.program import hint

END_WAIT_S = 60.0  # FINAL has run before DAGMan leaves the queue; only the snapshot may be out of date
WHEN = ("iteration", "never")  # of `stop --after`
NO_HOOK_WAIT_S = 2.0  # after a DAGMan that could not run any script
JUDGED = ("diverged", "stalled", "starved")  # ended by a decision that the same data would give again
LEAVE_WAIT_S, LEAVE_POLL_S = 60.0, 1.0  # DAGMan leaves a few seconds after FINAL, which may wait for a server


class Ended(NamedTuple):
    """A stopped campaign: its end state, the reason, and warnings."""

    name: str
    state: str
    reason: str
    warnings: tuple[str, ...]


class StopRequest(NamedTuple):
    """A request to stop after the iteration, or its withdrawal; ``changed`` is false if nothing changed."""

    name: str
    wanted: bool
    changed: bool
    warnings: tuple[str, ...] = ()


class Submitted(NamedTuple):
    """A campaign that continues: the cluster of its new DAGMan job, and warnings."""

    name: str
    cluster: int
    warnings: tuple[str, ...]


def ignore(_: str) -> None:
    """Ignore a progress message."""


def stop(folder: str, *, confirm: Callable[[str], None] = ignore, progress: Callable[[str], None] = ignore) -> Ended:
    """Stop the campaign in ``folder`` and wait until its end is published.

    Args:
        folder: the campaign.
        confirm: called with the campaign's name before anything is done; it raises an exception to cancel.
        progress: called with a sentence for each step that takes time.

    Raises:
        UserError: the campaign does not run.
        CampaignError: HTCondor refuses, or no end was published.
    """
    record = require_original_folder(folder)
    name = record["name"]
    state = snapshot.state_now(folder)
    if state in table.ENDS:
        raise UserError(f"{name} is already {state}; there is nothing to stop")
    schedd = dagman.schedd_of(record)
    from faser_align.dag.submit import dagman_jobs, stop_dag

    jobs = dagman_jobs(schedd, record["folder"])
    if not jobs:
        raise UserError(
            f"{name} is {state}, but HTCondor's queue has no DAGMan of it, so there is nothing to stop; "
            f"see {hint('status', name)}"
        )
    confirm(name)
    warnings = []
    for job in jobs:
        progress(f"stopping job {job.cluster}.0: DAGMan submits no new nodes, then its jobs are removed ...")
        stopped = stop_dag(schedd, record["folder"], job.cluster)
        if not stopped.gone:
            raise CampaignError(
                f"job {job.cluster}.0 was removed but is still in the queue; check again with {hint('status', name)}"
            )
        if not stopped.halted:
            warnings.append("DAGMan did not report that it had halted before it was removed")
    wait_s = END_WAIT_S if all(job.works for job in jobs) else NO_HOOK_WAIT_S
    end = waiting.wait(folder, timeout_s=wait_s, interval_s=0.2).end
    if end is None:
        raise CampaignError(
            f"{name} left the queue without recording an end; continue it with {hint('resume', name)}, or record the end with "
            f"{hint('repair', name)}"
        )
    notice.send_unsent(folder)  # DAGMan may have died while FINAL was sending
    return Ended(name, end, snapshot.take(folder)["reason"], tuple(warnings))


def stop_after(folder: str, when: str) -> StopRequest:
    """Request that the campaign stops after the current iteration, or (``never``) withdraw the request.

    The POST script of the iteration's Millepede node halts DAGMan, so that no node of the next iteration starts.

    Raises:
        UserError: it does not run, or ``when`` is neither iteration nor never.
        CampaignError: the campaign's folder cannot be written.
    """
    record = require_original_folder(folder)
    name, state = record["name"], snapshot.state_now(folder)
    if when not in WHEN:
        raise UserError(f"--after {when}: must be {' or '.join(WHEN)}")
    if state in table.ENDS:
        raise UserError(f"{name} is already {state}; there is nothing to stop")
    path = f"{folder}/{layout.STOP}"
    wanted = when == "iteration"
    with alone(folder):
        if os.path.exists(path) == wanted:
            return StopRequest(name, wanted, changed=False)
        try:
            if wanted:
                atomic.write_text(path, json.dumps({"who": account.user(), "utc": database.utc()}))
            else:
                os.unlink(path)
        except OSError as error:
            raise CampaignError(
                f"{path}: cannot write: {error.strerror}; free space there or make it writable, then try again"
            ) from None
        control_requests.put(folder, "stop_asked", {"after": when})
    trouble = dagman.look(folder).trouble if wanted else ""
    return StopRequest(name, wanted, changed=True, warnings=(trouble,) if trouble else ())


def resume(folder: str) -> Submitted:
    """Submit the campaign in ``folder`` again: from its rescue DAG, or without nodes that the database says are done.

    Raises:
        UserError: it has converged, runs already or may run, was moved, or has nothing to be resumed from.
        CampaignError: HTCondor refuses.
    """
    record = require_original_folder(folder)
    _refuse_to_resume(record, snapshot.state_now(folder))
    with alone(folder):
        # Another command may have resumed it while this one waited for the lock.
        state = snapshot.state_now(folder)
        _refuse_to_resume(record, state)
        await_departure(record, state)
        dagman.refuse_second(record, "resume")
        # A stop request, and the DAG of an unfinished extension, were for the previous DAGMan.
        discard_leftover(folder, state)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{layout.STOP}")
        schedd = dagman.schedd_of(record)
        from faser_align.dag.submit import resume_dag

        create.bring_up_to_date(folder)
        _make_folders(record)
        with queries.published(folder) as db:
            over = [node["node"] for node in queries.nodes(db, "done", "lost")]  # PRE knows which nodes to skip
        with interrupts.delayed() as done:
            cluster = resume_dag(schedd, record["folder"], over)
            done.append(dagman.interrupted(record["name"], cluster))
            warnings = note(folder, cluster, resumed=state != table.INITIAL)
        return Submitted(record["name"], cluster, warnings)


def note(folder: str, cluster: int, *, resumed: bool) -> tuple[str, ...]:
    """Record a DAGMan's job; return a warning if that fails: the DAGMan's first script then records it."""
    try:
        create.record_submitted(folder, cluster, resumed=resumed)
    except StoreError as problem:
        return (str(problem),)
    return ()


def _make_folders(record: Manifest) -> None:
    """Make the folders that the campaign's end removed because they were unused."""
    from faser_align.dag.create import make_folders

    try:
        make_folders(record, record["folder"], record["data"])
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot create: {error.strerror}; free space, then try again") from None


def discard_leftover(folder: str, state: str) -> None:
    """Remove the DAG of a killed ``extend`` from an ended campaign, if no DAGMan has used it."""
    names = layout.dag_files(folder)
    dag = f"{folder}/{names[-1]}"
    if state not in table.ENDS or len(names) == 1 or os.path.exists(dag + layout.ENDING_DAGMAN_OUT):
        return
    os.unlink(dag)
    with queries.published(folder) as db:
        recorded = {row[0] for row in db.execute("SELECT job_id FROM events WHERE phase = 'control'")}
    known = changes.read(folder)
    changes.write(folder, [one for one in known if one["id"] in recorded or not changes.is_extension(one["key"])])


def _refuse_to_resume(record: Manifest, state: str) -> None:
    name = record["name"]
    if state in table.ENDS and table.campaign_after(state, "resumed") is None:
        raise UserError(
            f"{name} is {state}; there is nothing to resume. See {hint('report', name)}, or submit a new campaign"
        )
    refuse_without_solution(record, state)
    if state in JUDGED:
        raise UserError(
            f"{name} is {state}: resume would repeat the same iteration with the same decision; add iterations "
            f"({hint('extend', name, '-i 5')}), or submit a new campaign with other free parameters"
        )
    if state == "exhausted":
        raise UserError(
            f"{name} is exhausted; there is nothing to resume. Continue with {hint('extend', name, '-i 5')}"
        )


def refuse_without_solution(record: Manifest, state: str) -> None:
    """Raise UserError if an iteration's Millepede job cannot have a solution with the same files."""
    with queries.published(record["folder"]) as db:
        failed = [node for node in queries.nodes(db, "failed") if node["return_value"] in exit_codes.CAMPAIGN_EVENTS]
    if state in exit_codes.CAMPAIGN_EVENTS.values() and failed:
        fix = exit_codes.JOB_FAILURES[failed[0]["return_value"]][2]
        raise UserError(f"{record['name']} is {state}: {failed[0]['reason']}; a retry would fail again: {fix}")


def await_departure(record: Manifest, state: str) -> None:
    """Wait for the DAGMan of a campaign that has just ended to leave the queue; a submission fails if it stays."""
    deadline = time.monotonic() + LEAVE_WAIT_S
    while state in table.ENDS and dagman.ask(record).jobs and time.monotonic() < deadline:
        time.sleep(LEAVE_POLL_S)


def require_original_folder(folder: str) -> Manifest:
    """Return the campaign's manifest if its folder is where it was submitted: the DAG has absolute paths."""
    record = read_record(folder)
    if "imported" in record:
        raise UserError(
            f"{record['name']} was imported and has no DAG; submit a new campaign from its constants with "
            f"`--constants FILE`, after {hint('constants export', record['name'])}"
        )
    refuse_copy(folder, record)
    return record


def refuse_copy(folder: str, record: Manifest) -> None:
    """Raise UserError if the campaign is not where it was submitted: its manifest names the files of another folder."""
    if there := moved_from(folder, record):
        raise UserError(
            f"{folder} is a copy of the campaign in {there}, or was moved from there, and its DAG contains that path; use the "
            "campaign there, or continue from these constants with `submit --constants FILE`"
        )
