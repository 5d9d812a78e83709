"""Arbitrary tracks become the records that a plain loop over tracks and hits would write."""

import struct
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from faser_align.alignment.mille.conversion import Cuts, convert, read_records
from faser_align.alignment.mille.kfalignment import GLOBAL_BRANCHES, HIT_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES
from faser_align.fsm.errors import UserError

CUTS = Cuts(hits_min=1, residual_max=0.1)

numbers = st.sampled_from([0.0, -0.0, 1e-60, -9999.0, 2.5, -2.5, 0.05, -0.1]) | st.floats(-2, 2)
sigmas = st.sampled_from([0.0, -0.02, 1e-60]) | st.floats(0.01, 0.1)
elements = st.builds(
    lambda station, layer, module, side: 1000.0 * station + 100 * layer + 10 * module + side,
    st.integers(0, 3), st.integers(0, 2), st.integers(0, 7), st.integers(0, 1),
)  # fmt: skip
hits = st.fixed_dictionaries(
    dict.fromkeys(HIT_BRANCHES, numbers) | {"fitParam_align_id": elements, "fitParam_align_local_measured_xe": sigmas}
)
tracks = st.fixed_dictionaries(
    {"chi2": st.sampled_from([1.0, 2000.0, 2001.0]), "pz": st.sampled_from([99.0, 100.0, 5000.0, 5001.0])}
    | {"hits": st.lists(hits, max_size=4)}
)


def loop(found: list[dict[str, Any]]) -> bytes:
    """What Mille.cpp writes, track by track and hit by hit."""
    written = b""
    for track in found:
        if track["chi2"] > CUTS.chi2_max or not CUTS.pz_min <= track["pz"] <= CUTS.pz_max or not track["hits"]:
            continue
        values, indices = [0.0], [0]
        for hit in track["hits"]:
            sentinels = [hit[name] for name in HIT_BRANCHES if "derivation" in name and "_par_" not in name]
            turns = [hit[f"fitParam_align_global_derivation_y_{dof}"] for dof in ("rx", "ry")]
            residual, sigma = hit["fitParam_align_local_residual_x"], hit["fitParam_align_local_measured_xe"]
            if abs(residual) > CUTS.residual_max or min(sentinels) < -9000 or max(map(abs, turns)) > 2:
                continue
            if np.float32(sigma) <= 0:
                continue
            number = int(hit["fitParam_align_id"]) + 1000
            layer = number // 100 * 10
            labels = [number * 10 + 1, number // 10 * 100 + 2, *(layer + dof for dof in range(1, 6))]
            words = [(residual, 0), *((hit[name], at) for at, name in enumerate(LOCAL_BRANCHES, start=1)), (sigma, 0)]
            words += zip((hit[name] for name in GLOBAL_BRANCHES), labels, strict=True)
            kept = [(value, index) for value, index in words if index == 0 or np.float32(value) != 0]
            values += [value for value, _ in kept]
            indices += [index for _, index in kept]
        if len(values) > 1:
            n = len(values)
            written += struct.pack(f"<i{n}f{n}i", 2 * n, *values, *indices)
    return written


@given(st.lists(tracks, min_size=1, max_size=6))
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_records_are_those_of_a_plain_loop(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    """Whatever tracks there are, the bytes are those of the loop, and the reader finds as many as were counted."""
    flat = {name: np.ones(len(found)) for name in TRACK_BRANCHES}
    flat |= {"fitParam_chi2": np.array([t["chi2"] for t in found]), "fitParam_pz": np.array([t["pz"] for t in found])}
    lengths = [len(track["hits"]) for track in found]
    jagged = {
        name: ak.unflatten(np.array([hit[name] for track in found for hit in track["hits"]], np.float64), lengths)
        for name in HIT_BRANCHES
    }
    path, output = tmp_path / "in.root", tmp_path / "out.bin"
    output.unlink(missing_ok=True)
    with uproot.recreate(path) as file:
        tree = file.mktree("tree", dict.fromkeys(flat, "f8") | {name: col.type.content for name, col in jagged.items()})
        tree.extend(flat | jagged)
    expected = loop(found)
    try:
        counts = convert([path], output, CUTS)
    except UserError as error:
        assert expected == b"", error  # noqa: PT017 -- no record is no file
        return
    assert output.read_bytes() == expected
    records = read_records(output)
    assert len(records.offsets) - 1 == counts.tracks_written
    assert counts.tracks_read == len(found)
    cut = counts.hits_cut_residual + counts.hits_cut_derivative
    without_sigma = counts.hits_read - cut - counts.measurements
    assert without_sigma >= 0
