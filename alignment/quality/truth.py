"""Compare constants with those of a simulated detector, along the directions that the data determine. Pure.

Along all other directions (constraints, fixed parameters, weak modes) the distance to the truth stays as it was at the
start.
"""

from collections.abc import Collection, Mapping

import numpy as np

from faser_align.alignment.parameters.constants import DOFS, Six, on_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.quality.survey import displacement_um
from faser_align.alignment.quality.weak_modes import determined
from faser_align.alignment.solver.normal_equations import Normal, scale
from faser_align.fsm.metrics import Truth


def distance_to_truth(
    normal: Normal, free: Collection[int], constants: Mapping[str, Six], truth: Mapping[str, Six]
) -> Truth:
    """Return the distance in statistical errors, and as rms of each degree of freedom; empty without a direction.

    Args:
        normal: normal equations of all parameters, with the factor of the errors.
        free: labels that the iteration could move.
        constants, truth: the constants, and those of the simulated detector (mm, rad).
    """
    values, directions = normal.directions(free)
    known = determined(values)
    if not known.any():
        return {}
    labels = [normal.labels[at] for at in normal.positions(free)]
    rows = directions[normal.positions(free)][:, known]
    along = rows.T @ displacement_um(labels, constants, truth)
    order = [f"{of}{dof}" for of in ("", "layer ") for dof in DOFS]
    squares: dict[str, list[float]] = {}
    units = [1.0 if PARAMETERS[label].translation else 1e6 * scale(label) for label in labels]  # um or urad per um
    for (key, dof), moved in on_constants(dict(zip(labels, (rows @ along * units).tolist(), strict=True))).items():
        squares.setdefault(dof if len(key) == 3 else f"layer {dof}", []).append(moved**2)
    return {
        "sigma": float(np.sqrt(np.mean(np.maximum(values[known], 0.0) * along**2))),
        "directions": int(known.sum()),
        "dofs": {
            dof: {"rms": float(np.sqrt(np.mean(of))), "unit": "urad" if dof.rpartition(" ")[2][0] == "r" else "um"}
            for dof, of in sorted(squares.items(), key=lambda one: order.index(one[0]))
        },
    }
