"""Translate deprecated names of ``[convergence]``: older configurations and manifests have them. Pure, no imports.

"Significance 1352" reads as 1352 sigma, so the names now say what the numbers are: the expected decrease of chi2 per
free parameter, and the expected rms shift of the residuals.
"""

from typing import Any

KEYS = {
    "significance_max": "delta_chi2_per_parameter_max",
    "effect_um_max": "residual_shift_um_max",
    "stalled_effect": "stalled_residual_shift",
}
RULES = {"significance": "delta_chi2_per_parameter", "effect": "residual_shift"}
METRICS = {"significance": "delta_chi2_per_parameter", "effect_um": "residual_shift_um"}


def convergence(table: dict[str, Any]) -> dict[str, Any]:
    """Return ``[convergence]`` with today's names; raises ValueError if a key has both its names."""
    both = [old for old, new in KEYS.items() if old in table and new in table]
    if both:
        raise ValueError(f"{both[0]} is the deprecated name of {KEYS[both[0]]}; remove it")
    found = {KEYS.get(key, key): value for key, value in table.items()}
    if isinstance(rules := found.get("rules"), list | tuple):
        found["rules"] = [RULES.get(name, name) if isinstance(name, str) else name for name in rules]
    return found


def key(dotted: str) -> str:
    """Return a dotted key of the configuration with today's name, such as ``convergence.residual_shift_um_max``."""
    table, dot, name = dotted.rpartition(".")
    return f"{table}{dot}{KEYS.get(name, name)}" if table.endswith("convergence") else dotted


def metrics(found: dict[str, Any]) -> dict[str, Any]:
    """Return metrics with today's names beside the deprecated ones, which older campaigns have alone."""
    return found | {new: found.get(old) for old, new in METRICS.items() if new not in found and old in found}
