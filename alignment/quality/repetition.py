"""Compare an iteration's correction with the one before: does it repeat, or is it noise? Pure."""

from collections.abc import Collection, Mapping

import numpy as np

from faser_align.alignment.parameters.constants import Six, parameters_from_correction
from faser_align.alignment.quality.weak_modes import WEAK, determined
from faser_align.alignment.solver.normal_equations import Normal


def repetition(
    normal: Normal, free: Collection[int], values: Mapping[int, float], before: Mapping[str, Six]
) -> float | None:
    """Return the cosine of the angle between two corrections along well-determined directions, in units of their errors.

    It is 1 for a correction in the direction of the one before, and about 0 for the noise of tracks and hits that pass the
    cuts in one iteration and not in the next.

    Args:
        normal: normal equations of all parameters.
        free: labels that any step could move.
        values: the correction's parameters (mm, rad).
        before: the correction before, as constants (mm, rad).

    Returns:
        None if one of the corrections is zero.
    """
    eigenvalues, directions = normal.directions(free)
    chosen = determined(eigenvalues, WEAK)
    scaled = directions[:, chosen] * np.sqrt(eigenvalues[chosen])
    now, then = (normal.in_um(one) @ scaled for one in (values, parameters_from_correction(before)))
    size = float(np.sqrt((now @ now) * (then @ then)))
    return float(now @ then) / size if size > 0 else None
