"""Measure time and memory of converting kfalignment files, beside our own and uproot's reading of them.

    python benchmarks/mille.py [--tracks 100000] [--source tests/data/mille/kfalignment_4st.root] [--rounds 3]

Each row is a ROOT file of so many tracks (the source's, repeated) in one layout of baskets. Every measurement is a process
of its own: converted by ``faser_align.alignment.mille.conversion``, only read by ``read_tracks``, and read by ``uproot``,
all branches at once. Times are CPU times, without the start of the process, the smallest of the rounds. The first ratio is
that of the conversion to our own reading, at most 1.5 where the file is compressed; without compression reading is a copy,
and writing the records takes as long.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

CONVERT = """
import sys, time, uproot
from faser_align.alignment.mille.conversion import Cuts, convert
before, started = time.process_time(), time.perf_counter()
convert([sys.argv[1]], sys.argv[1] + ".bin", Cuts())
"""
READ = """
import sys, time, uproot
from faser_align.alignment.mille.kfalignment import read_tracks
before, started = time.process_time(), time.perf_counter()
for _ in read_tracks(sys.argv[1]): pass
"""
UPROOT = """
import sys, time
import uproot
before, started = time.process_time(), time.perf_counter()
uproot.open(sys.argv[1])["tree"].arrays()
"""
REPORT = """
seconds = time.perf_counter() - started
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(seconds, int(peak) / 1024, time.process_time() - before)
"""
LAYOUTS = (  # name, tracks per basket (0: all), compression
    ("400 tracks a basket, zlib", 400, 1),
    ("10,000 tracks a basket, zlib", 10_000, 1),
    ("one basket, zlib", 0, 1),
    ("one basket, uncompressed", 0, 0),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--source", default="tests/data/mille/kfalignment_4st.root")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{arguments.tracks:,} tracks of {arguments.source}; CPU us a track, peak memory (MB)")
    print(f"{'layout':30} {'converted':>16} {'read':>16} {'uproot':>16}   converted/read  converted/uproot")
    with tempfile.TemporaryDirectory() as folder:
        for name, per_basket, level in LAYOUTS:
            path = os.path.join(folder, "kfalignment.root")
            _write(path, arguments.source, arguments.tracks, per_basket or arguments.tracks, level)
            rounds = [[_measure(program, path) for program in (CONVERT, READ, UPROOT)] for _ in range(arguments.rounds)]
            cpu_us = [1e6 * min(row[at][2] for row in rounds) / arguments.tracks for at in range(3)]
            memory = [max(row[at][1] for row in rounds) for at in range(3)]
            columns = " ".join(f"{us:6.1f} us {mb:4.0f} MB" for us, mb in zip(cpu_us, memory, strict=True))
            print(f"{name:30} {columns}   {cpu_us[0] / cpu_us[1]:14.2f}  {cpu_us[0] / cpu_us[2]:16.2f}", flush=True)
    _vectors(arguments.source)


def _write(path: str, source: str, tracks: int, per_basket: int, level: int) -> None:
    import awkward
    import uproot

    with uproot.open(source) as file:
        branches = file["tree"].arrays()
    part = awkward.concatenate([branches] * -(-per_basket // len(branches)))[:per_basket]
    columns = {name: part[name] for name in part.fields}
    kinds = {name: column.type.content for name, column in columns.items()}
    with uproot.recreate(path, compression=uproot.ZLIB(level) if level else None) as file:
        tree = file.mktree("tree", kinds)
        for _ in range(tracks // per_basket):
            tree.extend(columns)


def _measure(program: str, path: str) -> tuple[float, float, float]:
    """Return seconds, peak memory (MB) and CPU seconds of a program without its start."""
    done = subprocess.run([sys.executable, "-c", program + REPORT, path], capture_output=True, text=True, check=True)
    seconds, memory_mb, cpu_s = map(float, done.stdout.split())
    return seconds, memory_mb, cpu_s


def _vectors(source: str, repeats: int = 100) -> None:
    """Read and convert ``std::vector<double>`` branches: copies of a file, as Python programs cannot write them."""
    import uproot

    from faser_align.alignment.mille.conversion import Cuts, convert
    from faser_align.alignment.mille.kfalignment import read_tracks

    with tempfile.TemporaryDirectory() as folder:
        copies = [shutil.copy(source, f"{folder}/{number}.root") for number in range(repeats)]

        def opening() -> None:
            for path in copies:
                with uproot.open(path) as file:
                    for branch in file["tree"].branches:
                        _ = branch.interpretation

        def reading() -> None:
            for path in copies:
                for _ in read_tracks(path):
                    pass

        def of_uproot() -> None:
            for path in copies:
                with uproot.open(path, array_cache=None) as file:
                    file["tree"].arrays()

        tracks = convert(copies, f"{folder}/out.bin", Cuts()).tracks_read
        work = (opening, lambda: convert(copies, f"{folder}/out.bin", Cuts()), reading, of_uproot)
        opened, ours, read, theirs = (min(_seconds(one) for _ in range(3)) for one in work)
    print(
        f"{repeats} x the source itself, vector<double>: opening {1e3 * opened / repeats:.1f} ms a file, then", end=" "
    )
    us = [1e6 * (seconds - opened) / tracks for seconds in (ours, read, theirs)]
    print(f"converted {us[0]:.1f} us a track, read {us[1]:.1f}, uproot {us[2]:.1f};", end=" ")
    print(f"converted/read {us[0] / us[1]:.2f}, converted/uproot {us[0] / us[2]:.2f}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
