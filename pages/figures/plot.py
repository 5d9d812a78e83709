"""Define a figure of a campaign: its name, its data, and how it is drawn."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from faser_align.pages.figures import detector, drawing, style
from faser_align.pages.figures.shapes import ByElement, Curves, Histograms, Maps, Stack, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Data = ByElement | Curves | Histograms | Maps | Stack


class Plot(NamedTuple):
    """A figure of a campaign.

    Attributes:
        name: name of its files, and of its place in a page.
        title: what it shows.
        caption: what to look for.
        data: the numbers.
    """

    name: str
    title: str
    caption: str
    data: Data

    def figure(self, experiment: str) -> "Figure":
        """Draw it with matplotlib; ``experiment`` is the label above the axes."""
        with style.look():
            return _DRAW[type(self.data)](self.data, experiment)

    def table(self) -> Table:
        """Return its numbers as columns and rows."""
        return self.data.table()


def plot_of(name: str, title: str, caption: str, data: Data) -> Plot | None:
    """Return a figure, or None if it has no numbers."""
    return Plot(name, title, caption, data) if data.table()[1] else None


_DRAW: dict[type, Callable[..., "Figure"]] = {
    ByElement: drawing.by_element,
    Curves: drawing.curves,
    Histograms: drawing.histograms,
    Maps: detector.maps,
    Stack: drawing.stack,
}
