"""Repair a campaign's state database: the requests to HTCondor and their order."""

import contextlib
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator

from faser_align.campaign.manifest import read_submitted
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, StoreError, UserError
from faser_align.operations import dagman, lifecycle, snapshot, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.state import publish, queries
from faser_align.state.repair import rebuild as repairs
from faser_align.state.repair.report import Report, report
from faser_align.system.program import hint, program


def repair(
    folder: str,
    *,
    dry_run: bool = False,
    without_htcondor: bool = False,
    warn: Callable[[str], None] = lifecycle.ignore,
) -> Report:
    """Repair the database of the campaign in ``folder``, if necessary.

    Args:
        folder: the campaign.
        dry_run: only return what would be done, and change nothing in the folder.
        without_htcondor: do not ask whether a DAGMan is in the queue.
        warn: called with a sentence if pending messages could not be delivered.

    Returns:
        The report, with ``kept``: path of the old state database, and ``sent``: number of pending messages that were
            accepted.

    Raises:
        UserError: a DAGMan of the campaign is in the queue, the campaign is not where it was submitted, or it has neither a
            sound copy nor logs.
        CampaignError: the schedd does not answer, or the state database cannot be written.
    """
    record = submitted = read_submitted(folder)
    if "imported" in submitted:  # without a DAG, so that no DAGMan writes its database
        lifecycle.refuse_copy(folder, submitted)
        without_htcondor = True
    else:
        record = lifecycle.require_original_folder(folder)
    kept, stale = "", False
    if not without_htcondor:
        with contextlib.suppress(CampaignError):  # a snapshot that cannot be read gives no end
            lifecycle.await_departure(record, snapshot.state_now(folder))
    try:
        with _turn(folder, dry_run=dry_run) as scratch:
            _refuse_dagman(record, without_htcondor=without_htcondor)
            rebuilt = repairs.rebuild(folder, submitted, scratch)
            found = report(record["name"], rebuilt)
            stale = rebuilt.stale
            if rebuilt.path and not dry_run:
                # Reading long logs takes a while, and somebody may resubmit by hand meanwhile.
                _refuse_dagman(record, without_htcondor=without_htcondor)
                kept = repairs.install(folder, rebuilt)
        if not dry_run and (rebuilt.path or stale):
            publish.publish(folder)
            found["sent"] = _send(folder, warn)
    except (sqlite3.Error, OSError) as problem:
        raise StoreError(f"the state database of {record['name']} cannot be repaired: {problem}") from problem
    return {"sent": 0, **found, "dry_run": dry_run, "kept": kept, "published": stale and not dry_run}


@contextlib.contextmanager
def _turn(folder: str, *, dry_run: bool) -> Iterator[str]:
    """Hold the campaign's locks, and return a folder to build in: beside the state database, or elsewhere."""
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="faser-align-") as scratch:
            yield scratch
        return
    with alone(folder), repairs.locked(folder):
        scratch = repairs.scratch_of(folder)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _refuse_dagman(record: Manifest, *, without_htcondor: bool) -> None:
    if without_htcondor:
        return
    name = record["name"]
    answer = dagman.ask(record)
    if answer.problem:
        raise CampaignError(
            f"cannot tell whether a DAGMan of {name} is in HTCondor's queue: {answer.problem}; nothing was done. "
            "If you are sure that there is none, add --without-htcondor"
        )
    if answer.jobs:
        raise UserError(
            f"{name} runs as job {answer.jobs[0].cluster}.0, and its scripts write the state database; "
            f"stop it with {hint('stop', record['name'])}, or wait until it ends, before you repair it"
        )


def _send(folder: str, warn: Callable[[str], None]) -> int:
    """Send pending messages, because no script may follow; return how many were accepted."""
    waiting = _waiting(folder)
    if waiting:
        try:
            without_dagman.deliver(folder)
        except CampaignError as problem:
            warn(str(problem))
    return waiting - _waiting(folder)


def _waiting(folder: str) -> int:
    return sum(row["state"] in ("pending", "claimed") for row in queries.messages(folder))


def next_step(found: Report) -> str:
    """Return the next command after a repair; empty if there is nothing to do."""
    state, name = found["after"]["state"], shlex.quote(found["campaign"])
    if found["dry_run"]:
        return f"{program()} repair {name}" if found["repaired"] else ""
    resumes = state in table.ENDS and table.campaign_after(state, "resumed") and found["closed"]
    return f"{program()} resume {name}" if resumes else ""
