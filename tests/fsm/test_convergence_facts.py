"""Judge recorded campaigns of 20,000 simulated tracks: one quantity alone is not enough for a decision.

``tests/data/histories`` has the metrics of campaigns of ``benchmarks/convergence.py`` with misaligned modules of the IFT.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from faser_align.fsm.rules import Rules
from faser_align.fsm.verdict import judge

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
