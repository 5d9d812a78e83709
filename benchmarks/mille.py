"""How fast and in how much memory kfalignment files become Mille records, beside uproot's plain reading of them.

    python benchmarks/mille.py [--tracks 100000] [--source tests/data/mille/kfalignment_4st.root]

Each row is a process of its own: a ROOT file of so many tracks (the source's, repeated) in one layout of baskets, converted
by ``faser_align.alignment.mille.conversion`` and read by ``uproot``, all branches at once and in steps. The ratio is the time of
the conversion over that of reading everything at once; 45,000 tracks/s and 300 MB are the required limits. CPU
time (us a track) tells on a machine that is busy otherwise.
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
import sys, time
from faser_align.alignment.mille.conversion import Cuts, convert
before, started = time.process_time(), time.perf_counter()
convert([sys.argv[1]], sys.argv[1] + ".bin", Cuts())
"""
READ_ALL = """
import sys, time
import uproot
before, started = time.process_time(), time.perf_counter()
uproot.open(sys.argv[1])["tree"].arrays()
"""
READ_STEPS = """
import sys, time
import uproot
before, started = time.process_time(), time.perf_counter()
for _ in uproot.open(sys.argv[1])["tree"].iterate(step_size=2500): pass
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
    arguments = parser.parse_args()
    print(f"{arguments.tracks} tracks of {arguments.source}")
    print(
        f"{'layout':30} {'tracks/s':>9} {'CPU us':>7} {'MB':>5}   {'uproot, all':>17}   {'uproot, steps':>17}   ratio"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, per_basket, level in LAYOUTS:
            path = os.path.join(folder, "kfalignment.root")
            _write(path, arguments.source, arguments.tracks, per_basket or arguments.tracks, level)
            seconds, memory_mb, cpu_s = _measure(CONVERT, path)
            reading = [_measure(program, path) for program in (READ_ALL, READ_STEPS)]
            others = "   ".join(f"{arguments.tracks / s:9.0f} {mb:4.0f} MB" for s, mb, _ in reading)
            speed = arguments.tracks / seconds
            cpu_us = 1e6 * cpu_s / arguments.tracks
            print(f"{name:30} {speed:9.0f} {cpu_us:7.1f} {memory_mb:5.0f}   {others}   {seconds / reading[0][0]:5.2f}")
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
    """Write real ``std::vector<double>`` branches, which no Python program can: the source, read repeatedly."""
    import uproot

    from faser_align.alignment.mille.conversion import Cuts, convert

    with tempfile.TemporaryDirectory() as folder:
        copies = [shutil.copy(source, f"{folder}/{number}.root") for number in range(repeats)]

        def opening() -> None:
            for path in copies:
                with uproot.open(path) as file:
                    for branch in file["tree"].branches:
                        _ = branch.interpretation

        def reading() -> None:
            for path in copies:
                with uproot.open(path, array_cache=None) as file:
                    file["tree"].arrays()

        tracks = convert(copies, f"{folder}/out.bin", Cuts()).tracks_read
        opened, ours, theirs = map(_seconds, (opening, lambda: convert(copies, f"{folder}/out.bin", Cuts()), reading))
    print(
        f"{repeats} x the source itself, vector<double>: opening {1e3 * opened / repeats:.1f} ms a file, then", end=" "
    )
    print(f"{tracks / (ours - opened):.0f} tracks/s, uproot {tracks / (theirs - opened):.0f},", end=" ")
    print(f"ratio {(ours - opened) / (theirs - opened):.2f}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
