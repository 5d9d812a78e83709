"""Record the event of a script, whatever the state of the database. Startup-critical: standard library only."""

import _sqlite3 as sqlite3
import sys

from faser_align.fsm import reduce, table
from faser_align.state import database, spool
from faser_align.state.write.load import load
from faser_align.state.write.save import save

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from faser_align.fsm.events import Event, ScriptEvent

# Errors of a file in the event queue that is truncated, foreign, or an event of another campaign.
UNFIT = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError),
    *(PermissionError, IsADirectoryError),
)


def record(
    folder: str, event: "ScriptEvent", before: "Callable[[sqlite3.Connection], None] | None" = None
) -> "tuple[int, bool]":
    """Record ``event`` in the state database of the campaign in ``folder``, after the events of the event queue.

    ``before`` records earlier events in the same transaction. If the database cannot be written the event goes to
    the event queue; if that fails too, one line goes to standard error. Either way DAGMan gets the job's own outcome,
    ``event['exit']``.

    Returns:
        The exit status of the script, and whether the database holds the event.
    """
    try:
        return take(folder, event, before), True
    except (sqlite3.Error, OSError) as problem:
        try:
            name = spool.put(folder, event)
        except OSError as worse:
            outcome = f"is lost: {problem}; {worse}"
        else:
            outcome = f"is in {name}: {problem}"
        print(f"faser-align: {event['phase']} of {event['node']} {outcome}", file=sys.stderr)
        return event["exit"], False


def take(folder: str, event: "Event | None", before: "Callable[[sqlite3.Connection], None] | None" = None) -> int:
    """Apply the events of the event queue, call ``before`` and record ``event``, all in one transaction (None: no event).

    Raises:
        sqlite3.Error, OSError: nothing was written.
    """
    replayed: list[str] = []
    unfit: list[str] = []

    def work(db: sqlite3.Connection) -> int:
        for name in spool.waiting(folder):
            (replayed if replay(db, folder, name) else unfit).append(name)
        if before is not None:
            before(db)
        return 0 if event is None else apply(db, event)

    answer = database.transact(folder, work)
    try:
        spool.remove(folder, replayed)
        for name in unfit:
            spool.set_aside(folder, name)
    except OSError as problem:
        # The database knows their names: the next script removes the files, and applies none of them again.
        print(
            f"faser-align: applied events stay in the fallback event queue until the next script: {problem}",
            file=sys.stderr,
        )
    return answer


def apply(db: sqlite3.Connection, event: "Event") -> int:
    """Record ``event`` and return the exit status that answers it; a repeat changes nothing and has the same answer.

    Raises:
        sqlite3.Error: the transaction must be rolled back.
        KeyError, ValueError: it is not an event of this campaign.
    """
    known = load(db, event)
    is_reco = "node" in known and known["node"]["kind"] == "reco"
    after = table.campaign_after if is_reco else _machine()
    changes, exit_status = reduce.react(known, event, after)
    save(db, changes)
    return exit_status


def _machine() -> "Callable[[str, str], str | None]":
    """Return the transitions of the state machine, whose library scripts of reconstruction nodes do not import."""
    from faser_align.system.libraries import site_packages

    site_packages()
    from faser_align.fsm import machine

    return machine.campaign_after


def replay(db: sqlite3.Connection, folder: str, name: str) -> bool:
    """Apply a spooled event once; one that cannot be applied leaves a line in the history instead. Return whether it was one.

    A script removes files after its commit. One that is killed in between leaves them, and by the time of the next script
    the node may have moved on. So the database keeps the names, which are never used again.
    """
    sql = "SELECT exit_status FROM events WHERE dag_id = '' AND node = ? AND phase = 'spool'"
    known = db.execute(sql, (name,)).fetchone()
    if known:
        return bool(known[0] == 0)
    db.execute("SAVEPOINT replay")
    try:
        apply(db, spool.read(folder, name))
        _keep(db, name, 0)
    except FileNotFoundError:
        # The script before this one has removed it, after its COMMIT.
        return True
    except (*UNFIT, sqlite3.OperationalError) as problem:
        # The only operational error of SQLite that an event causes: it has malformed JSON.
        if isinstance(problem, sqlite3.OperationalError) and problem.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        db.execute("ROLLBACK TO replay")
        db.execute(
            "INSERT INTO history SELECT NULL, ?, 'campaign', state, 'spooled', state, ?, stage, iteration, '', 0, '', dag_id, "
            "'', json_object('file', ?) FROM campaign",
            (database.utc(), f"the file {name} of the fallback event queue was quarantined: {problem}", name),
        )
        _keep(db, name, 1)
        return False
    finally:
        if db.in_transaction:
            db.execute("RELEASE replay")
    return True


def _keep(db: sqlite3.Connection, name: str, unfit: int) -> None:
    db.execute("INSERT INTO events VALUES ('', ?, 0, 'spool', '', '', ?)", (name, unfit))
