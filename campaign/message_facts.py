"""The types of the event payload from which a message is composed.

Everything but campaign, event and state may be missing, and texts may contain anything that a program printed.
"""

from typing import TypedDict

from faser_align.campaign.next_steps import Step
from faser_align.fsm.metrics import Group, Mode, Quality


class Largest(TypedDict, total=False):
    """The largest correction of an iteration and its error, in its unit."""

    dof: str
    value: float
    error: float | None
    where: str
    unit: str
    rms: float | None
    largest: float | None


class Row(TypedDict, total=False):
    """The metrics of an iteration that every table has; None if unknown."""

    stage: int
    iteration: int
    files_used: int | None
    files_expected: int | None
    tracks: int | None
    chi2_per_ndf: float | None
    residual_shift_um: float | None
    delta_chi2_per_parameter: float | None
    effect_um: float | None
    significance: float | None
    largest: Largest | None
    verdict: str
    solver: str


class Entry(TypedDict, total=False):
    """A node that failed or is held (``reason``), or a dropped file; ``log`` and ``error`` are of the job's own log."""

    node: str
    file: int
    job: str
    why: str
    reason: str | None
    cure: str
    log: list[str]
    error: str


class Saved(TypedDict, total=False):
    """Allowed iterations that were not needed, and what they would have cost (s)."""

    iterations: int
    allowed: int
    wall_s: float | None
    cpu_s: float | None


class Facts(TypedDict, total=False):
    """The event, and the campaign at its time; ``rows`` has one entry per iteration, oldest first."""

    campaign: str
    event: str
    state: str
    reason: str
    folder: str
    dag_id: str
    utc: str
    key: str
    thread: str
    stage: int
    stages: int
    iteration: int
    iterations: int | None
    rows: list[Row]
    files_lost: list[Entry]
    held: list[Entry]
    failed: list[Entry]
    count: int
    weak: list[Mode]
    validation: dict[str, Group]
    quality: Quality | None
    saved: Saved
    solver: str
    wall_s: float
    cpu_s: float | None
    constants: str | None
    plot: str
    no_plot: str
    picture: bytes
    page: str
    notes: list[str]
    steps: list[Step]
