"""Test the comparison of the same tracks' momenta in two iterations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faser_align.alignment.quality.momenta import TRACK, compare, read_momenta, write_momenta
from faser_align.alignment.quality.notes import notes, solver_end
from faser_align.simulation import geometry, kfalignment, tracks
from faser_align.simulation import reconstruct as fit

WINDOW = (100.0, 5000.0)


def momenta(folder: Path, layer_y_mm: float) -> str:
    """Return the momenta of 500 tracks, with station 2 reconstructed with a shift along the bending direction."""
    constants = {f"2{layer}": (0.0, layer_y_mm, 0.0, 0.0, 0.0, 0.0) for layer in range(3)}
    hits = next(tracks.simulate_file(geometry.build({}), 500, seed=1, run=1, number=1))
    root, output = folder / f"{layer_y_mm}.root", folder / f"{layer_y_mm}.npy"
    kfalignment.write(str(root), [fit.reconstruct(hits, geometry.build(constants), 4)])
    assert write_momenta(root, output) > 400
    return str(output)


def test_tracks_are_known_again_by_their_hits(tmp_path: Path) -> None:
    """A curvature of the layers shifts opposite charges in opposite directions, and every track is identified."""
    before, now = (read_momenta([momenta(tmp_path, y)]) for y in (0.0, 0.05))
    assert before is not None
    assert now is not None
    assert np.array_equal(before["hits"], now["hits"])
    assert len(np.unique(now["hits"])) == len(now)
    found = compare(before, now, WINDOW)
    outside = sum(found[f"{what}_{edge}"] for what in ("lost", "gained") for edge in ("low", "high"))
    assert found["common"] + outside <= len(now)
    assert found["common"] > 0.9 * len(now)
    assert found["momentum_change_plus"] * found["momentum_change_minus"] < 0
    assert 0.01 < abs(found["momentum_change_plus"]) < 0.5
    same = compare(before, before, WINDOW)
    assert (same["momentum_change_plus"], same["lost_low"], same["gained_high"]) == (0.0, 0, 0)


def test_edges_of_the_window() -> None:
    """Tracks that leave the momentum window are counted at that edge; tracks always outside do not count."""
    before = np.array([(1, 1 / 110, 110), (2, 1 / 300, 300), (3, -1 / 4900, 4900), (4, 1 / 90, 90), (5, 1, 1)], TRACK)
    now = np.array([(1, 1 / 90, 90), (2, 1 / 291, 291), (3, -1 / 6000, 6000), (4, 1 / 120, 120), (6, 1, 300)], TRACK)
    found = compare(before, now, WINDOW)
    edges = {"lost_low": 1, "lost_high": 1, "gained_low": 1, "gained_high": 0}
    assert found.items() >= {"common": 1, **edges}.items()
    assert found["momentum_change_plus"] == pytest.approx(-0.03)
    assert found["momentum_change_minus"] is None


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    """Without one of the files, or with a malformed one, the comparison is empty."""
    np.save(tmp_path / "other.npy", np.zeros(3))
    assert read_momenta([str(tmp_path / "none.npy")]) is None
    assert read_momenta([str(tmp_path / "other.npy")]) is None
    assert read_momenta([]) is None


def test_a_drift_is_told_in_one_sentence() -> None:
    """A change of momenta is reported, with the curvature if that is a weak mode; small changes are not."""
    since = {"momentum_change_plus": 0.031, "momentum_change_minus": -0.028, "lost_low": 3, "lost_high": 0}
    mode = {"name": "curvature in y", "error_um": 45.0, "moved_um": 12.0}
    metrics = {"momentum": {"since_first": since}, "steps": [{"parts": {"modes": [mode]}}]}
    assert notes(metrics, 0.05) == []
    (told,) = notes(metrics, 0.01)
    assert told.startswith(
        "curvature in y is poorly determined by the data (moved by 12 um in this iteration) and momenta moved"
    )
    other = {"momentum": {"since_first": since}, "steps": [{"parts": {"modes": [{**mode, "name": "twist about z"}]}}]}
    assert notes(other, 0.01)[0].startswith("momenta moved since iteration 1: those of")
    assert "those of positive tracks by +3.1 % and those of negative tracks by -2.8 %; 3 tracks left" in told
    flipped = {"median_q_over_p_plus": [0.002, -0.001], "momentum_change_plus": None, "momentum_change_minus": -0.001}
    assert "the curvature of positive tracks changed its sign" in notes({"momentum": {"since_first": flipped}}, 0.01)[0]
    assert "ten times the cut" in notes({"converted_again": True, "residual_max_mm": 0.5}, 0.01)[0]


def test_a_cut_by_derivative_that_takes_much_is_told() -> None:
    """A derivative cut that rejects more than three percent of the hits is reported with the key and the fix."""
    assert notes({"hits": {"read": 1000, "cut": {"residual": 500, "derivative": 30}}}, 0.01) == []
    (told,) = notes({"hits": {"read": 1000, "cut": {"residual": 0, "derivative": 103}}}, 0.01)
    assert told.startswith("10 % of the hits are cut by mille.derivative_max")
    assert 'mille.pivot = "layer"' in told


@pytest.mark.parametrize(
    ("chi2", "scatter", "outliers", "words"),
    [
        (0.70, 0.84, 0.0, "by 0.84 times their errors: the errors of hits may be too large; "),
        (1.44, 1.14, 0.0, "1.14 times their errors, not counting those that are cut: the errors of hits may be too"),
        (21.7, 0.95, 0.029, "2.9 % of the hits are more than 0.2 mm from their tracks, in all layers: outliers or"),
        (21.7, 1.20, 0.029, "noisy strips; hits scatter about their tracks by 1.20 times their errors"),
        (1.44, 1.00, 0.0, "1.44 instead of about 1: a module or layer may not be aligned; "),
    ],
)
def test_an_unusual_chi2_is_explained_near_the_end(chi2: float, scatter: float, outliers: float, words: str) -> None:
    """Near the end of a stage a chi2/ndf far from 1 is a remark with its possible causes and the factor of the errors."""
    scale = {"factor": 1.2, "scatter": scatter, "response": scatter / 1.2}
    (said,) = notes(
        {"effect_um": 0.3, "chi2_per_ndf": chi2, "error_scale": scale, "hits": {"outliers": outliers}}, 0.01
    )
    assert words in said
    assert said.endswith("; errors of the constants include the factor 1.20")
    (without,) = notes({"effect_um": 0.3, "chi2_per_ndf": 0.7}, 0.01)
    assert without == "chi2/ndf of the reconstruction is 0.70 instead of about 1: the errors of hits may be too large"
    for usual in (
        {"effect_um": 3.0, "chi2_per_ndf": chi2},
        {"effect_um": 0.3, "chi2_per_ndf": 1.02},
        {"effect_um": 0.3},
    ):
        assert notes(usual, 0.01) == []


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        ({}, ""),
        ({"end_code": 0, "end_text": "Ended normally"}, "end code 0, Ended normally"),
        ({"end_code": 1, "end_text": "Warned", "records": 9000, "chi2_per_ndf": None}, "end code 1, Warned"),
        (
            {"end_code": 1, "end_text": "Warned", "records": 9000, "chi2_per_ndf": 0.9898, "rejects": {"huge_chi2": 4}},
            "end code 1, Warned: harmless, because some constraints contain only fixed parameters; 4 of 9,000 records rejected, chi2/ndf 0.990",
        ),
        (
            {"end_code": 1, "end_text": "Warned", "records": 9000, "chi2_per_ndf": 1.0, "rejects": {"huge_chi2": 276}},
            "end code 1, Warned: 276 of 9,000 records rejected (3.1 %), which the solution leaves out; above a few percent, look at the cuts",
        ),
        (
            {"end_code": 1, "end_text": "Warned", "records": 9000, "chi2_per_ndf": 1.234, "rejects": None},
            "end code 1, Warned: chi2/ndf 1.234 is outside 0.9 to 1.1; the errors of the constants account for it",
        ),
        (
            {"end_code": 2, "end_text": "Severe"},
            "end code 2, Severe: some free parameters have few accepted measurements, so that their errors are large",
        ),
    ],
)
def test_a_warning_of_the_solver_is_explained(solver: Any, words: str) -> None:
    """The end text names what caused pede's warning, and whether it matters."""
    assert solver_end(solver) == words
