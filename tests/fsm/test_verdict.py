"""The verdict on an iteration."""

from typing import Any

import pytest

from faser_align.fsm.verdict import Rules, judge

RULES = Rules()


def metrics(**changes: Any) -> dict[str, Any]:
    """Metrics of a healthy iteration that passes, with changes."""
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


MOVING = metrics(significance=5.0, effect_um=9.0, chi2_per_ndf=1.2)


def test_two_quiet_iterations_with_the_final_cuts_converge() -> None:
    """Convergence needs as many passing iterations as patience says."""
    assert judge(RULES, [MOVING, metrics()], limit=10).name == "go_on"
    said = judge(RULES, [MOVING, metrics(), metrics()], limit=10)
    assert said.name == "converged"
    assert "significance 0.004 is below 0.01" in said.reason


def test_the_first_iteration_with_wide_cuts_does_not_count() -> None:
    """An iteration without the final residual cut never counts as converged."""
    assert judge(RULES, [metrics(residual_max_final=False), metrics()], limit=10).name == "go_on"


@pytest.mark.parametrize(
    ("change", "criterion"),
    [
        ({"hits": {"modules": {"000": [80, 20], "001": [9000, 0]}}}, "module_cut"),
        ({"hits": {"modules": {f"{m:03d}": [960, 40] for m in range(8)}}}, "detector_cut"),
        ({"steps": [{"free_parameters": 66, "entries_fixed": [10011]}]}, "entries"),
        ({"significance": 0.02, "effect_um": 0.6}, "significance"),
        ({"significance": None, "effect_um": None}, "effect"),
    ],
)
def test_what_forbids_convergence(change: dict[str, Any], criterion: str) -> None:
    """Cut hits, parameters without entries and numbers above their thresholds each forbid convergence by name."""
    said = judge(RULES, [MOVING, metrics(), metrics(**change)], limit=10)
    assert said.name == "go_on"
    assert criterion in [c.name for c in said.criteria if not c.passed]


def test_a_module_that_is_not_free_may_lose_its_hits() -> None:
    """Only modules that the steps may move are held to the share of cut hits."""
    cut = metrics(hits={"modules": {"100": [80, 20], "001": [9000, 0]}}, free_modules=["001"])
    assert judge(RULES, [MOVING, cut, cut], limit=10).name == "converged"


def test_a_changed_set_of_files_never_counts() -> None:
    """The iteration in which a file was lost does not count towards patience."""
    lost = metrics(files={"expected": 6, "used": 5, "lost": [417]})
    assert judge(RULES, [metrics(), lost], limit=10).name == "go_on"
    assert judge(RULES, [metrics(), lost, lost], limit=10).name == "go_on"
    assert judge(RULES, [metrics(), lost, lost, lost], limit=10).name == "converged"


def test_rules_can_be_required_together() -> None:
    """With require = all every rule has to pass."""
    one = metrics(effect_um=0.8)
    assert judge(RULES, [one, one], limit=10).name == "converged"
    assert judge(RULES._replace(require="all"), [one, one], limit=10).name == "go_on"


@pytest.mark.parametrize(("rule", "change"), [("absolute", {"corrections": {}}), ("relative", {"relative": 0.1})])
def test_the_other_rules(rule: str, change: dict[str, Any]) -> None:
    """The rules absolute and relative pass on small corrections and not otherwise."""
    rules = RULES._replace(rules=(rule,), patience=1)
    assert judge(rules, [metrics()], limit=10).name == "converged"
    assert judge(rules, [metrics(**change)], limit=10).name == "go_on"


def test_the_last_iteration_is_a_limit() -> None:
    """A campaign whose iterations are used up has not converged."""
    said = judge(RULES, [MOVING, MOVING, MOVING], limit=3)
    assert said.name == "limit"
    assert "significance" in said.reason


def test_starved_by_few_tracks() -> None:
    """Too few tracks per parameter, or a fifth lost since the best iteration, is starved, before all else."""
    few = metrics(tracks={"used": 1000})
    assert judge(RULES, [few], limit=10).name == "starved"
    assert judge(RULES, [metrics(), metrics(tracks={"used": 14000})], limit=10).name == "starved"


def test_diverged_needs_two_bad_iterations_running() -> None:
    """One iteration with a larger chi2/ndf is no divergence, two are; not-a-number is one at once."""
    worse = metrics(significance=5.0, effect_um=9.0, chi2_per_ndf=1.3)
    assert judge(RULES, [MOVING, worse], limit=10).name == "go_on"
    assert judge(RULES, [MOVING, worse, worse], limit=10).name == "diverged"
    assert judge(RULES, [MOVING, metrics(nan=True, significance=None, effect_um=None)], limit=10).name == "diverged"
    assert (
        judge(RULES, [MOVING, metrics(chi2_per_ndf=None, significance=9.0, effect_um=9.0)], limit=10).name == "diverged"
    )


def test_stalled_when_neither_number_falls() -> None:
    """Four iterations without a better effect or chi2/ndf, and without convergence, are a stall."""
    assert judge(RULES, [MOVING] * 4, limit=10).name == "go_on"
    assert judge(RULES, [MOVING] * 5, limit=10).name == "stalled"
    falling = [metrics(significance=5.0, effect_um=9.0 * 0.8**i, chi2_per_ndf=1.2) for i in range(5)]
    assert judge(RULES, falling, limit=10).name == "go_on"


def test_the_reason_names_what_really_forbids_convergence() -> None:
    """A rule that another one makes up for is not the reason; a condition that is broken is, in a stall, too."""
    one = metrics(significance=0.03)
    assert (
        judge(RULES, [MOVING, one], limit=10).reason
        == "effect 0.1 um is below 0.5 um, but not yet in 2 iterations running"
    )
    both = judge(RULES, [MOVING], limit=10).reason
    assert both == "significance 5 is not below 0.01 and effect 9 um is not below 0.5 um"
    assert judge(RULES._replace(require="all"), [one], limit=10).reason == "significance 0.03 is not below 0.01"
    assert "but 5 iterations at least" in judge(RULES._replace(min_iterations=5), [one, one], limit=10).reason
    cut = metrics(hits={"modules": {"017": [85, 15], "001": [9000, 0]}})
    why = "module 017 has 15.0% of its hits cut by residual (limit 10%)"
    assert judge(RULES, [MOVING, cut], limit=10).reason == why
    assert judge(RULES, [MOVING, cut], limit=2).reason == f"iteration 2 of 2 was the last: {why}"
    stalled = judge(RULES, [cut] * 5, limit=10)
    assert stalled.name == "stalled"
    assert stalled.reason.endswith(why)


def test_thresholds_come_from_the_configuration() -> None:
    """The keys of the configuration are the rules' names."""
    assert Rules.from_config({"rules": ["effect"], "patience": 3, "comment": "no rule"}) == RULES._replace(
        rules=("effect",), patience=3
    )


def test_no_metrics_is_a_programming_error() -> None:
    """A verdict needs at least one iteration."""
    with pytest.raises(ValueError, match="at least one"):
        judge(RULES, [], limit=3)
