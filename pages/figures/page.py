"""Put figures into pages."""

from typing import NamedTuple

from markupsafe import Markup

from faser_align.pages.figures import style
from faser_align.pages.figures.plot import Plot


class Drawn(NamedTuple):
    """A figure as a page shows it; ``name`` is its place in the page."""

    name: str
    title: str
    caption: str
    svg: Markup


def drawn(plot: Plot, experiment: str, name: str) -> Drawn:
    """Draw a figure for a page; ``name`` is different for each figure of the page."""
    svg = style.embedded(plot.figure(experiment), name=name, title=plot.title)
    return Drawn(name, plot.title, plot.caption, svg)
