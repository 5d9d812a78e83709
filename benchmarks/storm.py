"""A storm of scripts on one state database: how many events a second, how long a script takes, and whether anything is lost or doubled.

    python benchmarks/storm.py [--events 20000] [--parallel 20] [--fsync-ms 30] [--without-flock]

Every event is a whole script process, PRE or POST of a reconstruction node, so many at a time. ``--fsync-ms`` makes
each fsync that much slower, by strace (which an ordinary user may run on his own processes). ``--without-flock``
lets the writers meet at SQLite's own lock, for comparison.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import HOOK, make_campaign, write_output

from faser_align.campaign import layout
from faser_align.state import verify

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "CONDOR_ID": "12.0"}
WITH_FLOCK = (sys.executable, "-I", "-S", HOOK)
NO_FLOCK = """
import os, sys
sys.path.insert(0, %r)
from faser_align.hooks import entry
from faser_align.state import database
class QueueLock:
    acquired = True
    def __init__(self, path, wait_s): pass
    def close(self): pass
database.QueueLock = QueueLock
os._exit(entry.main(sys.argv[1:]))
"""
WITHOUT_FLOCK = (sys.executable, "-I", "-S", "-c", NO_FLOCK % str(Path(HOOK).parents[2]))
ALONE = 20  # scripts that run alone, for the ratio


class Storm(NamedTuple):
    """Results of many simultaneous scripts.

    Attributes:
        events: number of events sent.
        took_s: wall time of each script (s), without those that ran alone.
        alone_s: wall time of each script that ran alone (s).
        wall_s: total duration (s).
        lost, doubled: events missing from the database, and recorded more than once.
        said: output of scripts to standard error, one line each.
        findings: problems of the database, in sentences.
    """

    events: int
    took_s: list[float]
    alone_s: list[float]
    wall_s: float
    lost: int
    doubled: int
    said: list[str]
    findings: list[str]

    def percentile(self, share: float) -> float:
        """Return the duration (s) that a ``share`` of the scripts did not exceed."""
        return sorted(self.took_s)[max(0, round(share * len(self.took_s)) - 1)]


def storm(folder: Path, events: int, *, parallel: int = 20, program: Sequence[str] = WITH_FLOCK) -> Storm:
    """Make a campaign in ``folder``, send it ``events`` events, ``parallel`` at a time, and check the result."""
    nodes = -(-(events + ALONE) // 2)
    iterations = max(1, min(20, nodes // 100))
    files = -(-nodes // iterations)
    record = make_campaign(folder, files=files, config={"campaign": {"iterations": iterations}})
    lives = [(i, f) for i in range(1, iterations + 1) for f in record["files"]][:nodes]
    with open(folder / "said", "wb") as said, ThreadPoolExecutor(parallel) as crowd:

        def live(node: tuple[int, int]) -> list[float]:
            return [_run([*program, *words], said.fileno()) for words in calls(record, *node)]

        alone = [took for node in lives[: ALONE // 2] for took in live(node)]
        started = time.perf_counter()
        took = [took for node in crowd.map(live, lives[ALONE // 2 :]) for took in node]
        wall_s = time.perf_counter() - started
    lost, doubled = accounts(record, lives)
    with closing(sqlite3.connect(folder / layout.STATE)) as db:
        findings = verify.findings(db)
    lines = (folder / "said").read_text().splitlines()
    return Storm(len(took), took, alone, wall_s, lost, doubled, lines, findings)


def calls(record: dict[str, Any], iteration: int, file: int) -> Iterator[list[str]]:
    """Yield the arguments of a node's PRE and POST, and write the job's output in between."""
    node = layout.reco_node(1, iteration, file)
    yield ["pre", record["folder"], node, "0", "2"]
    write_output(record, 1, iteration, file)
    yield ["post", record["folder"], node, "0", "2", "0", f"{file}.{iteration}", "0"]


def _run(words: list[str], said: int) -> float:
    """Run a script; return its wall time (s)."""
    started = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
    child = os.posix_spawn(words[0], words, ENVIRONMENT, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise RuntimeError(f"{words} ended with {status}")
    return time.perf_counter() - started


def accounts(record: dict[str, Any], lives: list[tuple[int, int]]) -> tuple[int, int]:
    """Return how many of the nodes' events are missing in the database, and how many are extra."""
    names = [layout.reco_node(1, i, f) for i, f in lives]
    wanted = {(name, event) for name in names for event in ("started", "succeeded")}
    with closing(sqlite3.connect(Path(record["folder"], layout.STATE))) as db:
        history = db.execute("SELECT node, event FROM history WHERE subject != 'campaign'").fetchall()
        keys = db.execute("SELECT node FROM events WHERE phase = 'post'").fetchall()
        attempts = db.execute("SELECT node FROM attempts WHERE outcome = 'succeeded'").fetchall()
    lost = max(len(wanted - set(history)), len(names) - len(set(keys)), len(names) - len(set(attempts)))
    doubled = max(len(history) - len(set(history)), len(keys) - len(set(keys)), len(attempts) - len(set(attempts)))
    return lost, doubled


def report(title: str, found: Storm) -> None:
    """Print the results."""
    p50, p99, alone = found.percentile(0.5), found.percentile(0.99), statistics.median(found.alone_s)
    print(
        f"{title}: {found.events} events, {found.events / found.wall_s:.1f} events/s; one hook: p50 {p50 * 1e3:.0f} ms, "
        f"p99 {p99 * 1e3:.0f} ms = {p99 / p50:.2f} x p50, longest {max(found.took_s) * 1e3:.0f} ms; "
        f"alone {alone * 1e3:.0f} ms (p50 is {p50 / alone:.1f} x, throughput {found.events / found.wall_s * alone:.2f} x)"
    )
    print(
        f"  lost {found.lost}, doubled {found.doubled}, said on standard error: {len(found.said)} lines",
        *found.said[:3],
    )
    for finding in found.findings[:5]:
        print(f"  {finding}")


def slow_fsync(delay_ms: int) -> None:
    """Restart under strace, which delays every fsync of this process and its children by ``delay_ms``."""
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("--fsync-ms needs strace")
    os.environ["STORM_FSYNC_MS"] = str(delay_ms)
    inject = f"inject=fsync,fdatasync:delay_enter={delay_ms * 1000}"
    options = ["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", inject]
    os.execv(strace, [strace, *options, sys.executable, *sys.argv])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--parallel", type=int, default=20)
    parser.add_argument("--fsync-ms", type=int, default=0, help="make every fsync that much slower")
    parser.add_argument("--without-flock", action="store_true", help="compare: only without the queue before the store")
    arguments = parser.parse_args()
    if arguments.fsync_ms and os.environ.get("STORM_FSYNC_MS") != str(arguments.fsync_ms):
        slow_fsync(arguments.fsync_ms)
    title, program = ("without flock", WITHOUT_FLOCK) if arguments.without_flock else ("with flock", WITH_FLOCK)
    if arguments.fsync_ms:
        title += f", each fsync {arguments.fsync_ms} ms slower"
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as base:
        report(title, storm(Path(base, "campaign"), arguments.events, parallel=arguments.parallel, program=program))


if __name__ == "__main__":
    main()
