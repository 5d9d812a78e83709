"""What a hook costs: the whole process of a reconstruction node's PRE and POST, against bare Python with sqlite3.

    python benchmarks/hook.py [--files 50] [--iterations 10] [--rounds 40]

Each round runs the baseline and the hook in turn, so that a drift of the machine touches both; the ratio is the
median of the rounds' ratios. *Publishing apart* holds the place of the next publisher, so that the hook leaves
the copy to it. *With publishing* runs at the pace of a campaign, one hook every half a second.
"""

import argparse
import fcntl
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import HOOK, make_campaign, write_output

from faser_align.config import layout

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "CONDOR_ID": "12.0"}
BASELINE = [sys.executable, "-I", "-S", "-c", "import sqlite3"]


def took_ms(command: list[str]) -> float:
    """Wall time of a whole process (ms)."""
    started = time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, check=True)
    return (time.perf_counter() - started) * 1e3


def hook(record: dict[str, Any], phase: str, file: int, iteration: int) -> list[str]:
    node = layout.reco_node(1, iteration, file)
    macros = ["0", "2"] if phase == "pre" else ["0", "2", "0", f"{file}.{iteration}", "0"]
    return [sys.executable, "-I", "-S", HOOK, phase, record["folder"], node, *macros]


@contextmanager
def nobody_publishes(record: dict[str, Any]) -> Iterator[None]:
    """Hold the place of the next publisher."""
    with open(f"{record['folder']}/{layout.PUBLISHED}.next", "w") as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield


def measure(record: dict[str, Any], rounds: int, phase: str, *, pause_s: float) -> None:
    nodes = [(f, i) for i in range(1, record["stages"][0]["iterations"] + 1) for f in record["files"]]
    took_ms(hook(record, "pre", *nodes[0]))
    ratios, baselines, hooks = [], [], []
    for file, iteration in nodes[1 : rounds + 1]:
        if phase == "post":
            took_ms(hook(record, "pre", file, iteration))
            write_output(record, 1, iteration, file)
        time.sleep(pause_s)
        baselines.append(took_ms(BASELINE))
        hooks.append(took_ms(hook(record, phase, file, iteration)))
        ratios.append(hooks[-1] / baselines[-1])
    spread = statistics.quantiles(ratios, n=10)
    print(
        f"  {phase:<5} {statistics.median(hooks):6.1f} ms   baseline {statistics.median(baselines):6.1f} ms   "
        f"ratio {statistics.median(ratios):.2f}   (10-90 %: {spread[0]:.2f} to {spread[-1]:.2f}, n = {len(ratios)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(f"a campaign of {arguments.files} files x {arguments.iterations} iterations; Python {sys.version.split()[0]}")
    base = os.environ.get("TMPDIR", "/var/tmp")
    for title, apart, pause_s in (("publishing apart", True, 0.0), ("with publishing", False, 0.5)):
        print(title)
        for phase in ("pre", "post"):
            with tempfile.TemporaryDirectory(dir=base) as folder:
                config = {"campaign": {"iterations": arguments.iterations}}
                record = make_campaign(Path(folder, "campaign"), files=arguments.files, config=config)
                if apart:
                    with nobody_publishes(record):
                        measure(record, arguments.rounds, phase, pause_s=pause_s)
                else:
                    measure(record, arguments.rounds, phase, pause_s=pause_s)


if __name__ == "__main__":
    main()
