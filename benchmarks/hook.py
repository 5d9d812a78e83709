"""Measure the cost of a script: the process of a reconstruction node's PRE and POST, against bare Python with sqlite3.

    python benchmarks/hook.py [--files 50] [--iterations 10] [--rounds 40]

Each round runs the baseline and the script in turn, so that a drift of the machine touches both; the ratio is the
median of the rounds' ratios. *Publishing apart* makes no copy. *With publishing* runs at the pace of a campaign,
one script every half a second.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import HOOK, make_campaign, write_output

from faser_align.campaign import layout

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "CONDOR_ID": "12.0"}
WHOLE = [sys.executable, "-I", "-S", HOOK]
# hooks/run.py without publishing.
APART = f"""
import os, sys
sys.path.insert(0, {str(Path(HOOK).parents[2])!r})
from faser_align.hooks import sqlite
sqlite.load()
from faser_align.hooks import entry
from faser_align.state import publish
publish.publish = lambda folder, last=False: False
os._exit(entry.main(sys.argv[1:]))
"""
BASELINE = [sys.executable, "-I", "-S", "-c", "import sqlite3"]


def took_ms(command: list[str]) -> float:
    """Return the wall time of a whole process (ms)."""
    started = time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, check=True)
    return (time.perf_counter() - started) * 1e3


def hook(program: list[str], record: dict[str, Any], phase: str, file: int, iteration: int) -> list[str]:
    node = layout.reco_node(1, iteration, file)
    macros = ["0", "2"] if phase == "pre" else ["0", "2", "0", f"{file}.{iteration}", "0"]
    return [*program, phase, record["folder"], node, *macros]


def measure(program: list[str], record: dict[str, Any], rounds: int, phase: str, *, pause_s: float) -> None:
    nodes = [(f, i) for i in range(1, record["stages"][0]["iterations"] + 1) for f in record["files"]]
    took_ms(hook(program, record, "pre", *nodes[0]))
    ratios, baselines, hooks = [], [], []
    for file, iteration in nodes[1 : rounds + 1]:
        if phase == "post":
            took_ms(hook(program, record, "pre", file, iteration))
            write_output(record, 1, iteration, file)
        time.sleep(pause_s)
        baselines.append(took_ms(BASELINE))
        hooks.append(took_ms(hook(program, record, phase, file, iteration)))
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
    apart = [sys.executable, "-I", "-S", "-c", APART]
    for title, program, pause_s in (("publishing apart", apart, 0.0), ("with publishing", WHOLE, 0.5)):
        print(title)
        for phase in ("pre", "post"):
            with tempfile.TemporaryDirectory(dir=base) as folder:
                config = {"campaign": {"iterations": arguments.iterations}}
                record = make_campaign(Path(folder, "campaign"), files=arguments.files, config=config)
                measure(program, record, arguments.rounds, phase, pause_s=pause_s)


if __name__ == "__main__":
    main()
