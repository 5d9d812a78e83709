"""Write fitted tracks as Calypso's alignment job does: ``kfalignment`` ROOT files.

Tree ``tree``, one entry a track, names and meanings as in Calypso's CKF2Alignment.cxx. The hits' branches are arrays
with a counter, ``nfitParam``, since uproot cannot write ``std::vector``.
"""

from collections.abc import Iterable

import numpy as np

from faser_align.simulation import geometry as geo
from faser_align.simulation.geometry import Floats
from faser_align.simulation.reconstruct import Fits

DOFS = ("x", "y", "z", "rx", "ry", "rz")
TRACK_PARAMETERS = ("x", "y", "theta", "phi", "qop")


def track_branches(fits: Fits) -> dict[str, Floats]:
    """The branches with one number a track; positions in mm at ``geometry.REFERENCE_Z``, momenta in GeV."""
    x, y, slope_x, slope_y, q_over_p = fits.parameters.T
    pz = 1.0 / (np.abs(q_over_p) * np.sqrt(1.0 + slope_x**2 + slope_y**2))
    return {
        "fitParam_x": x,
        "fitParam_y": y,
        "fitParam_chi2": fits.chi2,
        "fitParam_px": pz * slope_x,
        "fitParam_py": pz * slope_y,
        "fitParam_pz": pz,
        "fitParam_charge": np.sign(q_over_p),
    }


def hit_branches(fits: Fits) -> dict[str, Floats]:
    """The branches with one number a hit, flat, without the leading ``fitParam_``; lengths in mm, angles in rad."""
    branches = {f"align_global_derivation_y_{dof}": row for dof, row in zip(DOFS, fits.layer, strict=True)}
    branches |= {f"align_local_derivation_x_{dof}": row for dof, row in zip(DOFS, fits.module, strict=True)}
    branches |= {
        "align_local_residual_x": fits.residual,
        "align_local_measured_x": fits.measured,
        "align_local_measured_xe": np.full(len(fits.residual), geo.SIGMA),
        "align_id": geo.identifiers()[fits.element].astype(np.float64),
    }
    names = (f"align_local_derivation_x_par_{name}" for name in TRACK_PARAMETERS)
    return branches | dict(zip(names, fits.local, strict=True))


def write(path: str, batches: Iterable[Fits]) -> int:
    """Write fitted tracks to a new ROOT file at ``path``; returns how many there are.

    Uncompressed: the file is read once, soon, by the job that wrote it.
    """
    import awkward
    import uproot

    written = 0
    with uproot.recreate(path, compression=None) as file:
        tree = None
        for fits in batches:
            flat = track_branches(fits)
            jagged = {name: awkward.unflatten(values, fits.lengths) for name, values in hit_branches(fits).items()}
            hits = awkward.zip(jagged)
            if tree is None:
                # Named explicitly: an assignment would make an RNTuple in newer versions of uproot.
                tree = file.mktree("tree", dict.fromkeys(flat, "f8") | {"fitParam": hits.type.content})
            tree.extend(flat | {"fitParam": hits})
            written += len(fits.lengths)
    return written
