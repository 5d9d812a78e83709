"""Test the simulation's ROOT files."""

from pathlib import Path

import numpy as np
import pytest
import uproot

from faser_align.simulation import geometry as geo
from faser_align.simulation import kfalignment, tracks
from faser_align.simulation import reconstruct as reco

DESIGN = geo.build({})
DERIVATIVES = [
    f"fitParam_align_{kind}_{dof}"
    for kind in ("global_derivation_y", "local_derivation_x")
    for dof in ("x", "y", "z", "rx", "ry", "rz")
]


@pytest.fixture
def fits() -> reco.Fits:
    return reco.reconstruct(tracks.simulate(DESIGN, 200, seed=1, run=1, number=1), DESIGN, 4)


def test_branches_are_calypsos(fits: reco.Fits, tmp_path: Path) -> None:
    """The tree has the names of Calypso's files, one entry per track, and jagged branches with one counter."""
    assert kfalignment.write(str(tmp_path / "a.root"), [fits]) == len(fits.lengths)
    with uproot.open(tmp_path / "a.root") as file:
        tree = file["tree"]
        names = set(tree.keys())
        hits = tree["fitParam_align_local_residual_x"].array(library="np")
        ids = tree["fitParam_align_id"].array(library="np")
        flat = tree.arrays(["fitParam_chi2", "fitParam_charge"], library="np")
    assert names == {
        *(f"fitParam_{name}" for name in ("x", "y", "chi2", "px", "py", "pz", "charge")),
        *DERIVATIVES,
        *(f"fitParam_align_local_{name}" for name in ("residual_x", "measured_x", "measured_xe")),
        "fitParam_align_id",
        *(f"fitParam_align_local_derivation_x_par_{name}" for name in ("x", "y", "theta", "phi", "qop")),
        "nfitParam",
    }
    assert [len(one) for one in hits] == fits.lengths.tolist()
    assert np.array_equal(np.concatenate(list(hits)), fits.residual)
    assert set(np.concatenate(list(ids))) <= set(geo.identifiers())
    assert np.array_equal(flat["fitParam_chi2"], fits.chi2)
    assert set(flat["fitParam_charge"]) == {-1.0, 1.0}


def test_momentum_is_that_of_the_fit(fits: reco.Fits) -> None:
    """px, py, pz have the direction of the slopes and the length 1/|q/p|."""
    flat = kfalignment.track_branches(fits)
    momentum = np.sqrt(flat["fitParam_px"] ** 2 + flat["fitParam_py"] ** 2 + flat["fitParam_pz"] ** 2)
    assert momentum * np.abs(fits.parameters[:, 4]) == pytest.approx(np.ones(len(fits.lengths)))
    assert flat["fitParam_px"] / flat["fitParam_pz"] == pytest.approx(fits.parameters[:, 2])


def test_file_without_tracks(tmp_path: Path) -> None:
    """A raw file whose tracks all miss the detector gives an empty fit, and a file with an empty tree."""
    nothing = np.zeros(0, dtype=np.int64)
    fits = reco.reconstruct(tracks.Hits(nothing, nothing, nothing), DESIGN, 4)
    assert (fits.parameters.shape, fits.layer.shape) == ((0, 5), (6, 0))
    assert kfalignment.write(str(tmp_path / "a.root"), [fits]) == 0
    with uproot.open(tmp_path / "a.root") as file:
        assert file["tree"].num_entries == 0


def test_batches_follow_one_another(fits: reco.Fits, tmp_path: Path) -> None:
    """Several batches of tracks make one tree."""
    more = reco.reconstruct(tracks.simulate(DESIGN, 100, seed=1, run=1, number=2), DESIGN, 4)
    kfalignment.write(str(tmp_path / "a.root"), [fits, more])
    with uproot.open(tmp_path / "a.root") as file:
        ids = file["tree"]["fitParam_align_id"].array(library="np")
    assert [len(one) for one in ids] == [*fits.lengths, *more.lengths]
