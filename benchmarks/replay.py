"""What `replay` costs: 1,000 campaigns of six iterations, with the stored rules and with others.

    python benchmarks/replay.py [--campaigns 1000]

The campaigns are copies of one whose metrics and constants have a typical size; with other rules each would have ended
earlier, so that the constants of two iterations are read, too. The limit is 10 ms per campaign, the start of the program
and its output included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from largecampaigns import make_large

from faser_align.campaign import layout

PROGRAM = str(Path(sys.executable).with_name("faser-align"))
ITERATIONS, FILES = 6, 10
RULES = ("--set", "convergence.residual_shift_um_max=20", "--set", "convergence.patience=1")
LIMIT_MS = 10.0


def copy(source: Path, target: Path) -> None:
    """Copy what a replay reads."""
    results = [layout.result_file("", 1, number).lstrip("/") for number in range(1, ITERATIONS + 1)]
    for name in (layout.RECORD, layout.PUBLISHED, *results):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaigns", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        os.environ["XDG_STATE_HOME"] = f"{root}/state"
        first = Path(root, "first")
        make_large(first, files=FILES, iterations=ITERATIONS, name="first")
        folders = [Path(root, f"c{number:04d}") for number in range(arguments.campaigns)]
        for folder in folders:
            copy(first, folder)
        for name, rules in (("stored rules", ()), ("other rules", RULES)):
            for form in ((), ("--json",)):
                started = time.perf_counter()
                command = [PROGRAM, "replay", *map(str, folders), *rules, *form]
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                took_s = time.perf_counter() - started
                each = took_s / len(folders) * 1e3
                print(
                    f"{name:<13} {' '.join(form):<6} {took_s:5.1f} s, {each:4.1f} ms per campaign (limit {LIMIT_MS:g})"
                )


if __name__ == "__main__":
    main()
