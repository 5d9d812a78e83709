"""Decide whether the last constants describe the data no worse than the first: *confirmed*, or *refuted*.

Pure: a function of ``[validation]`` and of what the validation's job compared (``jobs.validate``), so that it is the same
with and without the state database.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from faser_align.fsm.criteria import Criterion
from faser_align.fsm.verdict import Verdict

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Group, Metrics

NAMED_AT_MOST = 3  # modules


class Limits(NamedTuple):
    """Thresholds of the validation; names and defaults are those of ``[validation]``."""

    chi2_rise_max: float = 0.003
    module_rise_max: float = 0.05
    module_hits_min: int = 1000

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> "Limits":
        """Take the keys of ``[validation]`` that are thresholds; the rest keep their defaults."""
        return cls(**{key: value for key, value in settings.items() if key in cls._fields})


def confirm(limits: Limits, metrics: "Metrics") -> Verdict:
    """Judge the comparison of the first constants with the last.

    Args:
        limits: the thresholds.
        metrics: the validation's ``metrics.json``: for the groups of files ``all`` and, if there are any, ``unused``, what
            was found ``before`` and ``after``.

    Returns:
        The verdict ``confirmed`` or ``refuted``, with every criterion.
    """
    groups = metrics["groups"]
    criteria = [_chi2(limits, name, group) for name, group in groups.items()]
    criteria += [_modules(limits, name, group) for name, group in groups.items()]
    failed = [criterion.text for criterion in criteria if not criterion.passed]
    if failed:
        return Verdict("refuted", f"the new constants describe the data worse: {'; '.join(failed)}", tuple(criteria))
    told = "; ".join(criterion.text for criterion in criteria if criterion.name.startswith("chi2"))
    return Verdict("confirmed", told, tuple(criteria))


def _of_files(name: str) -> str:
    return "of all files" if name == "all" else "of files that were not used"


def _chi2(limits: Limits, name: str, group: "Group") -> Criterion:
    before, after = (half.get("chi2_per_ndf") for half in (group["before"], group["after"]))
    if before is None or after is None:
        return Criterion(f"chi2_{name}", None, limits.chi2_rise_max, False, f"chi2/ndf {_of_files(name)} is unknown")
    rise = after - before
    text = f"chi2/ndf {_of_files(name)} went from {before:.4g} to {after:.4g} (it may rise by {limits.chi2_rise_max:g})"
    return Criterion(f"chi2_{name}", rise, limits.chi2_rise_max, rise <= limits.chi2_rise_max, text)


def _modules(limits: Limits, name: str, group: "Group") -> Criterion:
    """Return the criterion on the width of each module's residuals, for modules with enough hits."""
    rises = {}
    for key, before in group["before"]["modules"].items():
        after = group["after"]["modules"].get(key)
        if after and min(before["hits"], after["hits"]) >= limits.module_hits_min and before["rms_um"] > 0:
            rises[key] = after["rms_um"] / before["rms_um"] - 1
    wider = sorted((key for key in rises if rises[key] > limits.module_rise_max), key=lambda key: -rises[key])
    worst = max(rises.values(), default=None)
    if wider:
        more = f" and {len(wider) - NAMED_AT_MOST} more" if len(wider) > NAMED_AT_MOST else ""
        named = ", ".join(f"{key} by {rises[key]:.0%}" for key in wider[:NAMED_AT_MOST])
        text = f"residuals {_of_files(name)} became wider in module {named}{more} (limit {limits.module_rise_max:.0%})"
    elif worst is None:
        text = f"no module has {limits.module_hits_min} hits {_of_files(name)}"
    else:
        text = f"no module's residuals {_of_files(name)} became wider by more than {limits.module_rise_max:.0%}"
    return Criterion(f"modules_{name}", worst, limits.module_rise_max, not wider, text)
