"""Decide on an iteration: has the alignment converged?

Pure: a function of the configuration's ``[convergence]`` and of the metrics of the stage's iterations, so that it does not
depend on the database. The first of these that applies is the decision: starved, converged, diverged, stalled, limit. If
none applies, the campaign continues.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from faser_align.fsm import criteria
from faser_align.fsm.criteria_files import unalterable
from faser_align.fsm.rules import Criterion, Rules

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics


class Verdict(NamedTuple):
    """The decision on an iteration: one of ``table.VERDICTS``, a sentence, and the numbers."""

    name: str
    reason: str
    criteria: tuple[Criterion, ...]


def judge(rules: Rules, history: Sequence["Metrics"], *, limit: int) -> Verdict:
    """Judge the last of a stage's iterations.

    ``history`` has the metrics of iterations 1 to i of the stage, in order; ``limit`` is the number that it may have.

    Returns:
        The decision on iteration i, with every criterion that the configuration requires or that may end the stage.
    """
    if not history:
        raise ValueError("a verdict needs the metrics of at least one iteration")
    asked = tuple(_criteria(rules, history))
    for name, speaks in (
        ("starved", _starved),
        ("converged", _converged),
        ("diverged", _diverged),
        ("stalled", _stalled),
    ):
        reason = speaks(rules, history)
        if reason:
            return Verdict(name, reason, asked)
    missing = _missing(rules, history)
    if len(history) >= limit:
        return Verdict("limit", f"iteration {len(history)} of {limit} was the last: {missing}", asked)
    return Verdict("go_on", missing, asked)


def _starved(rules: Rules, history: Sequence["Metrics"]) -> str | None:
    return next((criterion.text for criterion in criteria.tracks(rules, history) if not criterion.passed), None)


def _converged(rules: Rules, history: Sequence["Metrics"]) -> str | None:
    patience = max(1, rules.patience)
    if len(history) < max(patience, rules.min_iterations):
        return None
    lasts = range(len(history), len(history) - patience, -1)
    return _met(rules, history[-patience:]) if all(_passes(rules, history[:last]) for last in lasts) else None


def _met(rules: Rules, running: Sequence["Metrics"]) -> str:
    """Return the rules that the iterations ``running`` have met, with the last one's values: all of them, or the last only."""
    met = [[c for c in criteria.rules_asked(rules, metrics) if c.passed] for metrics in running]
    steady = set.intersection(*({c.name for c in found} for found in met))
    all_along = " and ".join(c.text for c in met[-1] if c.name in steady)
    at_last = " and ".join(c.text for c in met[-1] if c.name not in steady)
    if len(running) == 1:
        return all_along
    if not all_along:
        return f"{at_last}; each of {len(running)} consecutive iterations met a rule"
    return f"{all_along}, in {len(running)} consecutive iterations" + (
        f"; in the last, also {at_last}" if at_last else ""
    )


def _passes(rules: Rules, history: Sequence["Metrics"]) -> bool:
    """Return whether the last iteration of ``history`` counts towards convergence."""
    asked = [criterion.passed for criterion in criteria.rules_asked(rules, history[-1])]
    enough = all(asked) if rules.require == "all" else any(asked)
    return enough and all(criterion.passed for criterion in criteria.conditions(rules, history))


def _missing(rules: Rules, history: Sequence["Metrics"]) -> str:
    """Return why the stage has not converged: a rule, a condition, or patience."""
    asked = criteria.rules_asked(rules, history[-1])
    failed = [criterion.text for criterion in asked if not criterion.passed]
    if failed and (rules.require == "all" or len(failed) == len(asked)):
        return " and ".join(failed)
    forbidden = next((c.text for c in criteria.conditions(rules, history) if not c.passed), None)
    if forbidden:
        return forbidden
    passed = " and ".join(criterion.text for criterion in asked if criterion.passed)
    if len(history) < rules.min_iterations:
        return f"{passed}, but the minimum is {rules.min_iterations} iterations"
    return f"{passed}, but not yet in {rules.patience} consecutive iterations"


def _criteria(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    stops = [*criteria.tracks(rules, history), criteria.bounded(rules, history), *criteria.progress(rules, history)]
    return [*criteria.rules_asked(rules, history[-1]), *criteria.conditions(rules, history), *stops]


def _diverged(rules: Rules, history: Sequence["Metrics"]) -> str | None:
    found = criteria.bounded(rules, history)
    if found.passed:
        return None
    # The last one names modules that lost all their hits, and with them those of their neighbours.
    causes = [
        c.text for c in criteria.conditions(rules, history) if not c.passed and c.name in ("entries", "module_cut")
    ]
    return "; ".join([found.text, *causes[-1:]])


def _stalled(rules: Rules, history: Sequence["Metrics"]) -> str | None:
    patience = max(1, rules.patience)
    files = [unalterable(rules, metrics) for metrics in history[-patience:]]
    if len(files) == patience and all(files):
        return files[-1]
    if _passes(rules, history):
        return None
    return next(
        (f"{c.text}: {_missing(rules, history)}" for c in criteria.progress(rules, history) if not c.passed), None
    )
