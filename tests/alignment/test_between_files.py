"""Test the comparison of an iteration's raw files: mean residuals, and tracks that are in two files."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.quality.between_files import agreement, read_duplicates
from faser_align.alignment.quality.momenta import TRACK
from faser_align.campaign.layout import RUN
from faser_align.fsm.metrics import Difference
from faser_align.fsm.rules import Rules

RMS_UM = 25.0
LIMIT = Rules().files_agree_sigma_max
MODULE_213 = (7, 3)  # layer over all stations, module


def sums(shifts_um: FloatArray, hits: int = 200, seed: int = 1) -> IntArray:
    """Return hits, sums (nm) and sums of squares (nm^2) of sides whose residuals have these means, (files, 12, 8, 2)."""
    rng = np.random.default_rng(seed)
    means = shifts_um + RMS_UM / np.sqrt(hits) * rng.standard_normal(shifts_um.shape)
    squares = hits * (means**2 + RMS_UM**2 * (1 + np.sqrt(2 / hits) * rng.standard_normal(shifts_um.shape)))
    numbers = np.full(shifts_um.shape, hits)
    return np.stack([numbers, np.rint(1e3 * hits * means), np.rint(1e6 * squares)], axis=-1).astype(np.int64)


def moved(files: int, which: slice, by_um: float) -> FloatArray:
    """Return means of residuals of which those of module 213 differ in some files."""
    means = np.full((files, 12, 8, 2), 3.0)
    means[(which, *MODULE_213)] += by_um
    return means


def worst(residuals: IntArray, first: int = 400) -> Difference:
    """Return the largest difference between files with consecutive numbers."""
    return agreement(residuals, range(first, first + len(residuals)))["worst"]


@pytest.mark.parametrize(("files", "hits"), [(2, 5000), (3, 110), (20, 200), (400, 20)])
def test_files_of_one_detector_agree(files: int, hits: int) -> None:
    """Files that differ by chance have a chi2/ndf of about 1, and no difference above the limit."""
    for seed in range(5):
        found = agreement(sums(np.zeros((files, 12, 8, 2)), hits, seed), range(files))
        assert 0.6 < found["chi2_per_ndf"] < 1.4
        assert found["worst"]["sigma"] < LIMIT


@pytest.mark.parametrize(("files", "hits", "first"), [(2, 1000, 1), (20, 200, 12), (400, 20, 190)])
def test_a_step_in_time_names_module_and_first_file(files: int, hits: int, first: int) -> None:
    """A module that moves between two files is named, with the first file after it and the size of the move."""
    found = worst(sums(moved(files, slice(first, None), 10.0), hits))
    assert (found["kind"], found["module"], found["together"]) == ("step", "213", False)
    assert abs(int(found["file"]) - 400 - first) <= files // 100
    assert found["deviation_um"] == pytest.approx(10.0, abs=3.0)
    assert found["sigma"] > LIMIT


def test_one_file_that_differs_is_named() -> None:
    """A file in which a module is displaced is named, even if it is the first or the last."""
    for file in (0, 7, 19):
        found = worst(sums(moved(20, slice(file, file + 1), -20.0)))
        assert (found["kind"], found["module"], found["file"]) == ("file", "213", str(400 + file))
        assert found["deviation_um"] == pytest.approx(-20.0, abs=6.0)


def test_small_differences_of_all_modules_add_up() -> None:
    """A file whose modules all differ a little, as in another run, is named although no module is far off."""
    means = np.zeros((20, 12, 8, 2))
    means[4] = np.random.default_rng(2).choice([-4.0, 4.0], means[4].shape)
    found = worst(sums(means))
    assert (found["kind"], found["file"], found["together"]) == ("file", "404", True)
    assert found["sigma"] > LIMIT


def test_a_module_that_moves_to_and_fro_is_named() -> None:
    """A module that differs in every other file is reported as a spread and not as a step."""
    found = worst(sums(moved(40, slice(None, None, 2), 15.0)))
    assert (found["kind"], found["module"]) == ("spread", "213")


def test_small_files_are_compared_in_groups() -> None:
    """Consecutive files with few hits are one group, named by its first and last file; runs have their names."""
    first = 11706 * RUN + 1
    residuals = sums(moved(30, slice(10, 20), 60.0), hits=10)
    assert worst(residuals, first)["file"] == "11 of run 011706 to 20 of run 011706"


def test_small_differences_do_not_matter() -> None:
    """With any number of hits a difference below 2 um passes, and a larger one does not."""
    for by_um, passes in ((1.9, True), (3.0, False)):
        found = worst(sums(moved(10, slice(5, None), by_um), hits=10_000_000))
        assert (found["sigma"] < LIMIT) is passes


def test_nothing_to_compare_is_not_a_difference() -> None:
    """The agreement is unknown for a single file, for files without hits and for conversions of older versions."""
    assert agreement(sums(np.zeros((1, 12, 8, 2))), [400]) == {}
    assert agreement(np.zeros((3, 12, 8, 2, 3), np.int64), [400, 401, 402]) == {}
    assert agreement(sums(np.zeros((2, 12, 8, 2)), hits=4), [400, 401]) == {}
    old = sums(moved(4, slice(2, None), 50.0))
    old[:2] = 0
    assert worst(old)["sigma"] < LIMIT


def momenta(folder: Path, name: int, fingerprints: Collection[int]) -> str:
    """Write the momenta of tracks with these fingerprints."""
    tracks = np.zeros(len(fingerprints), TRACK)
    tracks["hits"] = list(fingerprints)
    np.save(folder / f"{name}.npy", tracks)
    return str(folder / f"{name}.npy")


def test_files_with_the_same_tracks_are_named(tmp_path: Path) -> None:
    """Each pair of files with common tracks is named, with the fraction of the smaller file, and the largest first."""
    tracks = [range(1, 1001), range(2001, 2501), range(1, 1001), [*range(3000, 3400), *range(2001, 2101)], [7, 7, 8]]
    files = [400, 401, 402, 403, 404]
    paths = [momenta(tmp_path, *one) for one in zip(files, tracks, strict=True)]
    assert read_duplicates(paths[:2], files[:2]) == {"share": 0.0, "pairs": []}
    assert read_duplicates(paths[:4], files[:4]) == {"share": 1.0, "pairs": [["402", "400", 1.0], ["403", "401", 0.2]]}
    assert read_duplicates(paths[4:], files[4:])["pairs"] == [["404", "404", pytest.approx(1 / 3)]]


def test_tracks_without_fingerprints_are_unknown(tmp_path: Path) -> None:
    """Without a momenta file duplicates are unknown; tracks without hits are not duplicates."""
    assert read_duplicates([str(tmp_path / "none.npy")], [400]) == {}
    assert read_duplicates([], []) == {}
    assert read_duplicates([momenta(tmp_path, file, [0, 0, 0]) for file in (1, 2)], [1, 2])["share"] == 0.0
    assert read_duplicates([momenta(tmp_path, 3, [])], [3]) == {"share": 0.0, "pairs": []}
