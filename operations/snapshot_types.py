"""Types of the reading commands' data of a campaign; ``--json`` writes them unchanged."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from faser_align.fsm.metrics import Quality


class HeldJob(TypedDict):
    """A job on hold since ``utc``, and the command that releases it."""

    node: str
    why: str
    job_id: str
    utc: str
    release: NotRequired[str]
    recorded: NotRequired[bool]  # false: no script has recorded the hold yet


class QueuedJob(TypedDict):
    """A job whose node the state database calls running: vanished, or disconnected for at most ``lease_s``."""

    node: str
    job_id: str
    lease_s: NotRequired[int]


class FailedNode(TypedDict):
    """A failed node: its reason, attempts and fix, the time, and the machine of its PRE script."""

    node: str
    attempts: int
    why: str
    cure: str
    utc: str
    host: str


class RetriedNode(TypedDict):
    """A node that needed several attempts, with the previous failure."""

    node: str
    state: str
    attempts: int
    why: str


class SlowNode(TypedDict):
    """A running node that takes much longer than the median of its kind (s)."""

    node: str
    kind: str
    since_s: float
    median_s: float


class Undelivered(TypedDict):
    """A message that was refused at least once, or that no script will send any more."""

    target: str
    kind: str
    state: str
    tries: int
    error: str


class Estimate(TypedDict, total=False):
    """The estimated end, see ``eta.estimate``; empty if there is no estimate."""

    iteration_s: float
    iterations: int
    left: int
    left_s: float
    end_utc: str
    converges: int | None
    converges_utc: str


class Progress(TypedDict):
    """The state of a campaign, its data, and how far it is."""

    name: str
    state: str
    stage: int
    stages: int
    iteration: int
    limit: int
    files: int
    run: str
    folder: str
    created_utc: str
    updated_utc: str


class Listed(Progress):
    """A campaign as ``list`` shows it; one that cannot be read has a ``problem`` and nothing of HTCondor."""

    lost: int
    nodes_held: NotRequired[int]
    chi2_per_ndf: float | None
    residual_shift_um: float | None
    effect_um: float | None  # its deprecated name
    dag_id: NotRequired[str]
    held: NotRequired[list[HeldJob]]
    disconnected: NotRequired[list[QueuedJob]]
    vanished: NotRequired[list[QueuedJob]]
    year: int | None
    problem: NotRequired[str]


class Snapshot(Progress):
    """A campaign from its snapshot and its event queue. Rows of the database are as ``state.queries`` returns them."""

    reason: str
    ended: bool
    year: int
    held_back: list[int]  # raw files that the validation takes from the alignment
    dag_id: str
    elapsed_s: float
    nodes: dict[str, int]
    iterations: list[dict[str, Any]]
    validation: dict[str, Any]
    quality: Quality | None
    held: list[HeldJob]
    failed: list[FailedNode]
    lost: list[dict[str, Any]]
    retried: list[RetriedNode]
    slow: list[SlowNode]
    lost_max: int
    disconnected: list[QueuedJob]
    vanished: list[QueuedJob]
    undelivered: list[Undelivered]
    told: list[str]
    published_age_s: float
    spool_waiting: int
    spool_aside: int
    pending: list[str]
    constants: str | None
    start_constants: str
    only: int
    parent: Mapping[str, Any]
    imported: str
    moved_from: str  # where it was submitted, if its folder is a copy or was moved aside
    to_pool: str
    release: list[dict[str, str]]
    estimate: Estimate
    last_event: int
