"""Test the simulation's raw files: reproducible, and similar to FASER's."""

import numpy as np
import pytest

from faser_align.simulation import geometry as geo
from faser_align.simulation import tracks

TRUTH = geo.build({})


def simulate(
    count: int, detector: geo.Geometry = TRUTH, *, seed: int = 1, run: int = 1, number: int = 1, **response: float
) -> tracks.Hits:
    """Return the hits of a raw file."""
    return next(
        tracks.simulate_file(detector, count, seed=seed, run=run, number=number, response=tracks.Response(**response))
    )


def same(first: tracks.Hits, second: tracks.Hits) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_raw_file_is_its_run_and_number() -> None:
    """A raw file always has the same hits; another number, run or seed gives others."""
    first = simulate(50)
    assert same(first, simulate(50))
    assert not any(same(first, simulate(50, **other)) for other in ({"number": 2}, {"run": 2}, {"seed": 2}))


def test_raw_file_comes_in_batches() -> None:
    """Large raw files are made in batches with different tracks; the first equals a small file."""
    batches = list(tracks.simulate_file(TRUTH, tracks.BATCH + 50, seed=1, run=1, number=1))
    assert [batch.track.max() < size for batch, size in zip(batches, (tracks.BATCH, 50), strict=True)] == [True, True]
    assert same(batches[0], simulate(tracks.BATCH))
    assert not same(batches[1], simulate(50))


def test_tracks_do_not_depend_on_the_detector() -> None:
    """Moving one module changes the hits of that module only."""
    moved = geo.build({"102": (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)})
    first = simulate(300)
    second = simulate(300, moved)
    module = (3 * geo.MODULES + 2) * geo.SIDES

    def others(hits: tracks.Hits) -> tracks.Hits:
        kept = hits.element // geo.SIDES * geo.SIDES != module
        return tracks.Hits(*(values[kept] for values in hits))

    assert not same(first, second)
    assert same(others(first), others(second))


def test_hits_are_sorted_and_inside() -> None:
    """Hits are ordered by track and along the beam, with valid strips."""
    hits = simulate(500)
    layer = hits.element // 16
    assert np.all(np.diff(hits.track * geo.LAYERS + layer) >= 0)
    assert hits.strip.min() >= 0
    assert hits.strip.max() <= 767
    assert np.bincount(layer, minlength=geo.LAYERS).min() > 0


def test_momenta_are_muons_of_the_lhc() -> None:
    """Most muons have hundreds of GeV, both charges occur, and few are outside the converter's window."""
    q_over_p = tracks.generate(np.random.default_rng(1), 20000).q_over_p
    momentum = 1.0 / np.abs(q_over_p)
    assert 450 < np.median(momentum) < 650
    assert momentum.min() >= 20.0 * (1 - 1e-12)
    assert 0.01 < np.mean(momentum < 100.0) < 0.06
    assert np.mean(q_over_p > 0) == pytest.approx(0.5, abs=0.02)


def test_layer_scatters_as_highland_says() -> None:
    """The scattering angle is 12.4 urad at 100 GeV in 1.2 % of a radiation length, half at twice the momentum."""
    assert tracks.scattering_angle(np.array([0.01, -0.005])) == pytest.approx([12.4e-6, 6.2e-6], rel=0.01)


def test_inefficiency_takes_hits() -> None:
    """The requested fraction of hits is missing."""
    full, half = (len(simulate(2000, inefficiency=share).track) for share in (0.0, 0.5))
    assert half / full == pytest.approx(0.5, abs=0.01)


def test_outliers_lie_beside_and_leave_the_others_alone() -> None:
    """The requested fraction of hits is moved by up to 1 mm; tracks and other hits stay the same."""
    clean = simulate(2000)
    dirty = simulate(2000, outliers=0.05)
    columns = zip(clean.track.tolist(), clean.element.tolist(), clean.strip.tolist(), strict=True)
    strips = {(track, element): strip for track, element, strip in columns}
    moves = [
        s - strips[t, e]
        for t, e, s in zip(dirty.track.tolist(), dirty.element.tolist(), dirty.strip.tolist(), strict=True)
        if (t, e) in strips
    ]
    assert np.mean(np.array(moves) != 0) == pytest.approx(0.05 * 24 / 25, abs=0.005)
    assert np.abs(moves).max() <= tracks.OUTLIER_STRIPS


def test_noise_takes_the_place_of_hits_that_are_missing() -> None:
    """Noise hits replace missing hits nearby, more often with a higher noise rate."""
    lengths = [len(simulate(2000, inefficiency=0.2, noise=noise).track) for noise in (0.0, 0.001, 0.01)]
    found = (lengths[2] - lengths[0]) / (lengths[0] / 0.8 * 0.2)
    assert found == pytest.approx(1 - 0.99**13, abs=0.01)
    assert lengths[0] < lengths[1] < lengths[2]
