"""Test the track fit and its derivatives, and the ROOT files with them."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import uproot

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.detector import rotations
from faser_align.alignment.parameters.constants import Constants, Six, parse_constants
from faser_align.simulation import geometry as geo
from faser_align.simulation import kfalignment, tracks
from faser_align.simulation import reconstruct as reco
from faser_align.simulation.geometry import Geometry

REAL = parse_constants((files("faser_align.examples") / "align_2025.txt").read_text(), "align_2025.txt")
DESIGN = geo.build({})
DERIVATIVES = [
    f"fitParam_align_{kind}_{dof}"
    for kind in ("global_derivation_y", "local_derivation_x")
    for dof in ("x", "y", "z", "rx", "ry", "rz")
]


def fit(constants: Constants, count: int = 4000, stations: int = 4) -> reco.Fits:
    detector = geo.build(constants)
    return reco.reconstruct(
        next(tracks.simulate_file(detector, count, seed=1, run=11705, number=400)), detector, stations
    )


@pytest.mark.parametrize(
    ("constants", "stations"),
    [({}, 4), ({}, 3), (REAL, 4), (REAL, 3)],
    ids=["design 4", "design 3", "2025 4", "2025 3"],
)
def test_true_constants_describe_the_hits(constants: Constants, stations: int) -> None:
    """chi2/ndf is 1, and residuals have a strip's rms reduced by five fitted parameters, with 23 or 18 hits per track."""
    fits = fit(constants, stations=stations)
    used = np.abs(fits.parameters[:, 4]) < 1.0 / 100.0
    chi2 = fits.chi2[used].sum() / (fits.lengths[used] - 5).sum()
    assert chi2 == pytest.approx(1.0, abs=0.012)
    residual = fits.residual[np.repeat(used, fits.lengths)]
    hits = fits.lengths.mean()
    assert 1e3 * residual.std() == pytest.approx(23.1 * np.sqrt((hits - 5) / hits), abs=0.3)
    assert 1e3 * residual.std() == pytest.approx(20.4 if stations == 4 else 19.5, abs=0.3)
    assert abs(residual.mean()) < 1e-3
    assert np.mean(np.abs(residual) > 0.05) < 0.004
    assert hits == pytest.approx(23.0 if stations == 4 else 17.6, abs=0.2)
    assert len(fits.lengths) > 3500
    assert fits.lengths.min() >= reco.HITS_MIN


def test_fit_finds_the_true_tracks() -> None:
    """Fitted momenta are within a few percent of the true ones, without bias."""
    raw = tracks.generate(np.random.default_rng([1, 11705, 400, 0]), 4000)
    detector = geo.build(REAL)
    hits = next(tracks.simulate_file(detector, 4000, seed=1, run=11705, number=400))
    fits = reco.reconstruct(hits, detector, 4)
    kept = np.flatnonzero(np.bincount(hits.track, minlength=4000) >= reco.HITS_MIN)
    low = np.abs(raw.q_over_p[kept]) > 1.0 / 500.0
    relative = (fits.parameters[:, 4] / raw.q_over_p[kept] - 1.0)[low]
    assert np.median(np.abs(relative)) < 0.02
    assert abs(np.median(relative)) < 0.002


def test_wrong_constants_show() -> None:
    """A displaced module has the residuals of its displacement, measured minus predicted."""
    detector = geo.build({})
    hits = next(tracks.simulate_file(detector, 4000, seed=1, run=1, number=1))
    fits = reco.reconstruct(hits, geo.build({"111": (0.010, 0.0, 0.0, 0.0, 0.0, 0.0)}), 4)
    module = fits.element // 2 == 4 * geo.MODULES + 1
    # The sensor is assumed 10 um too high, so predictions are too low on it; the fit absorbs a part.
    assert 7.0 < 1e3 * fits.residual[module].mean() < 10.0


def test_three_stations_leave_the_ift_out() -> None:
    """Without the IFT no hit of station 0 is used."""
    assert fit({}, count=200, stations=3).element.min() >= 3 * 16


def predict(fits: reco.Fits, detector: Geometry, parameters: FloatArray | None = None) -> FloatArray:
    """Return the predicted local x of every hit, for the fitted tracks or other ``parameters``."""
    track = np.repeat(np.arange(len(fits.lengths)), fits.lengths)
    values = (fits.parameters if parameters is None else parameters).T[:, track]
    axes = detector.axes[fits.element].transpose(1, 2, 0)
    return reco._predict(values, fits.element // 16, detector.origin[fits.element].T, axes).across


@pytest.mark.parametrize("dof", range(6))
def test_module_derivatives_are_those_of_side_0s_frame(dof: int) -> None:
    """Derivatives for a module equal the effect of moving both sides rigidly in the frame of side 0."""
    fits = fit(REAL, count=100)
    detector = geo.build(REAL)
    step = 1e-4 if dof < 3 else 1e-6
    first = np.arange(geo.ELEMENTS) // 2 * 2
    origin0, axes0 = detector.origin[first], detector.axes[first]

    def moved(size: float) -> Geometry:
        values = np.zeros(6)
        values[dof] = size
        turn = axes0 @ rotations(np.tile(values[3:], (geo.ELEMENTS, 1))) @ axes0.transpose(0, 2, 1)
        arm = (turn @ (detector.origin - origin0)[:, :, None])[:, :, 0]
        return Geometry(origin0 + arm + axes0 @ values[:3], turn @ detector.axes)

    numerical = (predict(fits, moved(step)) - predict(fits, moved(-step))) / (2 * step)
    assert fits.module[dof] == pytest.approx(numerical, abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("dof", range(6))
def test_layer_derivatives_turn_about_the_z_of_the_hit(dof: int) -> None:
    """Derivatives for a layer equal the effect of moving everything in the global frame about (0, 0, z of a hit)."""
    fits = fit(REAL, count=30)
    detector = geo.build(REAL)
    z = detector.origin[fits.element, 2] + fits.measured * detector.axes[fits.element, 2, 0]
    step = 1e-4 if dof < 3 else 1e-6
    values = np.zeros(6)
    values[dof] = step

    def at(index: int, sign: float) -> float:
        pivot = np.array([0.0, 0.0, z[index]])
        turn = rotations(sign * values[None, 3:])[0]
        moved = Geometry(pivot + (detector.origin - pivot) @ turn.T + sign * values[:3], turn @ detector.axes)
        return float(predict(fits, moved)[index])

    chosen = range(0, len(z), 23)
    numerical = [(at(i, 1.0) - at(i, -1.0)) / (2 * step) for i in chosen]
    assert fits.layer[dof, list(chosen)] == pytest.approx(numerical, abs=1e-4, rel=1e-5)


def test_track_derivatives() -> None:
    """Derivatives with respect to x, y, theta, phi and q/p equal the changes of the prediction."""
    fits = fit(REAL, count=100)
    detector = geo.build(REAL)
    x, y, slope_x, slope_y, q_over_p = fits.parameters.T
    polar = np.stack([x, y, np.arctan(np.hypot(slope_x, slope_y)), np.arctan2(slope_y, slope_x), q_over_p])
    for index, step in enumerate((1e-3, 1e-3, 1e-7, 1e-5, 1e-7)):
        results = []
        for sign in (1.0, -1.0):
            a, b, theta, phi, c = (polar[i] + sign * step * (i == index) for i in range(5))
            moved = np.stack([a, b, np.tan(theta) * np.cos(phi), np.tan(theta) * np.sin(phi), c], axis=1)
            results.append(predict(fits, detector, moved))
        assert fits.local[index] == pytest.approx((results[0] - results[1]) / (2 * step), rel=1e-5, abs=1e-3)


def test_design_has_calypsos_derivatives() -> None:
    """In the nominal detector they are -1 and -cos(40 mrad) for a module's x, -cos(20 mrad) for a layer's y."""
    fits = fit({}, count=200)
    side = fits.element % 2
    assert fits.module[0] == pytest.approx(np.where(side == 0, -1.0, -np.cos(0.040)), abs=1e-9)
    assert fits.layer[1] == pytest.approx(np.full(len(side), -np.cos(0.020)), abs=1e-9)
    assert fits.local[1] == pytest.approx(np.full(len(side), np.cos(0.020)), abs=1e-9)
    by_x: Six = (0.02, -0.02, 0.02, -0.02, -0.02, 0.02)
    assert [fits.layer[0, fits.element % 16 == 2 * module].max() for module in range(6)] == pytest.approx(
        by_x, abs=1e-5
    )


@pytest.fixture
def fits() -> reco.Fits:
    return reco.reconstruct(next(tracks.simulate_file(DESIGN, 200, seed=1, run=1, number=1)), DESIGN, 4)


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
    more = reco.reconstruct(next(tracks.simulate_file(DESIGN, 100, seed=1, run=1, number=2)), DESIGN, 4)
    kfalignment.write(str(tmp_path / "a.root"), [fits, more])
    with uproot.open(tmp_path / "a.root") as file:
        ids = file["tree"]["fitParam_align_id"].array(library="np")
    assert [len(one) for one in ids] == [*fits.lengths, *more.lengths]
