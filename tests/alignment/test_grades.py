"""Test the grades of constants."""

from typing import Any

import pytest

from faser_align.alignment.quality.grades import DESCRIBED, Limits, Subject, assess, criterion, unvalidated
from faser_align.fsm.metrics import Line

LIMITS = Limits()
KEYS = [f"0{layer}{module}" for layer in range(3) for module in range(8)]


def metrics(**changes: Any) -> dict[str, Any]:
    """Return the metrics of a good iteration of the IFT's modules."""
    sides = {f"{key}{side}": {"hits": 500, "mean_um": 0.1, "rms_um": 25.0} for key in KEYS for side in range(2)}
    return {
        "files": {"expected": 6, "used": 6, "lost": []},
        "hits": {
            "read": 24_100,
            "cut": {"residual": 90, "derivative": 10},
            "modules": {key: [990, 10] for key in KEYS},
        },
        "momentum": {"since_first": {"momentum_change_plus": 0.001, "momentum_change_minus": -0.002}},
        "steps": [{"entries_fixed_in": []}],
        "free_modules": KEYS,
        "sides": sides,
        "constant_errors": {key: [1.0, 51.0, 0.0, 0.0, 0.0, 24.0] for key in KEYS}
        | {"014": [1.2, 65.0, 0.0, 0.0, 0.0, 30.0]},
        "weak_modes": {"directions": 66, "weak": 0, "drift_sigma": 0.0, "drift_um": 0.0, "modes": []},
        **changes,
    }


def validation(after: dict[str, tuple[float, float]] | None = None) -> dict[str, Any]:
    """Return the metrics of a validation; ``after`` has mean and rms (um) of modules that did not improve."""

    def half(chi2: float, of: dict[str, tuple[float, float]]) -> dict[str, Any]:
        modules = {key: {"hits": 5000, "mean_um": of[key][0], "rms_um": of[key][1]} for key in KEYS}
        return {"tracks": 5000, "chi2_per_ndf": chi2, "modules": modules}

    before = dict.fromkeys(KEYS, (20.0, 25.0))
    now = dict.fromkeys(KEYS, (0.0, 25.0)) | (after or {})
    groups = {"unused": {"before": half(1.291, before), "after": half(1.003, now)}}
    return {"files": {"expected": 2, "used": 2, "unused": 2}, "groups": groups, "free_modules": KEYS}


def graded(*history: Any, **about: Any) -> dict[str, Line]:
    """Return the lines by name, after checking that they are described and in the order of their descriptions."""
    found = assess(LIMITS, Subject(history, **about))
    if found is None:
        return {}
    lines = {line["name"]: line for line in found["lines"]}
    assert list(lines) == [name for name in DESCRIBED if name in lines]
    unsure = [] if {"precision", "residual_means"} <= lines.keys() else ["look"]
    assert found["grade"] == max(
        [*(line["grade"] for line in found["lines"]), *unsure], key=("good", "look", "bad").index
    )
    assert all(line["criterion"] and line["source"] and line["figure"] for line in found["lines"])
    assert all(line["advice"] for line in found["lines"] if line["grade"] != "good")
    return lines


def shifted(um: float) -> dict[str, Any]:
    """Return the sides with mean residuals of this size."""
    return {key: {**side, "mean_um": um} for key, side in metrics()["sides"].items()}


def test_one_sentence_says_it_all() -> None:
    """The sentence has precision, residual means, validation and weak modes; good momenta and data are left out."""
    modes = [
        {"name": "curvature in y", "weak": True, "drift_sigma": 0.42, "drift_um": 21.0, "where": "00"},
        {"name": "twist about z", "weak": True, "drift_sigma": 0.1, "drift_um": 1.0, "where": "01"},
    ]
    weak = {"directions": 66, "weak": 2, "drift_sigma": 0.42, "drift_um": 5.0, "modes": modes}
    first, last = metrics(sides=shifted(22.2)), metrics(weak_modes=weak)
    found = assess(LIMITS, Subject([first, last], validation(), "confirmed"))
    assert found is not None
    assert found["grade"] == "good"
    assert found["sentence"] == (
        "Precision: x +-1.0 um, y +-51 um, rz +-24 urad (median over 24 modules). "
        "Residual means of the modules: rms 0.10 um (before: 22). "
        "Validation on 2 unused files: chi2/ndf 1.291 -> 1.003, all 24 modules better. "
        "Weak modes: 2 (curvature in y, twist about z), drift 0.42 sigma of the survey."
    )
    assert [line["name"] for line in found["lines"]] == list(DESCRIBED)[:-1]


def test_metrics_of_older_versions_have_fewer_lines() -> None:
    """Lines without numbers are left out, and without precision the constants are not good; without any there is no block."""
    found = assess(LIMITS, Subject([{"files": {"expected": 2, "used": 2, "lost": []}}]))
    assert found is not None
    assert (found["grade"], [line["grade"] for line in found["lines"]]) == ("look", ["good"])
    assert graded({}) == {}
    assert assess(LIMITS, Subject([{"iteration": 1}])) is None
    assert list(graded({"files": {"expected": 2, "used": 1, "lost": [400]}})) == ["dropped"]
    assert "residual_means" not in graded(metrics(sides={}))


@pytest.mark.parametrize(
    ("errors", "grade", "words"),
    [
        ([1.0, 51.0, 0.0, 0.0, 0.0, 24.0], "good", "x +-1.0 um (at most 1.2, module 014)"),
        ([2.4, 51.0, 0.0, 0.0, 0.0, 24.0], "look", "; not good, relative to a hit's resolution: x 10 %"),
        ([1.0, 175.0, 0.0, 0.0, 0.0, 24.0], "bad", "y +-180 um"),
        ([1.0, 51.0, 0.0, 0.0, 0.0, 200.0], "bad", "; not good, relative to a hit's resolution: rz 32 %"),
        (
            [1.0, None, 0.0, 0.0, 0.0, 24.0],
            "look",
            "not determined by the data: module 000, module 001, module 002, module 003, module 004 and 18 more",
        ),
    ],
)
def test_precision_is_compared_with_the_resolution_of_a_hit(errors: list[Any], grade: str, words: str) -> None:
    """Median errors up to 10 % of a hit's resolution are good, above 30 % bad; one without an error gives *look*."""
    known = metrics()["constant_errors"]
    line = graded(metrics(constant_errors=dict.fromkeys(KEYS, errors) | {"014": known["014"]}))["precision"]
    assert line["grade"] == grade
    assert words in line["text"]


def test_one_imprecise_module_is_to_be_looked_at() -> None:
    """A module with an error above 30 % of the resolution is named, although the median is good."""
    errors = metrics()["constant_errors"] | {"027": [9.0, 51.0, 0.0, 0.0, 0.0, 24.0]}
    line = graded(metrics(constant_errors=errors))["precision"]
    assert (line["grade"], line["values"]["x_where"]) == ("look", "027")
    assert line["text"].endswith("; not good, relative to a hit's resolution: x 39 % (module 027)")


@pytest.mark.parametrize(
    ("before", "now", "grade"),
    [(22.0, 0.9, "good"), (22.0, 1.1, "look"), (22.0, 5.1, "bad"), (1.5, 2.0, "bad"), (0.1, 0.9, "good")],
)
def test_residual_means_shrink(before: float, now: float, grade: str) -> None:
    """The rms of mean residuals is good up to 1 um, and bad above 5 um or where it grew beyond 1 um."""
    assert graded(metrics(sides=shifted(before)), metrics(sides=shifted(now)))["residual_means"]["grade"] == grade


def test_a_shifted_module_is_named() -> None:
    """The module with the largest mean residual is named; sides are weighted by their hits, and modules with few hits are ignored."""
    sides = metrics()["sides"]
    few = (10, 400.0)
    for key, (hits, mean) in {"0140": (900, 30.0), "0141": (100, -10.0), "0200": few, "0201": few}.items():
        sides[key] = {"hits": hits, "mean_um": mean, "rms_um": 25.0}
    line = graded(metrics(sides=sides))["residual_means"]
    assert (line["values"]["where"], line["values"]["largest_um"], line["values"]["modules"]) == ("014", 26.0, 23)
    assert line["values"]["largest_error_um"] == pytest.approx(25.0 / 1000**0.5)
    assert line["text"].endswith("; largest of 23 modules 26.0 +- 0.8 um (33 sigma), module 014")


def test_no_weak_mode_is_a_sentence() -> None:
    """Without a weak mode the line says how many directions were examined."""
    assert graded(metrics())["weak_modes"]["text"] == "none of 66 directions is weak"


def test_modules_that_became_worse_are_named() -> None:
    """A validation names the modules whose residuals became wider, largest first; a refuted one is bad."""
    worse = {"003": (20.0, 27.0), "004": (0.0, 40.0), "005": (20.0, 25.1)}
    line = graded(metrics(), validation=validation(worse), verdict="confirmed")["validation"]
    assert line["grade"] == "look"
    assert line["text"] == (
        "on 2 unused files: chi2/ndf 1.291 -> 1.003, 21 of 24 modules better, 2 worse; wider residuals: 004 by 25 %, 003 by 5.0 %"
    )
    assert graded(metrics(), validation=validation(), verdict="refuted")["validation"]["grade"] == "bad"


def test_a_validation_without_hits_says_so() -> None:
    """A validation whose files have no tracks does not call zero modules better."""
    empty = {"tracks": 0, "chi2_per_ndf": None, "modules": {}}
    without = validation() | {"groups": {"unused": {"before": empty, "after": empty}}}
    line = graded(metrics(), validation=without, verdict="refuted")["validation"]
    assert line["text"] == "on 2 unused files: chi2/ndf unknown -> unknown, no module has hits to compare (refuted)"


def test_a_campaign_without_validation_says_so() -> None:
    """A campaign with too few files, or whose validation lost its files, says that nothing was validated."""
    line = graded(metrics(), unvalidated="fewer than 10 files, and validation.files names no others")["validation"]
    assert (line["grade"], line["text"]) == ("look", "none: fewer than 10 files, and validation.files names no others")
    assert "dropped" in graded(metrics(), validation={"groups": {}})["validation"]["text"]
    assert "validation" not in graded(metrics())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "fewer than 10 files, and validation.files names no others"),
        (
            {"files": list(range(10)), "config": {"validation": {"enabled": True, "files": "", "hold_back": 0.0}}},
            "validation.hold_back is 0, and validation.files names no files",
        ),
        ({"files": list(range(10)), "config": {"validation": {"enabled": True, "files": "", "hold_back": 0.05}}}, ""),
        (
            {"config": {"validation": {"enabled": True, "files": "400"}}},
            "the alignment uses all files of validation.files",
        ),
        ({"config": {"validation": {"enabled": True, "files": "400-401"}}}, ""),
        ({"config": {"validation": {"enabled": False}}}, "validation.enabled is false"),
        ({"validation": {}}, ""),
        ({"only": 1}, ""),
        ({"config": {}}, ""),
    ],
)
def test_why_there_is_no_validation(changes: dict[str, Any], reason: str) -> None:
    """The number of files or the configuration explains a missing validation, if the campaign can have one."""
    record: Any = {"files": [400], "config": {"validation": {"enabled": True, "files": ""}}} | changes
    assert unvalidated(record) == reason


@pytest.mark.parametrize(("drift", "grade"), [(0.9, "good"), (1.1, "look"), (5.1, "bad")])
def test_drift_along_weak_modes(drift: float, grade: str) -> None:
    """The largest drift along a weak mode is compared with the survey, and its mode and layer are named."""
    mode = {"name": "curvature in y", "weak": True, "drift_sigma": drift, "drift_um": 21.0, "where": "12"}
    weak = {"directions": 66, "weak": 1, "drift_sigma": drift, "drift_um": 5.0}
    line = graded(metrics(weak_modes=weak | {"modes": [mode, {**mode, "weak": False}]}))["weak_modes"]
    assert (line["grade"], "curvature in y: 21.0 um of layer 12" in line["text"]) == (grade, True)


def test_momenta_are_kept() -> None:
    """A change of momenta by more than 1 %, or a suspected field, is not good, and the sentence names it."""
    for change, grade in ((0.009, "good"), (-0.011, "look"), (-0.031, "bad")):
        since = {"since_first": {"momentum_change_plus": change, "momentum_change_minus": None}}
        assert graded(metrics(momentum=since))["momenta"]["grade"] == grade
    since = {"since_first": {"momentum_change_plus": 0.6156, "momentum_change_minus": -0.0034}}
    assert graded(metrics(momentum=since))["momenta"]["text"].endswith("positive +62 %, negative -0.34 %")
    magnets = {
        str(n): {"deviation": by, "error": 0.001, "chi2": chi2} for n, by, chi2 in ((1, 0.02, 3.0), (2, 0.1, 9.0))
    }
    line = graded(metrics(magnets=magnets))["momenta"]
    assert line["grade"] == "look"
    assert "field of the magnet before station 1 seems off by +2.0 +- 0.1 %" in line["short"]


def test_dropped_data_are_named() -> None:
    """Dropped files, many cut hits, and modules without hits or result are named; hits are compared by place in a layer."""
    good = metrics()
    assert graded(good)["dropped"]["grade"] == "good"
    assert graded(good)["dropped"]["short"] == ""
    lost = {"expected": 6, "used": 5, "lost": [403]}
    assert graded(metrics(files=lost))["dropped"]["text"].startswith("1 of 6 files (403); 0.41 % of the hits")
    assert graded(metrics(files=lost))["dropped"]["grade"] == "look"
    assert graded(metrics(files={"expected": 6, "used": 4, "lost": [402, 403]}))["dropped"]["grade"] == "bad"
    for cut, grade in ((2_400, "good"), (2_500, "look"), (7_500, "bad")):
        assert graded(metrics(hits=good["hits"] | {"cut": {"residual": cut}}))["dropped"]["grade"] == grade
    modules = good["hits"]["modules"] | {"011": [40, 0], "012": [60, 60]}
    dead = graded(metrics(hits=good["hits"] | {"modules": modules}, steps=[{"entries_fixed_in": ["011", "02", "013"]}]))
    assert dead["dropped"]["grade"] == "look"
    assert dead["dropped"]["text"].endswith("; without hits: module 011; too few hits for a result: module 013")


@pytest.mark.parametrize(("sigma", "grade"), [(1.0, "good"), (1.6, "look"), (3.1, "bad")])
def test_distance_to_the_truth(sigma: float, grade: str) -> None:
    """A simulated campaign is compared with the truth in um, urad and standard deviations."""
    dofs = {"x": {"rms": 0.9, "unit": "um"}, "y": {"rms": 32.0, "unit": "um"}, "rz": {"rms": 21.0, "unit": "urad"}}
    line = graded(metrics(truth={"sigma": sigma, "directions": 66, "dofs": dofs}))["truth"]
    assert (line["grade"], line["text"]) == (grade, f"x 0.90 um, y 32 um, rz 21 urad (rms), {sigma:.1f} sigma")


def test_limits_come_from_the_configuration() -> None:
    """Grades and the words of their criteria follow [quality]; other keys are ignored."""
    limits = Limits.from_config({"residual_mean_um": [0.05, 0.08], "new": 1})
    found = assess(limits, Subject([metrics()]))
    assert found is not None
    line = next(line for line in found["lines"] if line["name"] == "residual_means")
    assert (line["grade"], line["criterion"]) == ("bad", criterion("residual_means", limits))
    assert line["criterion"].startswith("good: rms of at most 0.05 um; bad: above 0.08 um")
