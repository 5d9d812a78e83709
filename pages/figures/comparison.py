"""Make the figures that compare two campaigns: difference of the constants, residuals over each other. Pure."""

import math

from faser_align.alignment.parameters.constants import ZERO, Constants
from faser_align.alignment.quality.figure_data import FigureData
from faser_align.pages.collect import Facts
from faser_align.pages.figures import elements
from faser_align.pages.figures.distributions import residuals_of
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Measured
from faser_align.pages.figures.source import differences


def plots(names: tuple[str, str], first: Facts, other: Facts) -> list[Plot]:
    """Return the figures of two campaigns after their last iterations, ``other`` minus ``first``.

    Errors of both campaigns are added in quadrature, which is too large where they share files.
    """
    made: list[Plot | None] = []
    apart = differences_of(first, other)
    if any(one.value for of in apart.values() for one in of.values()):
        title = f"Constants of {names[1]} minus those of {names[0]}"
        made += [
            elements.picture("map", title, apart),
            elements.values(
                "difference",
                "Differences with their errors",
                "Statistical errors of both in quadrature.",
                names[1],
                apart,
            ),
        ]
    made.append(residuals_of(dict(zip(names, map(_last, (first, other)), strict=True))))
    return [plot for plot in made if plot is not None]


def differences_of(first: Facts, other: Facts) -> dict[str, dict[str, Measured]]:
    """Return the differences of two campaigns' constants with their errors (um, urad); empty without both."""
    if first.found is None or other.found is None:
        return {}
    return differences(other.found, first.found, _together(first.errors, other.errors))


def _last(facts: Facts) -> FigureData | None:
    """Return the data of the last iteration that has any."""
    known = [at for at in facts.solutions if at in facts.figures]
    return facts.figures[max(known)] if known else None


def _together(first: Constants, other: Constants) -> Constants:
    keys = first.keys() | other.keys()
    return {
        key: tuple(math.hypot(a, b) for a, b in zip(first.get(key, ZERO), other.get(key, ZERO), strict=True))  # type: ignore[misc]
        for key in keys
    }
