"""Unpack recorded campaigns (tests/data/dagman) for repairs, and read a state database's content."""

import json
import operator
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from stored import change, rows

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record, write_record

ARCHIVES = Path(__file__).parents[1] / "data" / "dagman"
RECORDED = ("converged", "failed", "held", "removed", "gone", "killed", "lost", "stages")
CASES = (*RECORDED, *(f"25.14/{case}" for case in RECORDED))  # of HTCondor 23.9 and 25.14
TEXTS = (
    layout.JOBSTATE_LOG,
    layout.SCRIPTS_LOG,
    layout.JOB_LOG,
    layout.DAGMAN_OUT,
    layout.DAG + layout.ENDING_DAGMAN_LOG,
)


@contextmanager
def in_utc() -> Iterator[None]:
    """Use the recorded campaigns' time zone within the context, because HTCondor's logs have local time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def unpack(case: str, folder: Path) -> dict[str, Any]:
    """Unpack the recorded campaign ``case`` into ``folder``, as if it had run there; return its manifest."""
    with tarfile.open(ARCHIVES / f"{case}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    place = f"/data/{Path(case).name}"
    for name in (*TEXTS, layout.DAG, layout.RECORD):
        path = folder / name
        path.write_text(path.read_text().replace(place, str(folder)))
    (folder / layout.SPOOL).mkdir()
    change(folder / layout.STATE, "UPDATE campaign SET folder = ?, data = ?", str(folder), str(folder))
    change(folder / layout.STATE, "UPDATE history SET facts = replace(facts, ?, ?)", place, str(folder))
    record = read_record(str(folder))
    write_record(str(folder / layout.RECORD), record)
    return record


# Columns that no log has, by table; the logs define the history's order within a second.
_TIMES = {
    "campaign": ("created_utc", "updated_utc"),
    "nodes": (),
    "attempts": ("opened_utc", "closed_utc", "host"),
    "events": (),
    "iterations": ("started_utc", "ended_utc"),
    "history": ("id", "utc", "host"),
}
_NOTES = ("delivery_failed", "spooled", "notify_retried", "stop_asked", "stuck")


def picture(path: Path | str, *, words: bool = False) -> dict[str, Any]:
    """Return the content of a state database, without what only scripts knew (``state.repair.rebuild.UNKNOWN``).

    Args:
        path: the state database.
        words: include the words of decisions, which depend on the program's version.
    """
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        found: dict[str, Any] = {}
        for table, unknown in _TIMES.items():
            all_rows = map(dict, db.execute(f"SELECT * FROM {table}"))
            found[table] = [{k: v for k, v in row.items() if k not in unknown} for row in all_rows]
        # Only scripts knew what waited in the event queue; older programs recorded PRE, which follows from its attempt.
        found["events"] = [row for row in found["events"] if row["phase"] not in ("spool", "pre")]
        # The recorded campaigns are older than these kinds of messages.
        campaign, newer = found["campaign"][0], ("reconstructed", "stuck")
        campaign["messages"] = [kind for kind in json.loads(campaign["messages"]) if kind not in newer]
        history = found.pop("history")
        if not words:
            found["iterations"] = [
                {k: row[k] for k in row if k not in ("reason", "criteria")} for row in found["iterations"]
            ]
        found["messages"] = sorted(
            {
                tuple(row)
                for row in db.execute(
                    "SELECT o.target, o.kind, h.event, h.dag_id, h.node, h.attempt FROM outbox AS o JOIN history AS h ON h.id = o.history_id"
                )
            }
        )
    found["paths"] = {}
    for row in history:
        if row["event"] in _NOTES:
            continue
        facts = json.loads(row.pop("facts"))
        if row["event"] == "failed":
            facts["reason"] = facts["reason"].partition(":")[0]  # its job's last output was overwritten
        if "verdict" in facts and not words:
            facts.pop("reason")
        if row["event"] == "reconstruction_started":
            row.pop("node")  # the first of several that began in the same second
        found["paths"].setdefault(row.pop("subject"), []).append((row, facts))
    return found


def jobstate_of(path: Path) -> str:
    """Return the JOBSTATE_LOG that DAGMan would have written, for campaigns whose scripts were run by hand."""
    columns = "node, dag_id, opened_utc, closed_utc, job_id, return_value, exit_status"
    attempts = rows(path, f"SELECT {columns} FROM attempts WHERE outcome != 'abandoned'")
    passed = rows(path, "SELECT utc, node FROM history WHERE event = 'passed_over'")
    named = "dag_id != '' AND event NOT IN ('extended', 'changed')"
    dagmans = rows(path, f"SELECT min(utc), dag_id FROM history WHERE {named} GROUP BY dag_id ORDER BY 1")
    finals = [dag_id for (dag_id,) in rows(path, "SELECT dag_id FROM events WHERE phase = 'final'")]
    lines = []
    for number, (utc, dag_id) in enumerate(dagmans):
        lines.append((utc, f"INTERNAL *** DAGMAN_STARTED {dag_id} ***"))
        if dag_id in finals:
            later = dagmans[number + 1][0] if number + 1 < len(dagmans) else "9"
            last = max([row[3] or row[2] for row in attempts if row[1] == dag_id and row[2] < later], default=utc)
            lines.append((f"{last}~", f"{layout.FINAL_NODE} PRE_SCRIPT_SUCCESS - - - 1"))
    lines += [(utc, f"{node} PRESKIP 0.1 - - 1") for utc, node in passed]
    for node, _, opened, closed, job_id, value, answer in attempts:
        lines.append((opened, f"{node} PRE_SCRIPT_SUCCESS - - - 1"))
        if closed:
            lines.append((closed, f"{node} JOB_{'FAILURE' if value else 'SUCCESS'} {value} - - 1"))
            lines.append((closed, f"{node} POST_SCRIPT_{'FAILURE' if answer else 'SUCCESS'} {job_id} - - 1"))
    return "".join(
        f"{int(datetime.fromisoformat(utc.rstrip('~')).timestamp())} {line}\n"
        for utc, line in sorted(lines, key=operator.itemgetter(0))
    )
