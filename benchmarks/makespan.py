"""Measure the makespan of a campaign of short nodes, against the same DAG with /bin/true as every script.

    python benchmarks/makespan.py [--files 4] [--iterations 3] [--rounds 5]

As an ordinary user, on a personal pool of two processors that it starts and stops. Jobs take 0.2 s; both DAGs have
the same nodes and run all of them. Rounds alternate; the ratio is that of the medians.
"""

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import hook  # noqa: F401 - adds tests/support to the path
from campaigns import make_campaign

from faser_align.campaign import layout
from faser_align.dag.render import render
from faser_align.pool import personal

STUB = Path(__file__).with_name("stub_job.py")


def dag(record: dict[str, Any], *, scripts: bool) -> str:
    """Return the campaign's own DAG with the jobs replaced, and without ``scripts`` the scripts as well."""
    text = re.sub(r'arguments = ".*"', f'arguments = "-I -S {STUB} $(JOB)"', render(record))
    return text if scripts else re.sub(rf"{re.escape(record['python'])} -I -S \S+/run\.py .*", "/bin/true", text)


def makespan_s(folder: Path, files: int, iterations: int, *, scripts: bool) -> float:
    """Return the time from the submission until DAGMan has left the queue (s)."""
    from faser_align.dag.submit import dagman_jobs, submit_dag
    from faser_align.pool.schedd import schedd

    config = {"campaign": {"iterations": iterations}, "htcondor": {"scan_interval_s": 1}}
    record = make_campaign(folder, files=files, config=config)
    (folder / layout.DAG).write_text(dag(record, scripts=scripts))
    asked = schedd("personal", folder.parent / "pool")
    started = time.perf_counter()
    submit_dag(asked, str(folder))
    while dagman_jobs(asked, str(folder)):
        time.sleep(0.1)
    took = time.perf_counter() - started
    solved = len(list(folder.glob(f"iter*/{layout.MILLEPEDE}/{layout.METRICS}")))
    if solved != iterations:
        raise SystemExit(f"only {solved} of {iterations} iterations were solved; see {folder}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="makespan-") as folder:
        pool = Path(folder, "pool")
        personal.start(pool, cpus=2)
        try:
            personal.use(pool)
            found: dict[bool, list[float]] = {True: [], False: []}
            for round_number in range(arguments.rounds):
                for scripts in (True, False):
                    place = Path(folder, f"{round_number}{scripts}")
                    found[scripts].append(makespan_s(place, arguments.files, arguments.iterations, scripts=scripts))
        finally:
            personal.stop(pool)
    ours, bare = statistics.median(found[True]), statistics.median(found[False])
    print(f"{arguments.files} files x {arguments.iterations} iterations, n = {arguments.rounds} each")
    print(f"  with our hooks {ours:.1f} s   with /bin/true {bare:.1f} s   ratio {ours / bare:.3f}")
    print(f"  all: {[round(t, 1) for t in found[True]]} and {[round(t, 1) for t in found[False]]}")


if __name__ == "__main__":
    main()
