"""Run a script of DAGMan, from its macros to its exit status. Startup-critical: standard library only.

A script never fails a node because of itself: whatever goes wrong here, DAGMan gets the job's own outcome.
"""

import _sqlite3 as sqlite3
import os

from faser_align.campaign import layout
from faser_align.fsm import events, exit_codes
from faser_align.state import database, publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faser_align.fsm.events import Source

CREDENTIAL = "FASER_ALIGN_CREDENTIAL"  # system.credential.VARIABLE: other pools need no import


def main(argv: "list[str]") -> int:
    """Run the script of a phase and return its exit status; ``argv`` is phase, campaign, node, and DAGMan's macros for the phase."""
    status = fallback(argv)
    try:
        if CREDENTIAL in os.environ:
            from faser_align.system import credential

            credential.adopt()
        phase, folder, node, *macros = argv
        return run(phase, decode(folder), node, macros)
    except BaseException as problem:  # noqa: BLE001 - as the module says
        _log(argv, problem)
        return status


def decode(folder: str) -> str:
    """Return the path that ``dag.paths.encode_argument`` wrote: DAGMan splits at white space and knows no quotes."""
    return folder.replace("%20", " ").replace("%25", "%")


def fallback(argv: "list[str]") -> int:
    """Return the outcome that the macros carry, for a script that cannot do its work."""
    try:
        if argv[0] == "post":
            return exit_codes.job_exit(int(argv[5]))
        if argv[0] == "final":
            return exit_codes.final_exit(int(argv[3]))
    except (IndexError, ValueError):
        return 1
    return 0


def record(phase: str, folder: str, node: str, macros: "list[str]") -> "tuple[int, bool]":
    """Record the event of a script; return the exit status, and whether the database holds the event.

    Args:
        phase: ``pre``, ``post``, ``hold`` or ``final``.
        folder, node: the campaign, and the name of the node.
        macros: PRE ``$RETRY $MAX_RETRIES [seconds between attempts]``; HOLD ``$JOBID $RETRY``;
            POST ``$RETRY $MAX_RETRIES $RETURN $JOBID $PRE_SCRIPT_RETURN``; FINAL ``$DAG_STATUS $FAILED_COUNT``.

    Raises:
        ValueError, IndexError: these are not the macros of a phase.
    """
    kind = layout.parse_node(node)[0]
    source: Source = {"dag_id": os.environ.get("CONDOR_ID", ""), "utc": database.utc(), "host": os.uname().nodename}
    if phase == "pre":
        from faser_align.hooks import pre

        wait_s = float(macros[2]) if len(macros) > 2 else 0.0
        return pre.run(folder, kind, events.pre(source, node, int(macros[0])), wait_s)
    if phase == "post":
        from faser_align.hooks import post

        retry, max_retries, ret = (int(word) for word in macros[:3])
        event = events.post(source, node, retry=retry, max_retries=max_retries, ret=ret, job_id=macros[3])
        return post.run(folder, kind, event)
    if phase == "hold":
        from faser_align.hooks import hold

        return hold.run(folder, events.hold(source, node, macros[0]))
    if phase == "final":
        from faser_align.hooks import final

        return final.run(folder, events.final(source, node, int(macros[0]), int(macros[1])))
    raise ValueError(f"{phase!r} is not a phase of a script")


def run(phase: str, folder: str, node: str, macros: "list[str]") -> int:
    """Record the event of a script, publish, and return the exit status for DAGMan."""
    status, stored = record(phase, folder, node, macros)
    if status == exit_codes.SKIP or (phase == "final" and status == 0):
        from faser_align.hooks import skip_guard

        status = skip_guard.answer(folder, node, status)
    if not stored:
        return status
    try:
        publish.publish(folder, last=phase == "final")
    except (sqlite3.Error, OSError) as problem:
        _log([phase, folder, node], problem)
    if phase == "final":
        from faser_align.hooks import final

        for finish in final.FINISHES:
            try:
                finish(folder)
            except Exception as problem:  # noqa: BLE001 - the campaign's end depends on none of them
                _log([phase, folder, node], problem)
    return status


def _log(argv: "list[str]", problem: BaseException) -> None:
    import traceback

    from faser_align.hooks import log

    folder = decode(argv[1]) if len(argv) > 1 else ""
    log.write(folder, f"{' '.join(argv)}: {''.join(traceback.format_exception(problem))}")
