"""Define the events that move a campaign, and the functions that make them. Startup-critical.

Scripts of DAGMan make them, ``repair`` makes them again from DAGMan's logs, and the fallback event queue keeps them as JSON:
their keys are a format, and their values are strings, numbers and JSON texts.
"""

from faser_align.fsm import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    from faser_align.fsm.rows import Columns

    class Source(TypedDict):
        """Where and when a script ran: DAGMan's id (CONDOR_ID), UTC time, access point."""

        dag_id: str
        utc: str
        host: str

    class Script(Source):
        """Keys of every script's event; ``exit`` is its exit status if the event cannot be recorded."""

        node: str
        exit: int

    class Pre(Script):
        """A node's PRE: it begins an attempt, unless the node is skipped."""

        phase: Literal["pre"]
        retry: int  # DAGMan's $RETRY

    class Decision(TypedDict, total=False):
        """The decision on an iteration or on the validation, which the POST of its job derives from the metrics."""

        verdict: str
        verdict_reason: str
        moves: str  # the campaign's event that it becomes
        criteria: str  # JSON
        metrics: str  # JSON

    class Post(Script, Decision):
        """A node's POST: it ends an attempt."""

        phase: Literal["post"]
        retry: int
        max_retries: int
        ret: int  # DAGMan's $RETURN
        job_id: str
        outcome: str  # succeeded or failed
        reason: str
        fatal: bool  # not retried

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
        reason: str

    class Request(TypedDict, total=False):
        """A report or request of a command; its keys depend on its name."""

        dag_id: str  # of submitted and resumed
        id: str
        who: str
        utc: str
        host: str
        key: str
        before: Any
        after: Any
        columns: Columns  # of the campaign's row
        target: str
        reason: str
        stage: int
        iteration: int
        metrics: str  # JSON

    class Control(Request):
        """A report or request of a command; ``event`` is its name."""

        phase: Literal["control"]
        event: str

    ScriptEvent = Pre | Post | Hold | Final
    Event = ScriptEvent | Control


def pre(source: "Source", node: str, retry: int) -> "Pre":
    """Return the event of a PRE whose ``$RETRY`` is ``retry``."""
    return {**source, "node": node, "exit": 0, "phase": "pre", "retry": retry}


def post(source: "Source", node: str, *, retry: int, max_retries: int, ret: int, job_id: str) -> "Post":
    """Return the event of a POST whose job returned ``ret``."""
    exit_status = exit_codes.job_exit(ret)
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
        "reason": "",
        "fatal": exit_status == exit_codes.FATAL,
    }


def failed(event: "Post", reason: str, exit_status: int) -> "Post":
    """Return the event of a POST whose job failed for ``reason``, whatever the job returned."""
    fatal = exit_status == exit_codes.FATAL
    return {**event, "outcome": "failed", "reason": reason, "exit": exit_status, "fatal": fatal}


def hold(source: "Source", node: str, job_id: str, hold_time: str = "", reason: str = "") -> "Hold":
    """Return the event of a job that went on hold."""
    about: Script = {**source, "node": node, "exit": 0}
    return {**about, "phase": "hold", "job_id": job_id, "hold_time": hold_time, "reason": reason}


def final(source: "Source", node: str, dag_status: int, failed_count: int = 0, reason: str = "") -> "Final":
    """Return the event of FINAL, or of the end of a DAGMan that left without one for ``reason``."""
    about: Script = {**source, "node": node, "exit": exit_codes.final_exit(dag_status)}
    return {**about, "phase": "final", "dag_status": dag_status, "failed_count": failed_count, "reason": reason}


def dagman(source: "Source", *, resumed: bool) -> "Control":
    """Return the event of a DAGMan that was submitted, or with which the campaign resumes."""
    name = "resumed" if resumed else "submitted"
    return request(name, {"dag_id": source["dag_id"], "utc": source["utc"], "host": source["host"]})


def request(name: str, about: "Request") -> "Control":
    """Return the event of a control request."""
    return {"phase": "control", "event": name, **about}
