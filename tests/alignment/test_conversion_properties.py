"""Test that random tracks give the records of a plain loop over tracks and hits."""

import struct
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import pytest
import uproot
from properties import SOAK

from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.mille.kfalignment import (
    GLOBAL_BRANCHES,
    HIT_BRANCHES,
    LOCAL_BRANCHES,
    SENTINEL_BRANCHES,
    TRACK_BRANCHES,
)
from faser_align.alignment.mille.records import read_records

CUTS = Cuts(hits_min=1, residual_max=0.1, derivative_max=2.0)
TRACKS = 300
TURNS = [f"fitParam_align_global_derivation_y_{dof}" for dof in ("rx", "ry")]
RESIDUAL, SIGMA = "fitParam_align_local_residual_x", "fitParam_align_local_measured_xe"
Columns = dict[str, npt.NDArray[np.float64]]


def draw(numbers: np.random.Generator) -> tuple[npt.NDArray[np.int64], Columns, Columns]:
    """Return the number of hits per track, the columns of tracks and of hits, with values at every limit."""

    def column(size: int, limits: list[float], low: float, high: float, share: float = 0.2) -> npt.NDArray[np.float64]:
        return np.where(numbers.random(size) < share, numbers.choice(limits, size), numbers.uniform(low, high, size))

    lengths = numbers.integers(0, 6, TRACKS)
    n = int(lengths.sum())
    tracks = {name: np.ones(TRACKS) for name in TRACK_BRANCHES}
    tracks["fitParam_chi2"] = column(TRACKS, [2000.0, 2000.5], 1, 2000)
    tracks["fitParam_pz"] = column(TRACKS, [99.0, 100.0, 5000.0, 5001.0], 100, 5000)
    hits = {name: column(n, [0.0, -0.0, 1e-60, -1e-60, 2.5], -2, 2) for name in HIT_BRANCHES}
    hits |= {name: column(n, [2.0, -2.0, 2.5, -2.5], -2, 2) for name in TURNS}
    for name in SENTINEL_BRANCHES:
        hits[name][numbers.random(n) < 0.02] = -9999.0
    hits[RESIDUAL] = column(n, [0.1, -0.1, 0.11, -0.11, 0.0], -0.1, 0.1)
    hits[SIGMA] = column(n, [0.0, -0.02, 1e-60], 0.01, 0.1, 0.1)
    station, layer, module, side = (numbers.integers(0, high, n) for high in (4, 3, 8, 2))
    hits["fitParam_align_id"] = 1000.0 * station + 100 * layer + 10 * module + side
    return lengths, tracks, hits


def loop(lengths: npt.NDArray[np.int64], tracks: Columns, hits: Columns) -> bytes:
    """Write what Mille.cpp writes, track by track and hit by hit."""
    written, start = b"", 0
    for track, length in enumerate(lengths):
        first, start = start, start + length
        in_window = CUTS.pz_min <= tracks["fitParam_pz"][track] <= CUTS.pz_max
        if tracks["fitParam_chi2"][track] > CUTS.chi2_max or not in_window:
            continue
        values, indices = [0.0], [0]
        for at in range(first, start):
            hit = {name: float(column[at]) for name, column in hits.items()}
            if abs(hit[RESIDUAL]) > CUTS.residual_max or min(hit[name] for name in SENTINEL_BRANCHES) < -9000:
                continue
            if max(abs(hit[name]) for name in TURNS) > CUTS.derivative_max or np.float32(hit[SIGMA]) <= 0:
                continue
            number = int(hit["fitParam_align_id"]) + 1000
            layer = number // 100 * 10
            labels = [number * 10 + 1, number // 10 * 100 + 2, *(layer + dof for dof in range(1, 6))]
            words = [(hit[RESIDUAL], 0), *((hit[name], at) for at, name in enumerate(LOCAL_BRANCHES, start=1))]
            words += [(hit[SIGMA], 0), *zip((hit[name] for name in GLOBAL_BRANCHES), labels, strict=True)]
            kept = [(value, index) for value, index in words if index == 0 or np.float32(value) != 0]
            values += [value for value, _ in kept]
            indices += [index for _, index in kept]
        if len(values) > 1:
            n = len(values)
            written += struct.pack(f"<i{n}f{n}i", 2 * n, *values, *indices)
    return written


@pytest.mark.parametrize("seed", range(200 if SOAK else 4))
def test_records_are_those_of_a_plain_loop(tmp_path: Path, seed: int) -> None:
    """Random tracks give the bytes of the plain loop, and the reader finds as many records as were counted."""
    lengths, tracks, hits = draw(np.random.default_rng(seed))
    jagged = {name: ak.unflatten(column, lengths) for name, column in hits.items()}
    with uproot.recreate(tmp_path / "in.root") as file:
        tree = file.mktree("tree", dict.fromkeys(tracks, "f8") | {name: c.type.content for name, c in jagged.items()})
        tree.extend(tracks | jagged)
    counts = convert([tmp_path / "in.root"], tmp_path / "out.bin", CUTS)
    assert (tmp_path / "out.bin").read_bytes() == loop(lengths, tracks, hits)
    assert len(read_records(tmp_path / "out.bin").offsets) - 1 == counts.tracks_written > TRACKS / 4
    assert counts.tracks_read == TRACKS
    assert counts.hits_read - counts.hits_cut_residual - counts.hits_cut_derivative >= counts.measurements
