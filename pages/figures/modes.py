"""Make the figures of weak modes: eigenvalues with their limits, and the drift along named modes. Pure."""

import math

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Band, ByElement, Curve, Curves, Measured
from faser_align.pages.figures.source import Source

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
        named = f"Weak: {'; '.join(dict.fromkeys(filter(None, weak))) or len(weak)}." if weak else "No mode is weak."
        undetermined = f" {lost} directions that the data do not determine are not drawn." if lost else ""
        made.append(
            Plot(
                "spectrum" if len(data.spectra) == 1 else f"spectrum-{number}",
                "Eigen-spectrum" if len(data.spectra) == 1 else f"Eigen-spectrum of step {number}, {of.step}",
                f"{named} A direction is weak if its error is above the dashed line, ten times the median.{undetermined}",
                Curves(
                    "direction",
                    "error",
                    "µm",
                    [Curve("error", range(1, len(errors) + 1), [Measured(error) for error in errors])],
                    log=True,
                    lines=False,
                    limit=("weak", 1 / math.sqrt(of.weak)) if of.weak > 0 else None,
                ),
            )
        )
    return made


def drift(source: Source) -> Plot | None:
    """Drift of the constants along named weak modes since the start of the campaign, against the iteration."""
    rows = [(of.number, of.metrics.get("weak_modes", {}).get("modes", [])) for of in source.iterations]
    last = next((modes for _, modes in reversed(rows) if modes), [])
    names = list(dict.fromkeys(mode["name"] for mode in last))[:DRIFTS]
    curves = []
    for name in names:
        points = [(at, mode["drift_sigma"]) for at, modes in rows for mode in modes if mode["name"] == name]
        first_of = dict(reversed(points))
        curves.append(Curve(name, sorted(first_of), [Measured(first_of[at]) for at in sorted(first_of)]))
    if not curves:
        return None
    weak = sum(mode["weak"] for mode in last)
    return Plot(
        "drift",
        "Drift along weak modes",
        f"{weak or 'None'} of these {'are' if weak > 1 else 'is'} weak: more precise by the survey than by the tracks. Drift since the start of the campaign.",
        Curves("iteration", "drift", "σ of the survey", curves, whole=True),
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
    if not series:
        return None
    return Plot(
        "correlations",
        "Global correlations",
        "Largest correlation of each parameter with any combination of the others. "
        "The data hardly determine a parameter whose correlation is near 1.",
        ByElement([Band(kind, "", {source.last.name: of}) for kind, of in series.items()]),
    )
