"""Measure the cost of publishing: the snapshot of 1,000 and 100,000 nodes, and the fraction of time for snapshots.

    python benchmarks/publishing.py [--nodes 1000 100000] [--seconds 10]

One process after another changes the state database and publishes as fast as it can: only the publish interval limits the share of time.
A copy that takes longer than 0.2 s would need a longer pause than freshness allows (``publish.PAUSE_S_MAX``).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import make_campaign

from faser_align.campaign import layout
from faser_align.state import database, publish


def fill(folder: str) -> None:
    """Give every node an attempt and its two rows of history, as at the end of a campaign."""

    def work(db: database.sqlite3.Connection) -> int:
        db.execute(
            "INSERT INTO attempts SELECT node, 1, '12.0', ?, ?, '13.0', 'succeeded', 0, 0, 'access-point' FROM nodes",
            (database.utc(), database.utc()),
        )
        for name, before, after in (("started", "waiting", "running"), ("succeeded", "running", "done")):
            db.execute(
                "INSERT INTO history SELECT NULL, ?, node, ?, ?, ?, '', stage, iteration, node, 1, '13.0', '12.0', "
                "'access-point', json_object('return', 0, 'reason', '') FROM nodes",
                (database.utc(), before, name, after),
            )
        db.execute("INSERT INTO events SELECT '12.0', node, 1, 'post', '13.0', '', 0 FROM nodes")
        db.execute("UPDATE nodes SET state = 'done', attempts = 1")
        return 0

    database.transact(folder, work)


def measure(nodes: int, seconds: float) -> None:
    """Publish for ``seconds`` (s) as often as the interval allows, and print the times."""
    files = -(-nodes // 100)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as base:
        folder = f"{base}/campaign"
        make_campaign(Path(folder), files=files, config={"campaign": {"iterations": 99}})
        fill(folder)
        size_mb = os.stat(f"{folder}/{layout.STATE}").st_size / 1e6
        publish.publish(folder)
        copies: list[float] = []
        started = time.monotonic()
        while time.monotonic() - started < seconds or len(copies) < 3:
            publish.publish(folder)
            copies.append(float(Path(folder, f"{layout.PUBLISHED}.now").read_text().split()[1]))
        wall_s = time.monotonic() - started
    print(
        f"{nodes:>7} nodes, {size_mb:5.1f} MB: a copy takes {statistics.median(copies) * 1e3:.0f} ms "
        f"(longest {max(copies) * 1e3:.0f}); {len(copies)} copies in {wall_s:.1f} s are {100 * sum(copies) / wall_s:.1f} % of the time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    for nodes in arguments.nodes:
        measure(nodes, arguments.seconds)


if __name__ == "__main__":
    main()
