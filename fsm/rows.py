"""Define the types of the rows that ``fsm.reduce`` decides on, and of the changes that it makes.

Scripts start without this module: only type checkers read it.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

NewNode = tuple[str, str, int, int, int]  # name, kind, stage, iteration, file


class Campaign(TypedDict):
    """The campaign's row, as far as events change it or depend on it."""

    state: str
    stage: int
    iteration: int
    stages: int
    stages_done: int
    lost_max: int
    lost: int
    dag_id: str
    updated_utc: str


class Node(TypedDict):
    """A node's row."""

    node: str
    kind: str
    stage: int
    iteration: int
    file: int
    state: str
    attempts: int
    reason: str


class Attempt(TypedDict):
    """An attempt of a node; ``closed_utc`` and ``job_id`` are empty while it is open."""

    attempt: int
    dag_id: str
    closed_utc: str
    job_id: str


class EarlyEnd(TypedDict):
    """The latest decision to end that the campaign ignored, and the events that have moved the campaign since."""

    event: str
    stage: int
    iteration: int
    attempt: int
    facts: str
    since: list[str]


class Known(TypedDict, total=False):
    """Rows of the state database for an event; ``campaign`` is always present, the rest if the event needs it."""

    campaign: Campaign
    new_dagman: bool  # no script of its DAGMan was recorded before
    processed: list[tuple[int, int]]  # (attempt, exit status) of its repeats, latest attempt first
    node: Node
    attempts: list[Attempt]  # of the node, oldest first
    file_lost: bool
    converged: bool  # the last stage has
    failed: list[str]  # nodes, in the order of their work
    only_iteration: tuple[int, int] | None  # of a campaign without Millepede nodes
    early_end: EarlyEnd | None
    unsent: int  # messages to deliver again
    new_nodes: list[NewNode]  # of an extension


class Columns(TypedDict):
    """The columns of the campaign's row that follow from what can be changed in its manifest."""

    data: str
    lost_max: int
    targets: str  # JSON
    messages: str  # JSON


Facts = Mapping[str, object]
Change = (
    tuple[Literal["open_attempt"], str, int, str, str, str]  # node, attempt, dag_id, opened_utc, host
    # closed_utc, job_id, outcome, return_value, exit_status, node, attempt
    | tuple[Literal["close_attempt"], str, str, str, int | None, int | None, str, int]
    | tuple[Literal["update_node"], str, int, str, str]  # state, attempts, reason, node
    # state, stage, iteration, stages_done, lost, dag_id, updated_utc
    | tuple[Literal["update_campaign"], str, int, int, int, int, str, str]
    # utc, subject, source, event, destination, ignored, stage, iteration, node, attempt, job_id, dag_id, host, facts
    | tuple[Literal["add_history"], str, str, str, str, str, str, int, int, str, int, str, str, str, Facts]
    | tuple[Literal["enqueue"], str, str]  # kind of message about the latest row of the history, its former name
    # dag_id, node, attempt, phase, job_id, hold_time, exit_status
    | tuple[Literal["mark_processed"], str, str, int, str, str, str, int]
    | tuple[Literal["begin_iteration"], int, int, str]  # stage, iteration, started_utc
    # stage, iteration, started_utc, ended_utc, verdict, reason, criteria, metrics
    | tuple[Literal["end_iteration"], int, int, str, str, str, str, str, str]
    | tuple[Literal["add_node"], str, str, int, int, int]
    | tuple[Literal["change_data", "change_lost_max", "change_targets", "change_messages"], Any]
    | tuple[Literal["notify_again"], str, str]  # target, twice; '' for all
)
