"""Deliver messages again: by the next script, or from here if there is no DAGMan to run one."""

import os
from typing import NamedTuple

from faser_align.fsm.errors import CampaignError, UserError
from faser_align.operations import dagman, lifecycle, snapshot
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, queries
from faser_align.system import bounded

DELIVERY_S_MAX = 120.0  # the hooks limit their own sending to half a minute
WAITING = ("failed", "pending", "claimed")
DELIVERED = ("sent", "unwanted")


class Retried(NamedTuple):
    """The ``waiting`` messages, those ``tried`` at once, and why the schedd is unknown."""

    name: str
    waiting: int
    tried: tuple[queries.Row, ...] = ()
    problem: str = ""

    @property
    def delivered(self) -> bool:
        """Whether all attempted messages were accepted."""
        return all(row["state"] in DELIVERED for row in self.tried)


def retry(folder: str, target: str = "") -> Retried:
    """Request another delivery of messages that wait or were given up.

    Args:
        folder: the campaign.
        target: only messages to this one; empty: to all.

    Raises:
        UserError: the campaign does not notify such a target.
        CampaignError, StoreError: the request could not be written, or the delivery did not run.
    """
    record = lifecycle.require_original_folder(folder)
    waiting = _waiting(folder, target)
    with queries.published(folder) as db:
        targets = {row["target"] for row in queries.outbox(db)} | set(queries.campaign(db)["targets"])
    if target and target not in targets:
        raise UserError(
            f"--target {target}: not a recipient of {record['name']}; its recipients are {', '.join(sorted(targets)) or 'none'}"
        )
    if not waiting:
        return Retried(record["name"], 0)
    with alone(folder):
        lifecycle.await_departure(record, snapshot.state_now(folder))
        answer = dagman.ask(record)
        control_requests.put(folder, "notify_retried", {"target": target})
        if not answer.problem and not answer.jobs:
            deliver(folder)
            return Retried(record["name"], len(waiting), _rows(folder, [row["id"] for row in waiting]))
    # A DAGMan is there: only its scripts may write the database.
    return Retried(record["name"], len(waiting), problem=answer.problem)


def _waiting(folder: str, target: str) -> list[queries.Row]:
    """Return messages that are not delivered yet, or were given up."""
    with queries.published(folder) as db:
        return [
            row for row in queries.outbox(db) if row["state"] in WAITING and (not target or row["target"] == target)
        ]


def deliver(folder: str) -> None:
    """Deliver due messages if there is no DAGMan to run a script.

    Raises:
        CampaignError: the messages could not be delivered.
    """
    _without_dagman(folder, "the messages could not be delivered", send=True)


def take_in(folder: str) -> None:
    """Ingest the event queue if there is no DAGMan to run a script.

    Raises:
        CampaignError: the database could not be written.
    """
    _without_dagman(folder, f"the state database of {folder} could not be written", send=False)


def _without_dagman(folder: str, failed: str, *, send: bool) -> None:
    """Let the hooks, the only writers of the state database, work in a process that can be killed."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "USER", "LANG") if key in os.environ}
    with bounded.Worker(environment) as worker:
        ended = worker.call("faser_align.hooks.delivery", "without_dagman", folder, send, wait_s=DELIVERY_S_MAX)
    if ended.late:
        raise CampaignError(f"{failed}: this took longer than {DELIVERY_S_MAX:.0f} s")
    if ended.problem:
        raise CampaignError(f"{failed}: {ended.problem}")


def _rows(folder: str, ids: list[int]) -> tuple[queries.Row, ...]:
    """Return messages as they are after a delivery."""
    with queries.published(folder) as db:
        return tuple(row for row in queries.outbox(db) if row["id"] in ids)
