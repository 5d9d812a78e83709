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
    "attempts": "one row for each time that a node was begun",
    "events": "what hooks have taken in already, so that a repeat changes nothing",
    "history": "every transition, and every event that was ignored; never changed",
    "iterations": "one row for each iteration that was begun",
    "outbox": "one row for each message to each target",
    "v_history": "the history, with its reasons as text",
    "v_iterations": "iterations, with the numbers that judge as columns",
    "v_nodes": "nodes, with their latest attempt",
    "v_nodes.return_value": "DAGMan's `$RETURN`: the job's exit status; -1001 to -1004: [DAGMan's own](exit-statuses.md); else negative: the signal that killed the job",
    "campaign.id": "always 1",
    "campaign.name": "name of the campaign",
    "campaign.iteration": "from 1 inside its stage; 0 before the first",
    "campaign.created_utc": "when it was submitted",
    "campaign.updated_utc": "when its state changed last",
    "nodes.node": "name in the DAG",
    "nodes.kind": "reco, mille, validate",
    "nodes.file": "number of its raw file, in a campaign of several runs with run * 100000 added; -1 without",
    "nodes.attempts": "how many were begun",
    "attempts.opened_utc": "when its PRE script ran",
    "attempts.job_id": "of HTCondor, '' before its end",
    "attempts.host": "where its PRE script ran",
    "events.phase": "post, hold, final; dagman for a DAGMan that is known; others for the command line's. An open attempt says it of PRE",
    "events.hold_time": "when the job went on hold, '' in other phases",
    "events.exit_status": "what the script answered",
    "history.id": "order in which it was recorded",
    "history.utc": "when it happened",
    "history.source": "state before",
    "history.event": "what happened",
    "history.host": "where the hook ran",
    "iterations.started_utc": "when its first node began",
    "iterations.ended_utc": "when it was judged, '' before",
    "iterations.verdict": "'' before",
    "iterations.reason": "of the verdict, in words",
    "outbox.id": "order in which it was put there",
    "outbox.history_id": "what it is about",
    "outbox.target": "name of the target",
    "outbox.kind": "kind of message",
    "outbox.tries": "how often it was sent",
    "outbox.claimed_utc": "when a hook began to send it",
    "outbox.sent_utc": "when the target's server took it",
    "outbox.error": "why not, the last time",
    "stage": "from 1; 0: the validation",
    "iteration": "from 1 inside its stage",
    "node": "name of a node, '' without",
    "attempt": "of the node, from 1; 0 without",
    "job_id": "of HTCondor, '' without",
    "dag_id": "of the DAGMan job",
}
_HOOKS = "pre, post, hold, final"
_MILLEPEDE = "post of a Millepede node or a validation"
EVENT_FORMAT = Format(
    "Events of the spool",
    "An event has a `phase`. Four are those of hooks, and are in the spool where the store could not take them; `control` is what a command "
    "tells the next hook, named by its `event`.",
    (
        Key("phase", "pre, post, hold, final or control"),
        Key("utc", "when it happened"),
        Key("host", "where the hook or the command ran"),
        Key("dag_id", "of the DAGMan job", f"{_HOOKS}; submitted, resumed"),
        Key("node", "name in the DAG", _HOOKS),
        Key("exit", "what DAGMan was told", _HOOKS),
        Key("retry", "how often DAGMan had tried the node before", "pre, post"),
        Key("max_retries", "how often it may", "post"),
        Key("ret", "exit status of the job, as DAGMan said it", "post"),
        Key("job_id", "of HTCondor", "post, hold"),
        Key("outcome", "succeeded or failed", "post"),
        Key("fatal", "whether trying again cannot help", "post"),
        Key("reason", "why it failed, is held or stuck, why DAGMan was halted; else empty", "post, hold, final, stuck"),
        Key("verdict", "on the iteration, or of the validation", _MILLEPEDE),
        Key("verdict_reason", "in words", _MILLEPEDE),
        Key("criteria", "JSON text: all criteria", _MILLEPEDE),
        Key("metrics", "JSON text: the metrics", f"{_MILLEPEDE}; solved"),
        Key("moves", "the campaign's event that the verdict becomes", _MILLEPEDE),
        Key("hold_time", "when the job went on hold, as HTCondor's log has it", "hold"),
        Key("dag_status", "how DAGMan ends, `$DAG_STATUS`", "final"),
        Key("failed_count", "failed nodes", "final"),
        Key(
            "event",
            "`submitted`, `resumed`, or a wish: `extended`, `changed`, `notify_retried`, `stop_asked`, `stuck`, `solved`",
            "control",
        ),
        Key("id", "of the wish, which is taken in once", "wishes"),
        Key("who", "who typed", "wishes"),
        Key("stage", "that gets more iterations; of the iteration that was solved", "extended, solved"),
        Key("iteration", "that was solved", "solved"),
        Key("before...", "how many it had; the value before", "extended, changed"),
        Key(
            "after...",
            "how many it may have; the value afterwards; `iteration` or `never`",
            "extended, changed, stop_asked",
        ),
        Key("key", "dotted name in the configuration", "changed"),
        Key("columns...", "of the table `campaign`, with what follows from the change", "changed"),
        Key("target", "whose messages are to be sent again, empty: of all", "notify_retried"),
    ),
)
REGISTRY_FORMAT = Format(
    "The registry",
    "`~/.local/state/faser-align/campaigns/` has a file for each campaign of the account, by which a name is enough to find one. "
    "It holds nothing that a campaign does not hold itself.",
    (Key("name", "the campaign's"), Key("folder", "its folder")),
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
        "# The store of a campaign",
        "",
        "Each campaign's folder has a copy of its store for readers, `published.db`: an SQLite file, which any tool can open. It is replaced as",
        "a whole by the next hook, so open it anew to see what is new. `state.db` beside it is the hooks' own: do not open it while the campaign runs.",
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
        f"This is schema {database.SCHEMA} (`PRAGMA user_version`). Views whose names begin with `v_` are kept as they are; tables may get columns in later",
        "schemas. Times are UTC, as text that sorts by time. Columns with JSON are read with SQLite's `json_extract`. What `metrics` holds is in",
        "[the alignment](alignment.md), the states are in [how it works](how-it-works.md).",
        "",
        "This page is made from `state/schema.py` and `state/views.py`; `make refresh` makes it anew.",
    ]
    for relation in relations():
        lines += ["", f"## `{relation.name}`", "", f"{relation.meaning[:1].upper()}{relation.meaning[1:]}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{column.name}` | {column.kind.lower()} | {column.meaning} |" for column in relation.columns]
    return "\n".join(lines) + "\n"
