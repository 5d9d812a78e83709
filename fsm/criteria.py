"""Evaluate the criteria of an iteration, each with its value, its threshold and a sentence.

Pure functions of the thresholds and of the metrics of the stage's iterations, the last of which is in question.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faser_align.fsm import criteria_hits
from faser_align.fsm.criteria_files import between_files
from faser_align.fsm.extrapolation import remaining, rise, wider
from faser_align.fsm.plural import count, in_percent, shift
from faser_align.fsm.rules import NAMES, Criterion, Rules, digits, number

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics


def rules_asked(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the convergence rules that the configuration names, each with its value."""
    found = []
    for name in rules.rules:
        if name == "absolute":
            found += _absolute(rules, metrics)
            continue
        key, threshold, unit = {
            "delta_chi2_per_parameter": ("significance", rules.delta_chi2_per_parameter_max, ""),
            "residual_shift": ("effect_um", rules.residual_shift_um_max, " um"),
            "relative": ("relative", rules.relative_max, ""),
        }[name]
        value = number(metrics, key)  # by the deprecated name, which the metrics of every version have
        passed = value is not None and value < threshold
        form = shift if name == "residual_shift" else digits
        shown = "unknown" if value is None else f"{form(value)}{unit}"
        text = f"{NAMES.get(name, name)} {shown} is {'below' if passed else 'not below'} {threshold:g}{unit}"
        found.append(Criterion(name, value, threshold, passed, text))
    return found


def _absolute(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criterion on the largest correction of each unit, each with its own limit."""
    texts, passed = [], True
    for unit, threshold in (("um", rules.absolute_um_max), ("urad", rules.absolute_urad_max)):
        found = [number(c, "largest") for c in metrics.get("corrections", {}).values() if c.get("unit") == unit]
        sizes = [abs(size) for size in found if size is not None]
        if len(sizes) < len(found):
            passed = False
            texts.append(f"a correction in {unit} is not finite")
        elif sizes:
            passed = passed and max(sizes) < threshold
            texts.append(f"largest correction {digits(max(sizes))} {unit} (limit {threshold:g} {unit})")
    passed = passed and bool(texts)
    return [Criterion("absolute", None, None, passed, ", ".join(texts) or "no correction is known")]


def conditions(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the conditions that a converged iteration must meet besides the rules."""
    metrics, chi2 = history[-1], number(history[-1], "chi2_per_ndf")
    final = bool(metrics.get("residual_max_final", True))
    cuts = "the final residual cut is in force" if final else "the residual cut is not yet the final one"
    if metrics.get("converted_again"):
        cuts = "the residual cut was ten times the configured one, because the solver rejected too many tracks"
    finite = not metrics.get("nan") and chi2 is not None
    numbers = "all numbers are finite" if finite else "a correction or chi2/ndf is not finite"
    changed = len(history) > 1 and _lost(history[-2]) != _lost(metrics)
    files = f"the set of files {'changed' if changed else 'is unchanged'}"
    return [
        Criterion("final_cuts", number(metrics, "residual_max_mm"), None, final, cuts),
        Criterion("numbers", chi2, None, finite, numbers),
        *criteria_hits.cuts(rules, history),
        *_approach(rules, history),
        criteria_hits.entries(metrics),
        *_freed_earlier(rules, metrics),
        *_weak_drift(rules, metrics),
        Criterion("same_files", None, None, not changed, files),
        *between_files(rules, metrics),
    ]


def _freed_earlier(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criterion on what earlier stages aligned and the last holds fixed; none if the last frees it all."""
    gains = {name: number(gain, "significance") for name, gain in (metrics.get("freed_earlier") or {}).items()}
    known = {name: gain for name, gain in gains.items() if gain is not None and name != "all"}
    if not known:
        return []
    worst = max(known, key=lambda name: known[name])
    # By chance it is chi2/ndf, which is 1 if hits scatter as their errors say.
    gain = known[worst] / (number(metrics, "error_scale", "scatter") or 1.0) ** 2
    passed = gain <= rules.held_fixed_max
    text = (
        f"freeing {worst} again, which an earlier stage aligned, would decrease chi2 by {digits(gain)} per "
        f"parameter (limit {rules.held_fixed_max:g})"
    )
    if not passed:
        text += '; repeat the stages (campaign.repeat), or end with one that frees all: fix = ["frame", "rx", "ry"]'
    return [Criterion("freed_earlier", gain, rules.held_fixed_max, passed, text)]


_HOLD = (
    ". The tracks do not determine it; start again from the first constants with steps that hold it "
    '(fix = ["frame", "rx", "ry"], or freeze_sigma = 2)'
)


def _weak_drift(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criterion on the drift along weak modes since the start of the campaign; none if it is unknown."""
    modes = metrics.get("weak_modes", {})
    drift = number(modes, "drift_sigma")
    if drift is None:
        return []
    limit, passed = rules.weak_drift_sigma_max, drift <= rules.weak_drift_sigma_max
    text = "the stage has no weak mode"
    if modes.get("weak"):
        worst = modes["modes"][0]
        where = f"{'layer' if len(worst['where']) == 2 else 'module'} {worst['where']}"
        text = (
            f"the constants have moved by {digits(drift)} standard deviations of the survey (limit {limit:g}) along the weak "
            f"mode {worst['name']} since the start of the campaign, {where} most, by {digits(worst['drift_um'])} um"
        )
    if not passed:
        text += _HOLD
    return [Criterion("weak_drift", drift, limit, passed, text)]


def _approach(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the criteria on the extrapolated remaining correction and the rise of chi2/ndf; none if they are unknown."""
    metrics = history[-1]
    more = remaining(history)
    if more is None:
        return []
    passed = more.sigma <= rules.remaining_sigma_max and more.effect_um <= rules.residual_shift_um_max
    sizes = f"{digits(more.sigma, 2)} standard deviations, {shift(more.effect_um)} um"
    text = f"the extrapolated remaining correction is {sizes}"
    limits = f" (limits {rules.remaining_sigma_max:g} and {rules.residual_shift_um_max:g} um)"
    who = "" if passed else _moves_most(history)
    found = [Criterion("remaining", more.sigma, rules.remaining_sigma_max, passed, text + limits + who)]
    above = rise(history)
    if above is not None:
        # Outliers raise chi2/ndf and its fluctuations alike.
        limit = rules.chi2_rise_max * max(1.0, number(metrics, "chi2_per_ndf") or 1.0)
        text = f"chi2/ndf is {f'{above:.2g} above' if above else 'at'} the stage's best (limit {digits(limit, 2)})"
        passed = above <= limit
        if not passed and (width := wider(history)) is not None and width <= rules.chi2_rise_max:
            # Tracks with outliers entered the selection; the other tracks do not have larger residuals.
            passed, text = True, f"{text}; outliers alone raise it, because residuals are not wider"
        found.append(Criterion("chi2_rise", above, limit, passed, text))
    return found


def _moves_most(history: Sequence["Metrics"]) -> str:
    """Return the module with the largest correction in units of its error, and how far it was off at the start."""
    pulls = {key: pull for key, pull in history[-1].get("module_pulls", {}).items() if pull is not None}
    if not pulls:
        return ""
    worst = max(pulls, key=lambda key: pulls[key])
    return f"; module {worst} moves most, by {digits(pulls[worst], 2)} times its error{criteria_hits.started_off(history, worst)}"


def tracks(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the criteria on the number of tracks: against the stage's best iteration, and per free parameter."""
    records = number(history[-1], "tracks", "used") or 0.0
    best = max(_tracks_of_as_many_files(m, history[-1]) for m in history)
    least = rules.starved_fraction * best
    left = records >= least
    of = ", which as many files had," if _lost(history[0]) != _lost(history[-1]) else ""
    text = (
        f"{'' if left else 'only '}{records:,.0f} of {best:,.0f} tracks{of} are left "
        f"(minimum {in_percent(rules.starved_fraction)})"
    )
    free = max((step.get("free_parameters") or 0 for step in history[-1].get("steps", ())), default=0)
    needed = rules.starved_per_parameter * free
    enough = records >= needed
    amount = "enough" if enough else "too few"
    per = f"{count(free, 'free parameter')} (minimum {rules.starved_per_parameter:g} per parameter)"
    return [
        Criterion("tracks_left", records, least, left, text),
        Criterion("tracks_per_parameter", records, needed, enough, f"{records:,.0f} tracks are {amount} for {per}"),
    ]


def _tracks_of_as_many_files(metrics: "Metrics", last: "Metrics") -> float:
    """Return the tracks of an iteration, scaled to the files of the last: `min_files` decides about dropped files."""
    used, now = (number(one, "files", "used") for one in (metrics, last))
    scale = min(now / used, 1.0) if used and now else 1.0
    return (number(metrics, "tracks", "used") or 0.0) * scale


def bounded(rules: Rules, history: Sequence["Metrics"]) -> Criterion:
    """Return the criterion on divergence: values are finite, and chi2/ndf is not far above its best twice in succession."""
    values = [number(m, "chi2_per_ndf") for m in history]
    known = [value for value in values if value is not None]
    above = rules.diverged_factor * min(known, default=math.inf)
    text = f"chi2/ndf is not above {rules.diverged_factor:g} x its best in 2 consecutive iterations"
    if history[-1].get("nan"):
        text = "a correction is not finite"
    elif values[-1] is None:
        text = "chi2/ndf of the reconstruction is not finite"
    elif None not in values[-2:] and len(known) >= 3 and known[-1] > above and known[-2] > above:
        shown = f"chi2/ndf {known[-2]:.4g} and {known[-1]:.4g} are above {rules.diverged_factor:g} x its best"
        text = f"{shown} {min(known):.4g}"
    else:
        return Criterion("not_diverging", values[-1], above, True, text)
    return Criterion("not_diverging", values[-1], above if known else None, False, text)


def progress(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the criterion on progress of the smallest residual shift or the best chi2/ndf; none in the first iterations."""
    span = rules.stalled_iterations
    if len(history) <= span:
        return []
    shifts, chi2s = (
        [math.inf if (value := number(m, key)) is None else value for m in history]
        for key in ("effect_um", "chi2_per_ndf")
    )
    shift_before, shift_now = min(shifts[:-span]), min(shifts)
    chi2_before, chi2_now = min(chi2s[:-span]), min(chi2s)
    limit = (1 - rules.stalled_residual_shift) * shift_before
    passed = shift_now <= limit or chi2_now <= chi2_before - rules.stalled_chi2
    shifted, chi2 = f"stayed at {shift(shift_now)} um", f"at {chi2_now:.4g}"
    if passed:
        shifted, chi2 = (
            f"went from {shift(shift_before)} to {shift(shift_now)} um",
            f"from {chi2_before:.4g} to {chi2_now:.4g}",
        )
    text = f"in {span} iterations the smallest residual shift {shifted} and the best chi2/ndf {chi2}"
    value, threshold = (size if math.isfinite(size) else None for size in (shift_now, limit))
    return [Criterion("progress", value, threshold, passed, text)]


def _lost(metrics: "Metrics") -> tuple[int, ...]:
    return tuple(sorted(metrics.get("files", {}).get("lost", ())))
