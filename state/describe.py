"""Describe the tables, views and columns of the state database, and keys of the files around it.

``docs/schema.md`` and a part of ``docs/files.md`` are generated from this.
"""

import contextlib
import re
import sqlite3
from typing import NamedTuple

from faser_align.reference.files import Format, Key
from faser_align.state import database, schema, views

# What the text of the schema, which never changes, does not say, or says differently. The key is a column's name, or
# its table and name.
MEANING = {
    "campaign": "the one row about the campaign itself",
    "nodes": "one row for each node of the DAG",
    "attempts": "one row for each attempt of a node",
    "events": "processed events (idempotency keys): a repeated event changes nothing",
    "history": "every transition and every ignored event; rows never change",
    "iterations": "one row for each iteration that started",
    "outbox": "one row for each message to each target",
    "v_history": "the history, with its reasons as text",
    "v_iterations": "iterations, with the metrics that decide as columns",
    "v_nodes": "nodes, with their latest attempt",
    "v_nodes.return_value": "DAGMan's `$RETURN`: the job's exit status; -1001 to -1004: [DAGMan's own](exit-statuses.md); else negative: the signal that killed the job",
    "campaign.id": "always 1",
    "campaign.name": "name of the campaign",
    "campaign.iteration": "from 1 within its stage; 0 before the first",
    "campaign.created_utc": "time of submission",
    "campaign.updated_utc": "time of the last change of state",
    "nodes.node": "name in the DAG",
    "nodes.kind": "reco, mille, validate",
    "nodes.file": "number of its raw file (with several runs, run * 100000 is added); -1 without a file",
    "nodes.attempts": "number of attempts",
    "attempts.opened_utc": "time of its PRE script",
    "attempts.job_id": "HTCondor's job ID, '' before the attempt ends",
    "attempts.host": "machine that ran its PRE script",
    "events.phase": "post, hold, final; dagman for a DAGMan job; others for requests of commands. PRE has no row: the open attempt records it",
    "events.hold_time": "time at which the job was held, '' in other phases",
    "events.exit_status": "exit status of the script",
    "history.id": "order of recording",
    "history.utc": "time of the event",
    "history.source": "state before",
    "history.event": "event",
    "history.host": "machine that ran the script",
    "iterations.started_utc": "start of its first node",
    "iterations.ended_utc": "time of the decision, '' before",
    "iterations.verdict": "decision, '' before",
    "iterations.reason": "reason for the decision, in words",
    "v_iterations.effect_um": "expected rms shift of the residuals by the correction (um)",
    "v_iterations.significance": "expected decrease of chi2 per free parameter",
    "outbox.id": "order of the messages",
    "outbox.history_id": "row of the history that the message reports",
    "outbox.target": "name of the target",
    "outbox.kind": "kind of message",
    "outbox.tries": "number of delivery attempts",
    "outbox.claimed_utc": "start of the lease: when a script started to send it",
    "outbox.sent_utc": "when the target's server accepted it",
    "outbox.error": "error of the last delivery attempt",
    "stage": "from 1; 0: the validation pass",
    "iteration": "from 1 within its stage",
    "node": "name of the node, '' without a node",
    "attempt": "attempt of the node, from 1; 0 without a node",
    "job_id": "HTCondor's job ID, '' without a job",
    "dag_id": "ID of the DAGMan job",
}
_HOOKS = "pre, post, hold, final"
_MILLEPEDE = "post of a Millepede node or a validation pass"
EVENT_FORMAT = Format(
    "Events of the spool",
    "Events in the fallback event queue. An event has a `phase`. Four are those of scripts that could not write the state database; `control` is a "
    "control request from a command to the next script, named by its `event`.",
    (
        Key("phase", "pre, post, hold, final or control"),
        Key("utc", "time of the event"),
        Key("host", "machine that ran the script or the command"),
        Key("dag_id", "ID of the DAGMan job", f"{_HOOKS}; submitted, resumed"),
        Key("node", "name in the DAG", _HOOKS),
        Key("exit", "exit status of the script", _HOOKS),
        Key("retry", "number of retries before this attempt", "pre, post"),
        Key("max_retries", "maximum number of retries", "post"),
        Key("ret", "exit status of the job, as DAGMan reported it", "post"),
        Key("job_id", "HTCondor's job ID", "post, hold"),
        Key("outcome", "succeeded or failed", "post"),
        Key("fatal", "true if a retry cannot help", "post"),
        Key(
            "reason",
            "why the job failed or is held, why the campaign is stuck, why DAGMan was halted; else empty",
            "post, hold, final, stuck",
        ),
        Key("verdict", "decision on the iteration or the validation pass", _MILLEPEDE),
        Key("verdict_reason", "reason for the decision, in words", _MILLEPEDE),
        Key("criteria", "JSON text: all criteria", _MILLEPEDE),
        Key("metrics", "JSON text: the metrics", f"{_MILLEPEDE}; solved"),
        Key("moves", "event of the campaign that follows from the decision", _MILLEPEDE),
        Key("hold_time", "time at which the job was held, from HTCondor's log", "hold"),
        Key("dag_status", "status with which DAGMan ends, `$DAG_STATUS`", "final"),
        Key("failed_count", "number of failed nodes", "final"),
        Key(
            "event",
            "`submitted`, `resumed`, or a control request: `extended`, `changed`, `notify_retried`, `stop_asked`, `stuck`, `solved`",
            "control",
        ),
        Key("id", "ID of the request, which is applied once", "control requests"),
        Key("who", "user of the command", "control requests"),
        Key("stage", "stage that gets more iterations; stage of the iteration that was solved", "extended, solved"),
        Key("iteration", "iteration that was solved", "solved"),
        Key("before...", "iteration limit before; value before", "extended, changed"),
        Key(
            "after...",
            "iteration limit after; value after; `iteration` or `never`",
            "extended, changed, stop_asked",
        ),
        Key("key", "dotted name of a configuration key", "changed"),
        Key("columns...", "columns of the table `campaign` that the change sets", "changed"),
        Key("target", "target whose messages are sent again; empty: all targets", "notify_retried"),
    ),
)
REGISTRY_FORMAT = Format(
    "The registry",
    "`~/.local/state/faser-align/campaigns/` has a file for each campaign of the account, so that commands find a campaign by its name. "
    "It contains nothing that is not in the campaign's folder.",
    (Key("name", "name of the campaign"), Key("folder", "its folder")),
)
_COMMENT = re.compile(r"^\s*(.+?),?\s*-- (.+)$")


class Column(NamedTuple):
    """A column: its name, its SQLite type (empty in views), and its meaning (empty if undocumented)."""

    name: str
    kind: str
    meaning: str


class Relation(NamedTuple):
    """A table or a view: its name, its content, and its columns."""

    name: str
    meaning: str
    columns: list[Column]


def relations() -> list[Relation]:
    """Return all views, then all tables of a current database, without those that record migrations."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        schema.upgrade(db)
        found = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE '\\_%' ESCAPE '\\' "
            "AND name NOT LIKE 'sqlite%' ORDER BY type DESC, rowid"
        ).fetchall()
        return [Relation(name, MEANING.get(name, ""), _columns(db, name, sql)) for name, sql in found]


def _columns(db: sqlite3.Connection, relation: str, sql: str) -> list[Column]:
    said = {}
    for line in sql.splitlines():
        match = _COMMENT.match(line)
        if match:
            words = re.findall(r"\w+", match[1])
            said[words[-1] if relation in views.VIEWS else words[0]] = match[2]
    return [
        Column(name, kind, MEANING.get(f"{relation}.{name}") or said.get(name) or MEANING.get(name, ""))
        for _, name, kind, *_ in db.execute(f"PRAGMA table_info({relation})")
    ]


def schema_page() -> str:
    """Return the text of ``docs/schema.md``."""
    lines = [
        "# The state database of a campaign",
        "",
        "Each campaign's folder contains a read-only snapshot of its state database, `published.db`: an SQLite file, which any tool can open. The next",
        "script replaces it as a whole, so open it again to see changes. Do not open `state.db` while the campaign runs: it belongs to the scripts.",
        "",
        "<!-- run by test_sql_on_the_pages_runs -->",
        "```sql",
        "-- sqlite3 -header -column Y2023_R011705_F400-450/published.db",
        "SELECT stage, iteration, chi2_per_ndf, effect_um, verdict FROM v_iterations;",
        "SELECT node, attempts, host, reason FROM v_nodes WHERE state IN ('failed', 'lost') OR attempts > 1;",
        "SELECT utc, event, reason FROM v_history WHERE subject = 'campaign' AND ignored = '';",
        "```",
        "",
        "`faser-align export NAME` writes the same three views as JSON, or with `--format csv` as CSV, as pandas reads them:",
        "",
        "<!-- run by test_python_on_the_pages_runs -->",
        "```python",
        "import pandas",
        "",
        'nodes = pandas.read_csv("exported/nodes.csv")  # after: faser-align export NAME --format csv -o exported',
        'nodes[nodes.kind == "reco"].groupby("iteration").wall_s.describe()',
        "```",
        "",
        "For a copy in SQLite, copy `published.db`. For Parquet, have pandas write it, with pyarrow installed:",
        "",
        "<!-- run by test_python_on_the_pages_runs -->",
        "```python",
        "import sqlite3",
        "",
        "import pandas",
        "",
        'snapshot = sqlite3.connect("file:demo-1/published.db?mode=ro", uri=True)',
        'for table in ("history", "iterations", "nodes"):',
        '    pandas.read_sql(f"SELECT * FROM v_{table}", snapshot).to_parquet(f"{table}.parquet")',
        "snapshot.close()",
        "```",
        "",
        f"This is schema {database.SCHEMA} (`PRAGMA user_version`). Views whose names begin with `v_` stay as they are; tables may get columns in later",
        "schemas. Times are UTC, as text that sorts by time. Read columns with JSON with SQLite's `json_extract`. [Alignment](alignment.md) describes",
        "`metrics`; [states and events](states.md) describes the states.",
        "",
        "This page is generated from `state/schema.py` and `state/views.py`; `make refresh` rewrites it.",
    ]
    for relation in relations():
        lines += ["", f"## `{relation.name}`", "", f"{relation.meaning[:1].upper()}{relation.meaning[1:]}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{column.name}` | {column.kind.lower()} | {column.meaning} |" for column in relation.columns]
    return "\n".join(lines) + "\n"
