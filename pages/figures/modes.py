"""Make the figures of weak modes: eigenvalues with their limits, and the drift along named modes. Pure."""

import math

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.quality.mode_names import kinds_of, without_modules
from faser_align.pages.figures.plot import Plot, plot_of
from faser_align.pages.figures.shapes import Band, ByElement, Curve, Curves, Measured
from faser_align.pages.figures.source import Source
from faser_align.system.formatting import count, rounded

DRIFTS = 6  # named modes whose drift is drawn


def spectrum(source: Source) -> list[Plot]:
    """Error of each direction in which a step was free to move, with the limit of weak modes; a figure for each step."""
    data = source.last.data
    if data is None:
        return []
    made = []
    for number, of in enumerate(data.spectra, start=1):
        errors = [1 / math.sqrt(mode.eigenvalue) for mode in of.modes if mode.eigenvalue > 0]
        lost = len(of.modes) - len(errors)
        weak = [mode.name for mode in of.modes if mode.eigenvalue < of.weak]
        if not errors:
            continue
        names = "; ".join(kinds_of(filter(None, weak)))
        above = f"{count(len(weak), 'direction')} of {len(of.modes)}" if weak else f"None of {len(of.modes)} directions"
        undetermined = f" {lost} directions that the data do not determine are not drawn." if lost else ""
        made.append(
            Plot(
                "spectrum" if len(data.spectra) == 1 else f"spectrum-{number}",
                "Eigen-spectrum" if len(data.spectra) == 1 else f"Eigen-spectrum of step {number}, {of.step}",
                f"{above} {'has' if len(weak) < 2 else 'have'} an error above the dashed line, ten times the median{f': {names}' if names else ''}.{undetermined}",
                Curves(
                    "direction",
                    "error",
                    "µm",
                    [Curve("error", list(enumerate(map(Measured, errors), start=1)))],
                    log=True,
                    lines=False,
                    limit=("10 × median", 1 / math.sqrt(of.weak)) if of.weak > 0 else None,
                ),
            )
        )
    return made


def drift(source: Source) -> Plot | None:
    """Drift of the constants along the weakest directions, by name, since the start of the campaign, against the iteration."""
    rows = [(of.number, of.metrics.get("weak_modes", {}).get("modes", [])) for of in source.iterations]
    last = next((modes for _, modes in reversed(rows) if modes), [])
    names = list(dict.fromkeys(without_modules(mode["name"]) for mode in last))[:DRIFTS]
    weak = [without_modules(mode["name"]) for mode in last if mode["weak"]]
    curves = []
    for name in names:
        points = {at: [of["drift_sigma"] for of in modes if without_modules(of["name"]) == name] for at, modes in rows}
        largest_of = {at: max(drifts) for at, drifts in sorted(points.items()) if drifts}
        words = f"{name} (weak)" if name in weak else name
        curves.append(Curve(words, [(at, Measured(drift)) for at, drift in largest_of.items()]))
    if not curves:
        return None
    known = source.last.metrics.get("weak_modes", {})
    largest = max(last, key=lambda mode: (mode["weak"], mode["drift_sigma"]))
    most = f"{rounded(largest['drift_sigma'])} σ ({rounded(largest['drift_um'])} µm) along {largest['name']}"
    if error := largest.get("error_sigma"):
        most += f", whose error by the tracks is {rounded(error)} σ"
    return Plot(
        "drift",
        "Drift along the weakest directions",
        "Since the start of the campaign. A direction is a weak mode if the tracks are far less precise than the survey: "
        f"{known.get('weak', len(weak)) or 'none'} of {known.get('directions', len(last))}. "
        f"Largest drift{' along a weak mode' * bool(weak)}: {most}.",
        Curves("iteration", "drift", "σ of the survey", curves, whole=True, from_zero=True),
    )


def correlations(source: Source) -> Plot | None:
    """Global correlation of each parameter of modules and layers."""
    data = source.last.data
    if data is None:
        return None
    series: dict[str, dict[str, Measured]] = {}
    for row in data.parameters:
        parameter = PARAMETERS.get(row.label)
        if parameter is not None and row.global_correlation is not None:
            kind = parameter.kind.partition(".")[2] + (f" of side {parameter.side}" if parameter.side >= 0 else "")
            series.setdefault(kind, {})[parameter.key] = Measured(row.global_correlation)
    return plot_of(
        "correlations",
        "Global correlations",
        "Largest correlation of each parameter with any combination of the others. "
        "The data hardly determine a parameter whose correlation is near 1.",
        ByElement([Band(kind, "", {source.last.name: of}, ends=(0.0, 1.0)) for kind, of in series.items()]),
    )
