"""Make the figures of modules and layers: corrections, displacements, residuals, hits, distances. Pure.

Each function returns a figure of a source, or None if the source has no data for it.
"""

import math
from collections.abc import Mapping

from faser_align.alignment.parameters.constants import DOFS, Constants
from faser_align.alignment.parameters.differences import element, rms
from faser_align.alignment.parameters.labels import KEYS, LAYERS, MODULES, constants_key
from faser_align.alignment.quality.grades import module_means
from faser_align.fsm.metrics import Half, Metrics
from faser_align.fsm.plural import first_of
from faser_align.pages.figures.plot import Plot, plot_of
from faser_align.pages.figures.shapes import Arrows, Band, ByElement, Curve, Curves, Map, Maps, Measured
from faser_align.pages.figures.source import Source, by_dof, differences, unit
from faser_align.pages.numbers import signed, significant
from faser_align.system.formatting import rounded

MODULE_KEYS = [key for key in KEYS if len(key) == 3]
COURSES = 6  # constants whose corrections are drawn against the iteration
LISTED = 8  # modules named in a caption
NOISY, DEAD = 3.0, 0.1  # ratio of a module's hits to the median of its layer's modules


def corrections(source: Source) -> Plot | None:
    """Corrections of the first and the last iteration, with their errors."""
    found = {
        of.name: by_dof(of.solution.correction, of.solution.errors) for of in source.ends if of.solution is not None
    }
    caption = "The last corrections should be compatible with zero within their errors."
    return plot_of("corrections", "Corrections with their errors", caption, _bands(found))


def course(source: Source) -> Plot | None:
    """Corrections over their errors against the iteration, of the constants with the largest ones."""
    by_name: dict[str, list[tuple[int, float]]] = {}
    for of in source.iterations:
        if of.solution is not None:
            for dof, values in by_dof(of.solution.correction, of.solution.errors).items():
                for key, (value, error) in values.items():
                    if error:
                        by_name.setdefault(f"{key} {dof}", []).append((of.number, value / error))
    largest = sorted(by_name, key=lambda name: -max(abs(pull) for _, pull in by_name[name]))[:COURSES]
    curves = [Curve(name, [(at, Measured(pull)) for at, pull in by_name[name]]) for name in largest]
    if not curves or len(source.iterations) < 2:
        return None
    return Plot(
        "course",
        "Largest corrections against the iteration",
        "In units of their errors. The corrections should stay within the band of one error; an oscillation means that two parameters describe the same movement.",
        Curves("iteration", "correction over error", "σ", curves, whole=True, pulls=True),
    )


def precision(source: Source) -> Plot | None:
    """Statistical errors of the constants, of the last iteration that moved them, by module and layer."""
    solution = source.last.solution
    errors = by_dof(solution.all_errors, {}) if solution is not None else {}
    bands = [_from_zero(band) for band in _bands({source.last.name: errors}).bands]
    worst = [
        f"{band.label} {rounded(of[key].value)} {band.unit} ({key})"
        for band in bands
        for of in band.series.values()
        if (key := max(of, key=lambda key: of[key].value))
    ]
    caption = f"Those of the last iteration that moved a constant. Largest: {', '.join(worst)}."
    return plot_of("precision", "Statistical errors of the constants", caption, ByElement(bands))


def _from_zero(band: Band) -> Band:
    """Return a panel of values that are not negative, whose axis begins at 0."""
    most = max((of.value + (of.error or 0.0) for those in band.series.values() for of in those.values()), default=0.0)
    return band._replace(ends=(0.0, 1.1 * most or 1.0))


def means(source: Source) -> Plot | None:
    """Mean residual of each module in the first and the last iteration, with statistical errors."""
    found = {
        of.name: {key: Measured(*mean) for key, mean in module_means(sides, MODULE_KEYS).items()}
        for of in source.ends
        if (sides := of.metrics.get("sides"))
    }
    found = {name: of for name, of in found.items() if of}
    if not found:
        return None
    last = list(found.values())[-1]
    worst = max(last, key=lambda key: abs(last[key].value) / (last[key].error or math.inf))
    return Plot(
        "means",
        "Mean residual of each module",
        f"With statistical errors. Of {len(last)} modules, {worst} is farthest from zero by its error: {significant(*last[worst], 'µm')}.",
        ByElement(_zoomed("mean residual", found)),
    )


def _zoomed(label: str, found: Mapping[str, Mapping[str, Measured]]) -> list[Band]:
    """Return a panel with all series (um) and, because the last is much smaller, one with the last alone."""
    last = list(found)[-1]
    alone = [Band(f"{label}, {last}", "µm", {last: found[last]})] if len(found) > 1 else []
    return [Band(label, "µm", found), *alone]


def displacements(source: Source) -> Plot | None:
    """Change of the constants since the start of the campaign, with the errors of the last iteration."""
    moved = _minus(source, source.start)
    caption = "Movement of each module and layer since the start of the campaign."
    return values("displacements", "Constants minus those of the start", caption, source.last.name, moved)


def from_reference(source: Source) -> Plot | None:
    """Constants minus a reference, with the errors of the last iteration."""
    name, constants = source.reference or ("", None)
    caption = "Constants of the campaign minus the reference, with the statistical errors of the campaign's."
    return values("reference", f"Constants minus {name}", caption, source.last.name, _minus(source, constants))


def _minus(source: Source, other: Constants | None) -> dict[str, dict[str, Measured]]:
    """Return the last constants minus others with the errors of the former; empty without both."""
    solution = source.last.solution
    return {} if solution is None or other is None else differences(solution.constants, other, solution.all_errors)


def values(name: str, title: str, caption: str, series: str, of: Mapping[str, Mapping[str, Measured]]) -> Plot | None:
    """Values with errors by degree of freedom and element; the caption says how significant they are."""
    return plot_of(name, title, f"{caption} {significance(of)}".strip(), _bands({series: of}))


def significance(of: Mapping[str, Mapping[str, Measured]]) -> str:
    """Return the rms of values over their errors, and the largest of them; empty without errors, or if all are zero."""
    pulls = {(dof, key): one for dof, those in of.items() for key, one in those.items() if one.error}
    if not any(one.value for one in pulls.values()):
        return ""
    dof, key = max(pulls, key=lambda at: abs(pulls[at].value) / (pulls[at].error or math.inf))
    pulled = rms([one.value / one.error for one in pulls.values() if one.error])
    most = significant(*pulls[dof, key], unit(dof))
    return (
        f"In units of their errors, their rms is {rounded(pulled)} σ; the largest is {dof} of {element(key)}, {most}."
    )


def from_truth(source: Source) -> Plot | None:
    """Distance to the simulated detector's constants, before and after, with errors."""
    if source.truth is None or source.last.solution is None or source.start is None:
        return None
    free = by_dof(source.last.solution.correction, source.last.solution.errors)
    before = differences(source.start, source.truth, {})
    after = differences(source.last.solution.constants, source.truth, source.last.solution.errors)
    found = {
        name: {dof: {key: of[key] for key in of if key in free.get(dof, {})} for dof, of in apart.items()}
        for name, apart in (("start", before), (source.last.name, after))
    }
    sigmas = [one.value / one.error for of in found[source.last.name].values() for one in of.values() if one.error]
    caption = "Simulated data only: the constants minus the true ones."
    if sigmas:
        caption += f" Over single constants, without their correlations, the rms of distance over error is {rms(sigmas):.2f}; statistical errors alone give about 1."
    return plot_of("truth", "Distance to the true constants", caption, _bands(found))


def validation(source: Source) -> Plot | None:
    """Mean residual and width of each module in the validation, with the first and the last constants."""
    groups = source.validation.get("groups", {})
    group = groups.get("unused", groups.get("all", {}))
    halves: dict[str, Half] = {"before": group.get("before", {}), "after": group.get("after", {})}
    if not all(half.get("modules") for half in halves.values()):
        return None
    means: dict[str, dict[str, Measured]] = {name: {} for name in halves}
    widths: dict[str, dict[str, Measured]] = {name: {} for name in halves}
    for name, half in halves.items():
        for key, of in half["modules"].items():
            if key in KEYS and of.keys() >= {"hits", "mean_um", "rms_um"}:
                means[name][key] = Measured(of["mean_um"], of["rms_um"] / math.sqrt(of["hits"]))
                widths[name][key] = Measured(of["rms_um"], of["rms_um"] / math.sqrt(2 * of["hits"]))
    what = "files that the alignment did not use" if "unused" in groups else "all files"
    return Plot(
        "validation",
        f"Validation on {what}",
        f"Mean and rms of the residuals of each module, with the first and with the last constants. {_worse(means)}",
        ByElement([*_zoomed("mean", means), Band("rms", "µm", widths)]),
    )


def _worse(means: Mapping[str, Mapping[str, Measured]]) -> str:
    """Name the modules whose mean residual moved away from zero by more than two standard deviations."""
    worse = []
    for key, (after, error) in means["after"].items():
        before, other = means["before"].get(key, Measured(0.0, 0.0))
        if abs(after) - abs(before) > 2 * math.hypot(error or 0.0, other or 0.0):
            worse.append(f"{key} ({signed(f'{before:+.1f} to {after:+.1f}')} µm)")
    what = "moved away from zero by more than two standard deviations"
    return f"Means that {what}: {first_of(worse, LISTED)}." if worse else f"No mean {what}."


def occupancy(source: Source) -> Plot | None:
    """Hits of each module, and the fraction cut by residual."""
    hits = {of.name: _hits(of.metrics) for of in source.ends}
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
        f"Modules with far fewer or far more hits than those at the same place in the station's layers: {named}.",
        ByElement([_from_zero(Band("hits", "", kept)), _from_zero(Band("cut", "%", cut))]),
    )


def _hits(metrics: Metrics) -> dict[str, list[int]]:
    """Return kept and cut hits of each module in the stations that have hits; zeros for modules without any."""
    found = metrics.get("hits", {}).get("modules", {})
    stations = sorted({key[0] for key in found if key in KEYS})
    return {
        key: found.get(key, [0, 0])
        for key in (constants_key(int(station), layer, m) for station in stations for layer in LAYERS for m in MODULES)
    }


def odd_modules(metrics: Metrics) -> dict[str, str]:
    """Return modules whose hits differ much from the median of the same place in the station's layers: dead or noisy."""
    hits = {key: sum(of) for key, of in _hits(metrics).items()}
    stations = {key[0] for key in hits}
    odd = {}
    for station in sorted(stations):
        for module in MODULES:
            places = [f"{station}{layer}{module}" for layer in LAYERS]
            found = sorted(hits[key] for key in places)
            for key in places:
                if hits[key] < DEAD * found[1]:
                    odd[key] = "dead"
                elif found[1] and hits[key] > NOISY * found[1]:
                    odd[key] = "noisy"
    return odd


def map_displacement(source: Source) -> Plot | None:
    """Pictures of the detector: displacement from the start, one for each degree of freedom."""
    return picture("map", "Displacement from the start", _minus(source, source.start))


def map_reference(source: Source) -> Plot | None:
    """Pictures of the detector: difference to the reference, one for each degree of freedom."""
    name, constants = source.reference or ("", None)
    return picture("map-reference", f"Difference to {name}", _minus(source, constants))


def map_residual(source: Source) -> Plot | None:
    """Pictures of the detector: median residual of each module, before and after, on one scale."""
    found = {
        of.name: {key: centre.median_um for key, centre in centres.items()}
        for of in source.ends
        if of.data is not None and (centres := of.data.module_medians())
    }
    most = max((abs(value) for values in found.values() for value in values.values()), default=0.0)
    caption = "Blue is negative, red positive. Both pictures have the same scale."
    maps = Maps([Map(f"{name}, residual", "µm", values, most) for name, values in found.items()])
    return plot_of("map-residual", "Median residual of each module", caption, maps)


def picture(name: str, title: str, values: Mapping[str, Mapping[str, Measured]]) -> Plot | None:
    """Pictures of the detector for values by degree of freedom and element."""
    moved = {dof: {key: measured.value for key, measured in of.items()} for dof, of in values.items()}
    pictures: list[Map | Arrows] = []
    shifted = {key for dof in ("x", "y") for key, value in moved.get(dof, {}).items() if len(key) == 2 and value}
    if shifted:
        arrows = {key: (moved.get("x", {}).get(key, 0.0), moved.get("y", {}).get(key, 0.0)) for key in sorted(shifted)}
        pictures.append(Arrows("layers", "µm", arrows, max(math.hypot(*xy) for xy in arrows.values())))
    for kind, length in (("layers ", 2), ("modules ", 3)):
        for dof, of in moved.items():
            those = {key: value for key, value in of.items() if len(key) == length}
            most = max(map(abs, those.values()), default=0.0)
            if most and (length == 3 or dof not in ("x", "y")):
                pictures.append(Map(kind + dof, unit(dof), those, most))
    caption = "Blue is negative, red positive; an empty square is a layer without free modules."
    if shifted:
        caption += " Arrows show the shifts of layers along the detector's x and y, seen along the beam."
    return plot_of(name, title, caption, Maps(pictures))


def _bands(found: Mapping[str, Mapping[str, Mapping[str, Measured]]]) -> ByElement:
    """Return a panel for each degree of freedom, modules and layers apart."""
    bands = []
    for kind, length in (("layer", 2), ("", 3)):
        for dof in [dof for dof in DOFS if any(dof in of for of in found.values())]:
            series = {
                name: {key: measured for key, measured in of.get(dof, {}).items() if len(key) == length}
                for name, of in found.items()
            }
            if any(series.values()):
                bands.append(Band(" ".join(filter(None, (kind, dof))), unit(dof), series))
    return ByElement(bands)
