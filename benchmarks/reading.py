"""Measure reading commands in a large campaign against ``faser-align --version``: ``list``, ``status``, ``history``.

    python benchmarks/reading.py [--files 10000] [--iterations 10] [--rounds 9]

The campaigns are put into their stores by SQL. Each round runs the baseline and each command in turn, so that a drift of
the machine touches all of them; the ratio is the median of the rounds' ratios. CPU time is shown beside it, which a busy
machine disturbs less. The running campaign belongs to a pool that does not exist: a schedd may take up to 8 s to
answer.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from largecampaigns import make_large

from faser_align.state import registry

PROGRAM = str(Path(sys.executable).with_name("faser-align"))
BASELINE = [PROGRAM, "--version"]
RATIO_MAX = 2.0


def took_ms(command: list[str]) -> tuple[float, float]:
    """Return wall and CPU time of a whole process (ms)."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall * 1e3, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def measure(commands: list[list[str]], rounds: int) -> None:
    """Run all commands in turn and print the ratios of each to the baseline."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for turn in range(rounds + 1):
        base = took_ms(BASELINE)
        for words in commands:
            wall, cpu = took_ms([PROGRAM, *words])
            if turn:  # the first round warms the file cache
                found.setdefault(" ".join(words), []).append((wall, wall / base[0], cpu / base[1]))
    for name, rows in found.items():
        wall, ratio, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"  {name:<32} {wall:6.0f} ms   ratio {ratio:.2f}   of CPU time {cpu:.2f}   (n = {len(rows)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        os.environ |= {"XDG_STATE_HOME": f"{root}/state", "FASER_ALIGN_POOL": f"{root}/pool"}
        for name, ended in (("over", True), ("goes-on", False)):
            folder = Path(root, name)
            make_large(folder, files=arguments.files, iterations=arguments.iterations, ended=ended, name=name)
            registry.add(name, str(folder))
        print(f"two campaigns of {arguments.files} files x {arguments.iterations} iterations; limit {RATIO_MAX:g}")
        commands = [["list"], ["status", "over"], ["status", "goes-on"], ["history", "over"]]
        measure([*commands, ["history", "over", "--campaign-only"], ["metrics", "over"]], arguments.rounds)


if __name__ == "__main__":
    main()
