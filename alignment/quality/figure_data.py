"""The data of an iteration's figures: one compressed JSON file of at most 200 kB, which the Millepede job writes.

``figures.json.gz`` contains what the figures of an iteration need beyond ``metrics.json``; a validation has one for
each set of constants. ``docs/metrics.md`` describes its histograms. Campaigns of older versions have no such file, and
parts may be missing: readers return None.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from faser_align.alignment.histograms import Histogram, Profile, from_uhi
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, replacing

FORMAT = 1
ROWS_MAX = 500  # maximum number of rows of raw files
LEAST_HITS = 100  # minimum for the median of a module


class Files(NamedTuple):
    """A raw file, or consecutive raw files if there are more than ``ROWS_MAX``: a point of the figures over files.

    Attributes:
        first, last: names of the raw files, as ``400``, or ``1 of run 011706``.
        files: how many raw files.
        tracks: tracks that pass the cuts.
        chi2_per_ndf: of the reconstruction; None without tracks.
        hits, hits_cut: hits on these tracks, and those of them that are cut.
        mean_um: mean residual by layer (um), ``00`` to ``32``; None without hits.
    """

    first: str
    last: str
    files: int
    tracks: int
    chi2_per_ndf: float | None
    hits: int
    hits_cut: int
    mean_um: dict[str, float | None]


class ParameterRow(NamedTuple):
    """A free parameter of a step.

    Attributes:
        label: label of Millepede.
        step: number of the step, from 1.
        value: how much the step changed it (mm, rad).
        error: statistical error (mm, rad); None if the data do not determine it.
        global_correlation: largest correlation with any combination of the others, 0 to 1; None if unknown.
    """

    label: int
    step: int
    value: float
    error: float | None
    global_correlation: float | None


class Mode(NamedTuple):
    """An eigenvector of the normal equations of a step.

    Attributes:
        eigenvalue: 1/um^2; the error along the direction is ``1 / sqrt(eigenvalue)`` um.
        moved_um: by how much the step moved along it (um).
        name: name of a weak mode; empty for other directions.
    """

    eigenvalue: float
    moved_um: float
    name: str


class Spectrum(NamedTuple):
    """Eigenvalues of a step, ascending.

    Attributes:
        step: name of the step.
        weak, undetermined: limits of ``quality.weak_modes``, as eigenvalues (1/um^2): a direction below ``weak`` is a weak
            mode, one below ``undetermined`` is not determined by the data.
        modes: all directions.
    """

    step: str
    weak: float
    undetermined: float
    modes: tuple[Mode, ...]


class Correction(NamedTuple):
    """Correction of a key's six constants.

    Attributes:
        value: x, y, z (um), rx, ry, rz (urad).
        error: of each; 0 if the constant is fixed, None if the data do not determine it.
    """

    value: tuple[float, ...]
    error: tuple[float | None, ...]


class Centre(NamedTuple):
    """Median of a module's or a layer's residuals (um) with its error, and half the 16 % to 84 % range."""

    hits: int
    median_um: float
    width_um: float

    @property
    def error_um(self) -> float:
        """Statistical error of the median, of normally distributed residuals."""
        return float(np.sqrt(np.pi / 2 / self.hits) * self.width_um)


class Spread(NamedTuple):
    """Mean and rms of the normalised residuals of a module."""

    hits: int
    mean: float
    rms: float


@dataclass(frozen=True, eq=False)
class FigureData:
    """Data of an iteration's figures, or of one half of a validation.

    Attributes:
        stage, iteration: from 1; of a validation as in ``campaign.layout``.
        files_of: which raw files of a validation: ``unused`` or ``all``; ``all`` for other iterations.
        residual_max_mm: cut on residuals (mm).
        hits, ndf: of the tracks' fits, for the expected rms of pulls.
        histograms: by name; a name is missing if a file of an older version lacks it.
        files: one row per raw file.
        corrections: by key of the constants, of free constants only; empty for a validation.
        parameters: free parameters of all steps.
        spectra: one for each step; empty if the normal equations are unknown.
        weak_modes: ``weak_modes.modes`` of the metrics, with drift since the start of the campaign.
    """

    stage: int
    iteration: int
    residual_max_mm: float
    hits: int = 0
    ndf: int = 0
    files_of: str = "all"
    histograms: Mapping[str, Histogram | Profile] = field(default_factory=dict)
    files: Sequence[Files] = ()
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    parameters: Sequence[ParameterRow] = ()
    spectra: Sequence[Spectrum] = ()
    weak_modes: Sequence[Mapping[str, Any]] = ()

    def histogram(self, name: str) -> Histogram | None:
        """Return the histogram with this name; None if there is none."""
        found = self.histograms.get(name)
        return found if isinstance(found, Histogram) else None

    def profile(self, name: str) -> Profile | None:
        """Return the profile with this name; None if there is none."""
        found = self.histograms.get(name)
        return found if isinstance(found, Profile) else None

    def layer_residuals(self, layer: str) -> Histogram | None:
        """Return the residuals (um) of a layer, ``00`` to ``32``."""
        found = self.histogram("residuals")
        if found is None:
            return None
        return found.at(module=[f"{layer}{module}" for module in range(8)]).sum("module", "side")

    def module_residuals(self, module: str, side: str = "") -> Histogram | None:
        """Return the residuals (um) of a module, or of one of its sides."""
        found = self.histogram("residuals")
        if found is None:
            return None
        of_module = found.at(module=module)
        return of_module.at(side=side) if side else of_module.sum("side")

    def module_medians(self, least: int = LEAST_HITS) -> dict[str, Centre] | None:
        """Return the median residual of each module with at least ``least`` hits, the entries of DMR."""
        return self._medians(self.module_residuals, 3, least)

    def layer_medians(self) -> dict[str, Centre] | None:
        """Return the median residual of each layer with hits."""
        return self._medians(self.layer_residuals, 2)

    def _medians(self, of: Callable[[str], Histogram | None], digits: int, least: int = 1) -> dict[str, Centre] | None:
        found = self.histogram("residuals")
        if found is None:
            return None
        keys = sorted({str(key)[:digits] for key in found.axes[0]})
        centres = {key: centre_of(one) for key in keys if (one := of(key)) is not None}
        return {key: centre for key, centre in centres.items() if centre is not None and centre.hits >= least}

    def module_spreads(self) -> dict[str, Spread] | None:
        """Return mean and rms of the normalised residuals of each module with enough hits; the rms make DRnR."""
        found = self.histogram("pulls")
        if found is None:
            return None
        rows = zip(found.axes[0], *(column.tolist() for column in found.moments()), strict=True)
        return {str(key): Spread(int(hits), mean, rms) for key, hits, mean, rms in rows if hits >= LEAST_HITS}

    @property
    def expected_pull(self) -> float | None:
        """Rms of normalised residuals without misalignment: tracks follow hits, so it is below 1."""
        return float(np.sqrt(self.ndf / self.hits)) if self.hits else None


def centre_of(histogram: Histogram) -> Centre | None:
    """Return median and width of a histogram of residuals (um); None without entries."""
    low, median, high = histogram.quantiles().tolist()
    hits = int(histogram.contents.sum())
    return Centre(hits, median, (high - low) / 2) if hits else None


def write_figures(path: Name, data: FigureData) -> None:
    """Write the data atomically as compressed JSON; equal data give equal bytes."""
    values = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    text = json.dumps({"format": FORMAT, **values}, default=_plain, separators=(",", ":"), allow_nan=False)
    with replacing(path) as file:
        file.write(gzip.compress(text.encode(), 6, mtime=0))


def read_figures(path: Name) -> FigureData | None:
    """Read what ``write_figures`` wrote; None if there is no such file, as in campaigns of older versions.

    Raises UserError if it is damaged or of a newer format.
    """
    try:
        with open(path, "rb") as file:
            values = json.loads(gzip.decompress(file.read()))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, not {FORMAT}")
        return FigureData(
            stage=int(values["stage"]),
            iteration=int(values["iteration"]),
            residual_max_mm=float(values["residual_max_mm"]),
            hits=int(values["hits"]),
            ndf=int(values["ndf"]),
            files_of=str(values["files_of"]),
            histograms={name: from_uhi(one) for name, one in values["histograms"].items()},
            files=tuple(Files(*row) for row in values["files"]),
            corrections={key: Correction(*(tuple(part) for part in row)) for key, row in values["corrections"].items()},
            parameters=tuple(ParameterRow(*row) for row in values["parameters"]),
            spectra=tuple(
                Spectrum(step, weak, undetermined, tuple(Mode(*mode) for mode in modes))
                for step, weak, undetermined, modes in values["spectra"]
            ),
            weak_modes=tuple(values["weak_modes"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:  # also gzip.BadGzipFile, which has no strerror
        raise UserError(f"cannot read {path}: {error.strerror or error}; restore it from a copy") from error
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, zlib.error) as error:
        raise UserError(f"{path} has no data of figures ({error}); restore it from a copy") from error


def _plain(value: Any) -> Any:
    """Convert values for which JSON has no type."""
    if hasattr(value, "_to_uhi_"):
        return value._to_uhi_()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in the data of figures")
