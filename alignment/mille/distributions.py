"""Fill the histograms of a raw file's tracks, for the figures; those of several files add up.

Tracks are those that pass the cuts on tracks, with all their hits; hits outside FASER's tracker are not counted.
``docs/metrics.md`` describes each histogram.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.histograms import Axis, Bins, Categories, Histogram, Profile
from faser_align.alignment.mille.kfalignment import LOCAL_BRANCHES, Tracks
from faser_align.alignment.parameters.labels import MODULE_KEYS
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, replacing

MODULE = Categories("module", "module", MODULE_KEYS)
SIDE = Categories("side", "side", ("0", "1"))
CHARGE = Categories("charge", "charge", ("+", "-"))
RESIDUAL = Bins.evenly("residual", "residual [µm]", 250, -500.0, 500.0)
PULL = Bins.evenly("pull", "residual / error of the hit", 100, -5.0, 5.0)
PROBABILITY = Bins.evenly("probability", "χ² probability", 50, 0.0, 1.0)
CHI2_PER_NDF = Bins.evenly("chi2_per_ndf", "χ²/ndf", 100, 0.0, 10.0)
Q_OVER_P = "q/p [1/TeV]"
_AXES: dict[str, tuple[Axis, ...]] = {
    "residuals": (MODULE, SIDE, RESIDUAL),
    "pulls": (MODULE, PULL),
    "tracks": (MODULE,),
    "chi2_per_ndf": (CHI2_PER_NDF,),
    "chi2_probability": (PROBABILITY,),
}
_P_MIN_GEV = 1e-3  # q/p of tracks without momentum is not infinite
_UNITS_PER_TEV = 1e6  # q/p in whole 1e-6/TeV: sums of integers are exact, in any order
_CURVATURE = "q_over_p"
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True, eq=False)
class Distributions:
    """Histograms of one or more files.

    Attributes:
        contents: of each histogram, with bins below and above continuous axes; and ``q_over_p``: hits, sum of q/p and of
            its square (1e-6/TeV), shape (96 modules, 2 charges, 3).
    """

    contents: Mapping[str, npt.NDArray[Any]]

    @staticmethod
    def empty() -> "Distributions":
        """Return histograms without entries."""
        shapes = {name: [axis.size for axis in axes] for name, axes in _AXES.items()}
        contents = {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
        return Distributions({**contents, _CURVATURE: np.zeros((len(MODULE), len(CHARGE), 3))})

    @staticmethod
    def of(tracks: Tracks) -> "Distributions":
        """Return the histograms of these tracks."""
        residuals_um = 1e3 * tracks.hits["fitParam_align_local_residual_x"]
        errors_um = 1e3 * tracks.hits["fitParam_align_local_measured_xe"]
        fitted = tracks.lengths > len(LOCAL_BRANCHES)
        chi2, ndf = tracks.flat["fitParam_chi2"][fitted], tracks.lengths[fitted] - len(LOCAL_BRANCHES)
        whole = np.zeros_like(ndf)  # rows of histograms without categories
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            pulls = np.where(errors_um > 0, residuals_um / errors_um, np.inf)  # without an error: in the last bin
        contents = {
            "residuals": _filled("residuals", tracks.sides, residuals_um),
            "pulls": _filled("pulls", tracks.modules, pulls),
            "tracks": _tracks_by_module(tracks),
            "chi2_per_ndf": _filled("chi2_per_ndf", whole, chi2 / ndf),
            "chi2_probability": _filled("chi2_probability", whole, chi2_probability(chi2, ndf)),
            _CURVATURE: _curvature(tracks),
        }
        return Distributions(contents)

    def __add__(self, other: "Distributions") -> "Distributions":
        return Distributions({name: values + other.contents[name] for name, values in self.contents.items()})

    def histograms(self) -> dict[str, Histogram | Profile]:
        """Return the histograms by name; q/p in 1/TeV."""
        found: dict[str, Histogram | Profile] = {
            name: Histogram(axes, self.contents[name]) for name, axes in _AXES.items()
        }
        scale = np.array([1.0, 1 / _UNITS_PER_TEV, 1 / _UNITS_PER_TEV**2])
        return found | {_CURVATURE: Profile((MODULE, CHARGE), self.contents[_CURVATURE] * scale, Q_OVER_P)}


def write_distributions(path: Name, found: Distributions) -> None:
    """Write the histograms atomically, as a NumPy archive with an array for each."""
    small: Any = {name: found.contents[name].astype(np.uint32) for name in _AXES}
    with replacing(path) as file:
        np.savez_compressed(file, **{**found.contents, **small})


def read_distributions(path: Name) -> Distributions | None:
    """Read what ``write_distributions`` wrote; None if there is no such file, as of an older version.

    Raises UserError if it is damaged or has other histograms.
    """
    empty = Distributions.empty()
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            contents = {name: stored[name].astype(values.dtype) for name, values in empty.contents.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read the histograms {path}: {error}; reconstruct the file again") from error
    if any(contents[name].shape != values.shape for name, values in empty.contents.items()):
        raise UserError(f"{path} has histograms of other shapes; reconstruct the file again")
    return Distributions(contents)


def chi2_probability(chi2: FloatArray, ndf: IntArray) -> FloatArray:
    """Return the probability of a larger chi2 with ``ndf`` degrees of freedom, at least 1.

    It is a finite sum (Abramowitz and Stegun, 26.4.4 and 26.4.5).
    """
    found = np.zeros(len(chi2))
    for n in np.unique(ndf).tolist():
        chosen = ndf == n
        half = np.minimum(chi2[chosen], 1000.0) / 2  # exp(-500) is below any bin width
        if n % 2:
            total = _erfc(np.sqrt(half)).astype(np.float64)
            term = np.exp(-half) * np.sqrt(half) / (math.sqrt(math.pi) / 2)
            first = 1.5
        else:
            term = np.exp(-half)
            total, first = np.zeros_like(half), 1.0
        for step in range(n // 2):
            total += term
            term = term * half / (first + step)
        found[chosen] = total
    return np.clip(found, 0.0, np.nextafter(1.0, 0.0))


def _filled(name: str, rows: IntArray, values: FloatArray) -> IntArray:
    """Return the contents of a histogram whose last axis is continuous, from the place on the others and on it.

    Rows beyond the other axes are left out.
    """
    sizes, axis = [axis.size for axis in _AXES[name]], _AXES[name][-1]
    assert isinstance(axis, Bins)
    count, low, high = math.prod(sizes), axis.edges[0], axis.edges[-1]
    places = np.clip((values - low) * (len(axis) / (high - low)) + 1.0, 0.0, len(axis) + 1.0)
    entries = np.bincount(rows * axis.size + places.astype(np.int64), minlength=count)
    return np.asarray(entries[:count]).reshape(sizes)


def _tracks_by_module(tracks: Tracks) -> IntArray:
    """Return the number of tracks with a hit on each module."""
    columns = len(MODULE) + 1
    hit = np.zeros(len(tracks.lengths) * columns, np.bool_)
    hit[np.repeat(columns * np.arange(len(tracks.lengths)), tracks.lengths) + tracks.modules] = True
    return np.asarray(np.count_nonzero(hit.reshape(-1, columns), axis=0)[:-1])


def _curvature(tracks: Tracks) -> FloatArray:
    charge = np.sign(tracks.flat["fitParam_charge"])
    p = np.sqrt(sum(tracks.flat[f"fitParam_p{axis}"] ** 2 for axis in "xyz"))
    q_over_p = np.rint(1e3 * _UNITS_PER_TEV * charge / np.maximum(p, _P_MIN_GEV))
    rows = 2 * tracks.modules + np.repeat(charge < 0, tracks.lengths)
    of_hits = np.repeat(q_over_p, tracks.lengths)
    size = 2 * len(MODULE)
    sums = [np.bincount(rows, weights, minlength=size)[:size] for weights in (None, of_hits, of_hits**2)]
    return np.stack(sums, axis=-1).reshape(len(MODULE), 2, 3).astype(np.float64)
