"""Extend an ended campaign by more iterations, in a DAG of their own, in the same folder and history."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.dag.create import make_folders
from faser_align.dag.render import render
from faser_align.fsm import table
from faser_align.fsm.errors import StoreError, UserError
from faser_align.fsm.plural import count
from faser_align.operations import dagman, lifecycle, limits, snapshot
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, create, queries, spool
from faser_align.system import atomic, interrupts
from faser_align.system.program import hint

ITERATIONS_MAX = 99  # names of nodes and folders have two digits


class Extension(NamedTuple):
    """More iterations of the campaign ``name``, which ended in ``state``.

    Attributes:
        stage, first, after: the new iterations: ``first`` to ``after`` of ``stage``.
        before: number of its iterations in the state database.
        done: nodes of ``first`` that need not run again.
        cluster: that of its new DAGMan job; None for a dry run.
        warnings: sentences about the submission.
    """

    name: str
    state: str
    stage: int
    first: int
    before: int
    after: int
    done: frozenset[str]
    cluster: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def same_limits(self) -> bool:
        """Whether a decision on metrics ended it, so that the same limits apply again."""
        return self.state in lifecycle.JUDGED


def extend(folder: str, iterations: int, *, dry_run: bool = False) -> Extension:
    """Allow more iterations for the campaign in ``folder``, and submit them.

    Raises:
        UserError: it has not ended, has converged, runs, or cannot have so many iterations.
        CampaignError, StoreError: HTCondor refuses, or the folder cannot be written; nothing was changed then.
    """
    record = lifecycle.require_original_folder(folder)
    _refuse(record, snapshot.state_now(folder))
    with contextlib.nullcontext() if dry_run else alone(folder):
        state = snapshot.state_now(folder)
        _refuse(record, state)
        lifecycle.refuse_without_solution(record, state)
        added = _plan(record, state, iterations)
        if dry_run:
            return added
        lifecycle.discard_leftover(folder, state)
        lifecycle.await_departure(record, state)
        dagman.refuse_second(record, "extend")
        schedd = dagman.schedd_of(record)
        create.bring_up_to_date(folder)
        with interrupts.delayed() as done:
            cluster, warnings = _carry_out(folder, added, schedd)
            done.append(dagman.interrupted(record["name"], cluster))
    return added._replace(cluster=cluster, warnings=warnings)


def _refuse(record: Manifest, state: str) -> None:
    name = record["name"]
    if "imported" in record or "only" in record:
        raise UserError(f"{name} has no iterations to continue from; submit a campaign from its constants")
    if state in table.UNFINISHED:
        raise UserError(
            f"{name} is {state}; only a campaign that has ended can be extended. Wait until it ends, or stop it; if its DAGMan is "
            f"gone, record the end with {hint('repair', name)}"
        )
    if table.campaign_after(state, "extended") is None:
        raise UserError(
            f"{name} is {state}, so there is nothing to extend; start another campaign from its constants with "
            f"{hint('submit --from', name)}"
        )


def _plan(record: Manifest, state: str, iterations: int) -> Extension:
    """Return the iterations to add, after the last one of the campaign."""
    with queries.published(record["folder"]) as db:
        stage = max(1, queries.campaign(db)["stage"])
        before = _one(db, "SELECT max(iteration) FROM nodes WHERE stage = ?", stage)
        judged = _one(db, "SELECT max(iteration) FROM iterations WHERE stage = ? AND ended_utc != ''", stage)
        over = queries.nodes(db, "done", "lost")  # nodes skipped because their stage had ended must run now
    # After a decision on metrics, the iterations are added to those that ran; after a failure or a stop, to those
    # allowed.
    base = judged if state in table.SETTLED else before
    room = ITERATIONS_MAX - base
    if not 1 <= iterations <= room:
        more = f"1 to {room}" if room else "no"
        raise UserError(f"-i {iterations}: stage {stage} has {count(base, 'iteration')} and may have {more} more")
    after = max(before, base + iterations)
    if state in table.SETTLED and iterations < before - judged:
        left = before - judged
        raise UserError(
            f"-i {iterations} would add no iteration: {record['name']} is {state} after iteration {judged}, and the limit of stage "
            f"{stage} is {before}; run the remaining {left} with {hint('extend', record['name'], f'-i {left}')}"
        )
    first = judged + 1
    done = {node["node"] for node in over if (node["stage"], node["iteration"]) == (stage, first)}
    return Extension(record["name"], state, stage, first, before, after, frozenset(done))


def _one(db: sqlite3.Connection, sql: str, stage: int) -> int:
    return int(db.execute(sql, (stage,)).fetchone()[0] or 0)


def _carry_out(folder: str, added: Extension, schedd: Any) -> tuple[int, tuple[str, ...]]:
    """Write and submit the extension; return the cluster of its DAGMan and warnings. A failure changes nothing."""
    from faser_align.dag.submit import submit_dag

    known = changes.read(folder)
    change = limits.new_change(changes.iterations_key(added.stage), added.before, added.after)
    dag = f"{folder}/{layout.dag_name(len(layout.dag_files(folder)) + 1)}"
    request = ""
    try:
        changes.write(folder, [*known, change])
        record = read_record(folder)
        _hand_on(record, added)
        make_folders(record, record["folder"], record["data"])
        _unmark(record)
        atomic.write_new(dag, render(record, (added.stage, added.first), added.done))
        # Before the DAGMan, because its first script needs the nodes.
        request = control_requests.put(
            folder, "extended", {"stage": added.stage, "before": added.before, "after": added.after}, change["id"]
        )
        cluster = submit_dag(schedd, folder)
    except BaseException as problem:
        if request:
            spool.remove(folder, [request])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(dag)
        changes.write(folder, known)
        if isinstance(problem, OSError):
            raise StoreError(f"{folder}: cannot write: {problem.strerror}; free space, then try again") from None
        raise
    return cluster, lifecycle.note(folder, cluster, resumed=True)


def _unmark(record: Manifest) -> None:
    """Remove the skip marks of nodes that must run now, which would make their jobs end at once."""
    for stage, number in layout.iterations(record):
        for part in (layout.RECO, layout.MILLEPEDE):
            logs = Path(layout.iteration_folder(record["folder"], stage, number), part, layout.LOGS)
            for mark in logs.glob(f"*.{layout.PASSED}"):
                mark.unlink(missing_ok=True)


def _hand_on(record: Manifest, added: Extension) -> None:
    """Copy the last iteration's resulting constants to the next one, if its job has not done so."""
    folder, stage, first = record["folder"], added.stage, added.first
    target = layout.constants_file(folder, stage, first)
    if os.path.exists(target):
        return
    result = layout.result_file(folder, stage, first - 1)
    if first == 1 or not os.path.exists(result):
        raise UserError(
            f"iteration {first} has no constants: {result} does not exist; start another campaign from those of an "
            f"earlier iteration with {hint('submit --from', record['name'])} and --iteration"
        )
    os.makedirs(os.path.dirname(target), exist_ok=True)
    atomic.write_bytes(target, Path(result).read_bytes())
