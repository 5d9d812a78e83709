"""Test that a whole alignment with the jobs' functions finds the true detector fast enough."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from iterating import iterate

from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign import layout
from faser_align.simulation.misalign import distance_to_truth

pytestmark = pytest.mark.slow

FILES = tuple(range(400, 406))
TRACKS = 1000
ITERATIONS = 3


@pytest.fixture
def campaign(make_campaign: Callable[..., Path]) -> Path:
    """Return the demonstration's campaign: 2025 constants, IFT modules misaligned and free."""
    return make_campaign(FILES, simulation={"tracks": TRACKS})


def test_alignment_finds_the_truth(campaign: Path) -> None:
    """Misaligned IFT modules return to the truth within errors, and iteration 3 is converged."""
    metrics = iterate(campaign, ITERATIONS, FILES)
    chi2 = [row["chi2_per_ndf"] for row in metrics]
    assert 1.2 < chi2[0] < 1.45
    assert chi2[1:] == pytest.approx([1.0] * 2, abs=0.02)
    effect = [row["effect_um"] for row in metrics]
    assert effect[0] > 6.0
    assert effect[0] > 20 * effect[1] > 40 * effect[2]
    assert metrics[0]["significance"] > 100
    assert metrics[2]["significance"] < 0.01
    assert [row["residual_max_final"] for row in metrics] == [False, True, True]

    truth = read_constants(json.loads((campaign / layout.RECORD).read_text())["config"]["simulation"]["truth"])
    start = distance_to_truth(read_constants(layout.constants_file(str(campaign), 1, 1)), truth)
    assert start == pytest.approx((24.0, 121.0, 380.0), rel=1e-3)
    end = distance_to_truth(read_constants(layout.result_file(str(campaign), 1, ITERATIONS)), truth)
    assert end.u_um < 4.0
    assert end.v_um < 100.0
    assert end.rz_urad < 180.0
    assert 0.6 < metrics[2]["truth"]["sigma"] < 1.4

    # Only the IFT's modules moved.
    first, last = (read_constants(layout.constants_file(str(campaign), 1, number)) for number in (1, ITERATIONS))
    assert {key for key in first if first[key] != last[key]} == {f"0{i}{k}" for i in range(3) for k in range(8)}
