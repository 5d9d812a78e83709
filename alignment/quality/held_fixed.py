"""Compute the expected decrease of chi2 from freeing parameters that a stage held fixed. Pure.

An alignment converges under the condition of its fixed parameters. The normal equations of all parameters give, without
applying a solution, the expected decrease of chi2 from freeing each group of fixed parameters, beyond that of the free
ones (a score test). Chance alone gives about 1 per parameter.
"""

from collections.abc import Collection, Mapping

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.quality.weak_modes import determined
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.fsm.metrics import HeldFixed


def held_fixed(
    normal: Normal, free: Collection[int], values: Mapping[int, float], among: Collection[int] = PARAMETERS
) -> dict[str, HeldFixed]:
    """Return the expected decrease of chi2 from freeing each fixed group, and all of them (``all``).

    Args:
        normal: normal equations of all parameters.
        free: labels that any step of the iteration could move.
        values: the iteration's solution (mm, rad), so that the decrease from the free parameters is not counted.
        among: only these labels count as fixed.

    Returns:
        By group (part and kind, as in ``3ST layer.y``): ``parameters`` (directions that the data determine, beyond
        those of the free ones), ``expected_decrease``, and ``delta_chi2_per_parameter``, their ratio (also under its
        deprecated name). A group without such a direction, such as x of layers whose modules are free, is omitted.
    """
    groups: dict[str, set[int]] = {}
    for label in normal.labels:
        if label in among and label not in free:
            parameter = PARAMETERS[label]
            part = "IFT" if parameter.station == 0 else "3ST"
            groups.setdefault(f"{part} {parameter.kind}", set()).add(label)
    if not groups:
        return {}
    if len(groups) > 1:
        groups["all"] = set().union(*groups.values())
    gradient = normal.gradient - normal.matrix @ normal.in_um(values)
    before = _decrease(normal, set(free), gradient)
    gains: dict[str, HeldFixed] = {}
    for name, labels in groups.items():
        decrease, parameters = _decrease(normal, labels | set(free), gradient)
        gained, more = max(decrease - before[0], 0.0), parameters - before[1]
        if more > 0:
            per_parameter = gained / more
            gains[name] = {
                "parameters": more,
                "expected_decrease": gained,
                "delta_chi2_per_parameter": per_parameter,
                "significance": per_parameter,
            }
    return gains


def _decrease(normal: Normal, labels: set[int], gradient: FloatArray) -> tuple[float, int]:
    """Return the expected decrease of chi2 with ``labels`` free, and the number of directions that the data determine."""
    values, directions = normal.directions(labels)
    kept = determined(values)
    along = directions[:, kept].T @ gradient
    return float(along**2 @ (1.0 / values[kept])), int(kept.sum())
