"""Measure the cost of the data of the figures: CPU time a track in all jobs of an iteration, and the size of the file.

    python benchmarks/figure_data.py [--files 5] [--tracks 20000]

A simulated campaign whose step frees all layers and modules is reconstructed and solved, each job once. The histograms are
timed where the conversion fills and writes them, and the rest where the Millepede job merges and writes; at most 5 us a
track and 200 kB are the required limits.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import manifest

from faser_align.alignment.mille import conversion
from faser_align.alignment.mille.counts import read_counts
from faser_align.alignment.parameters.constants import parse_constants, write_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.config.schema import Config
from faser_align.jobs import reconstruct, solve
from faser_align.simulation.misalign import misplace_ift

TRUTH = files("faser_align.examples") / "align_2025.txt"
NUMBER = 400


def main() -> None:
    """Print the costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--tracks", type=int, default=20_000)
    arguments = parser.parse_args()
    spent: dict[str, float] = {}
    distributions: Any = conversion.Distributions
    distributions.of = staticmethod(_timed(distributions.of, "filled", spent))
    conversion.write_distributions = _timed(conversion.write_distributions, "written", spent)
    solve.keep_solution = _timed(solve.keep_solution, "merged", spent)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as root:
        folder = solved_campaign(Path(root), range(NUMBER, NUMBER + arguments.files), arguments.tracks)
        reconstructing = time.process_time()
        for file in range(NUMBER, NUMBER + arguments.files):
            reconstruct.reconstruct(folder, 1, 1, file)
        solving = time.process_time()
        solve.solve(folder, 1, 1)
        ended = time.process_time()
        size = os.path.getsize(layout.figures_file(folder, 1, 1))
        counts = [
            read_counts(f"{layout.mille_file(folder, 1, 1, '011705', NUMBER + at)}.json")
            for at in range(arguments.files)
        ]
    tracks = sum(one.tracks_read for one in counts)
    jobs = {"reconstruction jobs": solving - reconstructing, "Millepede job": ended - solving}
    print(f"{arguments.files} files, {tracks:,} tracks")
    for name, seconds in (jobs | spent).items():
        print(f"  {name:<22} {1e6 * seconds / tracks:8.2f} us a track")
    print(f"  {'data of figures':<22} {1e6 * sum(spent.values()) / tracks:8.2f} us a track; {size / 1000:.0f} kB")


def _timed(work: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """Return ``work`` with its CPU time added to ``spent``."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        started = time.process_time()
        done = work(*arguments, **keywords)
        spent[name] = spent.get(name, 0.0) + time.process_time() - started
        return done

    return run


def solved_campaign(root: Path, numbers: range, tracks: int) -> str:
    """Make a campaign whose IFT is misplaced, and return its folder."""
    folder = root / "campaign"
    truth = parse_constants(TRUTH.read_text(), "truth")
    write_constants(root / "truth.txt", truth)
    start = layout.constants_file(str(folder), 1, 1)
    os.makedirs(os.path.dirname(start))
    write_constants(start, misplace_ift(truth, seed=1))
    config = Config.model_validate({"simulation": {"truth": str(root / "truth.txt"), "tracks": tracks}})
    record = manifest(config, folder, name="Y2023_R011705_F400-401", files=list(numbers))
    write_record(f"{folder}/{layout.RECORD}", record)
    return str(folder)


if __name__ == "__main__":
    main()
