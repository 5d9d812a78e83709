"""What `replay` costs: 1,000 campaigns of six iterations, with the stored rules and with others.

    python benchmarks/replay.py [--campaigns 1000]

The campaigns are copies of one whose metrics and constants have a typical size; with other rules each would have ended
earlier, so that the constants of two iterations and the normal equations are read, too. The limit is 10 ms per campaign,
the start of the program and its output included. A busy machine disturbs CPU time less than wall time.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import numpy as np
from largecampaigns import make_large

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.solver.normal_equations import Normal, write_normal
from faser_align.campaign import layout

PROGRAM = str(Path(sys.executable).with_name("faser-align"))
ITERATIONS, FILES = 6, 10
RULES = ("--set", "convergence.residual_shift_um_max=20", "--set", "convergence.patience=1")
LIMIT_MS = 10.0


def copy(source: Path, target: Path) -> None:
    """Copy the files that a replay reads."""
    last = layout.normal_file("", 1, ITERATIONS).lstrip("/")
    results = [layout.result_file("", 1, number).lstrip("/") for number in range(1, ITERATIONS + 1)]
    for name in (layout.RECORD, layout.PUBLISHED, *results):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    record = target / layout.RECORD
    record.write_text(record.read_text().replace(f'"name": "{source.name}"', f'"name": "{target.name}"'))
    os.link(source / last, target / last)  # to save space


def normal() -> Normal:
    """Return normal equations of all parameters, as large as they can be."""
    labels, numbers = tuple(sorted(PARAMETERS)), np.random.default_rng(1)
    half = numbers.standard_normal((len(labels),) * 2)
    return Normal(labels, half @ half.T, numbers.standard_normal(len(labels)), np.zeros((24, len(labels))))


def children_s() -> float:
    """Return the CPU time of the child processes that have ended (s)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaigns", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        os.environ["XDG_STATE_HOME"] = f"{root}/state"
        first = Path(root, "first")
        make_large(first, files=FILES, iterations=ITERATIONS, name="first")
        write_normal(layout.normal_file(str(first), 1, ITERATIONS), normal())
        folders = [Path(root, f"c{number:04d}") for number in range(arguments.campaigns)]
        for folder in folders:
            copy(first, folder)
        for name, rules in (("stored rules", ()), ("other rules", RULES)):
            for form in ((), ("--json",)):
                cpu_s, started = children_s(), time.perf_counter()
                command = [PROGRAM, "replay", *map(str, folders), *rules, *form]
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                took_s, cpu_s = time.perf_counter() - started, children_s() - cpu_s
                each = f"{cpu_s / len(folders) * 1e3:4.1f} ms of CPU time per campaign (limit {LIMIT_MS:g})"
                print(f"{name:<13} {' '.join(form):<6} {took_s:5.1f} s, {each}")


if __name__ == "__main__":
    main()
