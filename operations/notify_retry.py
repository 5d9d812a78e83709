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
    with queries.published(folder) as db:
        messages = queries.outbox(db)
        targets = {row["target"] for row in messages} | set(queries.campaign(db)["targets"])
    if target and target not in targets:
        raise UserError(
            f"--target {target}: not a recipient of {record['name']}; its recipients are {', '.join(sorted(targets)) or 'none'}"
        )
    # Messages that are not delivered yet, or were given up.
    waiting = {row["id"] for row in messages if row["state"] in WAITING and target in ("", row["target"])}
    if not waiting:
        return Retried(record["name"], 0)
    with alone(folder):
        lifecycle.await_departure(record, snapshot.state_now(folder))
        answer = dagman.ask(record)
        control_requests.put(folder, "notify_retried", {"target": target})
        if not answer.problem and not answer.jobs:
            without_dagman.deliver(folder)
            tried = tuple(row for row in queries.messages(folder) if row["id"] in waiting)
            return Retried(record["name"], len(waiting), tried)
    # A DAGMan is there: only its scripts may write the database.
    return Retried(record["name"], len(waiting), problem=answer.problem)
