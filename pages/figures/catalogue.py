"""List the figures of a campaign in the order in which an expert reads them."""

from faser_align.pages.figures import convergence, distributions, elements, modes
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.source import Source

SECTIONS = {
    "residuals": (
        distributions.residuals,
        elements.means,
        distributions.medians,
        distributions.spreads,
        distributions.pulls,
        distributions.chi2,
        distributions.probability,
    ),
    "detector": (elements.map_displacement, elements.map_reference, elements.map_residual),
    "modes": (modes.spectrum, modes.drift, modes.correlations),
    "constants": (
        elements.precision,
        elements.corrections,
        elements.course,
        elements.displacements,
        elements.from_reference,
        elements.from_truth,
    ),
    "validation": (elements.validation, distributions.validation),
    "momenta": (distributions.momentum, distributions.momentum_change, distributions.asymmetry, distributions.magnets),
    "data": (elements.occupancy, distributions.stability, distributions.drift_over_files),
    "convergence": (convergence.convergence,),
}
"""The functions that make figures, by section of the report. Each returns a figure, several, or None without data."""


def sections(source: Source) -> dict[str, list[Plot]]:
    """Return the figures of a source by section, physics first, without those for which it has no data."""
    found: dict[str, list[Plot]] = {}
    for section, functions in SECTIONS.items():
        made = [function(source) for function in functions]
        found[section] = [plot for of in made for plot in (of if isinstance(of, list) else [of]) if plot is not None]
    return found


def plots(source: Source) -> list[Plot]:
    """Return the figures of a source in order."""
    return [plot for made in sections(source).values() for plot in made]
