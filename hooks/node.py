"""PRE and POST of every node, and the way to the rarer hooks. Hot: standard library only.

Whatever goes wrong here, DAGMan is told the job's own outcome: a hook never fails a node because of itself.
"""

import os
import sqlite3
import sys

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import database, publish, writer
from faser_align.system import root_file

CREDENTIAL = "FASER_ALIGN_CREDENTIAL"  # config.credential.VARIABLE: nothing more is imported on other pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Event = dict[str, Any]


def main(argv: "list[str]") -> int:
    """Run the hook that ``argv`` (phase, campaign, DAGMan's macros) asks for; returns its exit status."""
    status = fallback(argv)
    try:
        if CREDENTIAL in os.environ:
            from faser_align.system import credential

            credential.adopt()
        phase, folder, node, *macros = argv
        # DAGMan splits script lines at white space and knows no quotes: the campaign's path is encoded.
        return run(phase, folder.replace("%20", " ").replace("%25", "%"), node, macros, status)
    except BaseException as problem:  # noqa: BLE001 - a hook never fails a node because of itself
        _log(argv, problem)
        return status


def fallback(argv: "list[str]") -> int:
    """What DAGMan must be told if the hook can do nothing at all: the outcome that the macros carry."""
    try:
        if argv[0] == "post":
            return exit_codes.job_exit(int(argv[5]))
        if argv[0] == "final":
            return 0 if argv[3] in ("0", "3") else min(max(int(argv[3]), 1), 7)
    except (IndexError, ValueError):
        return 1
    return 0


def run(phase: str, folder: str, node: str, macros: "list[str]", status: int) -> int:
    """Make the event of this call, take it in, publish; returns the exit status for DAGMan."""
    kind = layout.parse_node(node)[0]
    event: Event = {
        "phase": phase,
        "dag_id": os.environ.get("CONDOR_ID", ""),
        "node": node,
        "utc": database.utc(),
        "host": os.uname().nodename,
        "exit": status,
    }
    if phase == "pre" and len(macros) > 2 and macros[0] != "0" and _too_early(folder, event, float(macros[2])):
        return exit_codes.DEFER
    if kind == "reco" and phase == "pre":
        event["retry"] = int(macros[0])
        status = writer.record(folder, event)
    elif kind == "reco" and phase == "post":
        after_job(event, macros)
        if event["ret"] == 0:
            _check(event, output_problem(folder, node))
        else:
            explain(event, folder, node)
        status = writer.record(folder, event)
    else:
        from faser_align.hooks import campaign

        status = campaign.run(folder, event, macros)
    if status == exit_codes.SKIP or (phase == "final" and status == 0):
        from faser_align.hooks import skip_guard

        status = skip_guard.answer(folder, node, status)
    if event.get("spooled"):
        return status
    try:
        publish.publish(folder, last=phase == "final")
    except (sqlite3.Error, OSError) as problem:
        _log([phase, folder, node], problem)
    if phase == "final":
        _finish(folder, node)
    return status


def _finish(folder: str, node: str) -> None:
    """Publish the page and remove unused folders; the campaign's end depends on neither."""
    from faser_align.hooks import page, unused

    for finish in (page.publish, unused.remove):
        try:
            finish(folder)
        except Exception as problem:  # noqa: BLE001 - as the docstring says
            _log(["final", folder, node], problem)


def _too_early(folder: str, event: "Event", wait_s: float) -> bool:
    """Whether the node's last attempt ended less than ``wait_s`` ago: not if the store does not answer, or the clock was set back."""
    try:
        db = database.connect(folder)
        try:
            row = db.execute(
                "SELECT (julianday(?) - julianday(closed_utc)) * 86400 BETWEEN 0 AND ? FROM attempts "
                "WHERE node = ? AND closed_utc != '' ORDER BY attempt DESC LIMIT 1",
                (event["utc"], wait_s - 1, event["node"]),  # DAGMan counts its pause in whole seconds
            ).fetchone()
            return bool(row and row[0])
        finally:
            db.close()
    except sqlite3.Error:
        return False


def after_job(event: "Event", macros: "list[str]") -> None:
    """Add what POST's macros say: $RETRY $MAX_RETRIES $RETURN $JOBID $PRE_SCRIPT_RETURN."""
    event["retry"], event["max_retries"], event["ret"], event["job_id"] = *(int(word) for word in macros[:3]), macros[3]
    event["outcome"] = "succeeded" if event["ret"] == 0 else "failed"
    event["reason"] = ""
    event["fatal"] = event["exit"] == exit_codes.FATAL


def _check(event: "Event", problem: "str | None") -> None:
    """A job that says that it succeeded has failed all the same if its output is not there and whole."""
    if problem:
        event["outcome"], event["reason"], event["exit"] = "failed", problem, 1


def explain(event: "Event", folder: str, node: str) -> None:
    """Add why the job failed; an expired credential comes first, because it explains whatever the job says."""
    from faser_align.state import judging

    event["reason"] = judging.why(event["ret"], folder, node)
    if CREDENTIAL in os.environ:
        import time

        from faser_align.system import kerberos

        expired = kerberos.expired(time.time())
        if expired:
            refused = exit_codes.JOB_FAILURES[exit_codes.TOKEN][0]
            more = event["reason"].removeprefix(f"{refused}: ")
            event["reason"] = f"{refused}: {expired}; {more}"[: judging.REASON_CHARS_MAX]


def output_problem(folder: str, node: str) -> "str | None":
    """What is wrong with the files that a reconstruction left, or None: cheaply, from the access point."""
    data, run = _data(folder)
    _, stage, iteration, file = layout.parse_node(node)
    try:
        problem = root_file.problem(layout.kfalignment_file(data, stage, iteration, run, file))
        problem = problem or root_file.mille_problem(layout.mille_file(data, stage, iteration, run, file))
    except OSError as error:
        problem = f"{error.strerror}: {error.filename}"
    return f"no output: {problem}" if problem else None


def _data(folder: str) -> "tuple[str, str]":
    """Folder of the campaign's data and its run: from the published copy, else, and where data were moved, from the record.

    The copy needs no lock. A reader of the store itself would wait for writers, and there are many of them. But of data
    that were moved it may not know yet, and then jobs go by the record.
    """
    if not _was_moved(folder):
        try:
            db = sqlite3.connect(database.uri(f"{folder}/{layout.PUBLISHED}", "mode=ro&immutable=1"), uri=True)
            try:
                row = db.execute("SELECT data, run FROM campaign").fetchone()
                return (row[0], row[1])
            finally:
                db.close()
        except sqlite3.Error:
            pass
    from faser_align.campaign import manifest

    found = manifest.read_record(folder)
    return (found["data"], found["run"])


def _was_moved(folder: str) -> bool:
    """Whether `move` has changed the record: looked for in the text, since few have changes and json costs more than a hook."""
    try:
        with open(f"{folder}/{layout.CHANGES}", "rb") as file:
            return b'"data"' in file.read()
    except OSError:
        return False


def _log(argv: "list[str]", problem: BaseException) -> None:
    """Leave a line in ``hooks.log``, or on standard error if that cannot be written."""
    import traceback

    text = f"{database.utc()} {' '.join(argv)}: {''.join(traceback.format_exception(problem))}"
    try:
        folder = argv[1].replace("%20", " ").replace("%25", "%")
        with open(f"{folder}/{layout.HOOKS_LOG}", "a", encoding="utf-8") as log:
            log.write(text)
    except (OSError, IndexError):
        sys.stderr.write(text)
