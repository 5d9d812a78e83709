"""Check that a campaign's state database is valid.

The checks, in this order: SQLite's own; the rules between our tables; the files of each iteration; the redo log, which
has every value that was ever written. The checks change nothing. Every finding is one sentence.
"""

import contextlib
import filecmp
import itertools
import json
import operator
import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.fsm import table
from faser_align.state import database, iterations, redolog

Findings = Iterator[str]


class Checked(NamedTuple):
    """Findings as sentences; rows of the history; why the snapshot was checked instead of the database, or empty."""

    findings: list[str]
    rows: int
    note: str = ""


def check(folder: str) -> Checked:
    """Check the state database and the snapshot of the campaign in ``folder``, each as far as it is readable.

    Raises:
        StoreError: a newer program has changed one of them.
        OSError: the snapshot exists but cannot be read, or there is no space for copies.
    """
    found: list[str] = []
    rows, note = 0, ""
    with tempfile.TemporaryDirectory(prefix="faser-align-") as scratch:
        try:
            found, rows = _checked(folder, scratch, layout.STATE)
        except FileNotFoundError:
            found = [_missing(folder, layout.STATE)]
        except PermissionError:
            note = f"only the snapshot was checked: {folder}/{layout.STATE} belongs to another user"
        try:
            os.stat(f"{folder}/{layout.PUBLISHED}")
        except FileNotFoundError:
            return Checked([*found, _missing(folder, layout.PUBLISHED)], rows, note)
        if not found and not note and filecmp.cmp(f"{folder}/{layout.PUBLISHED}", f"{scratch}/{layout.STATE}", False):
            return Checked([], rows)
        damage, count = _checked(folder, scratch, layout.PUBLISHED, files=bool(note), log=not note)
    return Checked([*found, *(f"the snapshot: {one}" for one in damage if one not in found)], rows or count, note)


def _missing(folder: str, name: str) -> str:
    return f"{folder}/{name} is missing; `faser-align repair {shlex.quote(folder)}` makes it again"


_TRIES = 5


def _checked(folder: str, scratch: str, name: str, *, files: bool = True, log: bool = True) -> tuple[list[str], int]:
    """Return findings about a copy of the file ``name``, and the rows of its history.

    Without ``files`` or ``log`` it is not compared with the files of the iterations, or with the redo log.
    A lock does not exclude writers on another host, so the copy is repeated if the file has changed meanwhile.
    """
    path = f"{folder}/{name}"
    for _ in range(_TRIES):
        before = os.stat(path).st_mtime_ns
        _copy(folder, name, f"{scratch}/{name}")
        found, rows = _findings_of(f"{scratch}/{name}", folder, files=files, log=log)
        if not found or os.stat(path).st_mtime_ns == before:
            break
    return found, rows


def _copy(folder: str, name: str, target: str) -> None:
    """Copy a database with its journal while no script of this host writes it."""
    with contextlib.ExitStack() as held:
        if name == layout.STATE:
            with contextlib.suppress(PermissionError):
                held.enter_context(
                    contextlib.closing(database.QueueLock(f"{folder}/{layout.STATE_LOCK}", database.QUEUE_S_MAX))
                )
        shutil.copyfile(f"{folder}/{name}", target)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{folder}/{name}-journal", f"{target}-journal")


def _findings_of(path: str, folder: str, *, files: bool, log: bool) -> tuple[list[str], int]:
    from faser_align.state import schema

    with contextlib.closing(sqlite3.connect(path)) as db:
        with contextlib.suppress(sqlite3.DatabaseError):
            schema.refuse_newer(db, f"{folder}/{os.path.basename(path)}")
        found = findings(db, folder, files=files)
        try:
            if log:
                compared = redolog.compare(db, folder)
                found += [*compared.differences, *filter(None, [compared.problem])]
            return found, db.execute("SELECT count(*) FROM history").fetchone()[0]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as problem:
            return found or [f"SQLite cannot read it: {problem}"], 0


def findings(db: sqlite3.Connection, folder: str = "", *, files: bool = True) -> list[str]:
    """Return the faults of ``db`` according to SQLite, our tables and the iterations' files; empty if valid.

    ``folder`` has the campaign's files, by default where it was submitted; without ``files`` those are not checked.
    """
    damage = list(_integrity(db))
    if damage:
        return damage  # the content of a damaged file is not worth checking
    found: list[str] = []
    try:
        for check in (_versions, _campaign_path, _node_paths, _attempts, _counters, _repeats, _messages):
            found += check(db)
        if files:
            found += iterations.findings(db, folder or db.execute("SELECT folder FROM campaign").fetchone()[0])
    except (sqlite3.DatabaseError, ValueError, LookupError, TypeError, AttributeError) as problem:
        found.append(f"a value in it is not one that a script writes: {type(problem).__name__}: {problem}")
    return found


def _integrity(db: sqlite3.Connection) -> Findings:
    try:
        for (line,) in db.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield f"SQLite finds damage: {line}"
        for name, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
            yield f"row {row} of {name} refers to a row of {parent} that is not there"
    except (sqlite3.DatabaseError, UnicodeDecodeError) as problem:
        yield f"SQLite cannot read it: {problem}"


def _versions(db: sqlite3.Connection) -> Findings:
    """Check that the table of migrations agrees with ``PRAGMA user_version``, which is all that scripts read."""
    from faser_align.state import schema

    applied, known = schema.applied(db), schema.names()
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if applied != known[: len(applied)] or not applied:
        yield f"the migrations that were applied are {', '.join(applied) or 'none'}, and not the first of {', '.join(known)}"
    elif version != schema.version_of(len(applied)):
        yield f"its schema is {version}, and {len(applied)} migrations were applied"


_STEPS = "SELECT id, subject, source, event, destination, ignored FROM history WHERE subject {} 'campaign' ORDER BY subject, id"
Step = tuple[int, str, str, str, str, str]


def _path(steps: Iterable[Step], subject: str, start: str, now: str, *, campaign: bool) -> Findings:
    """Check that a history is a path in its table that begins at ``start`` and ends ``now``."""
    after = table.campaign_after if campaign else table.node_after
    at = start
    for row, _, source, event, destination, ignored in steps:
        if source != at:
            yield f"history {row}: {subject} was {at or 'not there'} and {event} finds it {source}"
        if ignored or event in table.NOTES:
            to = source  # even if the table would allow it: a late hold, for example, belongs to a closed attempt
        elif campaign and event == "created":
            to = table.INITIAL
        else:
            to = after(source, event) or source
        if destination != to and destination != table.FORMER.get(event):
            yield f"history {row}: {event} led {subject} from {source} to {destination}, which the table does not allow"
        at = destination
    if at != now:
        yield f"{subject} is {now}, and its history ends at {at}"


def _campaign_path(db: sqlite3.Connection) -> Findings:
    now = db.execute("SELECT state FROM campaign").fetchone()[0]
    yield from _path(db.execute(_STEPS.format("=")), "campaign", "", now, campaign=True)


def _node_paths(db: sqlite3.Connection) -> Findings:
    """Check all nodes' histories in one pass, because the table has no index of its subjects."""
    paths = itertools.groupby(db.execute(_STEPS.format("!=")), key=operator.itemgetter(1))
    states = dict(db.execute("SELECT node, state FROM nodes ORDER BY node").fetchall())
    for node, steps in paths:
        yield from _path(steps, node, "waiting", states.pop(node, "not there"), campaign=False)
    for node, state in states.items():
        yield from _path((), node, "waiting", state, campaign=False)


def _attempts(db: sqlite3.Connection) -> Findings:
    """Check that only a node's latest attempt may be open, and only while the node runs or is held."""
    for node, state, open_attempts, latest in db.execute(
        "SELECT n.node, n.state, total(a.closed_utc = ''), max(CASE WHEN a.closed_utc = '' THEN a.attempt END) = max(a.attempt) "
        "FROM nodes AS n JOIN attempts AS a ON a.node = n.node GROUP BY n.node"
    ):
        if open_attempts > 1 or (open_attempts and not latest):
            yield f"{node} has {open_attempts:.0f} open attempts, or one that is not its latest"
        if bool(open_attempts) != (state in ("running", "held")):
            yield f"{node} is {state} and has {open_attempts:.0f} open attempts"


def _counters(db: sqlite3.Connection) -> Findings:
    for node, counted, rows in db.execute(
        "SELECT n.node, n.attempts, count(a.attempt) FROM nodes AS n LEFT JOIN attempts AS a ON a.node = n.node "
        "GROUP BY n.node HAVING n.attempts != count(a.attempt) OR n.attempts != coalesce(max(a.attempt), 0)"
    ):
        yield f"{node} counts {counted} attempts and has {rows}"
    counted, files = db.execute(
        "SELECT lost, (SELECT count(DISTINCT file) FROM nodes WHERE state = 'lost') FROM campaign"
    ).fetchone()
    if counted != files:
        yield f"the campaign counts {counted} dropped files and has {files}"


def _repeats(db: sqlite3.Connection) -> Findings:
    """Check that the exit status of a repeat is known for every event that was applied."""
    for node, attempt in db.execute(
        "SELECT node, attempt FROM attempts WHERE outcome NOT IN ('', 'abandoned') "
        "EXCEPT SELECT node, attempt FROM events WHERE phase = 'post'"
    ):
        yield f"attempt {attempt} of {node} is closed, and no POST closed it"
    for node, attempt in db.execute(
        "SELECT node, attempt FROM events WHERE phase = 'post' GROUP BY node, attempt HAVING count(*) > 1"
    ):
        yield f"attempt {attempt} of {node} was closed more than once"


def _messages(db: sqlite3.Connection) -> Findings:
    """Check that every notified transition, and every hold, has one row per target in the outbox, which has no other rows."""
    wanted, targets = _recipients_at_start(db)
    sent: dict[int, set[str]] = {}
    for row, target in db.execute("SELECT history_id, target FROM outbox"):
        sent.setdefault(row, set()).add(target)
    for row, event, facts in db.execute(
        "SELECT id, event, facts FROM history WHERE ignored = '' OR event = 'held' ORDER BY id"
    ):
        if event == "changed":
            wanted, targets = _recipients(json.loads(facts), "after", (wanted, targets))
        expected = targets if wanted & {table.MESSAGES.get(event), table.FORMER.get(event)} else set()
        if sent.pop(row, set()) != expected:
            yield f"history {row}: {event} has not exactly one message for each target"
    for row in sent:
        yield f"the outbox has a message about history {row}, which is not there or was ignored"


Recipients = tuple[set[str], set[str]]  # the notified kinds of messages, and the targets


def _recipients_at_start(db: sqlite3.Connection) -> Recipients:
    """Return the kinds of messages and the recipients at the start: the current ones without the changes."""
    wanted = {kind for (kind,) in db.execute("SELECT value FROM campaign, json_each(campaign.messages)")}
    targets = {name for (name,) in db.execute("SELECT value FROM campaign, json_each(campaign.targets)")}
    for (facts,) in db.execute("SELECT facts FROM history WHERE event = 'changed' ORDER BY id DESC").fetchall():
        wanted, targets = _recipients(json.loads(facts), "before", (wanted, targets))
    return wanted, targets


def _recipients(change: Mapping[str, Any], when: str, now: Recipients) -> Recipients:
    """Return the kinds of messages and the recipients ``before`` or ``after`` a change."""
    if change["key"] == "notify.targets":
        return now[0], set(change[when])
    return (set(table.kinds(change[when])), now[1]) if change["key"] == "notify.events" else now
