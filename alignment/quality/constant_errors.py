"""Compute the statistical errors of parameters and constants from the normal equations. Pure.

A constant of a module combines the x of both sides, which tracks determine together, so that its error includes their
correlation. The normal equations have no presigma, which makes the solver's errors of weakly determined parameters too small, and
they know the constraints, so that the errors are right where pede's elimination prints wrong ones.
"""

from collections.abc import Collection, Iterable

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.parameters.constants import DOFS, on_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.quality.weak_modes import UNDETERMINED, determined, errors_um
from faser_align.alignment.solver.normal_equations import Normal, scale

_SHARE_MIN = 0.01  # of an undetermined direction in a parameter, below which the parameter is determined

Constants = dict[str, list[float | None]]
_Shares = dict[int, tuple[FloatArray, bool]]


def errors_of(normal: Normal, free: Collection[int]) -> tuple[dict[int, float | None], Constants]:
    """Return the errors of the ``free`` labels (mm, rad), and those of the constants that they change (um, urad).

    Args:
        normal: normal equations of all parameters.
        free: labels that the step could move.

    Returns:
        The errors by label, and the six errors by key of the constants: 0 for what stays fixed, None for what the data do
        not determine, with an error above ``UNDETERMINED`` times the median.
    """
    shares = _shares(normal, free)
    of_labels = {label: None if open_ else float(np.sqrt(share @ share)) for label, (share, open_) in shares.items()}
    return of_labels, _of_constants(shares)


def merged(by_step: Iterable[Constants]) -> Constants:
    """Return the errors of constants after several steps; a later step's replace those of the constants that it frees."""
    found: Constants = {}
    for of_step in by_step:
        for key, errors in of_step.items():
            earlier = found.get(key, [0.0] * 6)
            found[key] = [old if new == 0.0 else new for old, new in zip(earlier, errors, strict=True)]
    return found


def _of_constants(shares: _Shares) -> Constants:
    undetermined = on_constants({label: 1.0 for label, (_, open_) in shares.items() if open_})
    scaled = {label: share * (1e3 if PARAMETERS[label].translation else 1e6) for label, (share, _) in shares.items()}
    found: Constants = {}
    for (key, dof), share in on_constants(scaled).items():
        errors = found.setdefault(key, [0.0] * 6)
        errors[DOFS.index(dof)] = None if (key, dof) in undetermined else float(np.sqrt(share @ share))
    return found


def _shares(normal: Normal, free: Collection[int]) -> _Shares:
    """Return by label its shares in the determined directions, each times the direction's error (mm, rad).

    Scalar products of shares are the covariance. Also return whether undetermined directions contain the label.
    """
    values, directions = normal.directions(free)
    known = determined(values, UNDETERMINED)
    open_ = np.abs(directions[:, ~known]).max(axis=1, initial=0.0) > _SHARE_MIN
    shares = directions[:, known] * errors_um(values[known])
    return {
        normal.labels[at]: (shares[at] * scale(normal.labels[at]), bool(open_[at])) for at in normal.positions(free)
    }
