"""Measure the start-up time of the command line: ``faser-align --help`` against ``python -c 'import typer'``.

python benchmarks/start_up.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys
import time


def took_ms(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    ours = [sys.executable, "-m", "faser_align.cli", "--help"]
    typer = [sys.executable, "-c", "import typer"]
    took_ms(ours), took_ms(typer)
    pairs = [(took_ms(ours), took_ms(typer)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    help_ms, import_ms = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"faser-align --help {help_ms:.0f} ms   import typer {import_ms:.0f} ms   ratio {ratio:.2f}   (n = {rounds})")


if __name__ == "__main__":
    main()
