"""Deliver messages again: by the next script, or from here if there is no DAGMan to run one."""

from typing import NamedTuple

from faser_align.fsm.errors import UserError
from faser_align.operations import dagman, lifecycle, snapshot, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, queries

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
            without_dagman.deliver(folder)
            return Retried(record["name"], len(waiting), _rows(folder, [row["id"] for row in waiting]))
    # A DAGMan is there: only its scripts may write the database.
    return Retried(record["name"], len(waiting), problem=answer.problem)


def _waiting(folder: str, target: str) -> list[queries.Row]:
    """Return messages that are not delivered yet, or were given up."""
    with queries.published(folder) as db:
        return [
            row for row in queries.outbox(db) if row["state"] in WAITING and (not target or row["target"] == target)
        ]


def _rows(folder: str, ids: list[int]) -> tuple[queries.Row, ...]:
    """Return messages as they are after a delivery."""
    with queries.published(folder) as db:
        return tuple(row for row in queries.outbox(db) if row["id"] in ids)
