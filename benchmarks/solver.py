"""Measure time and memory of the built-in solver as a function of the number of tracks.

``python benchmarks/solver.py [TRACKS...] [--large] [--threads N]`` solves 348 free parameters under 24 constraints by
``inversion 3``, for 1e4 and 1e5 tracks, with ``--large`` also for a million (2.1 GB of scratch space). The tracks are
those of the reference data of ``tests/data``, each used many times with other hits omitted and other residuals, so that
a record has 19 measurements on average. Each number of tracks is solved in its own process, so that the memory is that
of one solution. The table has microseconds per track: wall time, CPU time, and each pass (count reads, FMS computes the
matrix, F the gradient, Q the same without the records, his the histograms).
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from faser_align.alignment.mille.records import read_records
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering

REFERENCE = Path(__file__).parents[1] / "tests/data/pede/case1_free_constraints/mp2input.bin.gz"
KEEP = 0.82  # fraction of the measurements, 23 of which are in a track of the reference data
NOISE_MM = 0.02
SEED = 1


def generate(folder: Path, tracks: int, threads: int = 1) -> Path:
    """Write a Mille binary of ``tracks`` records and the steering for it."""
    reference = folder / "reference.bin"
    reference.write_bytes(gzip.decompress(REFERENCE.read_bytes()))
    values, indices, offsets = read_records(reference)
    random = np.random.default_rng(SEED)
    n_records = len(offsets) - 1
    marker = indices == 0
    marker[offsets[:-1]] = False
    measured = np.flatnonzero(marker)[::2]
    first = np.zeros(len(indices), np.bool_)
    first[measured] = True
    number = np.cumsum(first) - 1  # the measurement of each word
    heads = np.zeros(len(indices), np.bool_)
    heads[offsets[:-1]] = True
    record = np.repeat(np.arange(n_records), np.diff(offsets))
    binary = folder / "mp2input.bin"
    with open(binary, "wb") as file:
        for begin in range(0, tracks, n_records):
            keep = (random.random(len(measured)) < KEEP)[number] | heads
            keep &= record < tracks - begin
            changed = values.astype(np.float32)
            changed[measured] += random.normal(0.0, NOISE_MM, len(measured))
            _write(file, changed[keep], indices[keep], np.bincount(record[keep]))
    reference.unlink()
    return write_steering(folder, [binary], frozenset(), {}, SolverOptions(method="inversion 3 0.001", threads=threads))


def _write(file: BinaryIO, values: NDArray[Any], indices: NDArray[Any], sizes: NDArray[Any]) -> None:
    ends = np.cumsum(sizes)
    file.writelines(
        np.int32(2 * (end - start)).tobytes() + values[start:end].tobytes() + indices[start:end].tobytes()
        for start, end in zip(ends - sizes, ends, strict=True)
    )


def measure(steering: Path) -> dict[str, Any]:
    """Solve, and return times and memory of this process."""
    from faser_align.alignment.solver.builtin import solve

    before = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.monotonic()
    solution = solve(steering)
    wall = time.monotonic() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "records": solution.records,
        "measurements": solution.measurements,
        "end_code": solution.end_code,
        "free": solution.free_parameters,
        "wall_us": 1e6 * wall / solution.records,
        "cpu_us": 1e6 * cpu / solution.records,
        "memory_mb": after.ru_maxrss / 1024,
        "passes": list(solution.passes_s),
    }


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracks", nargs="*", type=int)
    parser.add_argument("--large", action="store_true", help="a million tracks, too")
    parser.add_argument("--threads", type=int, default=1, help="of the solver")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    numbers = arguments.tracks or [10_000, 100_000] + ([1_000_000] if arguments.large else [])
    print(f"{'tracks':>9} {'hits':>5} {'MB file':>8} {'wall us':>8} {'cpu us':>8} {'MB':>6}  passes (us a track)")
    for tracks in numbers:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            steering = generate(Path(name), tracks, arguments.threads)
            size = (Path(name) / "mp2input.bin").stat().st_size / 1e6
            command = [sys.executable, __file__, "--measure", str(steering)]
            done = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        passes = " ".join(f"{kind} {1e6 * seconds / tracks:.1f}" for kind, seconds in done["passes"])
        print(
            f"{tracks:9d} {done['measurements'] / tracks:5.1f} {size:8.1f} {done['wall_us']:8.1f} "
            f"{done['cpu_us']:8.1f} {done['memory_mb']:6.0f}  {passes} (end {done['end_code']}, "
            f"{done['free']} parameters, load {os.getloadavg()[0]:.1f})"
        )


if __name__ == "__main__":
    main()
