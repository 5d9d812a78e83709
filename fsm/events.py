"""The events that move a campaign: their types, and the functions that make them. Startup-critical.

Scripts of DAGMan make them, ``repair`` makes them again from DAGMan's logs, and the fallback event queue keeps them as JSON:
their keys are a format, and their values are strings, numbers and JSON texts.
"""

from faser_align.fsm import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, NotRequired, TypedDict

    class Source(TypedDict):
        """Where and when a script ran: DAGMan's id (CONDOR_ID), UTC time, access point."""

        dag_id: str
        utc: str
        host: str

    class Script(Source):
        """What the event of every script has; ``exit`` is its exit status if the event cannot be recorded."""

        node: str
        exit: int

    class Pre(Script):
        """A node's PRE: it begins an attempt, unless the node is skipped."""

        phase: Literal["pre"]
        retry: int  # DAGMan's $RETRY

    class Verdict(TypedDict):
        """The decision on an iteration, or on the validation, that the POST of its job made of the metrics."""

        verdict: str
        verdict_reason: str
        moves: str  # the campaign's event that it becomes
        criteria: str  # JSON
        metrics: str  # JSON

    class Post(Script):
        """A node's POST: it ends an attempt."""

        phase: Literal["post"]
        retry: int
        max_retries: int
        ret: int  # DAGMan's $RETURN
        job_id: str
        outcome: str  # succeeded or failed
        reason: str
        fatal: bool  # not retried
        verdict: NotRequired[str]
        verdict_reason: NotRequired[str]
        moves: NotRequired[str]
        criteria: NotRequired[str]
        metrics: NotRequired[str]

    class Hold(Script):
        """HOLD of a job; ``hold_time`` is as the job log has it, '' if it could not be read."""

        phase: Literal["hold"]
        job_id: str
        hold_time: str
        reason: str

    class Final(Script):
        """FINAL, or the end of a DAGMan that left without one and has a ``reason`` of its own."""

        phase: Literal["final"]
        dag_status: int  # $DAG_STATUS
        failed_count: int
        reason: NotRequired[str]

    class Control(TypedDict):
        """What a command reports or requests; ``event`` says which of the further keys there are."""

        phase: Literal["control"]
        event: str
        utc: str
        host: str
        dag_id: NotRequired[str]  # of submitted and resumed
        id: NotRequired[str]  # of every request
        who: NotRequired[str]
        key: NotRequired[str]
        before: NotRequired[Any]
        after: NotRequired[Any]
        columns: NotRequired[dict[str, Any]]  # of the campaign's row
        target: NotRequired[str]
        reason: NotRequired[str]
        stage: NotRequired[int]
        iteration: NotRequired[int]
        metrics: NotRequired[str]  # JSON

    Event = Pre | Post | Hold | Final | Control


def pre(source: "Source", node: str, retry: int) -> "Pre":
    """Return the event of a PRE whose ``$RETRY`` is ``retry``."""
    return {**source, "node": node, "exit": 0, "phase": "pre", "retry": retry}


def post(
    source: "Source", node: str, *, retry: int, max_retries: int, ret: int, job_id: str, reason: str = ""
) -> "Post":
    """Return the event of a POST; ``reason`` says why the job failed, or what is wrong with the output of one that returned 0."""
    exit_status = exit_codes.job_exit(ret) or int(bool(reason))
    return {
        "dag_id": source["dag_id"],
        "utc": source["utc"],
        "host": source["host"],
        "node": node,
        "exit": exit_status,
        "phase": "post",
        "retry": retry,
        "max_retries": max_retries,
        "ret": ret,
        "job_id": job_id,
        "outcome": "failed" if exit_status else "succeeded",
        "reason": reason,
        "fatal": exit_status == exit_codes.FATAL,
    }


def hold(source: "Source", node: str, job_id: str, hold_time: str, reason: str) -> "Hold":
    """Return the event of a job that went on hold."""
    return {
        **source,
        "node": node,
        "exit": 0,
        "phase": "hold",
        "job_id": job_id,
        "hold_time": hold_time,
        "reason": reason,
    }


def final(source: "Source", node: str, dag_status: int, reason: str = "") -> "Final":
    """Return the event of FINAL, or of the end of a DAGMan that left without one for ``reason``."""
    return {
        "dag_id": source["dag_id"],
        "utc": source["utc"],
        "host": source["host"],
        "node": node,
        "exit": 1,
        "phase": "final",
        "dag_status": dag_status,
        "failed_count": 0,
        "reason": reason,
    }


def dagman(source: "Source", *, resumed: bool) -> "Control":
    """Return the event of a DAGMan that was submitted, or with which the campaign resumes."""
    return {
        "dag_id": source["dag_id"],
        "utc": source["utc"],
        "host": source["host"],
        "phase": "control",
        "event": "resumed" if resumed else "submitted",
    }
