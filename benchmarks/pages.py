"""What the page of a campaign costs: ``faser-align report`` for few and for many files, its time, memory and size.

    python benchmarks/pages.py [--rounds 3]

The campaigns are put into their stores by SQL, with metrics, constants, results and HTCondor's log of all jobs as large as
real ones. Times are of the whole process, beside those of ``faser-align --version`` in the same run.
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

from faser_align.campaign import layout

PROGRAM = str(Path(sys.executable).with_name("faser-align"))
# files, iterations, limits of time (s) and size (MB)
SIZES = ((50, 10, 5.0, 3.0), (10_000, 10, 30.0, 6.0))


def took_s(command: list[str]) -> float:
    """Return the wall time of a whole process (s)."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        os.environ["XDG_STATE_HOME"] = f"{root}/state"
        for files, iterations, seconds_max, mb_max in SIZES:
            folder, page = Path(root, f"files-{files}"), Path(root, f"{files}.html")
            make_large(folder, files=files, iterations=iterations, name=folder.name, lost=files // 50)
            command = [PROGRAM, "report", str(folder), "-o", str(page), "--force"]
            version = statistics.median(took_s([PROGRAM, "--version"]) for _ in range(rounds))
            seconds = statistics.median(took_s(command) for _ in range(rounds))
            memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            log_mb = (folder / layout.JOB_LOG).stat().st_size / 1e6
            print(
                f"{files:6} files x {iterations} iterations   {seconds:5.2f} s (limit {seconds_max:g}, "
                f"{seconds / version:.1f} x --version)   {page.stat().st_size / 1e6:.2f} MB (limit {mb_max:g})   "
                f"memory {memory_mb:.0f} MB, jobs.log {log_mb:.0f} MB"
            )


if __name__ == "__main__":
    main()
