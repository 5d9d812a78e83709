"""Run the HOLD script of a job: record the hold, and deliver one message per cause."""

import sqlite3
import sys
import time

from faser_align.fsm import events
from faser_align.hooks import delivery
from faser_align.state import holds, outbox, publish, writer
from faser_align.state.holds import Hold
from faser_align.system.libraries import site_packages

SETTLE_S, SETTLE_S_MAX = 3.0, 15.0  # time without a hold, and how long the script waits for it
PAUSE_S_MAX = 60.0  # longest pause between two messages that the script waits for


def run(folder: str, event: "events.Hold") -> tuple[int, bool]:
    """Record a hold and deliver due messages; return the exit status, and whether the database has the event."""
    site_packages()
    held = holds.read(folder)
    status, stored = record(folder, event, held)
    if stored:
        _deliver(folder, event, held)
    return status, stored


def record(folder: str, event: "events.Hold", held: list[Hold]) -> tuple[int, bool]:
    """Record every hold of the job until now, and those of all other jobs.

    DAGMan runs one HOLD script at a time, and the job may have been held again before its turn.
    """
    own = [hold for hold in held if hold.job_id == event["job_id"]] or [Hold(event["node"], event["job_id"], "", "")]
    for hold in own:
        one: events.Hold = {**event, "hold_time": hold.time, "reason": hold.reason}
        answer = writer.record(folder, one, lambda db: holds.take(db, event, held))
    return answer


def _deliver(folder: str, event: "events.Hold", held: list[Hold]) -> None:
    """Deliver once the log is quiet, and again at the end of a short pause if a message waits for that.

    One cause holds many jobs within seconds, and DAGMan starts the first HOLD script before all are held. Both waits are
    bounded, and DAGMan does not wait for a HOLD script before it runs FINAL.
    """
    try:
        publish.publish(folder)  # readers do not wait as long
        deadline = time.monotonic() + SETTLE_S_MAX
        while (wait_s := min(SETTLE_S - holds.age_s(held), deadline - time.monotonic())) > 0 and outbox.due(folder):
            time.sleep(wait_s)
            held = _record_others(folder, event)
        delivery.deliver(folder)
        if 0 < (wait_s := outbox.pause_s(folder)) <= PAUSE_S_MAX:
            time.sleep(wait_s)
            _record_others(folder, event)
            delivery.deliver(folder)
    except (sqlite3.Error, OSError) as problem:
        print(f"faser-align: messages of {folder} wait for the next script: {problem}", file=sys.stderr)


def _record_others(folder: str, event: "events.Hold") -> list[Hold]:
    """Record the holds of all jobs until now, and return them."""
    held = holds.read(folder)
    writer.take(folder, None, lambda db: holds.take(db, event, held))
    return held
