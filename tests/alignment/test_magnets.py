"""Test the fields of magnets: residuals that depend on charge and momentum, and the remark that names a magnet."""

from typing import Any

import numpy as np
import pytest

from faser_align.alignment.detector import LAYERS_Z_MM, bending
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.quality.magnets import magnets
from faser_align.alignment.quality.notes import notes

FIELDS = bending(LAYERS_Z_MM)[0].T  # mm GeV
Y_OFFSETS_UM = 5.0 * np.random.default_rng(4).standard_normal(12)


def counts(deviations: tuple[float, float, float], *, stations: int = 4, tracks: int = 8_000, bends: int = 1) -> Counts:
    """Return the sums of tracks whose magnets deviate, in misaligned layers; ``bends`` -1 turns the field around."""
    rng = np.random.default_rng(3)
    q = rng.choice([-1.0, 1.0], tracks) / np.exp(rng.uniform(np.log(100), np.log(2000), tracks))  # 1/GeV
    z = LAYERS_Z_MM
    first = 0 if stations == 4 else 3
    z = z[first:]
    shape = np.stack([np.ones_like(z), z / 1e3, FIELDS.sum(axis=0)[first:] / 1e3])
    basis = np.linalg.svd(shape, full_matrices=False)[2]
    shifts = 1e3 * bends * (np.array(deviations) @ FIELDS)[first:]  # um GeV
    r = 23.1 * rng.standard_normal((tracks, len(z))) + q[:, None] * shifts
    r = r - r @ basis.T @ basis + Y_OFFSETS_UM[first:]
    nm, c = np.rint(1e3 * r), np.rint(1e6 * q)[:, None]
    every = np.ones_like(nm)
    bending_of_hits = bends * FIELDS.sum(axis=0)[first:] * every
    sums = np.stack([every, nm, c * every, c**2 * every, nm * c, nm**2, bending_of_hits]).sum(axis=1)
    curvature_residuals = np.zeros((12, 7), np.int64)
    curvature_residuals[first:] = np.rint(sums.T)
    hits = len(z) * tracks
    return Counts(curvature_residuals=curvature_residuals, hits_read=hits, ndf=hits - 3 * tracks)


def remark(of: Counts, **changes: Any) -> str:
    """Return the remark on magnets near the end of a stage."""
    metrics: Any = {"stage": 1, "effect_um": 0.1, "residual_max_final": True, "magnets": magnets(of)} | changes
    return " ".join(text for text in notes(metrics, 0.03) if "charge and momentum" in text)


@pytest.mark.parametrize("bends", [1, -1])
@pytest.mark.parametrize(("magnet", "size"), [(0, 0.02), (1, -0.05), (2, 0.02)])
def test_the_magnet_with_a_wrong_field_is_named(magnet: int, size: float, bends: int) -> None:
    """The fit has the size of a magnet's deviation within its error, whichever way positive charges bend."""
    deviations = [0.0, 0.0, 0.0]
    deviations[magnet] = size
    found = magnets(counts((deviations[0], deviations[1], deviations[2]), bends=bends))
    one = found[str(magnet + 1)]
    assert one["deviation"] == pytest.approx(size, abs=4 * one["error"])
    assert one["error"] < 0.008
    assert one["chi2"] <= 4 + min(other["chi2"] for other in found.values())
    text = remark(counts((deviations[0], deviations[1], deviations[2]), bends=bends))
    name = ("the magnet before station 1", "the magnet between stations 1 and 2", "the magnet between stations 2 and 3")
    assert f"that of {name[magnet]} by {100 * one['deviation']:+.1f} +- {100 * one['error']:.1f} %" in text


@pytest.mark.parametrize("deviations", [(0.0, 0.0, 0.0), (0.05, 0.05, 0.05)])
@pytest.mark.parametrize("stations", [3, 4])
def test_fields_of_one_scale_have_no_remark(deviations: tuple[float, float, float], stations: int) -> None:
    """Layers that are off and a field that is wrong by the same factor everywhere leave no residual against q/p."""
    assert magnets(counts(deviations, stations=stations))
    assert not remark(counts(deviations, stations=stations))


def test_three_stations_cannot_tell_their_two_magnets_apart() -> None:
    """With three stations both magnets between them are named, with opposite signs, and the one before them is not."""
    found = magnets(counts((0.0, 0.1, 0.0), stations=3))
    assert found.keys() == {"2", "3"}
    assert found["2"]["deviation"] == pytest.approx(0.1, abs=4 * found["2"]["error"])
    text = remark(counts((0.0, 0.1, 0.0), stations=3))
    assert "that of the magnet between stations 1 and 2 by +" in text
    assert ", or that of the magnet between stations 2 and 3 by -" in text


def test_a_remark_on_a_field_waits_for_the_end_of_the_stage() -> None:
    """Before the last residual cut, and with corrections of 2 um and more, misalignment may be the cause."""
    wrong = counts((0.02, 0.0, 0.0))
    assert remark(wrong)
    assert not remark(wrong, effect_um=2.0)
    assert not remark(wrong, residual_max_final=False)


def test_deviations_that_matter_to_nobody_are_silent() -> None:
    """A deviation of 0.29 % gives no remark, however significant; one of 0.4 % does."""

    def of(deviation: float) -> dict[str, dict[str, float]]:
        return {"1": {"deviation": deviation, "error": 1e-5, "chi2": 0.0}}

    assert not remark(Counts(), magnets=of(0.0029))
    assert "(100.0 sigma)" in remark(Counts(), magnets=of(-0.004))


def test_a_dropped_file_is_named_with_its_effect() -> None:
    """The remark names dropped files, how many are left, and by how much errors grow."""
    files = {"lost": [400], "used": 5}
    metrics: Any = {"stage": 1, "files": files}
    assert notes(metrics, 0.03) == [
        "file 400 was dropped: 5 of 6 files are used, and statistical errors are about 10 % larger"
    ]
    files.update(lost=list(range(400, 408)), used=92)
    (text,) = notes(metrics, 0.03)
    assert text.startswith("files 400, 401, 402, 403, 404 and 3 more were dropped: 92 of 100 files are used")


def test_fields_are_unknown_without_sums() -> None:
    """Counts of older conversions, of one station and of few tracks say nothing about fields."""
    assert magnets(Counts()) == {}
    assert magnets(counts((0.1, 0.0, 0.0), tracks=50)) == {}
    one_station = counts((0.1, 0.0, 0.0))
    one_station.curvature_residuals[3:] = 0
    assert magnets(one_station) == {}
