"""What a stage held fixed: how much better would the data be described if it were free? Pure.

An alignment converges given what it does not touch. With the normal equations of all parameters at hand, one solution
that is not applied says for each group of untouched parameters what freeing it would gain: the expected decrease of
chi2 beyond that of the free parameters. Chance alone gives about 1 per parameter.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from faser_align.alignment.parameters.labels import PARAMETERS, Parameter
from faser_align.alignment.quality.weak_modes import determined
from faser_align.alignment.solver.normal_equations import Normal


def held_fixed(normal: Normal, free: Collection[int], values: Mapping[int, float]) -> dict[str, dict[str, Any]]:
    """Expected decrease of chi2 by each group that is fixed, and by all of them together (``all``), as JSON types.

    Args:
        normal: normal equations of all parameters.
        free: labels that any step of the iteration could move.
        values: the iteration's solution (mm, rad), so that what the free ones gain is not counted.

    Returns:
        By group (part and kind, as in ``3ST layer.y``): ``parameters`` (directions that the data determine, beyond
        those of the free ones), ``expected_decrease``, and ``significance``, one over the other. A group without such
        a direction, as the x of layers whose modules are free, is left out.
    """
    groups: dict[str, set[int]] = {}
    for label in normal.labels:
        if label not in free:
            groups.setdefault(_group(PARAMETERS[label]), set()).add(label)
    if not groups:
        return {}
    if len(groups) > 1:
        groups["all"] = set().union(*groups.values())
    gradient = normal.gradient_at(values)
    before = _decrease(normal, set(free), gradient)
    found = {}
    for name, labels in groups.items():
        decrease, parameters = _decrease(normal, labels | set(free), gradient)
        gained, more = max(decrease - before[0], 0.0), parameters - before[1]
        if more > 0:
            found[name] = {"parameters": more, "expected_decrease": gained, "significance": gained / more}
    return found


def _group(parameter: Parameter) -> str:
    return f"{'IFT' if parameter.station == 0 else '3ST'} {parameter.kind}"


def _decrease(normal: Normal, labels: set[int], gradient: npt.NDArray[np.float64]) -> tuple[float, int]:
    """Expected decrease of chi2 if ``labels`` are free, and how many directions the data determine."""
    values, directions = normal.directions(labels)
    kept = determined(values)
    along = directions[:, kept].T @ gradient
    return float(along**2 @ (1.0 / values[kept])), int(kept.sum())
