"""Test the histograms of a raw file's tracks."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from faser_align.alignment.histograms import Histogram, Profile
from faser_align.alignment.mille.conversion import Cuts, convert, convert_and_count
from faser_align.alignment.mille.distributions import (
    Distributions,
    chi2_probability,
    read_distributions,
    write_distributions,
)
from faser_align.alignment.mille.kfalignment import Tracks, read_tracks
from faser_align.alignment.quality.figure_rows import counted
from faser_align.fsm.errors import UserError


def test_histograms_agree_with_the_counts(data: Path, tmp_path: Path) -> None:
    """Residuals by module and side agree with the counts, in bins of twice the width, and so do their means."""
    source = data / "mille" / "kfalignment_4st.root"
    counts = convert_and_count([source], tmp_path / "a.bin", Cuts(), histograms=tmp_path / "a.npz")
    convert([source], tmp_path / "b.bin", Cuts())
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    found = read_distributions(tmp_path / "a.npz")
    assert found is not None
    by_layer = found.contents["residuals"].reshape(12, 16, 252).sum(axis=1)
    assert_array_equal(by_layer[:, 1:-1], counts.residual_bins[:, 1:-1].reshape(12, 250, 2).sum(axis=2))
    assert_array_equal(by_layer[:, [0, -1]], counts.residual_bins[:, [0, -1]])
    others = counted(counts)
    hits, means, momentum = others["hits"], others["residual_means"], others["momentum"]
    assert isinstance(hits, Histogram)
    assert isinstance(means, Profile)
    assert_array_equal(hits.contents[:, 0], counts.modules[..., 0].ravel())
    key = next(iter(counts.side_residuals_um()))
    assert_allclose(means.at(module=key[:3], side=key[3]).values(), counts.side_residuals_um()[key]["mean_um"])
    assert momentum.counts(flow=True).sum() == counts.momentum_bins.sum() == found.contents["chi2_per_ndf"].sum()
    assert found.contents["pulls"].sum() == counts.hits_read


def test_numbers_of_a_module(data: Path) -> None:
    """Tracks on a module, their q/p by charge and their pulls equal those of a loop over the tracks."""
    (tracks,) = read_tracks(data / "mille" / "kfalignment_4st.root")
    histograms = Distributions.of(tracks).histograms()
    starts = np.cumsum(tracks.lengths) - tracks.lengths
    module = int(np.bincount(tracks.modules).argmax())
    on = [np.count_nonzero(tracks.modules[a : a + n] == module) for a, n in zip(starts, tracks.lengths, strict=True)]
    p = np.sqrt(sum(tracks.flat[f"fitParam_p{axis}"] ** 2 for axis in "xyz"))
    q_over_p = np.repeat(1000 * np.sign(tracks.flat["fitParam_charge"]) / p, on)
    found = histograms["tracks"], histograms["q_over_p"], histograms["pulls"]
    assert found[0].values()[module] == np.count_nonzero(on)
    for charge, chosen in enumerate((q_over_p > 0, q_over_p < 0)):
        assert found[1].values()[module, charge] == pytest.approx(q_over_p[chosen].mean())
        assert found[1].counts()[module, charge] == chosen.sum()
    here = tracks.modules == module
    pulls = (tracks.hits["fitParam_align_local_residual_x"] / tracks.hits["fitParam_align_local_measured_xe"])[here]
    expected = np.histogram(pulls, 100, (-5, 5))[0]
    assert_array_equal(found[2].values()[module], expected)


def test_chi2_probability() -> None:
    """Probabilities agree with printed chi2 tables for odd and even degrees of freedom."""
    chi2 = np.array([3.841459, 5.991465, 7.814728, 18.307038, 24.995790, 0.0, 1e5])
    ndf = np.array([1, 2, 3, 10, 15, 7, 7])
    assert_allclose(chi2_probability(chi2, ndf), [0.05, 0.05, 0.05, 0.05, 0.05, 1.0, 0.0], atol=1e-6)


def test_files_add_up(data: Path, tmp_path: Path) -> None:
    """Stored histograms add up to those of all tracks; no file gives None, and a damaged one is refused."""
    (tracks,) = read_tracks(data / "mille" / "kfalignment_3st.root")
    first = np.arange(len(tracks.lengths)) < 100
    for name, part in (("a", first), ("b", ~first)):
        write_distributions(tmp_path / name, Distributions.of(tracks.select(part)))
    a, b = (read_distributions(tmp_path / name) for name in "ab")
    assert a is not None
    assert b is not None
    whole = Distributions.of(tracks)
    for name, contents in (a + b).contents.items():
        assert_array_equal(contents, whole.contents[name])
    assert read_distributions(tmp_path / "none") is None
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-300])
    with pytest.raises(UserError, match="cannot read the histograms"):
        read_distributions(tmp_path / "a")


def test_hits_outside_the_tracker_are_left_out() -> None:
    """Hits on elements of other detectors, and a track without degrees of freedom, are in no histogram of modules."""
    flat = {
        name: np.ones(1) for name in ("fitParam_chi2", "fitParam_px", "fitParam_py", "fitParam_pz", "fitParam_charge")
    }
    names = ("fitParam_align_local_residual_x", "fitParam_align_local_measured_xe")
    hits = {name: np.full(3, 0.01) for name in names}
    found = Distributions.of(Tracks(flat, np.array([3]), hits, np.array([0, 4711, 3271])))
    entries = {name: int(values.sum()) for name, values in found.contents.items() if name != "q_over_p"}
    assert entries == {"residuals": 2, "pulls": 2, "tracks": 2, "chi2_per_ndf": 0, "chi2_probability": 0}
