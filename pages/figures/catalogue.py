"""List the figures of a campaign in the order in which an expert reads them."""

from faser_align.pages.figures import elements
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.source import Source


def plots(source: Source) -> list[Plot]:
    """Return the figures of a source, physics first, without those for which it has no data."""
    made = [
        *elements.maps(source),
        elements.corrections(source),
        elements.displacements(source),
        elements.from_reference(source),
        elements.validation(source),
        elements.occupancy(source),
        elements.from_truth(source),
    ]
    return [plot for plot in made if plot is not None]
