"""Test the decision on an iteration, and on recorded campaigns: one quantity alone is not enough for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from faser_align.fsm.criteria import progress, rules_asked
from faser_align.fsm.extrapolation import Remaining, remaining, rise
from faser_align.fsm.rules import Rules, limits_of
from faser_align.fsm.verdict import Verdict, judge

RULES = Rules()


def metrics(**changes: Any) -> dict[str, Any]:
    """Return metrics of a healthy iteration that passes, with changes."""
    value: dict[str, Any] = {
        "files": {"expected": 6, "used": 6, "lost": []},
        "tracks": {"read": 20000, "used": 18000},
        "hits": {"modules": {"000": [1000, 2], "001": [1000, 3]}},
        "residual_max_mm": 0.05,
        "residual_max_final": True,
        "chi2_per_ndf": 1.003,
        "steps": [{"name": "IFT fix layer", "free_parameters": 66, "entries_fixed": []}],
        "significance": 0.004,
        "effect_um": 0.1,
        "corrections": {"module.x": {"rms": 0.1, "largest": -0.4, "where": "003", "unit": "um"}},
        "relative": 0.0001,
        "nan": False,
    }
    return {**value, **changes}


def small(chi2: float | None, *lost: int) -> dict[str, Any]:
    """Return metrics with this chi2/ndf and a small correction, without the dropped files."""
    files = {"expected": 6, "used": 6 - len(lost), "lost": list(lost)}
    return metrics(chi2_per_ndf=chi2, determined={"sigma": 0.01, "effect_um": 0.01}, files=files)


def decided(*history: dict[str, Any], rules: Rules = RULES, limit: int = 10) -> Verdict:
    """Return the decision on the last of a stage's iterations."""
    return judge(rules, history, limit=limit)


def reason(*history: dict[str, Any], **more: Any) -> str:
    return decided(*history, **more).reason


def unlike(sigma: float, **changes: Any) -> dict[str, Any]:
    """Return metrics of files whose mean residuals differ by ``sigma``."""
    worst = {"kind": "step", "together": False, "module": "213", "side": 1, "file": "412", "deviation_um": 23.0}
    files = {"lost": [], "agreement": {"chi2_per_ndf": 1.5, "worst": {**worst, "sigma": sigma, **changes}}}
    return {"files": files}


def drifted(sigma: float) -> dict[str, Any]:
    """Return metrics of constants that moved by ``sigma`` along a weak mode."""
    mode = {"name": "curvature in y", "overlap": 0.9, "weak": True, "error_sigma": None, "drift_sigma": sigma}
    mode |= {"drift_um": 60.0 * sigma, "where": "20"}
    return {
        "weak_modes": {"directions": 234, "weak": 1, "drift_sigma": sigma, "drift_um": 30.0 * sigma, "modes": [mode]}
    }


def shared(share: float) -> dict[str, Any]:
    """Return metrics of files with this fraction of common tracks."""
    pairs = [["401", "400", share], ["405", "405", 0.5 * share], ["403", "402", 0.02]]
    return {"files": {"lost": [], "duplicates": {"share": share, "pairs": pairs}}}


MOVING = metrics(significance=5.0, effect_um=9.0, chi2_per_ndf=1.2)
WORSE = MOVING | {"chi2_per_ndf": 1.3}
LOST = metrics(files={"expected": 6, "used": 5, "lost": [417]})
UNKNOWN = metrics(chi2_per_ndf=None)
HEALTHY = ((90.0, 9.0, 1.31, 0.953), (3.0, 1.2, 1.03, 0.983), (0.009, 0.1, 1.003, 0.988), (0.001, 0.01, 1.003, 0.99))


@pytest.mark.parametrize(
    ("name", "history"),
    [
        # An iteration without the final residual cut never counts as converged.
        ("go_on", [metrics(residual_max_final=False), metrics()]),
        # An iteration that dropped a file does not count towards patience.
        ("go_on", [metrics(), LOST]),
        ("go_on", [metrics(), LOST, LOST]),
        ("converged", [metrics(), LOST, LOST, LOST]),
        # Too few tracks per parameter, or a fifth fewer than in the best iteration, is starved.
        ("starved", [metrics(tracks={"used": 1000})]),
        ("starved", [metrics(), metrics(tracks={"used": 14000})]),
        # Divergence needs two consecutive iterations with a larger chi2/ndf, or one that is not a number.
        ("go_on", [MOVING, WORSE]),
        ("go_on", [MOVING, MOVING, WORSE]),
        ("go_on", [MOVING, WORSE, MOVING, WORSE]),
        ("go_on", [MOVING, *[MOVING | {"chi2_per_ndf": 1.05 * 1.2}] * 2]),
        ("diverged", [MOVING, WORSE, WORSE]),
        ("diverged", [MOVING, metrics(nan=True, significance=None, effect_um=None)]),
        ("diverged", [MOVING, UNKNOWN | {"significance": 9.0, "effect_um": 9.0}]),
        ("diverged", [metrics(), UNKNOWN, UNKNOWN]),
        # Four iterations without a smaller residual shift or chi2/ndf, and without convergence, are a stall.
        ("go_on", [MOVING] * 4),
        ("stalled", [MOVING] * 5),
        ("go_on", [MOVING | {"effect_um": 9.0 * 0.8**i} for i in range(5)]),
        # The solver's own chi2/ndf, which rises while hits return to the fit, is not used.
        (
            "converged",
            [
                metrics(significance=s, effect_um=e, chi2_per_ndf=c, solver={"chi2_per_ndf": o})
                for s, e, c, o in HEALTHY
            ],
        ),
    ],
)
def test_what_a_history_becomes(name: str, history: list[dict[str, Any]]) -> None:
    """The decision follows from the stage's iterations by the rule above each row."""
    assert decided(*history).name == name


def test_two_quiet_iterations_with_the_final_cuts_converge() -> None:
    """Convergence needs as many passing iterations as patience says."""
    assert decided(MOVING, metrics()).name == "go_on"
    said = decided(MOVING, metrics(), metrics())
    assert said.name == "converged"
    assert "expected delta chi2 per parameter 0.004 is below 0.01" in said.reason


@pytest.mark.parametrize(
    ("change", "criterion"),
    [
        ({"hits": {"modules": {"000": [80, 20], "001": [9000, 0]}}}, "module_cut"),
        ({"hits": {"modules": {f"{m:03d}": [600, 400] for m in range(8)}}}, "detector_cut"),
        ({"freed_earlier": {"3ST layer.y": {"significance": 560.3}, "all": {"significance": 51.0}}}, "freed_earlier"),
        (
            {
                "steps": [{"free_parameters": 66, "entries_fixed": [10302], "entries_fixed_in": ["003"]}],
                "hits": {"modules": {"003": [10, 90], "001": [9000, 0]}},
            },
            "entries",
        ),
        ({"steps": [{"free_parameters": 66, "entries_fixed": [10011]}]}, "entries"),
        (unlike(9.0), "files_agree"),
        (shared(0.98), "duplicates"),
        (drifted(8.1), "weak_drift"),
        ({"significance": 0.02, "effect_um": 0.6}, "delta_chi2_per_parameter"),
        ({"significance": None, "effect_um": None}, "residual_shift"),
    ],
)
def test_what_forbids_convergence(change: dict[str, Any], criterion: str) -> None:
    """Hits cut, parameters without entries and numbers above their thresholds each prevent convergence by name."""
    said = decided(MOVING, metrics(), metrics(**change))
    assert said.name == "go_on"
    assert criterion in [c.name for c in said.criteria if not c.passed]


@pytest.mark.parametrize(
    "change",
    [
        {"hits": {"modules": {f"{m:03d}": [750 + m, 250 - m] for m in range(8)}}, "chi2_per_ndf": 9.0},  # 5 % outliers
        {"freed_earlier": {"3ST layer.y": {"significance": 1.4}, "all": {"significance": 6.0}}},
        {"freed_earlier": {"3ST layer.y": {"significance": 9.0}}, "error_scale": {"factor": 2.1, "scatter": 2.0}},
        {
            "steps": [{"free_parameters": 66, "entries_fixed": [10302], "entries_fixed_in": ["003"]}],
            "hits": {"modules": {"003": [0, 0], "001": [9000, 10]}},
        },
        {"hits": {"modules": {"100": [80, 20], "001": [9000, 0]}}, "free_modules": ["001"]},
        drifted(1.2),
    ],
    ids=[
        *("outliers", "earlier stages stand", "hits scatter twice as much", "a dead module", "hits of a fixed module"),
        "a small drift",
    ],
)
def test_what_a_good_alignment_may_have(change: dict[str, Any]) -> None:
    """Cuts that affect all modules alike or a fixed one, gains by chance, and a dead module do not prevent convergence."""
    assert decided(*[metrics(**change)] * 2).name == "converged"


def test_a_drift_along_a_weak_mode_is_explained() -> None:
    """The decision names the weak mode, the drift in sigma and in um, where it is largest, and what to do."""
    said = reason(*[metrics(**drifted(8.1))] * 2)
    assert "by 8.1 standard deviations of the survey (limit 5) along the weak mode curvature in y" in said
    assert "layer 20 most, by 486 um" in said
    assert 'fix = ["frame", "rx", "ry"], or freeze_sigma = 2' in said


def test_the_rise_of_chi2_counts_relative_to_chi2() -> None:
    """Outliers raise chi2/ndf and its fluctuations alike: at 9.0 a rise of 0.02 is within the limit."""
    assert decided(*map(small, (9.0, 9.02, 9.02))).name == "converged"
    assert decided(*map(small, (9.0, 9.04, 9.04))).name == "go_on"


def test_rules_can_be_required_together() -> None:
    """With require = all every rule has to pass."""
    one = metrics(effect_um=0.8)
    assert decided(one, one).name == "converged"
    assert decided(one, one, rules=RULES._replace(require="all")).name == "go_on"


@pytest.mark.parametrize(("rule", "change"), [("absolute", {"corrections": {}}), ("relative", {"relative": 0.1})])
def test_the_other_rules(rule: str, change: dict[str, Any]) -> None:
    """The rules absolute and relative pass on small corrections only."""
    rules = RULES._replace(rules=(rule,), patience=1)
    assert decided(metrics(), rules=rules).name == "converged"
    assert decided(metrics(**change), rules=rules).name == "go_on"


def test_the_last_iteration_is_a_limit() -> None:
    """A campaign that has used up its iterations has not converged."""
    said = decided(MOVING, MOVING, MOVING, limit=3)
    assert said.name == "limit"
    assert "expected delta chi2 per parameter" in said.reason


def test_a_dropped_file_does_not_starve_the_others() -> None:
    """The number of tracks is compared with that of equally many files before; `min_files` decides how many may be dropped."""
    before = metrics(tracks={"used": 18000}, files={"used": 6, "lost": []})

    def after(tracks: int) -> list[dict[str, Any]]:
        return [before, metrics(tracks={"used": tracks}, files={"used": 5, "lost": [400]})]

    assert decided(*after(12000)).name == "go_on"
    said = decided(*after(11999))
    assert said.name == "starved"
    assert said.reason == "only 11,999 of 15,000 tracks, which as many files had, are left (minimum 80 %)"


def test_the_reason_names_what_really_forbids_convergence() -> None:
    """The reason omits a rule that another one makes unnecessary, and names a violated condition, also in a stall."""
    one = metrics(significance=0.03)
    shift, chi2 = "expected residual shift", "expected delta chi2 per parameter"
    assert reason(MOVING, one) == f"{shift} 0.10 um is below 0.5 um, but not yet in 2 consecutive iterations"
    assert reason(MOVING) == f"{chi2} 5 is not below 0.01 and {shift} 9.00 um is not below 0.5 um"
    assert reason(one, rules=RULES._replace(require="all")) == f"{chi2} 0.03 is not below 0.01"
    assert "but the minimum is 5 iterations" in reason(one, one, rules=RULES._replace(min_iterations=5))
    cut = metrics(hits={"modules": {"017": [85, 15], "001": [9000, 0]}})
    why = "module 017 has 15.0 % of its hits cut by residual, 15.0 % more than the median module (limit 10 %): it "
    why += "is not where its constants say, or has noisy strips"
    assert reason(MOVING, cut) == why
    assert reason(MOVING, cut, limit=2) == f"iteration 2 of 2 was the last: {why}"
    stalled = decided(*[cut] * 5)
    assert stalled.name == "stalled"
    assert stalled.reason.endswith(why)


def test_the_reason_says_how_long_each_rule_was_met() -> None:
    """For each rule the reason says whether all counted iterations passed it or only the last one."""
    first, last = metrics(significance=0.054), metrics(significance=0.0003)
    effect = "expected residual shift 0.10 um is below 0.5 um"
    significance = "expected delta chi2 per parameter 0.0003 is below 0.01"
    assert reason(MOVING, last, last) == f"{significance} and {effect}, in 2 consecutive iterations"
    one = decided(MOVING, first, last)
    assert one.name == "converged"
    assert one.reason == f"{effect}, in 2 consecutive iterations; in the last, also {significance}"
    turns = decided(MOVING, metrics(effect_um=0.8, significance=0.004), first)
    assert turns.name == "converged"
    assert turns.reason == f"{effect}; each of 2 consecutive iterations met a rule"
    assert reason(MOVING, first, rules=RULES._replace(patience=1)) == effect


def test_large_numbers_have_no_exponent() -> None:
    """A large number has no exponent where it is readable."""
    chi2, shift = reason(metrics(significance=1352.4, effect_um=12345.6)).split(" and ")
    assert chi2 == "expected delta chi2 per parameter 1,352 is not below 0.01"
    assert shift == "expected residual shift 12,346 um is not below 0.5 um"


def test_thresholds_come_from_the_configuration() -> None:
    """The configuration's keys are the rules' names."""
    rules = Rules.from_config({"rules": ["effect"], "patience": 3, "comment": "no rule"})
    assert rules == RULES._replace(rules=("residual_shift",), patience=3)


def test_no_metrics_is_a_programming_error() -> None:
    """A decision without an iteration is a programming error."""
    with pytest.raises(ValueError, match="at least one"):
        decided()


def test_a_correction_that_is_no_number_never_counts() -> None:
    """A correction that is not finite prevents convergence under the rule absolute."""
    broken = metrics(corrections={"module.x": {"rms": None, "largest": None, "where": "003", "unit": "um"}}, nan=True)
    rules = RULES._replace(rules=("absolute",), patience=1)
    assert decided(metrics(), broken, rules=rules).name == "diverged"


def test_an_iteration_that_was_converted_again_does_not_count() -> None:
    """Ten times the residual cut is not the final one, and the reason says so."""
    wide = metrics(residual_max_final=False, converted_again=True, residual_max_mm=0.5)
    said = decided(metrics(), wide)
    assert said.name == "go_on"
    assert "ten times the configured one" in said.reason


def test_small_corrections_that_do_not_shrink_do_not_count() -> None:
    """The extrapolated remaining correction must be small, too: two corrections of 0.5 standard deviations do not converge."""

    def step(sigma: float) -> dict[str, Any]:
        return metrics(significance=sigma**2, effect_um=0.2, determined={"sigma": sigma, "effect_um": 0.2 * sigma})

    slow = decided(MOVING, step(0.6), step(0.5), step(0.45))
    assert slow.name == "go_on"
    assert "the extrapolated remaining correction is 4" in slow.reason
    assert decided(MOVING, step(0.6), step(0.1), step(0.01)).name == "converged"
    noise = [
        step(0.09) | {"determined": {"sigma": 0.09, "effect_um": 0.02, "repetition": c}} for c in (0.05, -0.1, 0.02)
    ]
    assert decided(MOVING, *noise).name == "converged"  # in another direction each time
    assert decided(MOVING, *noise, step(0.09)).name == "go_on"  # of which nothing is known
    # Corrections at the noise level no longer shrink, and need not.
    assert decided(MOVING, step(0.01), step(0.01), step(0.01)).name == "converged"


def test_a_module_that_lost_its_hits_to_the_cut_is_not_dead() -> None:
    """A module whose hits are all cut is not free any more: this prevents convergence, and the reason names it and the fix."""
    fixed = {"entries_fixed": [22711], "entries_fixed_names": ["a side of module 7"], "entries_fixed_in": ["227"]}
    modules = {key: [9000, 4] for key in ("001", "002", "003", "004")} | {"227": [0, 1532], "207": [266, 1563]}
    lost = metrics(steps=[{"free_parameters": 66, **fixed}], hits={"modules": modules}, free_modules=["001", "207"])
    why = (
        "1 parameter had too few entries to be free (a side of module 7), because the residual cut took the hits of module "
        "227; a larger first value of mille.residual_max keeps its hits"
    )
    said = decided(MOVING, lost, lost)
    assert said.name == "go_on"
    assert why in [criterion.text for criterion in said.criteria if not criterion.passed]
    above = [metrics(chi2_per_ndf=3.7), lost | {"chi2_per_ndf": 7.4}, lost | {"chi2_per_ndf": 7.6}]
    assert decided(*above).reason == f"chi2/ndf 7.4 and 7.6 are above 1.05 x its best 3.7; {why}"
    gone = lost | {"hits": {"modules": {"001": [9000, 4]}, "of_cut_tracks": {"227": 1480, "001": 900}}}
    assert decided(MOVING, gone, gone).reason.endswith(
        "because tracks through module 227 are cut by their chi2: it is far from where its constants say; larger "
        "mille.chi2_max and first value of mille.residual_max keep them"
    )
    dead = lost | {"hits": {"modules": {"001": [9000, 4]}, "of_cut_tracks": {"001": 900, "227": 3}}}
    assert decided(MOVING, dead, dead).name == "converged"
    few = metrics(
        steps=[{"free_parameters": 66, **fixed}], hits={"modules": modules | {"227": [1, 2]}}, free_modules=["001"]
    )
    assert decided(MOVING, few, few).name == "converged"  # at the edge of the beam


def test_the_module_that_still_moves_is_named() -> None:
    """A remaining correction above its limit names the module that moves most, with its distance if it started far off."""

    def step(sigma: float, um: float, where: str = "110") -> dict[str, Any]:
        corrections = {"module.x": {"rms": 1.0, "largest": um, "where": where, "unit": "um"}}
        pulls = {"110": 4.2, "111": 1.1, "112": None}
        return metrics(determined={"sigma": sigma, "effect_um": 0.1}, corrections=corrections, module_pulls=pulls)

    said = decided(MOVING, step(9.0, -167.8, "113"), step(8.0, -548.2), step(7.0, -131.4))
    assert said.reason.endswith("; module 110 moves most, by 4.2 times its error, and started about 0.68 mm off")
    assert decided(step(9.0, 40.0), step(8.0, 40.0)).reason.endswith("by 4.2 times its error")
    lost = step(0.01, -548.2) | {"hits": {"modules": {"110": [20, 80], "111": [9000, 0]}}}
    assert decided(lost, lost).reason.endswith(
        "than the median module (limit 10 %), and started about 1.10 mm off; a larger first value of mille.residual_max keeps "
        "its hits"
    )


def test_outliers_that_pass_the_cuts_do_not_make_a_description_worse() -> None:
    """A rise of chi2/ndf prevents convergence only if residuals, whose widths ignore outliers, become wider as well."""

    def step(chi2: float, width: float | None) -> dict[str, Any]:
        layers = {key: {"median_um": 0.0, "width_um": width} for key in ("00", "01")}
        return metrics(chi2_per_ndf=chi2, determined={"sigma": 0.01, "effect_um": 0.01}, residuals=layers)

    good, said = step(19.9, 29.00), decided(step(19.9, 29.0), step(20.1, 29.01), step(20.1, 29.01))
    assert said.name == "converged"
    assert [c.text for c in said.criteria if c.name == "chi2_rise"] == [
        "chi2/ndf is 0.2 above the stage's best (limit 0.06); outliers alone raise it, because residuals are not wider"
    ]
    assert decided(good, step(20.1, 29.1), step(20.1, 29.1)).name == "go_on"
    assert decided(good, step(20.1, None), step(20.1, None)).name == "go_on"
    assert decided(step(19.9, None), step(20.1, 29.0), step(20.1, 29.0)).name == "go_on"


def test_a_description_that_became_worse_does_not_count() -> None:
    """Shrinking corrections towards constants that describe the same tracks worse do not converge."""
    said = decided(MOVING, *map(small, (1.002, 1.015, 1.016)))
    assert said.name == "go_on"
    assert "0.014 above the stage's best" in said.reason
    assert decided(MOVING, *map(small, (1.002, 1.004, 1.004))).name == "converged"
    # With other files chi2/ndf differs.
    assert decided(MOVING, small(1.002), *[small(1.016, 417)] * 3).name == "converged"


def test_few_entries_are_named_in_words() -> None:
    """A parameter fixed by the entries cut is named in words, if the metrics have them."""
    step = {"free_parameters": 66, "entries_fixed": [10302], "entries_fixed_names": ["rotation of module 3"]}
    said = decided(metrics(), metrics(steps=[step]))
    assert "(rotation of module 3)" in said.reason


def test_order_of_the_verdicts() -> None:
    """Decisions have the order starved, converged, diverged, stalled, limit."""
    assert decided(metrics(), metrics(), metrics(tracks={"used": 10}), limit=3).name == "starved"
    bad = metrics(chi2_per_ndf=2.0)
    assert decided(metrics(), bad, bad, limit=3).name == "converged"
    assert decided(MOVING, *[WORSE] * 5, limit=6).name == "diverged"
    assert decided(*[MOVING] * 6, limit=6).name == "stalled"


def test_a_slow_but_falling_campaign_is_not_stalled() -> None:
    """A campaign whose delta chi2 rises at first while chi2/ndf falls (three layers fixed, 100 um) is not stalled."""
    numbers = ((224, 10.7), (633, 8.0), (456, 5.0), (413, 2.0), (50, 1.2), (0.005, 1.0))
    for last in range(1, len(numbers)):
        history = [metrics(significance=s, effect_um=9.0 + s / 100, chi2_per_ndf=c) for s, c in numbers[:last]]
        assert decided(*history).name == "go_on"


def largest(value: float | None, unit: str) -> dict[str, Any]:
    """Return metrics with this largest correction in a unit, and a small one in the other."""
    other = {"um": "urad", "urad": "um"}[unit]
    return metrics(corrections={"a": {"largest": value, "unit": unit}, "b": {"largest": 0.01, "unit": other}})


def modules(kept: int, cut: int) -> dict[str, Any]:
    """Return metrics with these hits in one of three modules; the others lose none."""
    return metrics(hits={"modules": {"0": [kept, cut], "1": [1000, 0], "2": [1000, 0]}})


@pytest.mark.parametrize(
    ("criterion", "last", "first"),
    [
        ("delta_chi2_per_parameter", metrics(significance=0.00999), metrics(significance=0.01)),
        ("residual_shift", metrics(effect_um=0.499), metrics(effect_um=0.5)),
        ("relative", metrics(relative=0.000999), metrics(relative=0.001)),
        ("absolute", largest(-0.999, "um"), largest(-1.0, "um")),
        ("absolute", largest(9.99, "urad"), largest(10.0, "urad")),
        ("absolute", largest(0.5, "um"), largest(None, "um")),
        ("module_cut", modules(90, 10), modules(899, 101)),
        ("detector_cut", metrics(hits={"modules": {"0": [7, 3]}}), metrics(hits={"modules": {"0": [699, 301]}})),
        ("files_agree", metrics(**unlike(3.0)), metrics(**unlike(3.01))),
        ("duplicates", metrics(**shared(0.10)), metrics(**shared(0.11))),
        ("tracks_left", metrics(tracks={"used": 14400}), metrics(tracks={"used": 14399})),
        ("tracks_per_parameter", metrics(tracks={"used": 1320}), metrics(tracks={"used": 1319})),
    ],
)
def test_what_just_passes_and_what_does_not(criterion: str, last: dict[str, Any], first: dict[str, Any]) -> None:
    """A rule needs a value below its threshold; every other condition also allows equality."""
    rules = RULES._replace(rules=("delta_chi2_per_parameter", "residual_shift", "relative", "absolute"))
    for of, passes in ((last, True), (first, False)):
        said = decided(metrics(), of, rules=rules)
        assert [found.passed for found in said.criteria if found.name == criterion] == [passes]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "differ between files by 9.0 sigma (limit 3): module 213, side 1 by +23.0 um from file 412 on. Something"),
        ({"kind": "file"}, "+23.0 um in file 412 against the others. Something moved"),
        ({"kind": "spread", "file": "410 to 412"}, "+23.0 um most in file 410 to 412. Something moved"),
        (
            {"together": True},
            "all modules together differ between files by 9.0 sigma (limit 3): module 213, side 1 by +23.0 um from file 412",
        ),
    ],
)
def test_files_that_differ_are_named_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    """The decision names module, file, size and significance of a difference, its causes and the command that helps."""
    said = reason(metrics(**unlike(9.0, **changes)))
    assert words in said
    assert said.count("Something moved, or files are of another run or condition") == 1
    assert said.endswith("separately (`submit --from NAME -f FILES`)")


def test_files_that_agree_differ_by_less_than_the_limit() -> None:
    """A difference between files below the limit is agreement, in words too."""
    (found,) = (one for one in decided(metrics(**unlike(0.0))).criteria if one.name == "files_agree")
    assert found.text.startswith(
        "mean residuals agree between files within 0.0 sigma (limit 3); largest: module 213, side 1"
    )


def test_files_with_the_same_tracks_are_named_with_what_to_do() -> None:
    """The decision names both files of each pair above the limit, the effect, and what to do."""
    assert reason(metrics(**shared(0.98))) == (
        "98 % of the tracks of file 401 are also in file 400; 49 % of the tracks of file 405 are in it twice: they count "
        "twice, and errors are too small; leave out one file of each pair (`submit -f FILES`), or reconstruct a file that "
        "has its tracks twice"
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (shared(0.98), "stalled"),
        (shared(0.98) | {"effect_um": 9.0, "residual_max_final": False}, "stalled"),
        (unlike(3.1), "stalled"),
        (unlike(3.1) | {"effect_um": 1.99}, "stalled"),
        (unlike(90.0) | {"effect_um": 2.0}, "go_on"),
        (unlike(90.0) | {"effect_um": None}, "go_on"),
        (unlike(90.0) | {"residual_max_final": False}, "go_on"),
    ],
)
def test_files_that_no_iteration_changes_end_the_stage(change: dict[str, Any], name: str) -> None:
    """Shared tracks, or differences near the end of a stage, end it as stalled after ``patience`` iterations, with the
    cause."""
    bad = metrics(significance=5.0) | metrics(**change)
    assert decided(bad).name == "go_on"
    assert decided(bad, metrics(), bad).name == "go_on"
    said = decided(MOVING, bad, bad)
    assert said.name == name
    if name == "stalled":
        assert said.reason == next(found.text for found in said.criteria if found.name in ("files_agree", "duplicates"))
        assert decided(bad, bad, rules=RULES._replace(patience=3)).name == "go_on"
        assert decided(bad, bad, limit=2).name == "stalled"


def test_metrics_without_a_comparison_of_files_converge() -> None:
    """One file, and metrics of older versions, are not judged by differences between files."""
    for files in ({}, {"agreement": {}, "duplicates": {}}):
        said = decided(metrics(files=files), metrics(files=files))
        assert said.name == "converged"
        assert not {"files_agree", "duplicates"} & {found.name for found in said.criteria}


def test_progress_is_against_the_best_before() -> None:
    """The residual shift must fall by its fraction of the best so far, or chi2/ndf by its step; equality is sufficient."""
    rules = RULES._replace(stalled_residual_shift=0.5, stalled_chi2=0.25)

    def progresses(effect_um: float, chi2: float) -> bool:
        before = [metrics(effect_um=value, chi2_per_ndf=2.0) for value in (9.0, 4.0, 5.0, 5.0, 5.0)]
        (found,) = progress(rules, [*before, metrics(effect_um=effect_um, chi2_per_ndf=chi2)])
        return found.passed

    assert progresses(2.0, 2.0)
    assert progresses(5.0, 1.75)
    assert not progresses(2.01, 1.76)


def test_corrections_of_a_unit_that_are_no_numbers_are_not_small() -> None:
    """The rule absolute fails for a number that is not finite, and names its unit."""
    (found,) = rules_asked(RULES._replace(rules=("absolute",)), largest(None, "urad"))
    assert not found.passed
    assert found.text == "largest correction 0.01 um (limit 1 um), a correction in urad is not finite"


def test_each_rule_draws_its_own_limit() -> None:
    """A chart has the limit of the rule that uses its quantity, and none otherwise."""
    asked = {"rules": ["absolute", "relative"], "absolute_um_max": 2.0, "absolute_urad_max": 30.0, "relative_max": 0.5}
    assert limits_of(asked) == {"largest_um": 2.0, "largest_urad": 30.0, "relative": 0.5}
    assert limits_of({"significance_max": 0.1}) == {"significance": 0.1, "effect_um": 0.5}
    assert limits_of({}) == {}


def test_who_passes_and_waits_for_patience_is_not_stalled() -> None:
    """Iterations that meet the rules need not improve while patience counts them."""
    patient = RULES._replace(patience=9)
    assert decided(*[metrics()] * 7, rules=patient, limit=20).name == "go_on"
    assert decided(*[metrics()] * 6, metrics(residual_max_final=False), rules=patient, limit=20).name == "stalled"


def test_what_is_still_to_come() -> None:
    """The last two corrections give the remaining one, which must be small both in errors and as residual shift."""

    def step(sigma: float, effect_um: float) -> dict[str, Any]:
        return metrics(determined={"sigma": sigma, "effect_um": effect_um})

    assert remaining([step(0.25, 9.0), step(0.125, 1.0)]) == Remaining(0.125, 1.0)
    at_most = remaining([step(0.125, 9.0), step(0.125, 1.0)])
    assert at_most == remaining([step(0.0, 0.0), step(0.125, 1.0)]) == remaining([step(0.125, 1.0)])
    assert at_most is not None
    assert round(at_most.effect_um, 6) == 9.0
    assert remaining([step(0.125, 1.0), metrics()]) is None
    scaled = step(0.125, 1.0) | {"error_scale": {"factor": 2.0}}
    assert remaining([step(0.25, 9.0), scaled]) == Remaining(0.0625, 1.0)
    for last, name in ((step(0.001, 0.01), "converged"), (step(0.001, 5.0), "go_on"), (step(0.5, 0.01), "go_on")):
        assert decided(metrics(), step(0.001, 0.01), last).name == name


def test_a_rise_that_is_not_known() -> None:
    """If chi2/ndf is unknown for an iteration with the same files, the rise is unknown; other iterations are ignored."""
    assert rise([small(1.0), small(1.5)]) == 0.5
    assert rise([small(1.0), small(None)]) is None
    assert rise([small(None), small(1.5)]) is None
    assert rise([small(None), small(1.0, 417), small(1.25, 417)]) == 0.25


# Metrics of campaigns of ``benchmarks/convergence.py``: 20,000 simulated tracks, misaligned modules of the IFT.
HISTORIES = Path(__file__).parent.parent / "data" / "histories"
# The delta_chi2_per_parameter criterion alone, without other conditions.
LOOSE = {"module_cut_max": 1.0, "detector_cut_max": 1.0, "remaining_sigma_max": 1e9, "chi2_rise_max": 1e9}
ALONE = Rules.from_config({"rules": ["delta_chi2_per_parameter"], **LOOSE})


def recorded(name: str) -> list[dict[str, Any]]:
    metrics: list[dict[str, Any]] = json.loads((HISTORIES / f"{name}.json").read_text())
    return metrics


def converged(history: list[dict[str, Any]], rules: Rules) -> int | None:
    """Return the first converged iteration."""
    verdicts = [judge(rules, history[:last], limit=99).name for last in range(1, len(history) + 1)]
    return verdicts.index("converged") + 1 if "converged" in verdicts else None


def worst_module_cut(metrics: dict[str, Any]) -> float:
    return float(max(cut / (kept + cut) for kept, cut in metrics["hits"]["modules"].values()))


def test_one_criterion_alone_converges_beside_the_truth() -> None:
    """With the narrow cut alone, modules lose hits, and corrections become insignificant at wrong constants."""
    history = recorded("far-narrow")
    for metrics in history:
        metrics["steps"] = [step | {"entries_fixed": [], "entries_fixed_names": []} for step in metrics["steps"]]
    at = converged(history, ALONE)
    assert at is not None
    assert history[at - 1]["chi2_per_ndf"] > 1.1
    assert worst_module_cut(history[at - 1]) > 0.5
    said = judge(Rules(), history[:at], limit=99)
    assert {"module_cut"} <= {criterion.name for criterion in said.criteria if not criterion.passed}


def test_the_conditions_keep_it_from_converging() -> None:
    """The default rules do not accept these constants: modules with too few hits or too many cut hits are named."""
    history = recorded("far-narrow")
    assert converged(history, Rules()) is None
    failed = {criterion.name for criterion in judge(Rules(), history, limit=99).criteria if not criterion.passed}
    assert {"module_cut", "entries"} <= failed


def test_a_wide_first_cut_converges_at_the_truth() -> None:
    """With a wide first cut the same start converges at the truth."""
    history = recorded("far-wide-first")
    assert converged(history, Rules()) in (3, 4)
    assert history[-1]["chi2_per_ndf"] == pytest.approx(1.0, abs=0.02)
    assert worst_module_cut(history[-1]) < 0.02


def test_the_solvers_own_chi2_rises_while_converging() -> None:
    """With the narrow cut hits return to the fit, so that pede's chi2/ndf rises in a healthy campaign."""
    history = recorded("healthy-narrow")
    own = [metrics["solver"]["chi2_per_ndf"] for metrics in history]
    assert own[0] < own[1] < own[2]
    assert history[0]["chi2_per_ndf"] > history[1]["chi2_per_ndf"] > history[2]["chi2_per_ndf"]
    assert converged(history, Rules()) is not None
