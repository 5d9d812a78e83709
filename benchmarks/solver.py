"""Compare the built-in solver with pede: CPU time, memory and ratios, for many tracks or many parameters.

    python benchmarks/solver.py [ROW...] [--all] [--threads 1 2] [--rounds 3] [--passes]

Without arguments the table has the rows that take a minute together. Each program runs as a whole, in its own process: ours
as ``faser-align solve``, and the ``pede`` on PATH. Without one the table has the numbers that are stated below, which
depend on the machine. Of several rounds the smallest CPU times count, as other programs only add to them. A ratio above 1
means that ours is faster; the project aims at the goal. The next column is the largest difference of values in units of
their errors, the last one our end code.

Tracks are those of the reference data of ``tests/data``, each used many times with other hits omitted and other residuals,
so that a record has 19 measurements on average: 348 free parameters under 24 constraints, ``inversion 3``. Problems with
more parameters are those of ``benchmarks/problems.py``. ``benchmarks/mille.py`` compares conversion and reading.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE = Path(__file__).parents[1] / "tests/data/pede/case1_free_constraints/mp2input.bin.gz"
KEEP = 0.82  # fraction of the measurements, 23 of which are in a track of the reference data
NOISE_MM = 0.02
SEED = 1


class Row(NamedTuple):
    """A problem: number of tracks, of parameters (0: the detector's), method, goal of the ratio.

    ``pede_s`` and ``pede_mb`` are CPU time and memory of pede V04-09 from its public source (gfortran -O3), one thread, on an
    AMD EPYC with two cores, shared with other work, on 29 November 2026.
    """

    tracks: int
    parameters: int
    method: str
    goal: float
    pede_s: float
    pede_mb: float


ROWS = {
    "100k": Row(100_000, 0, "inversion 3 0.001", 3.0, 9.0, 96),
    "300k": Row(300_000, 0, "inversion 3 0.001", 3.0, 26.7, 96),
    "1M": Row(1_000_000, 0, "inversion 3 0.001", 3.0, 91.5, 85),
    "p1000": Row(20_000, 1_000, "inversion 3 0.001", 1.0, 0.82, 78),
    "p2000": Row(20_000, 2_000, "inversion 3 0.001", 1.0, 5.2, 79),
    "p5000": Row(20_000, 5_000, "sparseMINRES 3 0.001", 0.5, 1.3, 78),
    "p20000": Row(60_000, 20_000, "sparseMINRES 3 0.001", 0.5, 10.5, 255),
}
QUICK = ("100k", "p1000", "p2000", "p5000")


def generate(folder: Path, tracks: int, threads: int = 1) -> Path:
    """Write a Mille binary of ``tracks`` records and the steering for it."""
    import numpy as np

    from faser_align.alignment.mille.records import read_records
    from faser_align.alignment.pede.steering_text import SolverOptions, write_steering

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


def _write(file: BinaryIO, values: "NDArray[Any]", indices: "NDArray[Any]", sizes: "NDArray[Any]") -> None:
    import numpy as np

    ends = np.cumsum(sizes)
    file.writelines(
        np.int32(2 * (end - start)).tobytes() + values[start:end].tobytes() + indices[start:end].tobytes()
        for start, end in zip(ends - sizes, ends, strict=True)
    )


class Used(NamedTuple):
    """CPU and wall time (s) and peak memory (MB) of a program."""

    cpu_s: float
    wall_s: float
    memory_mb: float

    def __str__(self) -> str:
        return f"{self.cpu_s:7.2f} {self.wall_s:7.2f} {self.memory_mb:5.0f}"


def best(command: list[str], folder: Path, threads: int, rounds: int) -> Used:
    """Run a program several times and return the resources of the run with the least CPU time."""
    return min(run(command, folder, threads) for _ in range(rounds))


def run(command: list[str], folder: Path, threads: int) -> Used:
    """Run a program and return the resources that it used."""
    began = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return Used(used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024)


def write(folder: Path, row: Row, threads: int) -> None:
    """Write a row's problem into a folder."""
    if not row.parameters:
        generate(folder, row.tracks, threads)
        return
    from problems import write_problem

    write_problem(folder, row.parameters, row.tracks, row.method, f"threads {threads}\n" if threads > 1 else "")


def values(result: Path) -> dict[int, tuple[float, float]]:
    """Return value and error of each free parameter with an error."""
    lines = [line.split() for line in result.read_text().splitlines()[1:]]
    return {int(words[0]): (float(words[1]), float(words[4])) for words in lines if len(words) > 4}


def difference(ours: Path, theirs: Path) -> str:
    """Return the largest difference of values in units of errors."""
    a, b = values(ours), values(theirs)
    apart = [abs(a[label][0] - b[label][0]) / b[label][1] for label in a.keys() & b.keys() if b[label][1] > 0]
    return f"{max(apart):9.1e}" if apart else "        -"


def compare(name: str, row: Row, threads: int, rounds: int, pede: str | None, *, passes: bool) -> None:
    """Solve a row's problem and print a line of the table."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder_name:
        folder = Path(folder_name)
        write_command = [sys.executable, __file__, "--write", name, folder_name, "--threads", str(threads)]
        subprocess.run(write_command, check=True)  # in a process of its own, so that this one stays small
        steering = next(path for path in folder.glob("str*.txt"))
        ours = best([sys.executable, "-m", "faser_align.cli", "solve", steering.name], folder, threads, rounds)
        end, log = (folder / "millepede.end").read_text().split()[0], (folder / "millepede.log").read_text()
        apart = "        -"
        theirs, how = Used(row.pede_s, float("nan"), row.pede_mb), "stated"
        if pede:
            shutil.copy(folder / "millepede.res", folder / "ours.res")
            theirs, how = best([pede, steering.name], folder, threads, rounds), "run"
            apart = difference(folder / "ours.res", folder / "millepede.res")
    ratio = f"{theirs.cpu_s / ours.cpu_s:6.2f}" if pede or threads == 1 else "     -"
    size = f"{row.tracks:9,d} {row.parameters or 348:6,d} {row.method.split()[0]:12} {threads}"
    beside = str(theirs) if pede else f"{row.pede_s:7.2f} {'-':>7} {row.pede_mb:5.0f}" if threads == 1 else " " * 21
    print(f"{name:7} {size} {ours}  {beside} {how:6} {ratio} {row.goal:5.1f} {apart} {end:>3}", flush=True)
    if passes:
        words = [line.split() for line in log.splitlines() if line.split()[1:2] == ["pass"]]
        print(
            "        " + " ".join(f"{one[0]} {1e6 * float(one[2]) / row.tracks:.1f}" for one in words),
            "us a track (wall)",
        )


def main() -> None:
    """Run the requested rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=", ".join(ROWS))
    parser.add_argument("--all", action="store_true", help="all rows: 2.1 GB of scratch space in /var/tmp")
    parser.add_argument("--threads", type=int, nargs="*", default=[1], help="of both programs, one line for each")
    parser.add_argument("--rounds", type=int, default=1, help="of which the best counts")
    parser.add_argument("--passes", action="store_true", help="also the wall time of each of our passes")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        name, folder = arguments.write
        write(Path(folder), ROWS[name], arguments.threads[0])
        return
    rows = list(ROWS) if arguments.all else arguments.rows or list(QUICK)
    if unknown := [name for name in rows if name not in ROWS]:
        parser.error(f"{', '.join(unknown)}: no such row; give one of {', '.join(ROWS)}")
    pede = shutil.which("pede")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}; pede: {pede or 'not on PATH, so its stated numbers'}")
    print(f"{'':40}{'ours':21}  pede")
    print(
        f"{'row':7} {'tracks':>9} {'params':>6} {'method':12} T {'cpu s':>7} {'wall s':>7} {'MB':>5}  "
        f"{'cpu s':>7} {'wall s':>7} {'MB':>5} {'':6} {'ratio':>6} {'goal':>5} {'apart':>9} end"
    )
    for name in rows:
        for threads in arguments.threads:
            compare(name, ROWS[name], threads, arguments.rounds, pede, passes=arguments.passes)


if __name__ == "__main__":
    main()
