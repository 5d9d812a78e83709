"""Write fitted tracks in the format of Calypso's alignment job: ``kfalignment`` ROOT files.

The tree ``tree`` has one entry per track; names and meanings are those of Calypso's CKF2Alignment.cxx. Branches of hits
are arrays with the counter ``nfitParam``, because uproot cannot write ``std::vector``.
"""

from collections.abc import Iterable

import numpy as np

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.mille.kfalignment import LOCAL_BRANCHES
from faser_align.alignment.parameters.constants import DOFS
from faser_align.simulation import geometry as geo
from faser_align.simulation.reconstruct import Fits


def track_branches(fits: Fits) -> dict[str, FloatArray]:
    """Return the branches with one number per track; positions in mm at ``geometry.REFERENCE_Z``, momenta in GeV."""
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


def hit_branches(fits: Fits) -> dict[str, FloatArray]:
    """Return the flat branches of hits without the prefix ``fitParam_``; lengths in mm, angles in rad."""
    branches = {f"align_global_derivation_y_{dof}": row for dof, row in zip(DOFS, fits.layer, strict=True)}
    branches |= {f"align_local_derivation_x_{dof}": row for dof, row in zip(DOFS, fits.module, strict=True)}
    branches |= {
        "align_local_residual_x": fits.residual,
        "align_local_measured_x": fits.measured,
        "align_local_measured_xe": np.full(len(fits.residual), geo.SIGMA),
        "align_id": geo.identifiers()[fits.element].astype(np.float64),
    }
    names = (name.removeprefix("fitParam_") for name in LOCAL_BRANCHES)
    return branches | dict(zip(names, fits.local, strict=True))


def write(path: str, batches: Iterable[Fits]) -> int:
    """Write fitted tracks to a new ROOT file at ``path``; return their number.

    The file is not compressed, because the job that wrote it reads it once, soon afterwards.
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
                # mktree, because an assignment creates an RNTuple with newer versions of uproot.
                tree = file.mktree("tree", dict.fromkeys(flat, "f8") | {"fitParam": hits.type.content})
            tree.extend(flat | {"fitParam": hits})
            written += len(fits.lengths)
    return written
