"""Test the conversion of kfalignment files to Mille records."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pytest
import uproot
from properties import SOAK

from faser_align.alignment.mille.conversion import Cuts, _residual_bins, convert, convert_and_count
from faser_align.alignment.mille.counts import RESIDUAL_EDGES_MM, Counts, read_counts
from faser_align.alignment.mille.derivatives import constants_derivatives, designed_z_mm, offset_z_mm
from faser_align.alignment.mille.kfalignment import (
    GLOBAL_BRANCHES,
    HIT_BRANCHES,
    LOCAL_BRANCHES,
    SENTINEL_BRANCHES,
    TRACK_BRANCHES,
    read_tracks,
)
from faser_align.alignment.mille.records import read_records
from faser_align.alignment.parameters.constants import DOFS, Constants, read_constants
from faser_align.alignment.parameters.labels import KEYS
from faser_align.config.schema import Config
from faser_align.fsm.errors import UserError
from faser_align.simulation import geometry, kfalignment, reconstruct, tracks
from faser_align.simulation.tracks import Hits

Unpack = Callable[[str], Path]
CUTS = Cuts(hits_min=1, residual_max=0.1, derivative_max=2.0)
TRACKS = 300
TURNS = [f"fitParam_align_global_derivation_y_{dof}" for dof in ("rx", "ry")]
RESIDUAL, SIGMA = "fitParam_align_local_residual_x", "fitParam_align_local_measured_xe"
Columns = dict[str, npt.NDArray[np.float64]]


def write_jagged(path: Path, changes: dict[str, Any] | None = None, *, hits: int = 16, tracks: int = 3) -> Path:
    """Write a small kfalignment file with uproot; ``changes`` replace branches, None omits one."""
    flat: dict[str, Any] = {name: np.ones(tracks) for name in TRACK_BRANCHES}
    flat["fitParam_pz"] = np.full(tracks, 500.0)
    columns: dict[str, Any] = {name: np.full((tracks, hits), 0.01) for name in HIT_BRANCHES}
    columns["fitParam_align_id"] = np.tile(np.arange(hits) % 2 + 10.0, (tracks, 1))
    for name, value in (changes or {}).items():
        if value is None:
            flat.pop(name, None)
            columns.pop(name, None)
        else:
            (flat if name in flat else columns)[name] = value
    with uproot.recreate(path) as file:
        file["tree"] = flat | {name: ak.Array(list(column)) for name, column in columns.items()}
    return path


@pytest.mark.parametrize(("year", "share_of_two"), [(2025, 0.43), (2022, 0.30)])
def test_the_default_cut_on_derivatives_keeps_the_tilted_ift(
    data: Path, tmp_path: Path, year: int, share_of_two: float
) -> None:
    """With real constants the default cut rejects no hit of the IFT, and 2 mm/rad the fraction stated on the page."""
    names = {2025: "align_2025.txt", 2022: "align_2022_4st_local.txt"}
    detector = geometry.build(read_constants(str(data / "constants" / names[year])))
    raw = tracks.simulate_file(detector, 1000, 1, 11705, 400)
    kfalignment.write(str(tmp_path / "k.root"), (reconstruct.reconstruct(hits, detector, 4) for hits in raw))

    def share(cuts: Cuts) -> float:
        counts = convert([tmp_path / "k.root"], tmp_path / "out.bin", cuts)
        removed, kept = counts.modules_cut_derivative[:3].sum(), counts.modules[:3].sum()
        return float(removed / (removed + kept))

    settings = Config().mille
    assert share(Cuts(residual_max=0.5, derivative_max=settings.derivative_max)) == 0
    assert share(Cuts(residual_max=0.5)) == 0
    assert share(Cuts(residual_max=0.5, derivative_max=2.0)) == pytest.approx(share_of_two, abs=0.03)


@pytest.mark.parametrize("stations", [3, 4])
def test_bytes_are_the_predecessors(data: Path, unpacked: Unpack, tmp_path: Path, stations: int) -> None:
    """A file with real vector branches gives the same bytes as faser-alignment-script's converter."""
    expected = unpacked(f"mille/mp2input_{stations}st.bin")
    counts = convert(
        [data / "mille" / f"kfalignment_{stations}st.root"], tmp_path / "out.bin", Cuts(derivative_max=2.0)
    )
    assert (tmp_path / "out.bin").read_bytes() == expected.read_bytes()
    records = read_records(tmp_path / "out.bin")
    assert counts.tracks_written == len(records.offsets) - 1
    assert counts.hits_read == counts.measurements + counts.hits_cut_residual + counts.hits_cut_derivative


def test_chunks_and_files_follow_one_another(data: Path, tmp_path: Path) -> None:
    """A conversion of two files gives their binaries, one after the other, and the sum of their counts."""
    files = [data / "mille" / f"kfalignment_{stations}st.root" for stations in (4, 3)]
    both = convert(files, tmp_path / "both.bin", Cuts())
    parts = [convert([file], tmp_path / f"{file.stem}.bin", Cuts()) for file in files]
    one_by_one = b"".join((tmp_path / f"{file.stem}.bin").read_bytes() for file in files)
    assert (tmp_path / "both.bin").read_bytes() == one_by_one
    added = (parts[0] + parts[1]).to_json()
    assert both.chi2 == pytest.approx(added.pop("chi2"))
    assert {name: value for name, value in both.to_json().items() if name != "chi2"} == added
    chunks = list(read_tracks(files[0], chunk_tracks=150))
    assert [len(chunk.lengths) for chunk in chunks] == [150, 150, 100]


def test_cuts_are_counted_by_the_first_that_fails(tmp_path: Path) -> None:
    """A track is counted by its first failed cut: chi2, pz, then hits; a hit by residual, then derivative."""
    changes = {
        "fitParam_chi2": np.array([3000.0, 1.0, 1.0]),
        "fitParam_pz": np.array([50.0, 50.0, 500.0]),
        "fitParam_align_local_residual_x": np.full((3, 16), 0.01),
        "fitParam_align_global_derivation_y_rx": np.full((3, 16), 0.01),
        "fitParam_align_local_derivation_x_x": np.full((3, 16), 0.01),
    }
    changes["fitParam_align_local_residual_x"][2, :2] = 1.0
    changes["fitParam_align_global_derivation_y_rx"][2, 1:4] = -12.5
    changes["fitParam_align_local_derivation_x_x"][2, 5] = -9999.0
    counts = convert([write_jagged(tmp_path / "in.root", changes)], tmp_path / "out.bin", Cuts())
    assert (counts.tracks_cut_chi2, counts.tracks_cut_pz, counts.tracks_cut_hits) == (1, 1, 0)
    assert (counts.hits_cut_residual, counts.hits_cut_derivative, counts.measurements) == (2, 3, 11)
    assert counts.module_counts() == {"001": [11, 2]}
    assert counts.modules_cut_derivative[0, 1] == counts.modules_cut_derivative.sum() == 3
    assert counts.of_cut_tracks() == {"001": 16}
    assert (counts.ndf, counts.tracks_written) == (11, 1)


def test_zero_derivatives_and_hits_without_error_are_left_out(tmp_path: Path) -> None:
    """Derivatives that are zero as float32, hits with sigma 0 and empty tracks are omitted."""
    sigma = np.full((3, 16), 0.02)
    sigma[0] = 0.0
    sigma[1, :15] = -1.0
    changes = {
        "fitParam_align_local_measured_xe": sigma,
        "fitParam_align_local_derivation_x_par_qop": np.full((3, 16), 1e-60),
    }
    counts = convert([write_jagged(tmp_path / "in.root", changes)], tmp_path / "out.bin", Cuts())
    records = read_records(tmp_path / "out.bin")
    assert counts.tracks_written == 2
    assert np.diff(records.offsets).tolist() == [14, 1 + 16 * 13]
    assert 5 not in records.indices


def test_hits_beyond_milles_buffer_are_counted_in_word_0(tmp_path: Path) -> None:
    """Of 400 hits those beyond 5000 words are dropped and counted, as in Mille.cpp."""
    counts = convert([write_jagged(tmp_path / "in.root", hits=400, tracks=1)], tmp_path / "out.bin", Cuts())
    records = read_records(tmp_path / "out.bin")
    assert len(records.values) == 1 + 14 * 357
    assert records.indices[0] == 400 - 357
    assert counts.measurements == 357


@pytest.mark.parametrize("tilt", [0.0, 0.05])
@pytest.mark.parametrize(("place", "dof"), [(3, "rx"), (4, "ry"), (5, "rz")])
def test_layer_pivot_is_the_one_of_the_constants(tilt: float, place: int, dof: str) -> None:
    """Derivatives by rotations of a layer are the changes of predictions with its constants, whatever its tilt."""
    rng = np.random.default_rng(1)

    def constants(step: float) -> Constants:
        of = np.random.default_rng(2)
        layers = {key: of.normal(0, [0.5, 0.5, 0.5, tilt, tilt, 0.003]) for key in KEYS if len(key) == 2}
        modules = {key: of.normal(0, [0.1, 0.1, 0.1, 0.003, 0.003, 0.003]) for key in KEYS if len(key) == 3}
        for six in layers.values():
            six[place] += step
        return {key: tuple(six) for key, six in (layers | modules).items()}  # type: ignore[misc]

    elements = np.arange(geometry.ELEMENTS)
    hits = Hits(np.zeros_like(elements), elements, rng.integers(0, geometry.STRIPS, len(elements)))
    track = np.array([[2.0, -3.0, 0.004, 0.01, 1e-3]]).T

    def predicted(step: float) -> Any:
        place_of = geometry.build(constants(step))
        origin, axes = place_of.origin.T, place_of.axes.transpose(1, 2, 0)
        return reconstruct._predict(np.repeat(track, len(elements), axis=1), elements // 16, origin, axes), place_of

    (plus, _), (minus, _), (at, placed) = predicted(1e-5), predicted(-1e-5), predicted(0.0)
    measured = (hits.strip + 0.5) * geometry.PITCH - geometry.HALF_WIDTH
    written = reconstruct._by_layer(at, placed.origin[:, 2] + measured * placed.axes[:, 2, 0])
    derivatives = dict(zip(DOFS, written, strict=True))
    found = constants_derivatives(derivatives, geometry.identifiers(), measured, constants(0.0))
    expected = (plus.across - minus.across) / 2e-5
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found[dof], expected, atol=1e-4)


def test_nominal_positions_are_those_of_the_simulation() -> None:
    """Without constants hits have their nominal z."""
    np.testing.assert_allclose(designed_z_mm(geometry.identifiers()), geometry.build({}).origin[:, 2])


def test_layer_pivot_lifts_the_cut_on_derivatives(tmp_path: Path) -> None:
    """With the layer's pivot, hits with large derivatives for rx or ry are kept; hits without a derivative never are."""
    changes = {
        "fitParam_align_global_derivation_y_rx": np.full((3, 16), 12.0),
        "fitParam_align_global_derivation_y_z": np.full((3, 16), 0.1),
    }
    changes["fitParam_align_global_derivation_y_z"][0] = -9999.0
    path = write_jagged(tmp_path / "in.root", changes)
    with pytest.raises(UserError, match="48 by derivative"):
        convert([path], tmp_path / "out.bin", Cuts())
    counts = convert([path], tmp_path / "out.bin", Cuts(pivot="layer"))
    assert (counts.measurements, counts.hits_cut_derivative) == (32, 16)


def test_layer_pivot_changes_rx_and_ry_only(data: Path, tmp_path: Path) -> None:
    """Without constants the layer's pivot adds the nominal distance to the derivatives by rx and ry, and rejects no hit."""
    source = data / "mille" / "kfalignment_4st.root"
    for pivot in ("calypso", "layer"):
        convert([source], tmp_path / f"{pivot}.bin", Cuts(pivot=pivot))
    a, b = (read_records(tmp_path / f"{pivot}.bin") for pivot in ("calypso", "layer"))
    np.testing.assert_array_equal(a.indices, b.indices)
    is_layer = (a.indices > 100) & (a.indices < 1000)
    turning = is_layer & np.isin(a.indices % 10, (3, 4))
    np.testing.assert_array_equal(a.values[~turning], b.values[~turning])
    side = a.indices[np.flatnonzero(is_layer & (a.indices % 10 == 1)) - 2] // 10
    dz = offset_z_mm(side - 1000)
    x, y = (a.values[is_layer & (a.indices % 10 == dof)] for dof in (1, 2))
    difference = b.values - a.values
    np.testing.assert_allclose(difference[is_layer & (a.indices % 10 == 3)], -dz * y, atol=1e-5)
    np.testing.assert_allclose(difference[is_layer & (a.indices % 10 == 4)], dz * x, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fitParam_chi2": np.array([1.0, np.nan, 1.0])}, ["fitParam_chi2 is nan", "entry 1"]),
        ({"fitParam_align_local_derivation_x_x": np.full((3, 16), 1e39)}, ["derivation_x_x is 1e+39", "entry 0"]),
        ({"fitParam_align_id": np.full((3, 16), 4711.0)}, ["fitParam_align_id is 4711", "entry 0"]),
        ({"fitParam_align_local_measured_xe": None}, ["lacks branch fitParam_align_local_measured_xe"]),
        ({"fitParam_align_local_residual_x": np.full((3, 16), np.inf)}, ["residual_x is inf", "entry 0"]),
        (
            {"fitParam_align_local_residual_x": np.full((3, 15), 0.0)},
            ["residual_x has 15 hits and fitParam_align_id 16", "entry 0"],
        ),
    ],
)
def test_a_bad_file_names_branch_and_entry(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    """A value that is not finite is reported with file, branch and entry; no output is left."""
    path = write_jagged(tmp_path / "in.root", changes)
    with pytest.raises(UserError, match=r"in\.root") as raised:
        convert([path], tmp_path / "out.bin", Cuts())
    assert all(word in str(raised.value) for word in words)
    assert os.listdir(tmp_path) == ["in.root"]


@pytest.mark.parametrize("size", [0, 3, 4, 19, 100, 20_000, 400_000, -1])
def test_a_truncated_file_is_refused(data: Path, tmp_path: Path, size: int) -> None:
    """A ROOT file truncated anywhere is reported by name, without output."""
    whole = (data / "mille" / "kfalignment_4st.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"cut\.root is (truncated: it has|empty)"):
        convert([tmp_path / "cut.root"], tmp_path / "out.bin", Cuts())
    assert os.listdir(tmp_path) == ["cut.root"]


def test_foreign_and_missing_files_are_refused(data: Path, tmp_path: Path) -> None:
    """A text file, a ROOT file with another tree and a missing one are reported by name."""
    (tmp_path / "text.root").write_text("no ROOT file at all")
    with uproot.recreate(tmp_path / "other.root") as file:
        file["events"] = {"x": np.zeros(3)}
    for name, words in [
        ("text.root", "is empty or not a ROOT file"),
        ("other.root", "events"),
        ("none.root", "does not exist"),
    ]:
        with pytest.raises(UserError, match=name) as raised:
            convert([tmp_path / name], tmp_path / "out.bin", Cuts())
        assert words in str(raised.value)
    with pytest.raises(UserError, match="nowhere does not exist"):
        convert([data / "mille" / "kfalignment_4st.root"], tmp_path / "nowhere" / "out.bin", Cuts())


def test_names_are_checked_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    """Duplicate inputs, also under another name, an output that is an input, and no input are rejected."""
    source = tmp_path / "in.root"
    source.write_bytes((data / "mille" / "kfalignment_4st.root").read_bytes())
    (tmp_path / "link.root").symlink_to(source)
    mistakes: list[tuple[list[Path], Path, str]] = [
        ([source, source], tmp_path / "out.bin", "is given twice"),
        ([source, tmp_path / "link.root"], tmp_path / "out.bin", "the same file as"),
        ([source], tmp_path / "link.root", "is also an input"),
        ([source], tmp_path / "none" / "out.bin", "none does not exist"),
        ([], tmp_path / "out.bin", "nothing to convert"),
    ]
    before = source.read_bytes()
    for inputs, output, words in mistakes:
        with pytest.raises(UserError, match=words):
            convert_and_count(inputs, output, Cuts())
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["in.root", "link.root"]


def test_no_tracks_is_an_error(data: Path, tmp_path: Path) -> None:
    """A tree without entries, and cuts that nothing passes, are reported with the numbers; no output is left."""
    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree("tree", {"x": "f8"})
    with pytest.raises(UserError, match=r"empty\.root: its tree tree has no entries"):
        convert_and_count([tmp_path / "empty.root"], tmp_path / "out.bin", Cuts())
    source = data / "mille" / "kfalignment_4st.root"
    with pytest.raises(UserError, match=r"none of 400 tracks is left: cut are 0 by chi2, .* by pz, 0 by hits"):
        convert_and_count([source], tmp_path / "out.bin", Cuts(residual_max=1e-9))
    assert os.listdir(tmp_path) == ["empty.root"]


@pytest.mark.parametrize(
    "cuts",
    [
        {"chi2_max": -1.0},
        {"residual_max": float("nan")},
        {"hits_min": -1},
        {"pz_min": 9.0, "pz_max": 5.0},
        {"pivot": "hit"},
    ],
)
def test_cuts_must_make_sense(cuts: dict[str, Any]) -> None:
    """A cut that nothing can pass is reported by name."""
    with pytest.raises(UserError, match=next(iter(cuts))):
        Cuts(**cuts)


def test_elements_of_other_detectors_are_converted(tmp_path: Path) -> None:
    """Other detectors' stations, layers, modules or sides get labels by the same rule, but no module counts."""
    elements = np.array([4000, 8999, 1310, 2182, 10, 3271] + [11] * 10)
    source = write_jagged(tmp_path / "in.root", {"fitParam_align_id": np.tile(elements.astype(float), (3, 1))})
    with pytest.raises(UserError, match="fitParam_align_id is 4000 in entry 0"):
        convert([source], tmp_path / "out.bin", Cuts())
    with pytest.raises(UserError, match="fitParam_align_id is 4000 in entry 0"):
        convert([source], tmp_path / "out.bin", Cuts(pivot="layer"), any_element=True)
    counts = convert([source], tmp_path / "out.bin", Cuts(), any_element=True)
    records = read_records(tmp_path / "out.bin")
    sides = [label for label in records.indices[: records.offsets[1]].tolist() if label > 10_000 and label % 10 == 1]
    assert sides == [(element + 1000) * 10 + 1 for element in elements.tolist()]
    assert (counts.hits_read, counts.hits_foreign, counts.measurements) == (48, 12, 48)
    assert counts.modules.sum() == 36
    assert counts.residual_bins.sum() == 36
    assert (counts + counts).hits_foreign == 24
    wrong = write_jagged(tmp_path / "wrong.root", {"fitParam_align_id": np.full((3, 16), 9000.0)})
    with pytest.raises(UserError, match="fitParam_align_id is 9000 in entry 0"):
        convert([wrong], tmp_path / "wrong.bin", Cuts(), any_element=True)


def test_counts_lie_beside_the_binary_and_add_up(data: Path, tmp_path: Path) -> None:
    """Binary and counts are written together, or not at all; counts survive a round trip, and add up value by value."""
    source = data / "mille" / "kfalignment_4st.root"
    counts = convert_and_count([source], tmp_path / "out.bin", Cuts())
    again = read_counts(tmp_path / "out.bin.json")
    assert again.to_json() == (Counts() + counts).to_json() == counts.to_json()
    assert (again + counts).to_json()["modules"] == (2 * counts.modules).tolist()
    older = counts.to_json()
    del older["tracks_modelled"], older["modules_cut_derivative"], older["modules_cut_chi2"]
    assert Counts.from_json(older).to_json() == counts.to_json()  # no hit is rejected by the derivative cut
    assert np.array_equal(counts.side_residuals.sum(axis=2), counts.module_residuals)
    assert counts.side_residuals[..., 0].sum() == counts.residual_bins[:, 1:-1].sum()
    assert (counts.curvature_residuals[:, 0] == counts.side_residuals[..., 0].sum(axis=(1, 2))).all()
    assert (counts.curvature_residuals[:, 5] == counts.side_residuals[..., 2].sum(axis=(1, 2))).all()
    del older["side_residuals"], older["curvature_residuals"]
    assert not Counts.from_json(older).side_residuals.any()
    for text in ("", "[]", '{"format": 1}', '{"format": 9}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad\.json"):
            read_counts(tmp_path / "bad.json")
    (tmp_path / "other.bin.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*other\.bin\.json"):
        convert_and_count([source], tmp_path / "other.bin", Cuts())
    assert not (tmp_path / "other.bin").exists()


def test_quantiles_of_histograms_are_those_of_the_values(data: Path, tmp_path: Path) -> None:
    """Median and width of residuals, and the median of q/p, equal the exact values to a fraction of a bin."""
    source = data / "mille" / "kfalignment_4st.root"
    counts = convert([source], tmp_path / "out.bin", Cuts())
    (tracks,) = read_tracks(source)
    residuals = 1000 * tracks.hits["fitParam_align_local_residual_x"][tracks.layers == 4]
    low, median, high = np.quantile(residuals, [0.158655, 0.5, 0.841345])
    expected = {"median_um": median, "width_um": (high - low) / 2}
    assert counts.layer_residuals_um()["11"] == pytest.approx(expected, abs=2.0)
    p = np.sqrt(sum(tracks.flat[f"fitParam_p{axis}"] ** 2 for axis in "xyz"))
    expected = [np.median((charge / p)[tracks.flat["fitParam_charge"] == charge]) for charge in (1, -1)]
    assert counts.median_q_over_p() == pytest.approx(expected, rel=0.02)
    assert Counts().layer_residuals_um() == {}
    assert Counts().median_q_over_p() == (None, None)
    assert Counts().chi2_per_ndf() is None


def test_bins_of_residuals_are_exact_at_their_edges() -> None:
    """Bins computed from their width equal those of a search among the edges, even one rounding error from an edge."""
    edges = RESIDUAL_EDGES_MM
    beside = [np.nextafter(edges, limit) for limit in (-np.inf, np.inf)]
    residuals = np.concatenate(
        [edges, *beside, np.round(edges, 3), np.random.default_rng(1).normal(0, 0.3, 5000), [1e38]]
    )
    np.testing.assert_array_equal(_residual_bins(residuals), np.searchsorted(edges, residuals, side="right"))


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
