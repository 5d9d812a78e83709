"""Measure the cost of an iteration's Millepede job with summed normal equations and without.

    python benchmarks/sums.py [--files 50] [--tracks 20000] [--large 1000] [--binaries]

Two files of a two-step alignment of the spectrometer are simulated, reconstructed, converted and summed; the others are
copies of them: links to the binaries, their counts and their sums. Layer rotations are free, with Calypso's derivatives, so
that each file has a second sum. The whole job of a second iteration runs with ``--files``, as ``python -m
faser_align.jobs.solve``; the solution and the normal equations of the metrics alone with ``--large``. With ``--binaries`` the job also runs without
sums. The limits are 3 s of CPU time for 50 files, and 10 s and 500 MB for 1,000.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from known_truth import STEPS, manifest, misplace_everything, true_constants, write

from faser_align.alignment.parameters.constants import Constants, read_constants, write_constants
from faser_align.alignment.quality.momenta import read_momenta
from faser_align.campaign import layout
from faser_align.jobs.equations import write_file_sums
from faser_align.jobs.program import Iteration, open_iteration
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.steps import run_steps

MADE = 2
NUMBER = 2  # of the iteration; its momenta are compared with those of the first


def children_s() -> float:
    """Return the CPU time of the child processes that have ended (s)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(folder: Path, files: int, tracks: int) -> Iteration:
    """Make a campaign whose first files are reconstructed; return the iteration."""
    truth = true_constants()
    write_constants(folder.parent / "truth.txt", truth)
    iteration = lay_out(folder, files, tracks, misplace_everything(truth, np.random.default_rng(1), 0.3))
    for file in range(MADE):
        reconstruct(str(folder), 1, NUMBER, file)
    return iteration


def lay_out(folder: Path, files: int, tracks: int, start: Constants) -> Iteration:
    """Make a campaign; return the iteration."""
    stations, steps = STEPS["3ST two-step"]
    tables = {
        "campaign": {"stations": stations},
        "simulation": {"truth": str(folder.parent / "truth.txt"), "tracks": tracks},
        "mille": {"residual_max": [0.5], "derivative_max": 1e6, "pivot": "calypso"},
        "stages": [{"name": "3ST", "iterations": 5, "steps": steps}],
    }
    write(manifest(tables, files, folder), start)
    iteration = open_iteration(str(folder), 1, NUMBER)
    os.makedirs(os.path.dirname(iteration.constants_file()))
    write_constants(iteration.constants_file(), start)
    return iteration


def copy(source: Iteration, number: int, target: Iteration, file: int) -> None:
    """Make the binary, its counts, histograms and sums as links, and the tracks within a campaign."""
    ours, theirs = target.mille_file(file), source.mille_file(number)
    os.link(theirs, ours)
    os.link(f"{theirs}.json", f"{ours}.json")
    os.link(layout.histograms_file(theirs), layout.histograms_file(ours))
    os.link(source.sums_file(number), target.sums_file(file))
    if source == target:
        os.link(source.kfalignment_file(number), target.kfalignment_file(file))


def copy_all(iteration: Iteration, files: int) -> None:
    """Make the other files, with momenta of other tracks."""
    for file in range(MADE, files):
        copy(iteration, file % MADE, iteration, file)
        tracks = read_momenta([iteration.momenta_file(file % MADE)])
        assert tracks is not None
        tracks["hits"] += np.uint64(file)
        np.save(iteration.momenta_file(file), tracks)
    first = iteration._replace(number=1)
    os.makedirs(os.path.dirname(first.momenta_file(0)))
    for file in range(files):
        os.link(iteration.momenta_file(file), first.momenta_file(file))


def job(folder: Path, what: str) -> None:
    """Run the Millepede job, and print its cost."""
    before = children_s()
    command = [sys.executable, "-I", "-m", "faser_align.jobs.solve", str(folder), "1", str(NUMBER)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{what}: {children_s() - before:.2f} s of CPU time, at most {peak:.0f} MB", flush=True)


def main() -> None:
    """Print the cost of the sums, and of the job with and without them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("files", 50), ("tracks", 20_000), ("large", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--binaries", action="store_true")
    parser.add_argument("--only-large", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only_large:
        solve_large(Path(chosen.only_large))
        return
    with tempfile.TemporaryDirectory(prefix="sums") as scratch:
        folder = Path(scratch, "campaign")
        iteration = make(folder, chosen.files, chosen.tracks)
        started = time.process_time()
        write_file_sums(iteration, 0)
        cost, size = time.process_time() - started, os.path.getsize(iteration.sums_file(0))
        print(
            f"sums of a file: {cost:.2f} s of CPU time, {1e6 * cost / chosen.tracks:.0f} us a track, {size / 1e6:.2f} MB"
        )
        copy_all(iteration, chosen.files)
        job(folder, f"job of {chosen.files} files")
        large = Path(scratch, "large")
        make_large(large, iteration, chosen.large, chosen.tracks)
        subprocess.run([sys.executable, __file__, "--only-large", str(large)], check=True)
        if chosen.binaries:
            for file in range(chosen.files):
                Path(iteration.sums_file(file)).unlink()
            job(folder, f"job of {chosen.files} files without sums")


def make_large(folder: Path, source: Iteration, files: int, tracks: int) -> None:
    """Make the large campaign of copies, without momenta."""
    large = lay_out(folder, files, tracks, read_constants(source.constants_file()))
    os.makedirs(os.path.dirname(large.mille_file(0)))
    for file in range(files):
        copy(source, file % MADE, large, file)


def solve_large(folder: Path) -> None:
    """Solve an iteration, and print the cost."""
    iteration = open_iteration(str(folder), 1, NUMBER)
    os.makedirs(iteration.solution_folder())
    files = list(iteration.record["files"])
    started = time.process_time()
    solved = run_steps(iteration, files, read_constants(iteration.constants_file()))
    cost, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert all(step.solution.from_sums for step in solved.steps)
    records = solved.steps[0].solution.records
    print(f"solution of {len(files)} files, {records:,} records: {cost:.2f} s of CPU time, at most {peak:.0f} MB")


if __name__ == "__main__":
    main()
