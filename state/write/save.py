"""Write the changes that ``fsm.reduce`` decided: one statement for each kind. Startup-critical."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from faser_align.fsm.rows import Change, Facts

_STATEMENTS = {
    "open_attempt": "INSERT INTO attempts (node, attempt, dag_id, opened_utc, host, closed_utc, job_id, outcome) "
    "VALUES (?, ?, ?, ?, ?, '', '', '')",
    "close_attempt": "UPDATE attempts SET closed_utc = ?, job_id = ?, outcome = ?, return_value = ?, exit_status = ? "
    "WHERE node = ? AND attempt = ?",
    "update_node": "UPDATE nodes SET state = ?, attempts = ?, reason = ? WHERE node = ?",
    "add_node": "INSERT OR IGNORE INTO nodes (node, kind, stage, iteration, file, state, attempts, reason) "
    "VALUES (?, ?, ?, ?, ?, 'waiting', 0, '')",
    "update_campaign": "UPDATE campaign SET state = ?, stage = ?, iteration = ?, stages_done = ?, lost = ?, dag_id = ?, "
    "updated_utc = ?",
    "change_data": "UPDATE campaign SET data = ?",
    "change_lost_max": "UPDATE campaign SET lost_max = ?",
    "change_targets": "UPDATE campaign SET targets = ?",
    "change_messages": "UPDATE campaign SET messages = ?",
    "begin_iteration": "INSERT OR IGNORE INTO iterations "
    "(stage, iteration, started_utc, ended_utc, verdict, reason, criteria, metrics) "
    "VALUES (?, ?, ?, '', '', '', '[]', '{}')",
    "end_iteration": "INSERT INTO iterations "
    "(stage, iteration, started_utc, ended_utc, verdict, reason, criteria, metrics) "
    "VALUES (?, ?, ?, ?, ?, ?, json(?), json(?)) "
    "ON CONFLICT (stage, iteration) DO UPDATE SET ended_utc = excluded.ended_utc, verdict = excluded.verdict, "
    "reason = excluded.reason, criteria = excluded.criteria, metrics = excluded.metrics",
    # One message about the history's latest row, to each target that requested its kind.
    "enqueue": "INSERT OR IGNORE INTO outbox "
    "(history_id, target, kind, state, tries, next_utc, claimed_utc, sent_utc, error) "
    "SELECT (SELECT max(id) FROM history), who.value, ?1, 'pending', 0, '', '', '', '' "
    "FROM campaign, json_each(campaign.targets) AS who "
    "WHERE EXISTS (SELECT 1 FROM json_each(campaign.messages) WHERE value IN (?1, ?2))",
    "notify_again": "UPDATE outbox SET state = 'pending', tries = 0, next_utc = '' "
    "WHERE state IN ('failed', 'pending') AND (? = '' OR target = ?)",
    "mark_processed": "INSERT INTO events (dag_id, node, attempt, phase, job_id, hold_time, exit_status) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)",
}
_HISTORY = (
    "INSERT INTO history (utc, subject, source, event, destination, ignored, stage, iteration, node, attempt, job_id, "
    "dag_id, host, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, json_object({}))"
)


def save(db: "sqlite3.Connection", changes: "Iterable[Change]") -> None:
    """Write changes in their order.

    Raises:
        sqlite3.Error: the transaction must be rolled back.
    """
    for change in changes:
        if change[0] == "add_history":
            marks, values = _json_object(change[-1])
            db.execute(_HISTORY.format(marks), (*change[1:-1], *values))
        else:
            db.execute(_STATEMENTS[change[0]], change[1:])


def _json_object(facts: "Facts") -> "tuple[str, list[object]]":
    """Return the arguments of SQLite's json_object() for ``facts``, and their values: scripts start without json."""
    marks: list[str] = []
    values: list[object] = []
    for key, value in facts.items():
        if value is None or type(value) in (str, int, float):
            marks.append("?, ?")
        else:
            import json

            marks.append("?, json(?)")
            value = json.dumps(value)
        values += (key, value)
    return ", ".join(marks), values
