"""Decide whether the last constants describe the data: no worse than the first, and with residuals about zero.

The decision is *confirmed* or *refuted*. Pure: a function of ``[validation]`` and of what the validation's job compared
(``jobs.validate``), so that it is the same with and without the state database.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from faser_align.fsm.plural import count, first_of, in_percent
from faser_align.fsm.rules import Criterion
from faser_align.fsm.verdict import Verdict

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Group, Half, Metrics, Module

NAMED_AT_MOST = 3  # modules
SIDE_HITS_MIN = 25  # as solver.entries: a parameter with fewer measurements stays fixed
NOISE = 2.0  # a fit of p parameters to n hits raises chi2/ndf of other data by p/n; this multiple of p/n is accepted
WINDOW_UM = 500.0  # residuals of hits farther away are not counted
STEREO = 0.02  # rad, angle of a side's strips about the module's axis
# Parameters of a track across the strips (y, slope, momentum) and along them (x, slope).
ACROSS, ALONG = 3, 2


class Limits(NamedTuple):
    """Thresholds of the validation; names and defaults are those of ``[validation]``."""

    chi2_rise_max: float = 0.003
    module_rise_max: float = 0.05
    module_hits_min: int = 1000
    side_mean_um_max: float = 5.0
    false_rejection_max: float = 0.002

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> "Limits":
        """Take the keys of ``[validation]`` that are thresholds; the rest keep their defaults."""
        return cls(**{key: value for key, value in settings.items() if key in cls._fields})


class _Fit(NamedTuple):
    """Numbers of the alignment: its free parameters and modules, and the hits of each side in the files that it used."""

    parameters: int
    modules: frozenset[str]
    hits: dict[str, int]
    unused: int = 0  # hits in the unused files; 0 in the metrics of older versions, which are judged as they were

    def noise(self, module: str = "") -> float:
        """Return the accepted relative rise of chi2 from the alignment's statistical errors, of all hits or a module's."""
        parameters = self.parameters / max(len(self.modules), 1) if module else self.parameters
        hits = sum(hits for side, hits in self.hits.items() if side.startswith(module))
        return NOISE * parameters / hits if hits else 0.0

    def fluctuation(self) -> float:
        """Return the standard deviation of the rise of chi2/ndf in the unused files by errors of constants and of hits.

        With the error d of the constants, the gradient g and the matrix C of these files, chi2 rises by d.C.d + 2 g.d. The
        covariance of d is the inverse of C times unused / used hits, that of g is C: g.d has the variance p unused / used.
        """
        hits = sum(self.hits.values())
        return 2.0 * math.sqrt(self.parameters / (hits * self.unused)) if hits and self.unused else 0.0


class _Off(NamedTuple):
    """A module that has a side with a mean residual above its limit (um)."""

    module: str
    side: str
    mean: float
    limit: float


def confirm(limits: Limits, metrics: "Metrics") -> Verdict:
    """Judge the comparison of the first constants with the last.

    ``metrics`` has the results ``before`` and ``after`` for each group of files, ``all`` and ``unused``. Those of older
    versions do not have residuals of sides: their modules are compared about their means, and not tested about zero.

    Returns:
        The decision, ``confirmed`` or ``refuted``, with every criterion; ``confirmed`` if all files were dropped.
    """
    groups, fit = metrics["groups"], _fit(metrics)
    if not groups:
        return Verdict("confirmed", "not validated, because all files of the validation were dropped", ())
    criteria = [_chi2(limits, name, group, fit) for name, group in groups.items()]
    criteria += [_modules(limits, name, group, fit) for name, group in groups.items()]
    worse = [criterion.text for criterion in criteria if not criterion.passed]
    if fit:
        criteria.append(_means(limits, "unused" if "unused" in groups else "all", groups, fit))
    failed = [criterion.text for criterion in criteria if not criterion.passed]
    if failed:
        why = "the new constants describe the data worse" if worse else "the new constants do not describe the data"
        return Verdict("refuted", f"{why}: {'; '.join(failed)}", tuple(criteria))
    told = "; ".join(criterion.text for criterion in criteria if criterion.name.startswith("chi2"))
    return Verdict("confirmed", told, tuple(criteria))


def _fit(metrics: "Metrics") -> _Fit | None:
    """Return the numbers of the alignment; None in the metrics of older versions."""
    groups = metrics["groups"]
    if "free_parameters" not in metrics or not all(group["after"].get("sides") for group in groups.values()):
        return None
    numbers = metrics["free_parameters"], frozenset(metrics["free_modules"])
    unused = groups["unused"]["after"]["sides"] if "unused" in groups else {}
    if "all" not in groups:
        return _Fit(*numbers, metrics.get("aligned_sides", {}), sum(side["hits"] for side in unused.values()))
    hits = {
        key: side["hits"] - (unused[key]["hits"] if key in unused else 0)
        for key, side in groups["all"]["after"]["sides"].items()
    }
    return _Fit(*numbers, hits)


def _of_files(name: str) -> str:
    return "of all files" if name == "all" else "of files that were not used"


def _chi2(limits: Limits, name: str, group: "Group", fit: _Fit | None) -> Criterion:
    before, after = (half.get("chi2_per_ndf") for half in (group["before"], group["after"]))
    chance = fit.noise() + _quantile(limits, 1) * fit.fluctuation() if fit else 0.0
    tolerated = max(limits.chi2_rise_max, chance)
    # Outliers raise chi2/ndf and its fluctuations alike. Validations of older versions are judged as they were.
    held_back = fit is not None and fit.unused > 0
    limit = tolerated * (max(1.0, before) if held_back and before is not None else 1.0)
    if before is None or after is None:
        return Criterion(f"chi2_{name}", None, limit, False, f"chi2/ndf {_of_files(name)} is unknown")
    rise = after - before
    text = f"chi2/ndf {_of_files(name)} went from {before:.3f} to {after:.3f} (it may rise by {limit:.3g})"
    passed = rise <= limit
    if not passed and held_back and (width := _wider(group)) is not None and width <= tolerated:
        # Tracks with outliers entered the selection; the other tracks do not have larger residuals.
        passed, text = True, f"{text}; outliers alone raise it, because residuals are not wider"
    return Criterion(f"chi2_{name}", rise, limit, passed, text)


def _wider(group: "Group") -> float | None:
    """Return the relative rise of the mean square of the layers' widths, which outliers hardly change; None if unknown."""
    before, after = (group[half].get("residuals", {}) for half in ("before", "after"))
    common = before.keys() & after.keys()
    squares = [sum(half[key]["width_um"] ** 2 for key in common) for half in (before, after)]
    return squares[1] / squares[0] - 1 if squares[0] else None


def _modules(limits: Limits, name: str, group: "Group", fit: _Fit | None) -> Criterion:
    """Return the criterion on the width of each module's residuals, for modules with enough hits."""
    modules = {
        key: (before, after)
        for key, before in group["before"]["modules"].items()
        if (after := group["after"]["modules"].get(key))
        and min(before["hits"], after["hits"]) >= limits.module_hits_min
        and before["rms_um"] > 0
    }
    chance = _chance(limits, group, modules) if fit else {}
    rises: dict[str, tuple[float, float]] = {}  # with the limit
    for key, (before, after) in modules.items():
        limit = max(limits.module_rise_max, fit.noise(key), chance[key]) if fit else limits.module_rise_max
        rises[key] = (_width(after, fit) / _width(before, fit) - 1, limit)
    above = sorted(rises, key=lambda key: rises[key][1] - rises[key][0])
    wider = [key for key in above if rises[key][0] > rises[key][1]]
    worst, limit = rises[above[0]] if above else (None, limits.module_rise_max)
    if wider:
        named = first_of(
            [f"{key} by {in_percent(rises[key][0])} (limit {in_percent(rises[key][1])})" for key in wider],
            NAMED_AT_MOST,
        )
        text = f"residuals {_of_files(name)} became wider in module {named}"
    elif worst is None:
        text = f"no module has {limits.module_hits_min} hits {_of_files(name)}"
    else:
        text = f"no module's residuals {_of_files(name)} became wider by more than {in_percent(limit)}"
    return Criterion(f"modules_{name}", worst, limit, not wider, text)


def _width(module: "Module", fit: _Fit | None) -> float:
    """Return the rms about zero, or in older metrics about the mean."""
    return math.hypot(module["mean_um"] if fit else 0.0, module["rms_um"])


def _chance(limits: Limits, group: "Group", modules: "Mapping[str, tuple[Module, Module]]") -> dict[str, float]:
    """Return by how much the rms of each module's residuals may rise by chance, relative to itself.

    A hit far from its track that enters the window of 0.5 mm adds up to (0.5 mm)^2 / hits to the mean square. What such
    hits add on average is the excess of the mean square over the square of the layer's width, which ignores them. With
    the smaller excess of both halves, a module that became wider does not raise its own limit much.
    """
    widths = group["after"].get("residuals", {})
    squares = {
        key: min(math.hypot(half["mean_um"], half["rms_um"]) ** 2 for half in halves) for key, halves in modules.items()
    }
    far = [max(square - widths[key[:2]]["width_um"] ** 2, 0.0) for key, square in squares.items() if key[:2] in widths]
    fourth = 0.6 * WINDOW_UM**2 * sum(far) / max(len(far), 1)  # mean fourth power of residuals uniform in the window
    quantile = _quantile(limits, len(modules)) if modules else 0.0
    return {
        key: quantile * math.sqrt((fourth + square**2) / modules[key][1]["hits"]) / square / 2
        for key, square in squares.items()
    }


def _quantile(limits: Limits, tests: int) -> float:
    """Return the number of standard deviations that one of ``tests`` numbers exceeds by chance, in either direction."""
    from statistics import NormalDist  # slow to import, and only a validation needs it

    return NormalDist().inv_cdf(1 - limits.false_rejection_max / tests / 2)


def _means(limits: Limits, name: str, groups: "Mapping[str, Group]", fit: _Fit) -> Criterion:
    """Return the criterion on the mean residual of each side of the free modules, which is zero for true constants.

    The alignment makes the mean of a free side zero in the files that it used. In other files of ``n`` hits the mean
    then has the variance rms^2 (1/n + 1/m), where ``m`` is the number of hits in the used files. The two terms are the
    statistical errors of the test and of the alignment. Each side has the same share of ``false_rejection_max``. The rms of
    few hits may be small by chance, so that the median of all sides is its lower limit.
    """
    from statistics import median  # slow to import, and only a validation needs it

    half = groups[name]["after"]
    sides = {
        key: side
        for key, side in half["sides"].items()
        if key[:3] in fit.modules and min(side["hits"], fit.hits.get(key, 0)) >= SIDE_HITS_MIN
    }
    if not sides:
        text = f"no side of a module that was free has {SIDE_HITS_MIN} hits {_of_files(name)}"
        return Criterion(f"means_{name}", None, limits.side_mean_um_max, True, text)
    quantile = _quantile(limits, len(sides))
    found, usual = [], median(side["rms_um"] for side in sides.values())
    for key, side in sides.items():
        error = max(side["rms_um"], usual) * math.sqrt(1 / side["hits"] + 1 / fit.hits[key])
        found.append(_Off(key[:3], key[3], side["mean_um"], limits.side_mean_um_max + quantile * error))
    found.sort(key=lambda one: one.limit - abs(one.mean))
    worst = found[0]
    off = list(dict.fromkeys(one.module for one in found if abs(one.mean) > one.limit))
    shown = f"the mean residual {_of_files(name)} on its side {worst.side} is {worst.mean:.1f} um, limit {worst.limit:.1f} um"
    if off:
        more = (
            f"; {count(len(off) - 1, 'other module')} exceed{'s' * (len(off) == 2)} the limit, too"
            if len(off) > 1
            else ""
        )
        text = f"module {worst.module} {_distance(worst, half)}: {shown}{more}"
    else:
        text = f"no module seems off; the closest to its limit is {worst.module}: {shown}"
    return Criterion(f"means_{name}", abs(worst.mean), worst.limit, not off, text)


def _distance(worst: _Off, half: "Half") -> str:
    """Return how far a module seems to be off, across or along its strips.

    A shift across the strips moves the means of both sides alike, one along them oppositely by the stereo angle. A track
    with n hits takes up 2 x 3 / n of the former and 2 x 2 / n of the latter.
    """
    sides = half["sides"]
    means = [sides[worst.module + side]["mean_um"] for side in "01" if worst.module + side in sides]
    across, along = sum(means) / len(means), (means[0] - means[-1]) / 2
    hits = sum(side["hits"] for side in sides.values()) / max(half.get("tracks") or 0, 1)
    if abs(across) >= abs(along):
        return f"seems off by {abs(across) / _left(ACROSS, hits):.0f} um across its strips"
    return f"seems off by {abs(along) / STEREO / _left(ALONG, hits):.0f} um along its strips"


def _left(parameters: int, hits: float) -> float:
    """Return the fraction of a module's shift that the fit of a track with ``hits`` leaves in the residuals."""
    return max(1 - 2 * parameters / hits, 0.5) if hits else 1.0
