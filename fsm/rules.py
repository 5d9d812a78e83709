"""Define the thresholds of a decision, and the type of a criterion."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from faser_align.fsm import renamed

# The rules in sentences.
NAMES = {
    "delta_chi2_per_parameter": "expected delta chi2 per parameter",
    "residual_shift": "expected residual shift",
}


class Rules(NamedTuple):
    """Thresholds of a decision; the names and defaults are those of ``[convergence]``."""

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


def limits_of(convergence: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits of the rules of ``[convergence]`` by metric, for plots; empty without the table.

    ``largest_um`` and ``largest_urad`` are the largest correction of each unit. A metric without a rule has no limit.
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


class Criterion(NamedTuple):
    """One criterion of a decision on an iteration, with its result."""

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    text: str


def number(metrics: Mapping[str, object], *path: str) -> float | None:
    """Return the finite number at ``path``, or None without one."""
    value: Any = metrics
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def digits(value: float, digits: int = 3) -> str:
    """Return a number with significant ``digits``; below a million without an exponent: 1,352 and not 1.35e+03."""
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in text and abs(value) < 1e6 else text
