"""Count what the Mille conversion read and rejected; counts of several files can be added.

Medians cannot be added, so residuals and momenta are kept as histograms with fixed bins; quantiles are interpolated.
"""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.parameters.labels import LAYERS, STATIONS, constants_key
from faser_align.fsm.errors import UserError
from faser_align.fsm.metrics import Module
from faser_align.system.atomic import write_text

LAYER_KEYS = tuple(constants_key(station, layer) for station in STATIONS for layer in LAYERS)
RESIDUAL_EDGES_MM = np.linspace(-0.5, 0.5, 501)
MOMENTUM_EDGES_GEV = np.logspace(1.0, 5.0, 801)
FORMAT = 1


def _residual_bins() -> IntArray:
    return np.zeros((len(LAYER_KEYS), len(RESIDUAL_EDGES_MM) + 1), np.int64)


def _momentum_bins() -> IntArray:
    return np.zeros((2, len(MOMENTUM_EDGES_GEV) + 1), np.int64)


def _module_counts() -> IntArray:
    return np.zeros((len(LAYER_KEYS), 8, 2), np.int64)


def _one_per_module() -> IntArray:
    return np.zeros((len(LAYER_KEYS), 8), np.int64)


def _three_per_module() -> IntArray:
    return np.zeros((len(LAYER_KEYS), 8, 3), np.int64)


def _says(words: str, meaning: str) -> dict[str, str]:
    """Return a field's metadata: its name, and what it counts."""
    return {"words": words, "meaning": meaning}


_NEWER = (
    "tracks_modelled",
    "modules_cut_derivative",
    "module_residuals",
    "bytes_written",
    "hits_foreign",
)  # newer than the format: files without them have no counts


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of one or more converted files; each field's metadata describes it and generates the documentation."""

    files: int = field(default=0, metadata=_says("files", "converted files"))
    tracks_read: int = field(default=0, metadata=_says("tracks read", "tracks in them"))
    tracks_modelled: int = field(
        default=0,
        metadata=_says(
            "tracks modelled",
            "those from older files, whose derivatives with respect to the track's parameters were computed",
        ),
    )
    tracks_cut_chi2: int = field(
        default=0,
        metadata=_says("tracks cut by chi2", "`chi2 > chi2_max`; a track is counted by the first cut that it fails"),
    )
    tracks_cut_pz: int = field(default=0, metadata=_says("tracks cut by pz", "`pz` outside `pz_min ... pz_max` (GeV)"))
    tracks_cut_hits: int = field(default=0, metadata=_says("tracks cut by hits", "fewer hits than `hits_min`"))
    tracks_written: int = field(
        default=0, metadata=_says("tracks written", "Mille records; a track that lost all its hits has none")
    )
    hits_read: int = field(default=0, metadata=_says("hits read", "hits of the tracks that passed"))
    hits_foreign: int = field(
        default=0,
        metadata=_says(
            "hits of other elements",
            "those on elements that FASER's tracker does not have: converted, but not in the tables by layer or module",
        ),
    )
    hits_cut_residual: int = field(
        default=0,
        metadata=_says(
            "hits cut by residual",
            "absolute residual above `residual_max` (mm); a hit is counted by the first cut that it fails",
        ),
    )
    hits_cut_derivative: int = field(
        default=0,
        metadata=_says(
            "hits cut by derivative",
            "no derivative (below -9000), or one by rx or ry of the layer above `derivative_max` (mm/rad)",
        ),
    )
    measurements: int = field(default=0, metadata=_says("measurements written", "hits written"))
    bytes_written: int = field(
        default=0,
        metadata=_says("size", "of the binaries (bytes); the POST script reports a binary that is shorter"),
    )
    chi2: float = field(
        default=0.0,
        metadata=_says("chi2", "of the reconstruction, before hits are cut, summed over the tracks that passed"),
    )
    ndf: int = field(
        default=0,
        metadata=_says(
            "degrees of freedom",
            "hits minus 5 (the parameters of a track), summed over the same tracks",
        ),
    )
    edge_low: int = field(default=0, metadata=_says("tracks at the lower edge", "tracks with `pz < 1.1 pz_min`"))
    edge_high: int = field(default=0, metadata=_says("tracks at the upper edge", "tracks with `pz > 0.9 pz_max`"))
    modules: IntArray = field(
        default_factory=_module_counts,
        metadata=_says("hits per module", "by layer and module (12 x 8 x 2): hits kept, hits cut by residual"),
    )
    modules_cut_derivative: IntArray = field(
        default_factory=_one_per_module,
        metadata=_says("hits cut by derivative per module", "by layer and module (12 x 8)"),
    )
    module_residuals: IntArray = field(
        default_factory=_three_per_module,
        metadata=_says(
            "residuals per module",
            "by layer and module (12 x 8 x 3), before hits are cut: hits within 0.5 mm, and the sums of their residuals (nm) "
            "and of the squares (nm^2) as whole numbers, from which a validation computes means and widths",
        ),
    )
    residual_bins: IntArray = field(
        default_factory=_residual_bins,
        metadata=_says(
            "residuals",
            "per layer, before hits are cut, in 500 bins of 2 um from -0.5 mm to 0.5 mm, with one bin for all below and one "
            "for all above: for the median, and for the width, half the distance of the 16 % and 84 % quantiles (um)",
        ),
    )
    momentum_bins: IntArray = field(
        default_factory=_momentum_bins,
        metadata=_says(
            "momenta",
            "of positive and of negative tracks, in 200 bins per decade from 10 GeV to 100 TeV: the median of q/p is q over "
            "the median p, shown in 1/TeV, in JSON in 1/GeV",
        ),
    )

    def __add__(self, other: "Counts") -> "Counts":
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)}
        return Counts(**sums)

    def chi2_per_ndf(self) -> float | None:
        """Return chi2/ndf of the reconstruction before hits are cut; None without tracks."""
        return self.chi2 / self.ndf if self.ndf else None

    def residual_quantiles_um(self, layer: int) -> tuple[float, float] | None:
        """Return median and half the 16 % to 84 % range of a layer's residuals (um); None without hits."""
        quantiles = _quantiles(self.residual_bins[layer], RESIDUAL_EDGES_MM, (0.158655, 0.5, 0.841345))
        return None if quantiles is None else (1000 * quantiles[1], 500 * (quantiles[2] - quantiles[0]))

    def median_q_over_p(self) -> tuple[float | None, float | None]:
        """Return the medians of q/p (1/GeV) of positive and negative tracks; None where there are none."""
        plus = _quantiles(self.momentum_bins[0], MOMENTUM_EDGES_GEV, (0.5,))
        minus = _quantiles(self.momentum_bins[1], MOMENTUM_EDGES_GEV, (0.5,))
        return (None if plus is None else 1 / plus[0], None if minus is None else -1 / minus[0])

    def module_counts(self) -> dict[str, list[int]]:
        """Return the hits kept and the hits cut by residual per module with hits, by its key of the constants."""
        hits = {}
        for layer, key in enumerate(LAYER_KEYS):
            for module in range(8):
                kept, cut = self.modules[layer, module].tolist()
                if kept or cut:
                    hits[f"{key}{module}"] = [kept, cut]
        return hits

    def module_residuals_um(self) -> dict[str, Module]:
        """Return number, mean and rms of the residuals (um) per module with hits, by its key of the constants."""
        residuals: dict[str, Module] = {}
        for layer, key in enumerate(LAYER_KEYS):
            for module in range(8):
                hits, total, squares = self.module_residuals[layer, module].tolist()
                if hits:
                    mean = total / hits / 1000
                    rms = math.sqrt(max(squares / hits / 1e6 - mean**2, 0.0))
                    residuals[f"{key}{module}"] = {"hits": hits, "mean_um": mean, "rms_um": rms}
        return residuals

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON types, which ``from_json`` reads."""
        values: dict[str, Any] = {"format": FORMAT}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            values[f.name] = value.tolist() if isinstance(value, np.ndarray) else value
        return values

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Counts":
        """Return counts from ``to_json``'s dictionary; raise ValueError if it is malformed."""
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"no counts of format {FORMAT}")
        empty = Counts()
        read: dict[str, Any] = {}
        for f in dataclasses.fields(empty):
            if f.name not in values and f.name in _NEWER:
                continue
            if f.name not in values:
                raise ValueError(f"{f.name} is missing")
            expected = getattr(empty, f.name)
            if isinstance(expected, np.ndarray):
                read[f.name] = np.array(values[f.name], np.int64)
                if read[f.name].shape != expected.shape:
                    raise ValueError(f"{f.name} does not have the shape {expected.shape}")
            else:
                read[f.name] = type(expected)(values[f.name])
        return Counts(**read)


def write_counts(path: str | os.PathLike[str], counts: Counts) -> None:
    """Write counts as JSON, atomically."""
    write_text(path, json.dumps(counts.to_json(), separators=(",", ":")))


def read_counts(path: str | os.PathLike[str]) -> Counts:
    """Read what ``write_counts`` wrote; raise UserError if the file is missing or malformed."""
    try:
        with open(path, encoding="utf-8") as file:
            return Counts.from_json(json.load(file))
    except OSError as error:
        raise UserError(f"cannot read the counts {path}: {error.strerror}; convert the file again") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} contains no counts of a conversion ({error}); convert the file again") from error


def _quantiles(bins: IntArray, edges: FloatArray, fractions: tuple[float, ...]) -> tuple[float, ...] | None:
    total = int(bins.sum())
    if total == 0:
        return None
    below = np.cumsum(bins[:-1])  # entries below each edge
    return tuple(float(v) for v in np.interp(np.array(fractions) * total, below, edges))
