"""Test the validation: the last constants must describe the data at least as well as the first."""

import math
import random
from statistics import NormalDist
from typing import Any

import pytest

from faser_align.fsm.validation import Limits, confirm

LIMITS = Limits()


def half(chi2: float | None, rms_um: float = 25.0, hits: int = 5000) -> dict[str, Any]:
    return {"tracks": 9000, "chi2_per_ndf": chi2, "modules": {"000": {"hits": hits, "mean_um": 0.0, "rms_um": rms_um}}}


def compared(all_files: tuple[Any, Any], unused: tuple[Any, Any] | None = None) -> dict[str, Any]:
    groups = {"all": all_files} | ({"unused": unused} if unused else {})
    return {"groups": {name: {"before": before, "after": after} for name, (before, after) in groups.items()}}


def test_a_better_description_is_confirmed() -> None:
    """A lower chi2/ndf in all files and in the unused ones confirms the constants, with both numbers."""
    said = confirm(LIMITS, compared((half(1.3), half(1.005)), (half(1.31), half(1.01))))
    assert said.name == "confirmed"
    assert "of all files went from 1.300 to 1.005" in said.reason
    assert "that were not used went from 1.310 to 1.010" in said.reason
    assert [c.name for c in said.criteria] == ["chi2_all", "chi2_unused", "modules_all", "modules_unused"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (compared((half(1.0), half(1.01))), "chi2/ndf of all files went from 1.000 to 1.010 (it may rise by 0.003)"),
        (
            compared((half(1.3), half(1.0)), (half(1.0), half(1.2))),
            "of files that were not used went from 1.000 to 1.200",
        ),
        (compared((half(1.3), half(1.0, 30.0))), "became wider in module 000 by 20 % (limit 5 %)"),
        (compared((half(1.3), half(None))), "chi2/ndf of all files is unknown"),
    ],
)
def test_a_worse_description_is_refuted(found: dict[str, Any], words: str) -> None:
    """A higher chi2/ndf, wider residuals of a module, or an unknown number rejects the constants, and names the place."""
    said = confirm(LIMITS, found)
    assert said.name == "refuted"
    assert said.reason.startswith("the new constants describe the data worse: ")
    assert words in said.reason


def test_chance_is_allowed() -> None:
    """A rise within the limit, and a module with few hits, do not reject."""
    assert confirm(LIMITS, compared((half(1.0), half(1.002)))).name == "confirmed"
    assert confirm(LIMITS, compared((half(1.0), half(1.0, 40.0, hits=900)))).name == "confirmed"


def test_limits_come_from_the_configuration() -> None:
    """The configuration's thresholds apply; other keys of the table are ignored."""
    limits = Limits.from_config({"enabled": True, "files": "1", "chi2_rise_max": 0.5, "module_rise_max": 1.0})
    assert confirm(limits, compared((half(1.0), half(1.4, 45.0)))).name == "confirmed"


def test_what_just_refutes_and_what_does_not() -> None:
    """chi2/ndf and residual widths may reach their limits; a module needs its minimum hits in both halves."""
    limits = Limits(chi2_rise_max=0.25, module_rise_max=0.25, module_hits_min=1000)
    for before, after, name in (
        (half(1.0), half(1.25), "confirmed"),
        (half(1.0), half(1.26), "refuted"),
        (half(1.0, 20.0), half(1.0, 25.0), "confirmed"),
        (half(1.0, 20.0), half(1.0, 25.1), "refuted"),
        (half(1.0, 20.0, hits=1000), half(1.0, 30.0, hits=1000), "refuted"),
        (half(1.0, 20.0, hits=999), half(1.0, 30.0), "confirmed"),
        (half(1.0, 20.0), half(1.0, 30.0, hits=999), "confirmed"),
    ):
        assert confirm(limits, compared((before, after))).name == name


SIDES = [f"{layer}{module}{side}" for layer in ("00", "10", "21") for module in range(8) for side in range(2)]


def newer(
    means: dict[str, float] | None = None,
    *,
    chi2: tuple[float, float] = (1.3, 1.0),
    hits: int = 900,
    aligned: int = 1600,
    parameters: int = 100,
    free: tuple[str, ...] = ("00", "10", "21"),
    used: bool = True,
    before: float = 40.0,
) -> dict[str, Any]:
    """Return metrics with sides: their means (um) with the last constants, and the hits of each side by use of the file."""

    def of(hits: int, chi2: float, means: dict[str, float]) -> dict[str, Any]:
        sides = {key: {"hits": hits, "mean_um": means.get(key, 0.0), "rms_um": 20.0} for key in SIDES}
        modules = {
            key[:3]: {
                "hits": 2 * hits,
                "mean_um": (sides[key]["mean_um"] + sides[key[:3] + "1"]["mean_um"]) / 2,
                "rms_um": 20.0,
            }
            for key in SIDES[::2]
        }
        return {"tracks": hits * len(SIDES) // 20, "chi2_per_ndf": chi2, "modules": modules, "sides": sides}

    groups = {"all": hits + aligned} | ({"unused": hits} if used else {})
    first = dict.fromkeys(SIDES, before)
    return {
        "groups": {
            name: {"before": of(number, chi2[0], first), "after": of(number, chi2[1], means or {})}
            for name, number in groups.items()
        },
        "free_parameters": parameters,
        "free_modules": [key[:3] for key in SIDES[::2] if key.startswith(free)],
    }


def limit(hits: int, aligned: int, sides: int = 48) -> float:
    """Return the limit (um) of a mean: 5 um plus the quantile of 0.2 % for all sides, times the error."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) > 0.002 / sides else (low, middle)
    return 5.0 + low * 20.0 * math.sqrt(1 / hits + 1 / aligned)


def test_a_module_that_is_off_is_found_and_named() -> None:
    """A module off by 50 um is refuted although everything else improved, with its name and the size of its shift."""
    off = dict.fromkeys(("1030", "1031"), -35.0) | dict.fromkeys(("0030", "0031"), 11.0)
    said = confirm(LIMITS, newer(off))
    assert said.name == "refuted"
    assert said.reason == (
        "the new constants do not describe the data: module 103 seems off by 50 um across its strips: "
        "the mean residual of files that were not used on its side 0 is -35.0 um, limit 8.4 um; 1 other module exceeds "
        "the limit, too"
    )
    assert [c.name for c in said.criteria if not c.passed] == ["means_unused"]


def test_a_module_that_is_off_along_its_strips_is_found() -> None:
    """Means of opposite signs are a shift along the strips."""
    said = confirm(LIMITS, newer({"1030": -12.0, "1031": 12.0}))
    assert "module 103 seems off by 750 um along its strips: " in said.reason


@pytest.mark.parametrize(("hits", "aligned"), [(900, 1600), (25, 25), (100, 40_000), (40_000, 100)])
def test_the_limit_of_a_mean_is_that_of_its_errors(hits: int, aligned: int) -> None:
    """A mean may differ from zero by the errors of both samples, at a probability for all sides together."""
    for size, name in ((0.99, "confirmed"), (1.01, "refuted")):
        means = {"2171": size * limit(hits, aligned)}
        assert confirm(LIMITS, newer(means, hits=hits, aligned=aligned)).name == name


def test_statistical_errors_alone_reject_as_often_as_configured() -> None:
    """Without a tolerance, validations of true constants are rejected with the configured probability."""
    limits = Limits(side_mean_um_max=0.0, false_rejection_max=0.2, module_hits_min=10**9)
    rng = random.Random(5)
    error = 20.0 * math.sqrt(1 / 900 + 1 / 1600)
    said = [confirm(limits, newer({key: rng.gauss(0.0, error) for key in SIDES})).name for _ in range(200)]
    assert 22 <= said.count("refuted") <= 58  # three standard deviations about 0.18 x 200 = 36, with 40 at most


def test_only_means_that_the_alignment_determines_are_tested() -> None:
    """Modules that no step frees, and sides with fewer than 25 hits in either sample, are not tested about zero."""
    off = {"1030": 35.0}
    assert confirm(LIMITS, newer(off, free=("00", "21"))).name == "confirmed"
    assert confirm(LIMITS, newer(off, hits=24)).name == "confirmed"
    assert confirm(LIMITS, newer(off, aligned=24)).name == "confirmed"
    assert confirm(LIMITS, newer(off, free=())).criteria[-1].text == (
        "no side of a module that was free has 25 hits of files that were not used"
    )


def test_a_narrow_distribution_of_few_hits_is_chance() -> None:
    """The error of a side's mean is at least that with the median rms of all sides."""
    metrics = newer({"1030": 0.99 * limit(900, 1600)})
    for group in metrics["groups"].values():
        group["after"]["sides"]["1030"]["rms_um"] = 2.0
    assert confirm(LIMITS, metrics).name == "confirmed"


def test_all_files_are_tested_without_unused_ones() -> None:
    """A validation without unused files tests the means of all files."""
    said = confirm(LIMITS, newer({"1030": 35.0}, used=False))
    assert (said.name, said.criteria[-1].name) == ("refuted", "means_all")


def test_a_side_without_hits_leaves_the_other_one() -> None:
    """A module with one dead side is judged by the other one."""
    metrics = newer({"1031": 35.0})
    for group in metrics["groups"].values():
        for when in ("before", "after"):
            del group[when]["sides"]["1030"]
    assert "module 103 seems off by 50 um across" in confirm(LIMITS, metrics).reason


def test_limits_scale_with_parameters_and_hits() -> None:
    """chi2/ndf and widths may rise by 2 x parameters / hits of the alignment if that is more than the limits."""
    hits = 48 * 100
    assert confirm(LIMITS, newer(chi2=(1.0, 1.0 + 199 / hits), aligned=100)).name == "confirmed"
    said = confirm(LIMITS, newer(chi2=(1.0, 1.0 + 201 / hits), aligned=100))
    assert "went from 1.000 to 1.042 (it may rise by 0.0417)" in said.reason
    limits = Limits(module_rise_max=0.0, chi2_rise_max=1.0)
    for rise, name in ((2 * 400 / 24 / 200 * 0.99, "confirmed"), (2 * 400 / 24 / 200 * 1.01, "refuted")):
        metrics = newer(aligned=100, parameters=400, before=0.0)
        for group in metrics["groups"].values():
            group["after"]["modules"]["103"]["rms_um"] = 20.0 * (1 + rise)
        assert confirm(limits, metrics).name == name


def held_back(metrics: dict[str, Any], aligned: int = 1600) -> dict[str, Any]:
    """Return the metrics of a validation that reconstructed only unused files."""
    del metrics["groups"]["all"]
    return {**metrics, "aligned_sides": dict.fromkeys(SIDES, aligned)}


@pytest.mark.parametrize(("hits", "aligned"), [(900, 1600), (80, 1600), (100, 40_000)])
def test_files_held_back_are_judged_alone(hits: int, aligned: int) -> None:
    """Unless the validation reconstructs the alignment's files again, errors of means follow from the last iteration's hits."""
    for size, name in ((0.99, "confirmed"), (1.01, "refuted")):
        metrics = newer({"2171": size * limit(hits, aligned)}, hits=hits, aligned=aligned)
        assert confirm(LIMITS, held_back(metrics, aligned)).name == name
    said = confirm(LIMITS, held_back(newer({}, hits=hits, aligned=aligned), aligned))
    assert [c.name for c in said.criteria] == ["chi2_unused", "modules_unused", "means_unused"]


def test_chi2_of_few_unused_files_fluctuates() -> None:
    """The limit on the rise of chi2/ndf is 2 x parameters / hits plus three standard deviations of a small sample."""
    used, unused = 48 * 1000, 48 * 50
    rise = 2 * 100 / used + NormalDist().inv_cdf(0.999) * 2 * math.sqrt(100 / (used * unused))
    for size, name in ((0.99, "confirmed"), (1.01, "refuted")):
        metrics = newer(chi2=(1.0, 1.0 + size * rise), hits=50, aligned=1000)
        assert confirm(LIMITS, held_back(metrics, 1000)).name == name


@pytest.mark.parametrize(("width_um", "name"), [(20.0, "confirmed"), (20.1, "refuted")])
def test_outliers_that_enter_the_selection_are_no_misalignment(width_um: float, name: str) -> None:
    """The limit on chi2/ndf of held-back files grows with chi2/ndf; a rise rejects only if residuals are wider, too."""
    assert confirm(LIMITS, held_back(newer(chi2=(7.0, 7.02)))).name == "confirmed"
    metrics = held_back(newer(chi2=(7.0, 7.06)))
    assert confirm(LIMITS, metrics).name == "refuted"
    for half, width in (("before", 20.0), ("after", width_um)):
        layers = {layer: {"median_um": 0.0, "width_um": width} for layer in ("00", "10", "21")}
        metrics["groups"]["unused"][half]["residuals"] = layers
    said = confirm(LIMITS, metrics)
    assert said.name == name
    assert ("outliers alone raise it" in said.criteria[0].text) == (name == "confirmed")


def test_a_validation_without_files_confirms() -> None:
    """If all files of the validation were dropped, the campaign stays converged, and the reason says so."""
    said = confirm(LIMITS, {"groups": {}, "free_parameters": 3, "free_modules": [], "aligned_sides": {}})
    assert said == ("confirmed", "not validated, because all files of the validation were dropped", ())


@pytest.mark.parametrize(("width_um", "name"), [(20.0, "refuted"), (15.0, "confirmed")])
def test_hits_far_from_their_tracks_widen_residuals_by_chance(width_um: float, name: str) -> None:
    """If residuals have tails in all modules, a module's rms may rise by the contribution of a few more such hits."""
    metrics = newer(before=0.0)
    for group in metrics["groups"].values():
        group["after"]["residuals"] = {layer: {"median_um": 0.0, "width_um": width_um} for layer in ("00", "10", "21")}
        group["after"]["modules"]["103"]["rms_um"] = 23.0
    assert confirm(LIMITS, metrics).name == name


def test_widths_are_taken_about_zero() -> None:
    """Widths are taken about zero, so that a shifted mean counts; without sides they are taken about the mean."""
    metrics = newer({"1030": 20.0, "1031": 20.0}, before=0.0)
    assert "became wider in module 103 by 41 % (limit 5 %)" in confirm(LIMITS, metrics).reason
    for group in metrics["groups"].values():
        for when in ("before", "after"):
            del group[when]["sides"]
    assert confirm(LIMITS, metrics).name == "confirmed"
