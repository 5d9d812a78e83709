"""Grade the constants of an iteration, independently of the decision on convergence. Pure.

Each line answers a question of an expert who must decide whether to use the constants: how precise are they, are residuals
zero on average, do they describe other data, which directions are weak, have momenta changed, were data dropped. Grades
are *good*, *look* and *bad*, by limits of ``[quality]``; ``grades.toml`` has each criterion with its source. They never change
the decision. A line whose numbers are missing, as in metrics of older versions, is left out. No constants are *good* without
a known precision and known mean residuals.
"""

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from faser_align.alignment.parameters.constants import DOFS
from faser_align.alignment.parameters.labels import LAYER_LEVER_MM, STRIP_LEVER_MM
from faser_align.alignment.quality.mode_names import kinds_of
from faser_align.alignment.quality.notes import FIELD_SIGMA_MAX, MAGNETS, field_sigma
from faser_align.campaign.data import HOLD_BACK_MIN
from faser_align.campaign.layout import raw_name
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import parse_files
from faser_align.fsm.metrics import Grade, Line, Metrics, Module, Quality
from faser_align.fsm.plural import count, first_of
from faser_align.system.formatting import in_sigma, percent, rounded, size, with_error

ACROSS_UM, ALONG_UM = 23.1, 580.0  # resolution of a hit across the strips, of a space point along them
RESOLUTIONS = {  # um, urad, by degree of freedom of modules and layers; none for rotations that hits hardly show
    "x": ACROSS_UM,
    "y": ALONG_UM,
    "rz": 1e3 * ACROSS_UM / STRIP_LEVER_MM,
    "layer x": ALONG_UM,
    "layer y": ACROSS_UM,
    "layer rz": 1e3 * ACROSS_UM / LAYER_LEVER_MM,
}
HITS_MIN = 25  # of a module whose mean residual counts
DEAD = 0.1  # ratio of a module's hits to the median of the modules at its place in the station's layers
NAMED_MAX = 5
_ESSENTIAL = ("precision", "residual_means")
GRADES: tuple[Grade, ...] = ("good", "look", "bad")
DESCRIBED: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class Limits(NamedTuple):
    """Limits of *good* and of *bad*; names and defaults are those of ``[quality]``."""

    precision: Sequence[float] = (0.1, 0.3)
    residual_mean_um: Sequence[float] = (1.0, 5.0)
    weak_drift_sigma: Sequence[float] = (1.0, 5.0)
    momentum: Sequence[float] = (0.01, 0.03)
    dropped: Sequence[float] = (0.1, 0.3)
    truth_sigma: Sequence[float] = (1.5, 3.0)

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> "Limits":
        """Take the keys of ``[quality]``; keys that a campaign of an older version lacks keep their defaults."""
        return cls(**{key: value for key, value in settings.items() if key in cls._fields})


class Subject(NamedTuple):
    """Input of the grades.

    Attributes:
        history: metrics of the campaign's iterations, oldest first; the constants are those of the last one.
        validation: metrics of the validation; None if there is none (yet).
        verdict: its decision.
        unvalidated: why the campaign has no validation; empty if it has one, or may still have one.
    """

    history: Sequence[Metrics]
    validation: Metrics | None = None
    verdict: str = ""
    unvalidated: str = ""

    @property
    def last(self) -> Metrics:
        """Metrics of the last iteration."""
        return self.history[-1]


class _Found(NamedTuple):
    """A line without its description.

    ``short`` is empty if the sentence leaves the line out; ``cases`` are those of its advice that apply.
    """

    grade: Grade
    text: str
    short: str
    values: dict[str, Any]
    cases: Sequence[str] = ()


def assess(limits: Limits, subject: Subject) -> Quality | None:
    """Return the quality block; None without a line."""
    lines = list(_lines(limits, subject))
    if not lines:
        return None
    known = {line["name"] for line in lines}
    unsure: list[Grade] = ["look"] * (not known.issuperset(_ESSENTIAL))
    return {
        "grade": _worst([*(line["grade"] for line in lines), *unsure]),
        "sentence": " ".join(f"{line['title']}{line['short']}." for line in lines if line["short"]),
        "lines": lines,
    }


def unvalidated(record: Manifest) -> str:
    """Return why a campaign has no validation; empty if it has one, or cannot have one."""
    settings = record["config"].get("validation")
    if "validation" in record or "imported" in record or "only" in record or not settings:
        return ""
    if not settings["enabled"]:
        return "validation.enabled is false"
    if settings["files"]:
        used = set(parse_files(settings["files"])).issubset(record["files"])
        return "the alignment uses all files of validation.files" if used else ""  # an iteration solved again
    if len(record["files"]) < HOLD_BACK_MIN:
        return f"fewer than {HOLD_BACK_MIN} files, and validation.files names no others"
    return "" if settings.get("hold_back") else "validation.hold_back is 0, and validation.files names no files"


def criterion(name: str, limits: Limits) -> str:
    """Return a line's criterion with its limits."""
    described = DESCRIBED[name]
    good, bad = getattr(limits, described["limits"]) if described["limits"] else (0.0, 0.0)
    text: str = described["criterion"].format(good=good, bad=bad)
    return text.replace("%", " %")


def table() -> str:
    """Return the table of ``docs/quality.md``: each line with criterion, advice and source, with default limits."""
    rows = ["| line | criterion | if it is not good | key of `[quality]` | source |", "|---|---|---|---|---|"]
    for name, described in DESCRIBED.items():
        key = f"`{described['limits']}`" if described["limits"] else ""
        advice = described["advice"]
        if not isinstance(advice, str):
            advice = "; ".join(f"{case}: {text}" for case, text in advice.items())
        cells = (described["title"], criterion(name, Limits()), advice, key, described["source"])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _lines(limits: Limits, subject: Subject) -> Iterator[Line]:
    for name, make in _MAKERS.items():
        found, described = make(limits, subject), DESCRIBED[name]
        if found is not None:
            yield {
                "name": name,
                "title": described["title"],
                "grade": found.grade,
                "text": found.text,
                "short": found.short,
                "criterion": criterion(name, limits),
                "source": described["source"],
                "advice": _advice(name, found.cases),
                "figure": described["figure"],
                "values": found.values,
            }


def _advice(name: str, cases: Sequence[str]) -> str:
    """Return what to do in these cases if a line is not good."""
    advice = DESCRIBED[name]["advice"]
    return "; ".join([advice] if isinstance(advice, str) else [advice[case] for case in cases])


def _grade(value: float, limits: Sequence[float]) -> Grade:
    good, bad = limits
    return "good" if value <= good else "look" if value <= bad else "bad"


def _worst(grades: Any) -> Grade:
    return max(grades, key=GRADES.index, default="good")


def _precision(limits: Limits, subject: Subject) -> _Found | None:
    """Return median and largest error of each degree of freedom; fixed constants have none."""
    errors, open_ = _by_dof(subject.last.get("constant_errors") or {})
    if not errors:
        return None
    values: dict[str, Any] = {}
    grades: list[Grade] = ["look"] * bool(open_)
    texts, shorts, causes = [], [], []
    good, bad = limits.precision
    for dof, of in errors.items():
        where = max(of, key=lambda key: of[key])
        middle, unit = median(of.values()), "urad" if "r" in dof.rpartition(" ")[2] else "um"
        short = dof.replace(" ", "_")
        values |= {f"{short}_median_{unit}": middle, f"{short}_largest_{unit}": of[where], f"{short}_where": where}
        if dof in RESOLUTIONS:
            share, most = middle / RESOLUTIONS[dof], of[where] / RESOLUTIONS[dof]
            grades.append("bad" if share > bad else "good" if share <= good and most <= bad else "look")
            if share > good:
                causes.append(f"{dof} {percent(share)}")
            elif most > bad:
                causes.append(f"{dof} {percent(most)} ({_element(where)})")
        shorts.append(f"{dof} +-{rounded(middle)} {unit}")
        texts.append(f"{shorts[-1]} (at most {rounded(of[where])}, {_element(where)})")
    modules, layers = (len({key for of in errors.values() for key in of if len(key) == digits}) for digits in (3, 2))
    over = " and ".join([count(modules, "module")] * bool(modules) + [count(layers, "layer")] * bool(layers))
    values["undetermined"] = open_
    more = f"; not good, relative to a hit's resolution: {', '.join(causes)}" if causes else ""
    more += f"; not determined by the data: {first_of(list(map(_element, open_)), NAMED_MAX)}" if open_ else ""
    return _Found(
        _worst(grades),
        f"{', '.join(texts)}; medians over {over}{more}",
        f": {', '.join(shorts)} (median over {over})",
        values,
    )


def _by_dof(errors: Mapping[str, Sequence[float | None]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return errors (um, urad) by degree of freedom and key, modules first, and the keys of what is not determined."""
    found: dict[str, dict[str, float]] = {}
    for length, prefix in ((3, ""), (2, "layer ")):
        for place, dof in enumerate(DOFS):
            of = {key: six[place] for key, six in errors.items() if len(key) == length and six[place]}
            if of:
                found[prefix + dof] = {key: float(error) for key, error in of.items() if error}
    return found, sorted(key for key, six in errors.items() if None in six)


def _residual_means(limits: Limits, subject: Subject) -> _Found | None:
    """Return the rms of the modules' mean residuals in the last iteration and in the first that has them."""
    last = subject.last
    now = module_means(last.get("sides") or {}, last.get("free_modules") or [])
    if not now:
        return None
    first = next((metrics for metrics in subject.history[:-1] if metrics.get("sides")), None)
    before = module_means(first["sides"], list(now)) if first else {}
    rms = _rms(mean for mean, _ in now.values())
    rms_before = _rms(mean for mean, _ in before.values()) if before else None
    where = max(now, key=lambda key: abs(now[key][0]))
    largest, error = now[where]
    grade = _grade(rms, limits.residual_mean_um)
    if rms_before is not None and rms > max(rms_before, limits.residual_mean_um[0]):
        grade = "bad"
    short = f": rms {rounded(rms)} um" + (f" (before: {rounded(rms_before)})" if rms_before is not None else "")
    shown = " +- ".join(filter(None, with_error(largest, error)))
    text = f"{short[2:]}; largest of {count(len(now), 'module')} {shown} um{in_sigma(largest, error)}, module {where}"
    values = {
        "rms_um": rms,
        "rms_before_um": rms_before,
        "largest_um": largest,
        "largest_error_um": error,
        "where": where,
        "modules": len(now),
    }
    return _Found(grade, text, short, values)


def module_means(sides: Mapping[str, Module], modules: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the mean residual (um) of each of these modules that has enough hits, with its error, from its sides."""
    means: dict[str, tuple[float, float]] = {}
    for module in modules:
        of = [sides[f"{module}{side}"] for side in "01" if f"{module}{side}" in sides]
        hits = sum(side["hits"] for side in of)
        if hits >= HITS_MIN:
            mean = sum(side["hits"] * side["mean_um"] for side in of) / hits
            means[module] = mean, math.sqrt(sum(side["hits"] * side["rms_um"] ** 2 for side in of)) / hits
    return means


def _validation(limits: Limits, subject: Subject) -> _Found | None:
    """Return chi2/ndf before and after, and which free modules became better and worse."""
    if subject.unvalidated:
        return _Found("look", f"none: {subject.unvalidated}", f": none, {subject.unvalidated}", {}, ("none",))
    groups = (subject.validation or {}).get("groups")
    if subject.validation is None or groups is None:
        return None
    if not groups:
        return _Found("look", "none: all its files were dropped", ": none, all its files were dropped", {}, ("none",))
    name = "unused" if "unused" in groups else "all"
    before, after = groups[name]["before"], groups[name]["after"]
    chi2 = [half.get("chi2_per_ndf") for half in (before, after)]
    free = subject.validation.get("free_modules") or sorted(after.get("modules") or {})
    common = [key for key in free if key in (before.get("modules") or {}) and key in (after.get("modules") or {})]
    changes = {key: _widening(before["modules"][key], after["modules"][key]) for key in common}
    worse = {key: rise for key, (rise, error) in changes.items() if rise > error}
    better = [key for key, (rise, _) in changes.items() if rise < 0]
    files = subject.validation.get("files", {})
    number = (files.get("unused") if name == "unused" else files.get("used")) or 0
    on = f" on {count(number, 'unused file' if name == 'unused' else 'used file')}"
    numbers = " -> ".join("unknown" if value is None else f"{value:.3f}" for value in chi2)
    said = f"{'all' if len(better) == len(common) else f'{len(better)} of'} {len(common)} modules better"
    if not common:
        said = "no module has hits to compare"
    named = [f"{key} by {percent(rise)}" for key, rise in sorted(worse.items(), key=lambda one: -one[1])]
    if worse or len(better) < len(common):
        said += f", {len(worse) or 'none'} worse"
    grade: Grade = "bad" if subject.verdict == "refuted" else "look" if worse else "good"
    values = {
        "files": number,
        "unused": name == "unused",
        "chi2_per_ndf_before": chi2[0],
        "chi2_per_ndf_after": chi2[1],
        "modules": len(common),
        "better": len(better),
        "worse": sorted(worse),
        "verdict": subject.verdict,
    }
    short = f"{on}: chi2/ndf {numbers}, {said}" + (f" ({subject.verdict})" if subject.verdict == "refuted" else "")
    text = f"{short[1:]}" + (f"; wider residuals: {first_of(named, NAMED_MAX)}" if worse else "")
    cases = ["refuted"] * (grade == "bad") + ["worse"] * bool(worse)
    return _Found(grade, text, short, values, cases)


def _widening(before: Module, after: Module) -> tuple[float, float]:
    """Return the relative rise of the residuals' rms about zero, and its statistical error."""
    widths = [math.hypot(half["mean_um"], half["rms_um"]) for half in (before, after)]
    if not widths[0] or not after["hits"]:
        return 0.0, 0.0
    return widths[1] / widths[0] - 1, 1 / math.sqrt(2 * after["hits"])


def _weak_modes(limits: Limits, subject: Subject) -> _Found | None:
    """Return the weak modes by name and the largest drift along any of them."""
    modes = subject.last.get("weak_modes") or {}
    weak, drift = modes.get("weak"), modes.get("drift_sigma")
    if weak is None or drift is None:
        return None
    values = {
        "weak": weak,
        "directions": modes.get("directions"),
        "drift_sigma": drift,
        "drift_um": modes.get("drift_um"),
    }
    if not weak:
        return _Found("good", f"none of {modes.get('directions')} directions is weak", ": none", values)
    found = [mode for mode in modes.get("modes", ()) if mode["weak"]]
    names = kinds_of(mode["name"] for mode in found)
    most = max(found, key=lambda mode: mode["drift_sigma"], default=None)
    where = f" ({most['name']}: {size(most['drift_um'])} um of {_element(most['where'])})" if most else ""
    # The metrics list only the weak modes with the largest drifts.
    listed, full = (
        f" ({', '.join(names[:most])}{' and others' * (len(names) > most or weak > len(found))})" if names else ""
        for most in (2, NAMED_MAX)
    )
    grade = _grade(drift, limits.weak_drift_sigma)
    text = f"{weak} of {modes.get('directions')} directions{full}, largest drift {rounded(drift)} sigma of the survey{where}"
    return _Found(grade, text, f": {weak}{listed}, drift {rounded(drift)} sigma of the survey", values)


def _momenta(limits: Limits, subject: Subject) -> _Found | None:
    """Return how the momenta of both charges changed since the stage's first iteration, and which field seems wrong."""
    since = (subject.last.get("momentum") or {}).get("since_first") or {}
    known = {"positive": since.get("momentum_change_plus"), "negative": since.get("momentum_change_minus")}
    changes = {sign: change for sign, change in known.items() if change is not None}
    magnets = subject.last.get("magnets") or {}
    best = min(magnets, key=lambda number: magnets[number]["chi2"], default=None)
    sigma = field_sigma(magnets[best], len(magnets)) if best else 0.0
    wrong = sigma > FIELD_SIGMA_MAX
    if not changes and not wrong:
        return None
    texts = [f"{sign} {'-' if change < 0 else '+'}{percent(abs(change))}" for sign, change in changes.items()]
    text = f"median of the same tracks since iteration 1: {', '.join(texts)}" if texts else ""
    grade = _grade(max(map(abs, changes.values()), default=0.0), limits.momentum)
    cases = ["changed"] * (grade != "good") + ["field"] * wrong
    if best and wrong:
        deviation = f"{100 * magnets[best]['deviation']:+.1f} +- {100 * magnets[best]['error']:.1f} %"
        text = "; ".join(
            filter(None, (text, f"field of {MAGNETS.get(best, best)} seems off by {deviation} ({sigma:.1f} sigma)"))
        )
        grade = _worst((grade, "look"))
    values = {"change_plus": changes.get("positive"), "change_minus": changes.get("negative"), "field_sigma": sigma}
    return _Found(grade, text, f": {text}" if grade != "good" else "", values, cases)


def _dropped(limits: Limits, subject: Subject) -> _Found | None:
    """Return dropped files, hits that are cut, and modules without a result."""
    files, hits = subject.last.get("files") or {}, subject.last.get("hits") or {}
    expected, used, read = files.get("expected"), files.get("used"), hits.get("read")
    if not expected or used is None:
        return None
    lost = files.get("lost") or []
    share = sum((hits.get("cut") or {}).values()) / read if read else None
    empty = empty_modules(subject.last)
    fixed = sorted(
        {key for step in subject.last.get("steps") or () for key in step.get("entries_fixed_in") or () if len(key) == 3}
    )
    good, bad = limits.dropped
    of_files: Grade = "bad" if len(lost) > bad * expected else "look" if lost else "good"
    of_hits = "good" if share is None else _grade(share, (good, bad))
    of_modules: Grade = "look" if empty or fixed else "good"
    grades = {"files": of_files, "hits": of_hits, "modules": of_modules}
    names = f" ({first_of([raw_name(file) for file in lost], NAMED_MAX)})" if lost else ""
    texts = [f"{len(lost)} of {count(expected, 'file')}{names}"]
    texts += [f"{percent(share)} of the hits"] if share is not None else []
    texts += [f"without hits: {first_of([f'module {key}' for key in empty], NAMED_MAX)}"] if empty else []
    few = [f"module {key}" for key in fixed if key not in empty]
    texts += [f"too few hits for a result: {first_of(few, NAMED_MAX)}"] if few else []
    grade, text = _worst(grades.values()), "; ".join(texts)
    cases = [case for case, found in grades.items() if found != "good"]
    values = {
        "files": len(lost),
        "files_expected": expected,
        "hits": share,
        "empty_modules": empty,
        "fixed_modules": fixed,
    }
    return _Found(grade, text, f": {text}" if grade != "good" else "", values, cases)


def empty_modules(metrics: Metrics) -> list[str]:
    """Return modules with hardly any hits, compared with those at the same place in the other layers of the station."""
    hits = {key: kept + cut for key, (kept, cut) in ((metrics.get("hits") or {}).get("modules") or {}).items()}
    empty = []
    for station in sorted({key[0] for key in hits}):
        for module in range(8):
            places = [f"{station}{layer}{module}" for layer in range(3)]
            usual = median(hits.get(key, 0) for key in places)
            empty += [key for key in places if hits.get(key, 0) < DEAD * usual]
    return empty


def _truth(limits: Limits, subject: Subject) -> _Found | None:
    """Return the distance to the true constants, of simulated detectors."""
    found = subject.last.get("truth") or {}
    sigma = found.get("sigma")
    if sigma is None:
        return None
    parts = [f"{dof} {rounded(one['rms'])} {one['unit']}" for dof, one in found["dofs"].items()]
    text = f"{', '.join(parts)} (rms), {rounded(sigma)} sigma"
    values = {"sigma": sigma} | {
        f"{dof.replace(' ', '_')}_{one['unit']}": one["rms"] for dof, one in found["dofs"].items()
    }
    return _Found(_grade(sigma, limits.truth_sigma), text, f": {text}", values)


def _element(key: str) -> str:
    return f"{'layer' if len(key) == 2 else 'module'} {key}"


def _rms(values: Any) -> float:
    found = list(values)
    return math.sqrt(sum(value**2 for value in found) / len(found))


_MAKERS: dict[str, Callable[[Limits, Subject], _Found | None]] = {
    "precision": _precision,
    "residual_means": _residual_means,
    "validation": _validation,
    "weak_modes": _weak_modes,
    "momenta": _momenta,
    "dropped": _dropped,
    "truth": _truth,
}
