"""Measure the cost of a campaign's page: ``faser-align report`` for few and for many files, its time, memory and size.

    python benchmarks/pages.py [--rounds 3]

The campaigns are put into their stores by SQL. Each iteration has metrics and data of figures that the jobs made from two
files of simulated tracks, with all layers and modules free, and as many rows over raw files as it would have; constants,
results and HTCondor's log of all jobs are as large as real ones. The limits are on the wall time of the whole process,
which other work on the machine lengthens; CPU time is beside it, and `--version` in the same run.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "support"), str(Path(__file__).parent)]

from figure_data import NUMBER, solved_campaign
from largecampaigns import make_large

from faser_align.alignment.quality.figure_data import FigureData, read_figures
from faser_align.campaign import layout
from faser_align.jobs import reconstruct, solve

PROGRAM = str(Path(sys.executable).with_name("faser-align"))
TRACKS = 4000  # per file


class Goal(NamedTuple):
    """A campaign's size, and the limits of its page."""

    files: int
    iterations: int
    seconds_max: float
    mb_max: float


GOALS = (Goal(50, 10, 10.0, 3.0), Goal(10_000, 10, 30.0, 6.0))


def like(root: Path) -> tuple[dict[str, Any], FigureData]:
    """Return metrics and data of figures of an iteration that the jobs have made."""
    numbers = range(NUMBER, NUMBER + 2)
    folder = solved_campaign(root, numbers, TRACKS)
    for file in numbers:
        reconstruct.reconstruct(folder, 1, 1, file)
    solve.solve(folder, 1, 1)
    data = read_figures(layout.figures_file(folder, 1, 1))
    assert data is not None
    return json.loads(Path(layout.metrics_file(folder, 1, 1)).read_text()), data


def took_s(command: list[str]) -> tuple[float, float]:
    """Return wall time and CPU time of a whole process (s)."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the costs beside their limits; exit with 1 if one is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    exceeded = False
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        os.environ["XDG_STATE_HOME"] = f"{root}/state"
        one = like(Path(root))
        print(f"--version   {statistics.median(took_s([PROGRAM, '--version'])[0] for _ in range(rounds)):.2f} s")
        for goal in GOALS:
            folder, page = Path(root, f"files-{goal.files}"), Path(root, f"{goal.files}.html")
            make_large(
                folder, files=goal.files, iterations=goal.iterations, name=folder.name, lost=goal.files // 50, like=one
            )
            taken = [took_s([PROGRAM, "report", str(folder), "-o", str(page), "--force"]) for _ in range(rounds)]
            wall, cpu = (statistics.median(of) for of in zip(*taken, strict=True))
            memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            mb = page.stat().st_size / 1e6
            log_mb = (folder / layout.JOB_LOG).stat().st_size / 1e6
            met = wall <= goal.seconds_max and mb <= goal.mb_max
            exceeded |= not met
            print(
                f"{goal.files:6} files x {goal.iterations} iterations   {wall:5.1f} s (limit {goal.seconds_max:g}; "
                f"CPU {cpu:.1f} s)   {mb:.2f} MB (limit {goal.mb_max:g})   {'met' if met else 'EXCEEDED'}   "
                f"memory {memory_mb:.0f} MB, jobs.log {log_mb:.0f} MB"
            )
    sys.exit(exceeded)


if __name__ == "__main__":
    main()
