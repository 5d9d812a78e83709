"""Evaluate the criteria of an iteration, each with its value, its threshold and a sentence.

Pure functions of the thresholds and of the metrics of the stage's iterations, the last of which is in question.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from faser_align.fsm import renamed
from faser_align.fsm.extrapolation import remaining, rise, wider
from faser_align.fsm.plural import count

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Difference, Metrics


class Rules(NamedTuple):
    """Thresholds of a verdict; the names and defaults are those of ``[convergence]``."""

    rules: tuple[str, ...] = ("delta_chi2_per_parameter", "residual_shift")
    require: str = "any"
    delta_chi2_per_parameter_max: float = 0.01
    residual_shift_um_max: float = 0.5
    absolute_um_max: float = 1.0
    absolute_urad_max: float = 10.0
    relative_max: float = 0.001
    patience: int = 2
    min_iterations: int = 1
    module_cut_max: float = 0.10
    detector_cut_max: float = 0.30
    diverged_factor: float = 1.05
    stalled_iterations: int = 4
    stalled_residual_shift: float = 0.10
    stalled_chi2: float = 0.001
    starved_fraction: float = 0.80
    starved_per_parameter: float = 20.0
    remaining_sigma_max: float = 0.2
    chi2_rise_max: float = 0.003
    held_fixed_max: float = 5.0
    files_agree_sigma_max: float = 3.0
    duplicates_max: float = 0.10
    weak_drift_sigma_max: float = 5.0

    @classmethod
    def from_config(cls, convergence: Mapping[str, Any]) -> "Rules":
        """Return the thresholds of ``[convergence]``, old names of keys included; missing keys have their defaults."""
        known: dict[str, Any] = {k: v for k, v in renamed.convergence(dict(convergence)).items() if k in cls._fields}
        if "rules" in known:
            known["rules"] = tuple(known["rules"])
        return cls(**known)


def limits(convergence: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits of the rules of ``[convergence]`` by metric, for plots; empty without the table.

    The metrics are ``significance`` and ``effect_um``, as they are stored, and ``relative``; ``largest_um`` and
    ``largest_urad`` are the largest correction of each unit. A metric without a rule has no limit.
    """
    if not convergence:
        return {}
    rules = Rules.from_config(convergence)
    known = {
        "delta_chi2_per_parameter": {"significance": rules.delta_chi2_per_parameter_max},
        "residual_shift": {"effect_um": rules.residual_shift_um_max},
        "relative": {"relative": rules.relative_max},
        "absolute": {"largest_um": rules.absolute_um_max, "largest_urad": rules.absolute_urad_max},
    }
    return {number: limit for rule in rules.rules for number, limit in known[rule].items()}


DIFFERENCE_MIN_UM = 2.0  # differences of mean residuals between files that matter

_KEEP = "; a larger first value of mille.residual_max keeps its hits"
MODULE_HITS_MIN = 25  # as solver.entries: with fewer hits, the cut is not the reason
FAR_UM = 200.0  # correction of a module that was not where the first constants had it

# The rules in sentences.
NAMES = {
    "delta_chi2_per_parameter": "expected delta chi2 per parameter",
    "residual_shift": "expected residual shift",
}


class Criterion(NamedTuple):
    """One question that a verdict asks of an iteration, with its answer."""

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    text: str


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
        value = _number(metrics, key)  # by the deprecated name, which the metrics of every version have
        passed = value is not None and value < threshold
        shown = "unknown" if value is None else f"{_digits(value, 3)}{unit}"
        text = f"{NAMES.get(name, name)} {shown} is {'below' if passed else 'not below'} {threshold:g}{unit}"
        found.append(Criterion(name, value, threshold, passed, text))
    return found


def _absolute(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criterion on the largest correction of each unit, each with its own limit."""
    texts, passed = [], True
    for unit, threshold in (("um", rules.absolute_um_max), ("urad", rules.absolute_urad_max)):
        found = [_number(c, "largest") for c in metrics.get("corrections", {}).values() if c.get("unit") == unit]
        sizes = [abs(size) for size in found if size is not None]
        if len(sizes) < len(found):
            passed = False
            texts.append(f"a correction in {unit} is not finite")
        elif sizes:
            passed = passed and max(sizes) < threshold
            texts.append(f"largest correction {_digits(max(sizes), 3)} {unit} (limit {threshold:g} {unit})")
    passed = passed and bool(texts)
    return [Criterion("absolute", None, None, passed, ", ".join(texts) or "no correction is known")]


def conditions(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the conditions that a converged iteration must meet besides the rules."""
    metrics = history[-1]
    final_cuts = bool(metrics.get("residual_max_final", True))
    found = [
        Criterion(
            "final_cuts",
            _number(metrics, "residual_max_mm"),
            None,
            final_cuts,
            _final_cuts(metrics, final=final_cuts),
        )
    ]
    numbers = not metrics.get("nan") and _number(metrics, "chi2_per_ndf") is not None
    text = "all numbers are finite" if numbers else "a correction or chi2/ndf is not finite"
    found.append(Criterion("numbers", _number(metrics, "chi2_per_ndf"), None, numbers, text))
    found += [_module_cuts(rules, history), _detector_cuts(rules, metrics), *_approach(rules, history)]
    found += [_entries(rules, metrics), *_freed_earlier(rules, metrics), *_weak_drift(rules, metrics)]
    changed = len(history) > 1 and _lost(history[-2]) != _lost(metrics)
    found.append(
        Criterion(
            "same_files",
            None,
            None,
            not changed,
            "the set of files changed" if changed else "the set of files is unchanged",
        )
    )
    return [*found, *between_files(rules, metrics)]


def unalterable(rules: Rules, metrics: "Metrics") -> str:
    """Return the failed criteria on files that further iterations cannot change, as a sentence; empty if there are none.

    Two files have the same tracks whatever the constants. A difference may come from misalignment, if tracks of the files
    cross other modules, but not when cuts are final and the correction is smaller than the differences that count.
    """
    shift = _number(metrics, "effect_um")
    aligned = metrics.get("residual_max_final", True) and shift is not None and shift < DIFFERENCE_MIN_UM
    failed = [found for found in between_files(rules, metrics) if not found.passed]
    return "; ".join(found.text for found in failed if found.name == "duplicates" or aligned)


def between_files(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criteria on differences between files and on tracks in two of them; none if they are unknown."""
    files = metrics.get("files", {})
    found = []
    worst = files.get("agreement", {}).get("worst")
    if worst:
        limit = rules.files_agree_sigma_max
        passed = worst["sigma"] <= limit
        text = _difference(worst, limit) + ("" if passed else _APART[worst["kind"]])
        found.append(Criterion("files_agree", worst["sigma"], limit, passed, text))
    if "share" in (shared := files.get("duplicates", {})):
        share, pairs = shared["share"], shared["pairs"]
        passed = share <= rules.duplicates_max
        text = f"at most {share:.0%} of a file's tracks are in another file (limit {rules.duplicates_max:.0%})"
        if not passed:
            text = _duplicated([pair for pair in pairs if float(pair[2]) > rules.duplicates_max])
        found.append(Criterion("duplicates", share, rules.duplicates_max, passed, text))
    return found


_BECAUSE = ". Something moved, or files are of another run or condition; "
_APART = {
    "step": f"{_BECAUSE}align the files before it and those from it on apart (`submit --from NAME -f FILES`)",
    "file": f"{_BECAUSE}leave it out, or align it apart (`submit --from NAME -f FILES`)",
    "spread": f"{_BECAUSE}align files of each condition apart (`submit --from NAME -f FILES`)",
}


def _difference(worst: "Difference", limit: float) -> str:
    """Return the largest difference between files in words."""
    where = {
        "step": f"from file {worst['file']} on",
        "file": f"in file {worst['file']} against the others",
        "spread": f"most in file {worst['file']}",
    }[worst["kind"]]
    of = " of all modules together" if worst["together"] else ""
    size = f"module {worst['module']}, side {worst['side']} by {worst['deviation_um']:+.1f} um {where}"
    return f"mean residuals{of} differ between files by {worst['sigma']:.1f} sigma (limit {limit:g}): {size}"


def _duplicated(pairs: "Sequence[Sequence[str | float]]") -> str:
    """Return which files have the same tracks, and what to do."""
    named = [
        f"{float(share):.0%} of the tracks of file {file} are "
        + ("in it twice" if file == of else f"also in file {of}")
        for file, of, share in pairs
    ]
    what = f"{'; '.join(named)}: they count twice, and errors are too small"
    return (
        f"{what}; leave out one file of each pair (`submit -f FILES`), or reconstruct a file that has its tracks twice"
    )


def _final_cuts(metrics: "Metrics", *, final: bool) -> str:
    if metrics.get("converted_again"):
        return "the residual cut was ten times the configured one, because the solver rejected too many tracks"
    return "the final residual cut is in force" if final else "the residual cut is not yet the final one"


def _entries(rules: Rules, metrics: "Metrics") -> Criterion:
    """Return the criterion on parameters that should be free and have too few measurements.

    They forbid convergence only where the cut on residuals took the hits, or the cut on chi2 the tracks. An element without
    hits to cut, dead or at the edge of the beam, keeps its constants and is named.
    """
    steps = metrics.get("steps", ())
    names = [name for step in steps for name in step.get("entries_fixed_names") or step.get("entries_fixed", ())]
    where = {key for step in steps for key in step.get("entries_fixed_in", ())}
    known = all("entries_fixed_in" in step for step in steps)
    # Modules with too few entries are not free.
    modules = {
        key: hits for key, hits in metrics.get("hits", {}).get("modules", {}).items() if key.startswith(tuple(where))
    }
    cut_off = sorted(key for key, (kept, cut) in modules.items() if cut > kept and kept + cut >= MODULE_HITS_MIN)
    far = sorted(
        key
        for key, hits in metrics.get("hits", {}).get("of_cut_tracks", {}).items()
        if key.startswith(tuple(where)) and hits > sum(modules.get(key, (0, 0))) and hits >= MODULE_HITS_MIN
    )
    passed = not names or (known and not cut_off and not far)
    shown = "; ".join(str(name) for name in names[:5]) + ("; ..." if len(names) > 5 else "")
    text = "no free parameter had too few entries"
    if names:
        text = f"{count(len(names), 'parameter')} had too few entries to be free ({shown})"
        text += "; without hits to cut, their values stay" if passed else ""
        if cut_off:
            text += f", because the residual cut took the hits of module {', '.join(cut_off[:3])}{_KEEP}"
        elif far:
            text += (
                f", because tracks through module {', '.join(far[:3])} are cut by their chi2: it is far from where its "
            )
            text += "constants say; larger mille.chi2_max and first value of mille.residual_max keep them"
    return Criterion("entries", float(len(names)), None if passed else 0.0, passed, text)


def _freed_earlier(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criterion on what earlier stages aligned and the last holds fixed; none if the last frees it all."""
    gains = {name: _number(gain, "significance") for name, gain in (metrics.get("freed_earlier") or {}).items()}
    known = {name: gain for name, gain in gains.items() if gain is not None and name != "all"}
    if not known:
        return []
    worst = max(known, key=lambda name: known[name])
    # By chance it is chi2/ndf, which is 1 if hits scatter as their errors say.
    gain = known[worst] / (_number(metrics, "error_scale", "scatter") or 1.0) ** 2
    passed = gain <= rules.held_fixed_max
    text = (
        f"freeing {worst} again, which an earlier stage aligned, would gain delta chi2 {_digits(gain, 3)} per "
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
    drift = _number(modes, "drift_sigma")
    if drift is None:
        return []
    limit, passed = rules.weak_drift_sigma_max, drift <= rules.weak_drift_sigma_max
    text = "no direction is so weak that the survey knows much more than the tracks"
    if modes.get("weak"):
        worst = modes["modes"][0]
        moved = f"{worst['where']} by {_digits(worst['drift_um'], 3)} um"
        text = (
            f"the constants have moved by {_digits(drift, 3)} standard deviations of the survey (limit {limit:g}) along the weak "
            f"mode {worst['name']} since the start of the campaign, most {moved}"
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
    sizes = f"{_digits(more.sigma, 2)} standard deviations ({_digits(more.effect_um, 2)} um)"
    text = f"the extrapolated remaining correction is {sizes}"
    limits = f" (limits {rules.remaining_sigma_max:g} and {rules.residual_shift_um_max:g} um)"
    who = "" if passed else _moves_most(history)
    found = [Criterion("remaining", more.sigma, rules.remaining_sigma_max, passed, text + limits + who)]
    above = rise(history)
    if above is not None:
        # Outliers raise chi2/ndf and its fluctuations alike.
        limit = rules.chi2_rise_max * max(1.0, _number(metrics, "chi2_per_ndf") or 1.0)
        text = f"chi2/ndf is {above:.2g} above the stage's best (limit {_digits(limit, 2)})"
        passed = above <= limit
        if not passed and (width := wider(history)) is not None and width <= rules.chi2_rise_max:
            # Tracks with outliers entered the selection: those of the others do not have larger residuals.
            passed, text = True, f"{text}; outliers alone raise it, because residuals are not wider"
        found.append(Criterion("chi2_rise", above, limit, passed, text))
    return found


def _moves_most(history: Sequence["Metrics"]) -> str:
    """Return the module with the largest correction in units of its error, and how far it was off at the start."""
    pulls = {key: pull for key, pull in history[-1].get("module_pulls", {}).items() if pull is not None}
    if not pulls:
        return ""
    worst = max(pulls, key=lambda key: pulls[key])
    return f"; module {worst} moves most, by {_digits(pulls[worst], 2)} times its error{_started_off(history, worst)}"


def _started_off(history: Sequence["Metrics"], module: str) -> str:
    """Return how far a module has moved across its strips where it moved most of all; empty below ``FAR_UM``."""
    found = [metrics.get("corrections", {}).get("module.x") for metrics in history]
    moved = sum(one.get("largest") or 0.0 for one in found if one and one.get("where") == module)
    return f", and started about {abs(moved) / 1000:.2f} mm off" if abs(moved) > FAR_UM else ""


def _cut_shares(metrics: "Metrics") -> dict[str, float]:
    """Return the share of hits that the residual cut removes in each free module, less that in the median module.

    Outliers and noise cost every module the same share. A module that loses more is not where its constants say.
    """
    modules = metrics.get("hits", {}).get("modules", {})
    shares = {key: cut / (kept + cut) for key, (kept, cut) in modules.items() if kept + cut > 0}
    usual = _median(shares.values())
    free = metrics.get("free_modules")
    return {key: share - usual for key, share in shares.items() if free is None or key in free}


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0.0


def _module_cuts(rules: Rules, history: Sequence["Metrics"]) -> Criterion:
    metrics = history[-1]
    more = _cut_shares(metrics)
    worst = max(more, key=lambda key: more[key], default="")
    share = max(more.get(worst, 0.0), 0.0)
    text = "no module has more of its hits cut by residual than the median module"
    if share > 0:
        kept, cut = metrics["hits"]["modules"][worst]
        text = f"module {worst} has {cut / (kept + cut):.1%} of its hits cut by residual, {share:.1%} more than the median "
        text += f"module (limit {rules.module_cut_max:.0%})"
    if share > rules.module_cut_max:
        off = _started_off(history, worst)
        text += f"{off}{_KEEP}" if off else ": it is not where its constants say, or has noisy strips"
    return Criterion("module_cut", share, rules.module_cut_max, share <= rules.module_cut_max, text)


def _detector_cuts(rules: Rules, metrics: "Metrics") -> Criterion:
    modules = metrics.get("hits", {}).get("modules", {}).values()
    kept, cut = sum(m[0] for m in modules), sum(m[1] for m in modules)
    share = cut / (kept + cut) if kept + cut else 0.0
    passed = share <= rules.detector_cut_max
    text = f"{share:.2%} of all hits are cut by residual (limit {rules.detector_cut_max:.0%})"
    return Criterion("detector_cut", share, rules.detector_cut_max, passed, text)


def tracks(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the criteria on the number of tracks: against the stage's best iteration, and per free parameter."""
    records = _number(history[-1], "tracks", "used") or 0.0
    best = max(_tracks_of_as_many_files(m, history[-1]) for m in history)
    left = records >= rules.starved_fraction * best
    share = f"{rules.starved_fraction:.0%}"
    of = f"{best:.0f}" + (", which as many files had" if _lost(history[0]) != _lost(history[-1]) else "")
    text = f"{records:.0f} tracks are left of {of}, at least {share}"
    if not left:
        text = f"only {records:.0f} tracks are left of {of}, below {share}"
    free = max((step.get("free_parameters") or 0 for step in history[-1].get("steps", ())), default=0)
    enough = records >= rules.starved_per_parameter * free
    per = f"{count(free, 'free parameter')} (minimum {rules.starved_per_parameter:g} per parameter)"
    return [
        Criterion("tracks_left", records, rules.starved_fraction * best, left, text),
        Criterion(
            "tracks_per_parameter",
            records,
            rules.starved_per_parameter * free,
            enough,
            f"{records:.0f} tracks are {'enough' if enough else 'too few'} for {per}",
        ),
    ]


def _tracks_of_as_many_files(metrics: "Metrics", last: "Metrics") -> float:
    """Return the tracks of an iteration, scaled to the files of the last: `min_files` decides about dropped files."""
    used, now = (_number(one, "files", "used") for one in (metrics, last))
    scale = min(now / used, 1.0) if used and now else 1.0
    return (_number(metrics, "tracks", "used") or 0.0) * scale


def bounded(rules: Rules, history: Sequence["Metrics"]) -> Criterion:
    """Return the criterion on divergence: values are finite, and chi2/ndf is not far above its best twice in succession."""
    values = [_number(m, "chi2_per_ndf") for m in history]
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
    shifts = [_or_inf(_number(m, "effect_um")) for m in history]
    chi2s = [_or_inf(_number(m, "chi2_per_ndf")) for m in history]
    shift_before, shift_now = min(shifts[:-span]), min(shifts)
    chi2_before, chi2_now = min(chi2s[:-span]), min(chi2s)
    fell = shift_now <= (1 - rules.stalled_residual_shift) * shift_before
    passed = fell or chi2_now <= chi2_before - rules.stalled_chi2
    text = (
        f"in {span} iterations the smallest residual shift went from {shift_before:.3g} to {shift_now:.3g} um "
        f"and the best chi2/ndf from {chi2_before:.4g} to {chi2_now:.4g}"
        if passed
        else f"in {span} iterations the smallest residual shift stayed at {shift_now:.3g} um "
        f"and the best chi2/ndf at {chi2_now:.4g}"
    )
    return [
        Criterion(
            "progress", _finite(shift_now), _finite((1 - rules.stalled_residual_shift) * shift_before), passed, text
        )
    ]


def _number(metrics: Mapping[str, object], *path: str) -> float | None:
    """Return the finite number at ``path``, or None without one."""
    value: Any = metrics
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _digits(value: float, digits: int) -> str:
    """Return a number with significant ``digits``; below a million without an exponent: 1352 and not 1.35e+03."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _lost(metrics: "Metrics") -> tuple[int, ...]:
    return tuple(sorted(metrics.get("files", {}).get("lost", ())))
