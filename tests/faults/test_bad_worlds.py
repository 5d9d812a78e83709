"""Test scripts with a full, read-only or missing disk, foreign locks, a stopped script, a wrong clock, and stopped readers."""

import concurrent.futures
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from campaigns import HOOK, hook, make_campaign, metrics, run_iteration, write_metrics, write_output
from properties import SOAK
from receivers import notify
from sources import ROOT
from stored import seen
from worlds import IMPATIENT, altered, small_disk

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import database, queries, spool, verify

pytestmark = pytest.mark.slow

NODE = layout.reco_node(1, 1, 400)
Record = dict[str, Any]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Return the manifest of a campaign of three files, whose first reconstructions have their output."""
    made = make_campaign(tmp_path / "campaign", files=3)
    for file in made["files"]:
        write_output(made, 1, 1, file)
    return made


def stored(record: Record, sql: str, *, folder: Path | None = None, name: str = layout.STATE) -> list[Any]:
    """Return rows of the state database, which must be valid."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(Path(folder or record["folder"], name).read_bytes())
        assert verify.findings(db) == []
        return db.execute(sql).fetchall()


def life(record: Record, file: int, interpreter: tuple[str, ...] = ()) -> list[str]:
    """Run PRE and POST of a successful reconstruction, each with status 0; return their output."""
    node = layout.reco_node(1, 1, file)
    before = hook("pre", record["folder"], node, 0, 2, interpreter=interpreter)
    after = hook("post", record["folder"], node, 0, 2, 0, f"{file}.0", 0, interpreter=interpreter)
    assert (before.returncode, after.returncode) == (0, 0), (before.stderr, after.stderr)
    return [before.stderr, after.stderr]


DONE = "SELECT node, state, attempts FROM nodes WHERE attempts > 0 ORDER BY node"


def done(*files: int) -> list[tuple[str, str, int]]:
    return [(layout.reco_node(1, 1, file), "done", 1) for file in files]


@pytest.mark.parametrize("leave", [0, 12288], ids=["to the last byte", "but for the event queue"])
def test_a_disk_that_is_full(leave: int, record: Record) -> None:
    """On a full disk DAGMan gets the job's outcome, and queued events are ingested later."""
    with small_disk(Path(record["folder"]), size="1m") as disk:
        if disk is None:  # mounting is not permitted here: the quota's test covers this
            return
        filler = disk.fill(leave)
        said = life(record, 400, disk.program)
        lost = sum("is lost" in line for line in said)
        assert lost == (2 if not leave else 0), said
        assert all("disk is full" in line for line in said), said
        copy = stored(record, "SELECT state FROM campaign", folder=disk.path, name=layout.PUBLISHED)
        assert copy == [("created",)]
        filler.unlink()
        assert life(record, 401, disk.program) == ["", ""]
        assert stored(record, DONE, folder=disk.path) == done(*([401] if lost else [400, 401]))
        assert spool.waiting(str(disk.path)) == []


def test_a_quota_that_is_used_up(record: Record) -> None:
    """A state database that cannot grow sends events to the event queue; none is lost or duplicated."""
    limited = ("/bin/sh", "-c", 'ulimit -f 8; exec "$@"', "sh", sys.executable, "-I", "-S", HOOK)
    said = life(record, 400, limited)
    assert all(".json: " in line for line in said), said
    assert len(spool.waiting(record["folder"])) == 2
    assert life(record, 401) == ["", ""]
    assert stored(record, DONE) == done(400, 401)


def test_a_folder_that_cannot_be_written(record: Record) -> None:
    """On a read-only file system DAGMan gets the job's outcome and one line per event; later the campaign continues."""
    folder = Path(record["folder"])
    with small_disk(folder, size="4m") as disk:
        program = disk.program if disk else ()
        if disk:
            disk.remount("ro")
        else:
            _protect(folder, 0o500)
        said = life(record, 400, program)
        assert all("is lost" in line for line in said), said
        if disk:
            disk.remount("rw")
        else:
            _protect(folder, 0o700)
        assert life(record, 401, program) == ["", ""]
        again = hook("post", folder, NODE, 0, 2, 0, "400.0", 0, interpreter=program)
        assert again.returncode == 0
        assert stored(record, DONE, folder=disk.path if disk else None) == done(400, 401)


def _protect(folder: Path, mode: int) -> None:
    for path in (folder / layout.SPOOL, folder):
        path.chmod(mode)
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(mode & 0o600)


def test_a_folder_that_is_gone_for_a_while(record: Record, tmp_path: Path) -> None:
    """While the file system is unavailable, every script returns the job's outcome; a POST creates a node whose PRE is
    unknown."""
    folder = Path(record["folder"])
    assert hook("pre", folder, NODE, 0, 2).returncode == 0
    folder.rename(tmp_path / "away")
    second = layout.reco_node(1, 1, 401)
    assert hook("pre", folder, second, 0, 2).returncode == 0
    assert hook("post", folder, NODE, 0, 2, 1, "13.0", 0).returncode == 1
    assert hook("hold", folder, second, "14.0", 0).returncode == 0
    assert hook("final", folder, "final", 2, 1).returncode == 2
    assert not folder.exists()
    (tmp_path / "away").rename(folder)
    write_output(record, 1, 1, 401)
    assert hook("post", folder, second, 0, 2, 0, "14.0", 0).returncode == 0
    assert hook("pre", folder, NODE, 1, 2).returncode == 0
    assert stored(record, "SELECT node, state, attempts FROM nodes WHERE attempts > 0 ORDER BY node") == [
        (NODE, "running", 1),  # its POST was never recorded, so this PRE counts as a repeat
        (second, "done", 1),
    ]


@contextmanager
def holding(program: str, *arguments: str) -> Iterator[None]:
    """Run another process that holds something while the context is open."""
    words = [sys.executable, "-c", program + "\nprint('in', flush=True)\nsys.stdin.read()", *arguments]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        yield
        assert holder.stdin is not None
        holder.stdin.close()


FLOCK = "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.flock(file, fcntl.LOCK_EX)"
SQLITE = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\ndb.execute('BEGIN EXCLUSIVE')"


@pytest.mark.parametrize("name", [layout.STATE_LOCK, layout.COMMIT_LOCK])
def test_a_queue_that_does_not_move(record: Record, name: str) -> None:
    """A script that has waited long enough for a lock file continues without it, and no event is lost."""
    with holding(FLOCK, f"{record['folder']}/{name}"):
        assert life(record, 400, IMPATIENT) == ["", ""]
    assert stored(record, DONE) == done(400)


def test_a_store_that_is_locked_for_long(record: Record) -> None:
    """If another process keeps the state database locked, every event goes to the event queue within half a minute."""
    assert database.QUEUE_S_MAX + database.BUSY_S_MAX <= 30
    with holding(SQLITE, f"{record['folder']}/{layout.STATE}"):
        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as crowd:
            said = [line for lines in crowd.map(lambda f: life(record, f, IMPATIENT), (400, 401)) for line in lines]
        assert all("database is locked" in line and ".json: " in line for line in said)
        assert hook("hold", record["folder"], NODE, "13.0", 0, interpreter=IMPATIENT).returncode == 0
        assert time.monotonic() - started < 30
    assert life(record, 402) == ["", ""]
    assert stored(record, DONE) == done(400, 401, 402)
    assert len(stored(record, "SELECT 1 FROM history WHERE event = 'held'")) == 1
    assert spool.waiting(record["folder"]) == []


def test_final_takes_a_second_turn(tmp_path: Path) -> None:
    """If FINAL finds the database locked it waits once more, because no later script sends the message of the end."""
    patient = altered(
        "from faser_align.state import spool\nput = spool.put\n"
        "def then(*words):\n    database.BUSY_S_MAX = 600.0\n    return put(*words)\n"
        "spool.put = then\ndatabase.QUEUE_S_MAX = database.BUSY_S_MAX = 0.3"
    )
    with Mailbox(tmp_path / "mail") as mailbox:
        made = make_campaign(tmp_path / "c", files=1, config={"notify": notify(tmp_path, mailbox, "end")})
        folder = made["folder"]
        hook("pre", folder, NODE, 0, 2)
        words = [*patient, "final", folder, layout.FINAL_NODE, "2", "1"]
        with holding(SQLITE, f"{folder}/{layout.STATE}"):
            final = subprocess.Popen(words, env={"PATH": "/usr/bin:/bin", "CONDOR_ID": "12.0"})
            while not spool.waiting(folder):
                time.sleep(0.02)
        assert final.wait() == exit_codes.final_exit(2)
        assert ["failed" in letter["Subject"] for letter in mailbox.messages()] == [True]
    assert spool.waiting(folder) == []


def test_a_hook_that_is_stopped_in_its_transaction(record: Record) -> None:
    """While a script is stopped in its transaction others queue their events; afterwards each is recorded once."""
    stopping = altered(
        "save = writer.save\ndef stop(*words):\n    save(*words)\n    os.kill(os.getpid(), signal.SIGSTOP)\nwriter.save = stop"
    )
    words = [*stopping, "pre", record["folder"], NODE, "0", "2"]
    with subprocess.Popen(words, env={"PATH": "/usr/bin:/bin", "CONDOR_ID": "12.0"}) as stopped:
        assert os.WIFSTOPPED(os.waitpid(stopped.pid, os.WUNTRACED)[1])
        said = life(record, 401, IMPATIENT)
        assert all(".json: " in line for line in said), said
        assert seen(record["folder"], queries.campaign)["state"] == "created"
        while stopped.poll() is None:
            stopped.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        assert stopped.returncode == 0
    assert life(record, 402) == ["", ""]
    rows = dict(stored(record, "SELECT node, state FROM nodes WHERE attempts = 1"))
    assert rows == {NODE: "running", layout.reco_node(1, 1, 401): "done", layout.reco_node(1, 1, 402): "done"}


def test_a_clock_that_is_set_back(record: Record) -> None:
    """With the clock an hour back events keep their order everywhere, and the snapshot is made at once."""
    back = altered(
        "now, now_ns = time.time, time.time_ns\ntime.time = lambda: now() - 3600\ntime.time_ns = lambda: now_ns() - 3600 * 10**9\n"
        "database.QUEUE_S_MAX, database.BUSY_S_MAX = 0.3, 0.3"
    )
    life(record, 400)
    started = time.monotonic()
    life(record, 401, back)
    assert time.monotonic() - started < 600  # less than the clock's error of an hour, on any machine
    assert queries.node_counts(seen(record["folder"], queries.all_counts))["done"] == 2
    node = layout.reco_node(1, 1, 402)
    with holding(SQLITE, f"{record['folder']}/{layout.STATE}"):
        hook("pre", record["folder"], node, 0, 2, interpreter=IMPATIENT)
        hook("post", record["folder"], node, 0, 2, 0, "402.0", 0, interpreter=back)
    assert [spool.read(record["folder"], name)["phase"] for name in spool.waiting(record["folder"])] == ["pre", "post"]
    hook("final", record["folder"], "final", 4, 0, interpreter=back)
    assert stored(record, DONE) == done(400, 401, 402)


@pytest.mark.parametrize(
    ("changes", "answer", "state"),
    [
        ({"significance": 3.0, "effect_um": 5.0, "chi2_per_ndf": 0.3}, 0, "exhausted"),
        ({"nan": True, "significance": None, "effect_um": None}, exit_codes.FATAL, "diverged"),
        ({}, exit_codes.CONVERGED, "converged"),
    ],
)
def test_a_verdict_without_a_store(tmp_path: Path, changes: dict[str, Any], answer: int, state: str) -> None:
    """POST of a Millepede node returns the decision while the database is locked; later the history has it."""
    record = make_campaign(tmp_path / "campaign", files=1)
    for i in (1, 2, 3):
        run_iteration(record, i)
    hook("pre", record["folder"], layout.reco_node(1, 4, 400), 0, 2)
    mille = layout.mille_node(1, 4)
    hook("pre", record["folder"], mille, 0, 2)
    write_metrics(record, metrics(4, files=1, **changes))
    with holding(SQLITE, f"{record['folder']}/{layout.STATE}"):
        said = hook("post", record["folder"], mille, 0, 2, 0, "904.0", 0, interpreter=IMPATIENT)
        assert said.returncode == answer, said.stderr
    assert hook("post", record["folder"], mille, 0, 2, 0, "904.0", 0).returncode == answer
    assert stored(record, "SELECT state FROM campaign") == [(state,)]
    assert len(stored(record, f"SELECT 1 FROM history WHERE node = '{mille}' AND subject = 'campaign'")) == 2


READER = """
import sys
from faser_align.state import queries
last = 0
while True:
    with queries.published(sys.argv[1]) as db:
        for row in db.execute("SELECT id FROM history ORDER BY id"):
            if sys.argv[2] == 'stopped':
                print('in', flush=True)
                sys.stdin.read()
        assert row[0] >= last, (row[0], last)
        last = row[0]
"""


def test_readers_never_harm_and_the_copy_is_complete(tmp_path: Path) -> None:
    """With a looping reader, a stopped one and scripts killed while publishing, the snapshot soon has the last event."""
    record = make_campaign(tmp_path / "campaign", files=24)
    folder, chance = record["folder"], random.Random(5)
    readers = [_reader(folder, how) for how in ("tight", "stopped")]
    readers[1].send_signal(signal.SIGSTOP)

    def call(number: int) -> None:
        words = ["pre", folder, layout.reco_node(1, 1 + number % 2, 400 + number // 2), "0", "2"]
        with subprocess.Popen([sys.executable, "-I", "-S", HOOK, *words], env={"CONDOR_ID": "12.0"}) as child:
            if number < 40 and number % 3 == 0:
                time.sleep(chance.uniform(0.03, 0.3))
                child.kill()
        assert number < 40 or child.returncode == 0
        if child.returncode:
            assert hook(*words).returncode == 0

    try:
        with concurrent.futures.ThreadPoolExecutor(8) as crowd:
            list(crowd.map(call, range(48)))
        with closing(sqlite3.connect(Path(folder, layout.STATE))) as db:
            last = db.execute("SELECT max(id) FROM history").fetchone()
            assert verify.findings(db) == []
        deadline = time.monotonic() + 20.0
        while True:
            with queries.published(folder) as copy:
                if copy.execute("SELECT max(id) FROM history").fetchone() == last:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        store, copy_ = (Path(folder, name).stat().st_mtime for name in (layout.STATE, layout.PUBLISHED))
        took_s = float(Path(folder, f"{layout.PUBLISHED}.now").read_text().split()[1])
        # A slow copy lengthens the publish interval to most of the 5 s, and a busy machine takes the rest.
        assert copy_ - store < 5.0 or took_s > 0.1
        assert stored(record, "SELECT count(*) FROM nodes WHERE state = 'running' AND attempts = 1") == [(48,)]
        readers[1].send_signal(signal.SIGCONT)
        assert [reader.poll() for reader in readers] == [None, None]
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def _reader(folder: str, how: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", READER, folder, how]
    reader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if how == "stopped":
        assert reader.stdout is not None
        assert reader.stdout.readline() == "in\n"
    return reader


def test_a_storm_on_a_slow_disk(tmp_path: Path) -> None:
    """Twenty simultaneous scripts lose and duplicate no event even if each fsync takes 10 ms longer."""
    strace = shutil.which("strace")
    program = str(ROOT / "benchmarks" / "storm.py")
    words = [sys.executable, program, "--events", "400" if SOAK else "40", *(["--fsync-ms", "10"] * bool(strace))]
    said = subprocess.run(
        words, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert "lost 0, doubled 0, said on standard error: 0 lines\n" in said.stdout, said.stdout
