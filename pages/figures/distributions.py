"""Make the figures of hits and tracks: residuals, medians of modules, pulls, chi2, momenta. Pure.

Each function returns a figure of a source, or None if the source has no data for it. The histograms are those of
``alignment.quality.figure_data``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from faser_align.alignment.histograms import Bins, Histogram
from faser_align.alignment.parameters.differences import rms
from faser_align.alignment.quality.figure_data import LEAST_HITS, FigureData, Files, centre_of
from faser_align.alignment.quality.notes import MAGNETS
from faser_align.pages.figures.plot import Plot, plot_of
from faser_align.pages.figures.shapes import Band, ByElement, Curve, Curves, Histograms, Measured, Panel, bins_of
from faser_align.pages.figures.source import Source
from faser_align.pages.numbers import significant
from faser_align.system.formatting import rounded

STATIONS = {"0": "IFT", "1": "station 1", "2": "station 2", "3": "station 3"}
CHARGES = {"+": "positive", "-": "negative"}
BINS = 24  # of the distributions of modules, of which a station has 24


def residuals(source: Source) -> Plot | None:
    """Residuals of each layer, with median and width."""
    return residuals_of(_ends(source))


def residuals_of(found: Mapping[str, FigureData | None]) -> Plot | None:
    """Residuals of each layer in several iterations or campaigns, by name; the first one is grey."""
    known = {name: data for name, data in found.items() if data is not None}
    layers = sorted({key for data in known.values() for key in data.layer_medians() or ()})
    panels = [
        Panel(layer, {name: one for name, data in known.items() if (one := data.layer_residuals(layer))})
        for layer in layers
    ]
    return _histograms(
        "residuals",
        "Residuals of each layer",
        "Medians with their statistical errors (µm) should be near zero. Two peaks mean that modules are displaced against each other, except in middle layers, where binary strips cause them and shift the median.",
        Histograms("residual", "µm", panels),
    )


def validation(source: Source) -> Plot | None:
    """Residuals of each layer in the validation, with the first constants and with the last."""
    plot = residuals_of(source.halves)
    return None if plot is None else plot._replace(name="validation-residuals", title="Residuals in the validation")


def medians(source: Source) -> Plot | None:
    """Distribution of the modules' median residuals (DMR), by station."""
    found = {
        name: {key: of.median_um for key, of in centres.items()}
        for name, data in _ends(source).items()
        if (centres := data.module_medians())
    }
    errors = [of.error_um for of in (source.last.data.module_medians() or {}).values()] if source.last.data else []
    error = f" (median: {rounded(float(np.median(errors)))} µm)" if errors else ""
    return _histograms(
        "medians",
        "Median residuals of modules (DMR)",
        f"One entry for each module with at least {LEAST_HITS} hits: aligned modules are within a few of their errors{error} of zero, in middle layers within some µm, because strips are binary. The rms is below each name.",
        Histograms("median residual", "µm", _by_station(found, symmetric=True)),
    )


def spreads(source: Source) -> Plot | None:
    """Distribution of the rms of the modules' normalised residuals (DRnR), by station."""
    found = {
        name: {key: of.rms for key, of in spreads.items()}
        for name, data in _ends(source).items()
        if (spreads := data.module_spreads())
    }
    expected = source.last.data.expected_pull if source.last.data else None
    return _histograms(
        "spreads",
        "Rms of normalised residuals of modules (DRnR)",
        "One entry for each module. The dashed line is the expected mean of all: stations at the ends of tracks are below it, the others above. A module above the others of its station is misaligned, or its hits scatter.",
        Histograms(
            "rms of residual over error",
            "",
            _by_station(found, symmetric=False),
            mark=("expected", expected) if expected else None,
        ),
    )


def pulls(source: Source) -> Plot | None:
    """Residuals over the errors of their hits, of all modules."""
    return _of_all(
        {name: found.sum("module") for name, found in _named(source, "pulls").items()},
        "pulls",
        "Pulls of residuals",
        "Residuals over the errors of the hits. Without misalignment the rms is below 1, since tracks follow hits.",
        "residual over error",
        of="hits",
        rms=True,
    )


def chi2(source: Source) -> Plot | None:
    """Chi2/ndf of tracks."""
    found = _named(source, "chi2_per_ndf")
    caption = "The maximum is near 1 if errors and alignment are right."
    return _of_all(found, "chi2", "χ²/ndf of tracks", caption, "χ²/ndf", of="tracks")


def probability(source: Source) -> Plot | None:
    """Chi2 probability of tracks."""
    found = _named(source, "chi2_probability")
    caption = "Flat for normally distributed residuals; those of binary strips are uniform, which causes a maximum in the middle. A peak at 0 means misalignment, outliers or multiple scattering."
    return _of_all(found, "probability", "χ² probability of tracks", caption, "χ² probability", of="tracks")


def momentum(source: Source) -> Plot | None:
    """Momenta of tracks by charge."""
    panels = []
    for charge, words in CHARGES.items():
        series = {name: found.at(charge=charge).rebin(4) for name, found in _named(source, "momentum").items()}
        if series:
            panels.append(Panel(f"{words} tracks", series))
    return _histograms(
        "momentum",
        "Momentum by charge",
        "A weak mode that bends tracks makes the momenta of one charge larger and of the other smaller.",
        Histograms("momentum", "GeV", panels, logx=True),
    )


def momentum_change(source: Source) -> Plot | None:
    """Relative change of the median momentum of the same tracks since the stage's first iteration, by charge."""
    rows = [(of.number, of.metrics.get("momentum", {}).get("since_first", {})) for of in source.iterations]
    curves = []
    for key, name in (("momentum_change_plus", "positive"), ("momentum_change_minus", "negative")):
        points = [(number, 100 * float(value)) for number, row in rows if (value := row.get(key)) is not None]  # type: ignore[arg-type]
        points = [(source.first.number, 0.0), *points] if points else []
        if points:
            curves.append(Curve(name, [(x, Measured(y)) for x, y in points]))
    return plot_of(
        "momentum-change",
        "Change of momenta since the first iteration",
        "Medians of the same tracks. Opposite changes of the two charges mean a curvature, equal changes a scale.",
        Curves("iteration", "change of median momentum", "%", curves, whole=True),
    )


def asymmetry(source: Source) -> Plot | None:
    """Mean charge over momentum of each module's tracks."""
    series = {}
    for name, data in _ends(source).items():
        profile = data.profile("q_over_p")
        if profile is None:
            continue
        both = profile.sum("charge")
        means, variances, counts = both.values(), both.variances(), both.counts()
        series[name] = {
            str(key): Measured(float(mean), math.sqrt(variance / count))
            for key, mean, variance, count in zip(both.axes[0], means, variances, counts, strict=True)
            if count >= LEAST_HITS
        }
    return plot_of(
        "q-over-p",
        "Mean q/p of each module's tracks",
        "If the alignment changes a trend along x, or from layer to layer, a weak mode changes momenta.",
        ByElement([Band("mean q/p", "1/TeV", series)]),
    )


def magnets(source: Source) -> Plot | None:
    """Deviation of the field of each magnet, if only this one is wrong."""
    curves = []
    for of in source.ends:
        found = {key: one for key, one in of.metrics.get("magnets", {}).items() if key in ("1", "2", "3")}
        if found:
            points = [(int(key), Measured(100 * one["deviation"], 100 * one["error"])) for key, one in found.items()]
            curves.append(Curve(of.name, points))
    if not curves:
        return None
    odd = [
        f"{MAGNETS[str(x)].removeprefix('the magnet ')}: {significant(y.value, y.error, '%')}"
        for x, y in curves[-1].points
    ]
    return Plot(
        "magnets",
        "Fields of the magnets",
        f"Deviation of each field from the map if only this field is wrong; momenta are then wrong, too. Magnet {'; '.join(odd)}. A factor common to all magnets changes no residual.",
        Curves(
            "magnet (stations)",
            "deviation of the field",
            "%",
            curves,
            lines=False,
            names=["before 1", "1 to 2", "2 to 3"],
            before=len(curves) > 1,
        ),
    )


def stability(source: Source) -> Plot | None:
    """Chi2/ndf of each raw file, first and last iteration."""
    curves = []
    names: list[str] = []
    for name, data in _ends(source).items():
        tracks = sum(row.tracks for row in data.files)
        points = []
        for at, row in enumerate(data.files, start=1):
            if row.chi2_per_ndf is not None:
                ndf = data.ndf * row.tracks / tracks
                points.append((at, Measured(float(row.chi2_per_ndf), math.sqrt(2 / ndf) if ndf else None)))
        if points:
            names = _names(data)
            curves.append(Curve(name, points))
    return plot_of(
        "files",
        "χ²/ndf of each raw file",
        f"A step or an outlier means that the detector moved, or that a file is damaged.{_tracks_of_files(source)}",
        Curves("raw file", "χ²/ndf", "", curves, lines=False, names=names, before=len(curves) > 1),
    )


def _tracks_of_files(source: Source) -> str:
    """Return the smallest and the largest number of tracks of a raw file in the last iteration; empty for many files."""
    rows = source.last.data.files if source.last.data is not None else ()
    if not rows or any(row.files > 1 for row in rows):
        return ""
    least, most = (choose(rows, key=lambda row: row.tracks) for choose in (min, max))
    return f" Tracks of a file: {least.tracks:,} ({least.first}) to {most.tracks:,} ({most.first})."


def drift_over_files(source: Source) -> Plot | None:
    """Mean residual of each station over the raw files, in the last iteration."""
    data = source.last.data
    if data is None or not data.files:
        return None
    curves = []
    layers = sorted({key for row in data.files for key in row.mean_um})
    for station in sorted({key[0] for key in layers}):
        of_station = [key for key in layers if key[0] == station]
        points = []
        for at, row in enumerate(data.files, start=1):
            means = [mean for key in of_station if (mean := row.mean_um.get(key)) is not None]
            if means:
                points.append((at, Measured(sum(means) / len(means), _error_of_mean(data, of_station, row))))
        if points:
            curves.append(Curve(STATIONS[station], points))
    return plot_of(
        "files-residuals",
        "Mean residual of each station over the raw files",
        "With statistical errors. A step means that a station moved during the run.",
        Curves("raw file", "mean residual", "µm", curves, lines=False, names=_names(data)),
    )


def _names(data: FigureData) -> list[str]:
    """Return the names of raw files, or of the first of several."""
    return [row.first if row.files == 1 else f"{row.first}…" for row in data.files]


def _error_of_mean(data: FigureData, layers: Sequence[str], row: Files) -> float | None:
    """Return the error (um) of the mean residual of some layers in a file, if they have there their share of the hits."""
    every, known = data.histogram("residuals"), [data.layer_residuals(layer) for layer in layers]
    centres = [centre for one in known if one is not None and (centre := centre_of(one))]
    hits = sum(centre.hits for centre in centres)
    if every is None or not hits or not row.hits:
        return None
    share = hits / every.contents.sum()
    return math.sqrt(sum(centre.hits * centre.width_um**2 for centre in centres) / hits / (share * row.hits))


def _ends(source: Source) -> dict[str, FigureData]:
    """Return the data of the first and the last iteration that have any, by name."""
    return {of.name: of.data for of in source.ends if of.data is not None}


def _named(source: Source, name: str) -> dict[str, Histogram]:
    """Return a histogram of the first and the last iteration that have it."""
    return {of: found for of, data in _ends(source).items() if (found := data.histogram(name)) is not None}


def _of_all(
    series: Mapping[str, Histogram], name: str, title: str, caption: str, label: str, *, of: str, rms: bool = False
) -> Plot | None:
    """Return a figure of one frame, with the number of entries of each series, and their rms about zero."""
    found = []
    for iteration, histogram in series.items():
        values, middles = histogram.values(), np.convolve(bins_of(histogram).edges, (0.5, 0.5), "valid")
        spread = math.sqrt(float(np.sum(values * middles**2)) / (float(values.sum()) or 1))
        found.append(f"{int(histogram.contents.sum()):,} in {iteration}{f' (rms {spread:.2f})' if rms else ''}")
    caption = f"{caption} {of.capitalize()}: {', '.join(found)}."
    return _histograms(name, title, caption, Histograms(label, "", [Panel("", series)], of=of))


def _histograms(name: str, title: str, caption: str, data: Histograms) -> Plot | None:
    entries = any(histogram.contents.any() for panel in data.panels for histogram in panel.series.values())
    return Plot(name, title, caption, data) if entries else None


def _by_station(found: Mapping[str, Mapping[str, float]], *, symmetric: bool) -> list[Panel]:
    """Return a panel per station: the distribution of its modules' values, by series and module."""
    panels = []
    for station, words in STATIONS.items():
        values = {name: [value for key, value in of.items() if key[0] == station] for name, of in found.items()}
        if any(values.values()):
            panels.append((words, values))
    every = [value for _, values in panels for of in values.values() for value in of]
    axis = _axis(every, symmetric=symmetric)
    return [
        Panel(
            words,
            {name: _filled(axis, of) for name, of in values.items()},
            f"rms {' → '.join(rounded(rms(of)) for of in values.values() if of)}" if symmetric else "",
        )
        for words, values in panels
    ]


def _axis(values: Iterable[float], *, symmetric: bool) -> Bins:
    known = list(values) or [1.0]
    if symmetric:
        end = max(abs(value) for value in known) * 1.05 or 1.0
        return Bins.evenly("value", "", BINS, -end, end)
    low, high = min(known), max(known)
    room = (high - low) * 0.1 or 0.1
    return Bins.evenly("value", "", BINS, low - room, high + room)


def _filled(axis: Bins, values: Iterable[float]) -> Histogram:
    places = np.searchsorted(np.array(axis.edges), list(values), side="right")
    return Histogram((axis,), np.bincount(places, minlength=axis.size).astype(np.int64))
