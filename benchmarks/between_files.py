"""Measure which differences between raw files the Millepede job sees, and which it takes for chance.

Simulated files are reconstructed with the constants of 2025, which are the truth of the first ones; in the later ones a
module or a layer is elsewhere, or the tracks are of another truth. The jobs' own functions, without a campaign.

    python benchmarks/between_files.py [--seeds 20] [--tracks 20000] [--files 10]
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.parameters.constants import Constants, add_constants, read_constants
from faser_align.alignment.quality.between_files import agreement
from faser_align.fsm.metrics import Agreement
from faser_align.fsm.rules import Rules
from faser_align.simulation import geometry, kfalignment, tracks
from faser_align.simulation import reconstruct as fit

TRUTH = read_constants(Path(__file__).resolve().parent.parent / "examples" / "align_2025.txt")
MODULE, LAYER = "213", "21"


def main() -> None:
    """Print a table: what is different, chi2/ndf, the most significant difference, how often it is refused and named."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--seeds", 20), ("--tracks", 20_000), ("--files", 10)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    files = options.files
    print(f"{options.seeds} seeds, {options.tracks} tracks in {files} files, from the middle on:")
    print("| different | chi2/ndf | sigma | refused | named |\n|---|---|---|---|---|")
    cases: dict[str, tuple[Constants, int, tracks.Response, str]] = {
        "nothing": ({}, files // 2, tracks.USUAL, ""),
        "nothing, 5 % outliers": ({}, files // 2, tracks.Response(outliers=0.05), ""),
        **{
            f"module by {um} um": ({MODULE: (um / 1e3, 0, 0, 0, 0, 0)}, files // 2, tracks.USUAL, MODULE)
            for um in (5, 10, 20, 50)
        },
        **{
            f"layer by {um} um": ({LAYER: (0, um / 1e3, 0, 0, 0, 0)}, files // 2, tracks.USUAL, LAYER)
            for um in (5, 10, 50)
        },
        "module by 50 um in the last file only": ({MODULE: (0.05, 0, 0, 0, 0, 0)}, files - 1, tracks.USUAL, MODULE),
    }
    for name, (move, first, response, expected) in cases.items():
        found = [
            _agreement(seed, options.tracks // files, files, first, move, response) for seed in range(options.seeds)
        ]
        print(_row(name, found, expected, str(first)), flush=True)


def _agreement(seed: int, count: int, files: int, first: int, move: Constants, response: tracks.Response) -> Agreement:
    believed, later = geometry.build(TRUTH), geometry.build(add_constants(TRUTH, move))
    residuals = []
    with tempfile.TemporaryDirectory() as scratch:
        for file in range(files):
            truth = believed if file < first else later
            hits = tracks.simulate_file(truth, count, seed + 1, 1, file, response)
            kfalignment.write(f"{scratch}/tracks.root", (fit.reconstruct(batch, believed, 4) for batch in hits))
            cuts = Cuts(derivative_max=10.0)
            residuals.append(convert([f"{scratch}/tracks.root"], f"{scratch}/tracks.bin", cuts).side_residuals)
    return agreement(np.stack(residuals), range(files))


def _row(name: str, found: Sequence[Agreement], expected: str, file: str) -> str:
    limit = Rules().files_agree_sigma_max
    refused = [one["worst"] for one in found if one["worst"]["sigma"] > limit]
    named = sum(one["module"].startswith(expected) and one["file"] == file for one in refused)
    chi2, sigma = (_range([value(one) for one in found]) for value in (_chi2, _largest))
    return f"| {name} | {chi2} | {sigma} | {len(refused)} | {named} |"


def _chi2(found: Agreement) -> float:
    return found["chi2_per_ndf"]


def _largest(found: Agreement) -> float:
    return found["worst"]["sigma"]


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}-{max(values):.2f}"


if __name__ == "__main__":
    main()
