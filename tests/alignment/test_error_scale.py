"""Test the factor between the real errors of constants and those computed from the errors of hits."""

from collections.abc import Callable

import numpy as np
import pytest

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.mille.counts import RESIDUAL_EDGES_MM, Counts
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.quality.error_scale import error_scale
from faser_align.alignment.quality.metrics import Data, Step, iteration_metrics

SIGMA, CUT = 0.0231, 0.05


def test_the_factor_is_the_error_of_a_mean_of_hits_within_a_cut() -> None:
    """The factor equals that of simulated means whose cut follows the mean until both are stable."""
    rng = np.random.default_rng(1)
    for scatter in (0.8, 1.0, 1.2):
        residuals = scatter * SIGMA * rng.standard_normal((400, 500))
        means = np.zeros(400)
        for _ in range(20):
            kept = np.abs(residuals - means[:, None]) < CUT
            means = (residuals * kept).sum(axis=1) / kept.sum(axis=1)
        naive = SIGMA / np.sqrt(kept.sum(axis=1).mean())
        within = (residuals - means[:, None])[kept]
        found = error_scale(counts(residuals.ravel(), leverage=0.0), CUT, float((within**2).mean() / SIGMA**2))
        assert found["factor"] == pytest.approx(means.std() / naive, rel=0.1)


def test_hits_that_their_own_track_follows_count_more() -> None:
    """If a hit pulls its track, its distance from the other hits' track is larger, and the cut lowers the response more."""
    residuals = SIGMA * np.random.default_rng(2).standard_normal(100_000)
    alone, with_track = (1 - error_scale(counts(residuals, part), CUT, 1.0)["response"] for part in (0.0, 0.25))
    assert with_track == pytest.approx(alone / (1 - 0.25))


@pytest.mark.parametrize(
    ("make", "response"),
    [
        (lambda rng: rng.uniform(-0.04, 0.04, 100_000), 1.0),
        (lambda rng: np.concatenate([rng.uniform(-0.04, 0.04, 90_000), rng.uniform(-0.5, 0.5, 10_000)]), 1.0),
        (lambda rng: rng.uniform(-0.07, 0.07, 100_000), 0.2),
    ],
    ids=["no hit at the cut", "outliers", "as many hits beyond the cut"],
)
def test_only_hits_of_good_tracks_at_the_cut_count(
    make: Callable[[np.random.Generator], FloatArray], response: float
) -> None:
    """The response is 1 without good hits at the cut, outliers do not change it, and it is at least 0.2."""
    found = error_scale(counts(make(np.random.default_rng(3)), 0.0), CUT, 1.21)
    assert found["response"] == pytest.approx(response, abs=0.02)
    assert found["factor"] == pytest.approx(1.1 / found["response"])


def test_without_a_solution_or_hits_there_is_no_factor() -> None:
    """Without chi2/ndf or tracks there is no factor; with a cut beyond all residuals it equals the scatter."""
    some = counts(np.zeros(100), 0.0)
    assert error_scale(some, CUT, None) == error_scale(some, CUT, float("nan")) == error_scale(Counts(), CUT, 1.0) == {}
    assert error_scale(some, 5.0, 4.0) == {"factor": 2.0, "scatter": 2.0, "response": 1.0}


def test_outliers_are_those_of_the_median_layer() -> None:
    """Hits farther than 0.2 mm count as outliers if most layers have them; a layer that is off does not."""
    everywhere = counts(np.array([0.01, 0.3, -0.7, 0.1]), 0.0).residual_bins[0]
    good, off = counts(np.zeros(4), 0.0).residual_bins[0], counts(np.full(4, 0.6), 0.0).residual_bins[0]
    for layers, outliers in (([everywhere] * 12, 0.5), ([good] * 11 + [off], 0.0)):
        data = Data(1, [], Counts(residual_bins=np.array(layers)), CUT, True)
        found = iteration_metrics(
            stage=1,
            iteration=1,
            data=data,
            steps=[Step("all", frozenset(), Solution(0, "", "", {}))],
            constants={},
            correction={},
            backend="builtin",
        )
        assert found["hits"]["outliers"] == outliers


def counts(residuals: FloatArray, leverage: float) -> Counts:
    """Return the counts of hits with these residuals (mm) in one layer; each has the same leverage on its track."""
    bins = np.zeros((12, len(RESIDUAL_EDGES_MM) + 1), np.int64)
    bins[0] = np.bincount(np.searchsorted(RESIDUAL_EDGES_MM, residuals, side="right"), minlength=bins.shape[1])
    hits = len(residuals)
    return Counts(hits_read=hits, ndf=round(hits * (1 - leverage)), residual_bins=bins)
