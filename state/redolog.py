"""Read the redo log: rebuild a state database from it, or compare one with it.

The log begins with an image: the statements that make the database at that time, and its transaction count. Each
further line is one transaction (``database.append_redo``).
"""

import ast
import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import database
from faser_align.system import atomic

IMAGE = b"="  # prefix of an image's lines
_IMAGE_STATEMENTS = 500  # statements of an image per line


class Line(NamedTuple):
    """A line: the transaction count before it, its position (bytes), and whether it belongs to the image."""

    before: int
    start: int
    length: int
    image: bool


class Lines(NamedTuple):
    """The lines of committed transactions, and why the log is incomplete; empty if it is complete."""

    lines: tuple[Line, ...]
    gap: str

    @property
    def transactions(self) -> int:
        """Transactions in the log."""
        return self.lines[-1].before + (not self.lines[-1].image) if self.lines else 0


def begin(folder: str) -> None:
    """Restart the redo log of the campaign in ``folder`` with its current state database. Only while nobody writes.

    Raises:
        OSError, sqlite3.Error: there is no new redo log.
    """
    with (
        contextlib.closing(sqlite3.connect(f"{folder}/{layout.STATE}")) as db,
        atomic.replacing(f"{folder}/{layout.REDO}", mode=database.PRIVATE) as file,
    ):
        (count,), (version,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        chunk = [f"PRAGMA application_id = {count}", f"PRAGMA user_version = {version}"]
        for statement in db.iterdump():
            if statement not in ("BEGIN TRANSACTION;", "COMMIT;"):
                chunk.append(statement)
            if len(chunk) >= _IMAGE_STATEMENTS:
                file.write(b"\n%s%d %s" % (IMAGE, count, repr(chunk).encode()))
                chunk = []
        file.write(b"\n%s%d %s" % (IMAGE, count, repr(chunk).encode()))
    atomic.sync(folder)


def lines_of(path: str) -> Lines:
    """Return the lines of the redo log at ``path`` whose transactions were committed, according to the log.

    The last one may not have been: the database's own count decides.

    Raises:
        OSError: it cannot be read.
    """
    found: list[Line] = []
    gap, start = "", 0
    with open(path, "rb") as file:
        for text in file:
            line = _line(text, start)
            start += len(text)
            if line is None:
                continue  # truncated: its transaction was rolled back
            while found and not found[-1].image and found[-1].before >= line.before:
                found.pop()  # its script was killed before its COMMIT
            expected = found[-1].before + (not found[-1].image) if found else line.before
            if line.before != expected or (not found and not line.image):
                gap = gap or _gap(expected, line.before)
            found.append(line)
    return Lines(tuple(found), gap if found else "it has no complete line" if start else "it is empty")


def _gap(known: int, count: int) -> str:
    return (
        f"it has {known} transactions and then the one after {count}"
        if known > count
        else (f"it lacks {count - known} transaction{'s' * (count - known != 1)} after the first {known}")
    )


def _line(text: bytes, start: int) -> Line | None:
    head, _, rest = text.partition(b" ")
    image = head.startswith(IMAGE)
    count = head.removeprefix(IMAGE)
    if not count.isdigit() or not rest.rstrip(b"\n").endswith(b"]"):
        return None
    return Line(int(count), start + len(head) + 1, len(rest), image)


def replay(db: sqlite3.Connection, path: str, lines: tuple[Line, ...]) -> None:
    """Execute the statements of lines of the redo log at ``path``, all in one transaction.

    The database is empty or has the earlier lines.

    Raises:
        OSError, ValueError, sqlite3.Error: the log cannot be read, or has lines that no script wrote.
    """
    with open(path, "rb") as file:
        db.execute("BEGIN")
        for line in lines:
            file.seek(line.start)
            for statement in _statements(file.read(line.length)):
                try:
                    db.execute(statement)
                except (sqlite3.IntegrityError, sqlite3.OperationalError) as problem:
                    # The log also has statements that failed; the one after each rolled it back to its savepoint.
                    if isinstance(problem, sqlite3.OperationalError) and str(problem) != "malformed JSON":
                        raise
        if lines and not lines[-1].image:
            db.execute(f"PRAGMA application_id = {lines[-1].before + 1}")
        db.execute("COMMIT")


def _statements(text: bytes) -> list[str]:
    try:
        found = ast.literal_eval(text.decode())
    except (SyntaxError, UnicodeDecodeError, MemoryError) as problem:
        raise ValueError(f"a line of the redo log is damaged: {problem}") from None
    return [str(statement) for statement in found]


def rebuild(folder: str, path: str) -> None:
    """Make a database at ``path`` from the redo log of the campaign in ``folder``.

    Raises:
        FileNotFoundError: there is no redo log.
        ValueError: it is incomplete or damaged.
        OSError, sqlite3.Error: it cannot be read, or the database cannot be written.
    """
    log = f"{folder}/{layout.REDO}"
    lines = lines_of(log)
    if lines.gap:
        raise ValueError(f"it is not complete: {lines.gap}")
    with contextlib.closing(_empty(path)) as db:
        replay(db, log, lines.lines)


def _empty(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, cached_statements=0)  # no statement occurs twice
    db.execute("PRAGMA synchronous = OFF")
    return db


class Comparison(NamedTuple):
    """Differences of a database from its redo log, and why the log cannot say; both empty if they agree."""

    differences: list[str]
    problem: str = ""


def compare(db: sqlite3.Connection, folder: str) -> Comparison:
    """Compare the database ``db`` with the redo log of the campaign in ``folder``, up to the same transaction.

    They agree for a campaign without a redo log, and for a copy that is older than the log.

    Raises:
        sqlite3.DatabaseError: the database cannot be read.
    """
    log = f"{folder}/{layout.REDO}"
    try:
        lines = lines_of(log)
    except FileNotFoundError:
        return Comparison([])
    except OSError as problem:
        return Comparison([], f"{log} cannot be read: {problem.strerror}")
    (count,) = db.execute("PRAGMA application_id").fetchone()
    if lines.gap or count > lines.transactions:
        missing = lines.gap or _gap(lines.transactions, count)
        return Comparison([], f"{log} is not complete: {missing}")
    if count < lines.lines[0].before:
        return Comparison([])
    with contextlib.closing(_empty(":memory:")) as replayed:
        try:
            replay(replayed, log, tuple(line for line in lines.lines if line.image or line.before < count))
        except (ValueError, sqlite3.DatabaseError) as problem:
            return Comparison([], f"{log} cannot be replayed: {problem}")
        return Comparison(list(_differ(db, replayed)))


_SCHEMA = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"


def _differ(db: sqlite3.Connection, replayed: sqlite3.Connection) -> Iterator[str]:
    """Yield the differences of two databases: their schema, then table by table."""
    for name in ("user_version", "application_id"):
        found, expected = (one.execute(f"PRAGMA {name}").fetchone()[0] for one in (db, replayed))
        if found != expected:
            yield f"PRAGMA {name} is {found}; by the redo log it is {expected}"
    schema = replayed.execute(_SCHEMA).fetchall()
    if db.execute(_SCHEMA).fetchall() != schema:
        yield "its schema is not that of the redo log"
        return
    for name in (name for kind, name, _ in schema if kind == "table"):
        yield from _rows_differ(db, replayed, name)


def _rows_differ(db: sqlite3.Connection, replayed: sqlite3.Connection, table: str) -> Iterator[str]:
    columns = replayed.execute(f"PRAGMA table_info({table})").fetchall()
    names = [column[1] for column in columns]
    key = [column[1] for column in columns if column[5]]
    order = f" ORDER BY {', '.join(key)}" if key else ""
    # quote() distinguishes 1 from 1.0 and a text from a blob, and accepts invalid UTF-8.
    sql = f"SELECT {', '.join(f'quote({name})' for name in names)} FROM {table}{order}"
    differing, first = 0, ""
    with _bytes(db), _bytes(replayed):
        for found, expected in itertools.zip_longest(db.execute(sql), replayed.execute(sql)):
            if found != expected:
                differing += 1
                first = first or _first(found, expected, names, key)
    if differing:
        more = f" (and {differing - 1} more rows)" if differing > 1 else ""
        yield f"{table} differs from the redo log: {first}{more}"


def _first(
    found: tuple[bytes, ...] | None, expected: tuple[bytes, ...] | None, names: list[str], key: list[str]
) -> str:
    """Return the key of the first differing row, and the column."""
    row = dict(zip(names, expected or found or (), strict=True))
    named = ", ".join(f"{name} {row[name].decode('utf-8', 'replace')}" for name in key) or "a row"
    if found is None or expected is None:
        return f"{named} is {'missing' if found is None else 'too many'}"
    column = next(name for name, one, other in zip(names, found, expected, strict=True) if one != other)
    return f"{column} of {named}"


@contextlib.contextmanager
def _bytes(db: sqlite3.Connection) -> Iterator[None]:
    factory, db.text_factory = db.text_factory, bytes
    try:
        yield
    finally:
        db.text_factory = factory
