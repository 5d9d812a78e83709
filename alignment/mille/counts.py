"""Count what the Mille conversion read and rejected; counts of several files can be added.

Medians cannot be added, so residuals and momenta are kept as histograms with fixed bins; quantiles are interpolated.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from faser_align.alignment.arrays import IntArray
from faser_align.alignment.histograms import quantiles
from faser_align.alignment.parameters.labels import LAYER_KEYS, MODULE_KEYS
from faser_align.fsm.errors import UserError
from faser_align.fsm.metrics import Module, Residuals
from faser_align.system.atomic import Name, write_text

_SIDE_KEYS = tuple(f"{module}{side}" for module in MODULE_KEYS for side in range(2))
RESIDUAL_EDGES_MM = np.linspace(-0.5, 0.5, 501)
MOMENTUM_EDGES_GEV = np.logspace(1.0, 5.0, 801)
FORMAT = 1


def _zeros(*shape: int) -> Callable[[], IntArray]:
    return lambda: np.zeros(shape, np.int64)


_NEWER = (
    "files_uncompressed",
    "tracks_modelled",
    "modules_cut_derivative",
    "modules_cut_chi2",
    "module_residuals",
    "side_residuals",
    "curvature_residuals",
    "bytes_written",
    "hits_foreign",
)  # newer than the format: files without them have no counts


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of one or more converted files; ``alignment/quality/metrics.toml`` describes each."""

    files: int = 0
    files_uncompressed: int = 0
    tracks_read: int = 0
    tracks_modelled: int = 0
    tracks_cut_chi2: int = 0
    tracks_cut_pz: int = 0
    tracks_cut_hits: int = 0
    tracks_written: int = 0
    hits_read: int = 0
    hits_foreign: int = 0
    hits_cut_residual: int = 0
    hits_cut_derivative: int = 0
    measurements: int = 0
    bytes_written: int = 0
    chi2: float = 0.0
    ndf: int = 0
    edge_low: int = 0
    edge_high: int = 0
    modules: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 8, 2))
    modules_cut_derivative: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 8))
    modules_cut_chi2: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 8))
    module_residuals: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 8, 3))
    side_residuals: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 8, 2, 3))
    curvature_residuals: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), 7))
    residual_bins: IntArray = field(default_factory=_zeros(len(LAYER_KEYS), len(RESIDUAL_EDGES_MM) + 1))
    momentum_bins: IntArray = field(default_factory=_zeros(2, len(MOMENTUM_EDGES_GEV) + 1))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)})

    def chi2_per_ndf(self) -> float | None:
        """Return chi2/ndf of the reconstruction before hits are cut; None without tracks."""
        return self.chi2 / self.ndf if self.ndf else None

    def layer_residuals_um(self) -> dict[str, Residuals]:
        """Return median and half the 16 % to 84 % range of the residuals (um) per layer with hits, by its key."""
        residuals: dict[str, Residuals] = {}
        for key, bins in zip(LAYER_KEYS, self.residual_bins, strict=True):
            low, median, high = quantiles(bins, RESIDUAL_EDGES_MM).tolist()
            if not math.isnan(median):
                residuals[key] = {"median_um": 1000 * median, "width_um": 500 * (high - low)}
        return residuals

    def median_q_over_p(self) -> tuple[float | None, float | None]:
        """Return the medians of q/p (1/GeV) of positive and negative tracks; None where there are none."""
        plus, minus = (float(quantiles(bins, MOMENTUM_EDGES_GEV, (0.5,))[0]) for bins in self.momentum_bins)
        return (None if math.isnan(plus) else 1 / plus, None if math.isnan(minus) else -1 / minus)

    def module_counts(self) -> dict[str, list[int]]:
        """Return the hits kept and the hits cut by residual per module with hits, by its key of the constants."""
        numbers = self.modules.reshape(-1, 2).tolist()
        return {key: hits for key, hits in zip(MODULE_KEYS, numbers, strict=True) if any(hits)}

    def of_cut_tracks(self) -> dict[str, int]:
        """Return the hits of tracks cut by chi2 per module that has any, by its key of the constants."""
        numbers = self.modules_cut_chi2.ravel().tolist()
        return {key: hits for key, hits in zip(MODULE_KEYS, numbers, strict=True) if hits}

    def module_residuals_um(self) -> dict[str, Module]:
        """Return number, mean and rms of the residuals (um) per module with hits, by its key of the constants."""
        return _moments(self.module_residuals.reshape(-1, 3), MODULE_KEYS)

    def side_residuals_um(self) -> dict[str, Module]:
        """Return the same per side with hits, by the module's key and the number of the side; empty for older counts."""
        return _moments(self.side_residuals.reshape(-1, 3), _SIDE_KEYS)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON types, which ``from_json`` reads."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        lists = {name: value.tolist() for name, value in values.items() if isinstance(value, np.ndarray)}
        return {"format": FORMAT, **values, **lists}

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


def write_counts(path: Name, counts: Counts) -> None:
    """Write counts as JSON, atomically."""
    write_text(path, json.dumps(counts.to_json(), separators=(",", ":")))


def read_counts(path: Name) -> Counts:
    """Read what ``write_counts`` wrote; raise UserError if the file is missing or malformed."""
    try:
        with open(path, encoding="utf-8") as file:
            return Counts.from_json(json.load(file))
    except OSError as error:
        raise UserError(f"cannot read the counts {path}: {error.strerror}; convert the file again") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} contains no counts of a conversion ({error}); convert the file again") from error


def _moments(sums: IntArray, keys: tuple[str, ...]) -> dict[str, Module]:
    """Return number, mean and rms about the mean (um) of residuals by key, from number, sum (nm) and sum of squares."""
    residuals: dict[str, Module] = {}
    for key, (hits, total, squares) in zip(keys, sums.tolist(), strict=True):
        if hits:
            mean = total / hits / 1000
            rms = math.sqrt(max(squares / hits / 1e6 - mean**2, 0.0))
            residuals[key] = {"hits": hits, "mean_um": mean, "rms_um": rms}
    return residuals
