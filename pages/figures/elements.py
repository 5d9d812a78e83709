"""Make the figures of modules and layers: corrections, displacements, residuals, hits, distances. Pure.

Each function returns a figure of a source, or None if the source has no data for it.
"""

import math
from collections.abc import Mapping, Sequence

from faser_align.fsm.metrics import Half, Metrics
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Band, ByElement, Map, Maps, Measured
from faser_align.pages.figures.source import Source, by_dof, differences, unit

NOISY, DEAD = 3.0, 0.1  # ratio of a module's hits to the median of its layer's modules


def corrections(source: Source) -> Plot | None:
    """Corrections of the first and the last iteration, with their errors."""
    found = {
        of.name: by_dof(of.solution.correction, of.solution.errors) for of in source.ends if of.solution is not None
    }
    bands = _bands(found, "correction")
    return _plot(
        "corrections",
        "Corrections with their errors",
        "The last corrections should be within their errors of zero.",
        bands,
    )


def displacements(source: Source) -> Plot | None:
    """Difference of the constants to the start of the campaign, with the errors of the last iteration."""
    if source.start is None or source.last.solution is None:
        return None
    moved = differences(source.last.solution.constants, source.start, source.last.solution.errors)
    return _plot(
        "displacements",
        "Constants less those of the start",
        "How far the campaign has moved each module and layer, with statistical errors.",
        _bands({source.last.name: moved}, ""),
    )


def from_reference(source: Source) -> Plot | None:
    """Difference of the constants to a reference, with the errors of the last iteration."""
    if source.reference is None or source.last.solution is None:
        return None
    name, constants = source.reference
    solution = source.last.solution
    return _plot(
        "reference",
        f"Constants less {name}",
        "How far the constants are from others, with the statistical errors of these.",
        _bands({source.last.name: differences(solution.constants, constants, solution.errors)}, ""),
    )


def from_truth(source: Source) -> Plot | None:
    """Distance to the simulated detector's constants, before and after, with errors."""
    if source.truth is None or source.last.solution is None or source.start is None:
        return None
    free = by_dof(source.last.solution.correction, source.last.solution.errors)
    before = differences(source.start, source.truth, {})
    after = differences(source.last.solution.constants, source.truth, source.last.solution.errors)
    found = {
        "start": {dof: {key: of[key] for key in of if key in free.get(dof, {})} for dof, of in before.items()},
        source.last.name: {dof: {key: of[key] for key in of if key in free.get(dof, {})} for dof, of in after.items()},
    }
    sigmas = [
        measured.value / measured.error
        for of in found[source.last.name].values()
        for measured in of.values()
        if measured.error
    ]
    rms = (
        f" The rms of value over error is {_rms(sigmas):.2f}; it is about 1 if only statistical errors are left."
        if sigmas
        else ""
    )
    return _plot(
        "truth",
        "Distance to the true constants",
        f"Simulated data only: the constants less the true ones.{rms}",
        _bands(found, ""),
    )


def validation(source: Source) -> Plot | None:
    """Mean residual and width of each module in the validation, with the first and the last constants."""
    groups = source.validation.get("groups", {})
    group = groups.get("unused", groups.get("all", {}))
    halves: dict[str, Half] = {"before": group.get("before", {}), "after": group.get("after", {})}
    if not all(half.get("modules") for half in halves.values()):
        return None
    means = {
        name: {
            key: Measured(of["mean_um"], of["rms_um"] / math.sqrt(of["hits"])) for key, of in half["modules"].items()
        }
        for name, half in halves.items()
    }
    widths = {
        name: {
            key: Measured(of["rms_um"], of["rms_um"] / math.sqrt(2 * of["hits"])) for key, of in half["modules"].items()
        }
        for name, half in halves.items()
    }
    what = "files that the alignment did not use" if "unused" in groups else "all files"
    return Plot(
        "validation",
        f"Validation on {what}",
        "Mean residual and its rms for each module, with the first constants and with the last.",
        ByElement([Band("mean", "µm", means), Band("rms", "µm", widths)]),
    )


def occupancy(source: Source) -> Plot | None:
    """Hits of each module, and the fraction cut by residual."""
    hits = {of.name: of.metrics.get("hits", {}).get("modules", {}) for of in source.ends}
    if not any(hits.values()):
        return None
    kept = {
        name: {key: Measured(float(good + bad), math.sqrt(good + bad)) for key, (good, bad) in of.items()}
        for name, of in hits.items()
    }
    cut = {
        name: {
            key: Measured(100 * bad / (good + bad), 100 * math.sqrt(bad * good / (good + bad)) / (good + bad))
            for key, (good, bad) in of.items()
            if good + bad
        }
        for name, of in hits.items()
    }
    odd = odd_modules(source.last.metrics)
    named = "; ".join(f"{key}: {word}" for key, word in odd.items()) or "none"
    return Plot(
        "occupancy",
        "Hits of each module",
        f"Modules with far fewer or far more hits than those beside them: {named}.",
        ByElement([Band("hits", "", kept), Band("cut", "%", cut)]),
    )


def odd_modules(metrics: Metrics) -> dict[str, str]:
    """Return modules whose hits differ much from the median of the same place in the station's layers: dead or noisy."""
    modules = metrics.get("hits", {}).get("modules", {})
    hits = {key: sum(of) for key, of in modules.items()}
    stations = {key[0] for key in hits}
    odd = {}
    for station in sorted(stations):
        for module in range(8):
            places = [f"{station}{layer}{module}" for layer in range(3)]
            found = sorted(hits.get(key, 0) for key in places)
            for key in places:
                if hits.get(key, 0) < DEAD * found[1]:
                    odd[key] = "dead"
                elif found[1] and hits.get(key, 0) > NOISY * found[1]:
                    odd[key] = "noisy"
    return odd


def maps(source: Source) -> list[Plot]:
    """Pictures of the detector: displacement from the start, and the last correction."""
    drawn = []
    solution = source.last.solution
    if solution is not None and source.start is not None:
        moved = differences(solution.constants, source.start, solution.errors)
        drawn.append(_map("map", "Displacement from the start", "", moved))
        if source.reference is not None:
            name, constants = source.reference
            apart = differences(solution.constants, constants, solution.errors)
            drawn.append(_map("map-reference", f"Difference to {name}", "", apart))
    return [plot for plot in drawn if plot is not None]


def _map(name: str, title: str, caption: str, values: Mapping[str, Mapping[str, Measured]]) -> Plot | None:
    pictures = [
        Map(dof, unit(dof), {key: measured.value for key, measured in of.items()}, _most(of))
        for dof, of in values.items()
        if _most(of)
    ]
    return Plot(name, title, caption, Maps(pictures)) if pictures else None


def _most(of: Mapping[str, Measured]) -> float:
    return max((abs(measured.value) for measured in of.values()), default=0.0)


def _bands(found: Mapping[str, Mapping[str, Mapping[str, Measured]]], what: str) -> list[Band]:
    """Return a panel per degree of freedom, modules and layers apart, from values by series, degree of freedom and key."""
    bands = []
    for kind, length in (("layer", 2), ("", 3)):
        for dof in dict.fromkeys(dof for of in found.values() for dof in of):
            series = {
                name: {key: measured for key, measured in of.get(dof, {}).items() if len(key) == length}
                for name, of in found.items()
            }
            if any(series.values()):
                bands.append(Band(" ".join(filter(None, (kind, dof))), unit(dof), series))
    return bands


def _plot(name: str, title: str, caption: str, bands: Sequence[Band]) -> Plot | None:
    return Plot(name, title, caption, ByElement(bands)) if bands else None


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))
