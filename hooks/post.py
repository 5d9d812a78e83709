"""Run the POST script of a node: end an attempt, and judge a Millepede job's metrics. Startup-critical for reconstructions."""

import _sqlite3 as sqlite3
import os

from faser_align.campaign import layout
from faser_align.fsm import events, exit_codes
from faser_align.state import database, writer
from faser_align.system import root_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faser_align.fsm.events import Post

CONTINUES = ("go_on", "stage_finished", "validation_asked")  # after these DAGMan would start further nodes


def run(folder: str, kind: str, event: "Post") -> "tuple[int, bool]":
    """Record that an attempt of a node of this ``kind`` ended; return exit status, and whether the database holds the event."""
    if event["ret"]:
        event = events.failed(event, failure(folder, event["node"], event["ret"]), event["exit"])
    elif kind == "reco" and (problem := output_problem(folder, event["node"])):
        event = events.failed(event, problem, 1)
    return writer.record(folder, event) if kind == "reco" else _after_millepede(folder, event)


def _after_millepede(folder: str, event: "Post") -> "tuple[int, bool]":
    """Judge the metrics of a Millepede job or of the validation, whatever the state of the database, and record the result."""
    from faser_align.campaign.manifest import read_record
    from faser_align.hooks import delivery
    from faser_align.state import holds, judging
    from faser_align.system.libraries import site_packages

    site_packages()
    held = holds.read(folder)
    if not event["ret"]:
        event = judging.judge(read_record(folder), event)
    status, stored = writer.record(folder, event, lambda db: holds.take(db, event, held))
    halt_if_requested(folder, event.get("moves", ""))
    if stored:
        delivery.deliver(folder)
    return status, stored


def halt_if_requested(folder: str, moved: str) -> None:
    """Halt DAGMan if `stop --after iteration` requested that and ``moved``, the campaign's event, would let it continue.

    DAGMan looks for its halt file before it processes the end of a script, so that no node of the next iteration starts.
    When no job is left, it runs FINAL and writes a rescue file in which the iteration is done.
    """
    if moved in CONTINUES and os.path.exists(f"{folder}/{layout.STOP}"):
        from faser_align.system.atomic import write_text

        write_text(layout.newest_dag(folder) + layout.ENDING_HALT, "faser-align stop --after iteration\n")


def failure(folder: str, node: str, ret: int) -> str:
    """Return why a job failed; an expired credential comes first, because it explains every other message of the job."""
    from faser_align.state import judging
    from faser_align.system import credential

    reason = judging.why(ret, folder, node)
    if credential.VARIABLE in os.environ:
        import time

        from faser_align.system import kerberos

        if expired := kerberos.expired(time.time()):
            refused = exit_codes.JOB_FAILURES[exit_codes.TOKEN][0]
            reason = f"{refused}: {expired}; {reason.removeprefix(f'{refused}: ')}"[: judging.REASON_CHARS_MAX]
    return reason


def output_problem(folder: str, node: str) -> "str | None":
    """Return the problem with the output files of a reconstruction, or None; reads little of them."""
    data, run = _place(folder)
    _, stage, iteration, file = layout.parse_node(node)
    try:
        problem = root_file.problem(layout.kfalignment_file(data, stage, iteration, run, file))
        problem = problem or root_file.mille_problem(layout.mille_file(data, stage, iteration, run, file))
    except OSError as error:
        problem = f"{error.strerror}: {error.filename}"
    return f"no output: {problem}" if problem else None


def _place(folder: str) -> "tuple[str, str]":
    """Return the folder of the campaign's data, and its run.

    The snapshot needs no lock, whereas a reader of the database would wait for its many writers. After `move` only the
    manifest is certain to know the new folder, and jobs use that.
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

    record = manifest.read_record(folder)
    return (record["data"], record["run"])


def _was_moved(folder: str) -> bool:
    """Return whether `move` changed the manifest; few campaigns have changes, and ``json`` costs more than a script."""
    try:
        with open(f"{folder}/{layout.CHANGES}", "rb") as file:
            return b'"data"' in file.read()
    except OSError:
        return False
