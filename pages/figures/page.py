"""Put figures into pages."""

import re
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from faser_align.pages.figures import scale, style
from faser_align.pages.figures.plot import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IDS = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(?:url\(#|href="#)([^)"]+)')
_MARKERS = re.compile(r"(?:<use [^>]*/>\s*)+")
_OWN_STYLE = re.compile(r' style="([^"]*)"')


class Drawn(NamedTuple):
    """A figure as a page shows it; ``name`` is its place in the page."""

    name: str
    title: str
    caption: str
    svg: Markup


def drawn(plot: Plot, experiment: str, name: str) -> Drawn:
    """Draw a figure for a page; ``name`` is different for each figure of the page."""
    return Drawn(name, plot.title, plot.caption, embedded(plot.figure(experiment), name=name, title=plot.title))


def embedded(figure: "Figure", *, name: str, title: str) -> Markup:
    """Return a figure as an element of a page, with the page's fonts and colours and its own ids.

    Args:
        figure: the figure.
        name: what its ids begin with; different for each figure of a page.
        title: what screen readers read.
    """
    patches = [figure.patch, *(axes.patch for axes in figure.axes)]
    for patch in patches:
        patch.set_visible(False)
    text = style.written(figure, "svg").decode()
    for patch in patches:
        patch.set_visible(True)
    drawn = text[text.index("<g ") : text.rindex("</svg>")]
    drawn = _MARKERS.sub(_styled_once, drawn)
    places = {used: f"{name}-{place}" for place, used in enumerate(sorted(set(_USED.findall(drawn))))}
    drawn = _IDS.sub(lambda found: f' id="{places[found[1]]}"' if found[1] in places else "", drawn)
    drawn = _USED.sub(lambda found: found[0].replace(found[1], places[found[1]]), drawn).replace("xlink:href", "href")
    drawn = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", drawn)
    drawn = re.sub(r"#[0-9a-f]{6}\b", lambda found: _colour(found[0]), drawn)
    drawn = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", drawn)
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' transform="rotate\(-0 [^"]*"', "", drawn)
    drawn = re.sub(r"\s*\n\s*", "\n", drawn)
    size = f"0 0 {style.WIDTH:g} {float(figure.get_figheight()) * style.POINTS:g}"
    return Markup("<svg class='figure' viewBox='{}' role='img' aria-label='{}'><title>{}</title>{}</svg>").format(
        size, title, title, Markup(drawn)
    )


def _styled_once(found: "re.Match[str]") -> str:
    """Put the style of equal markers into a group around them."""
    styles = set(_OWN_STYLE.findall(found[0]))
    if len(styles) != 1:
        return found[0]
    return f'<g style="{styles.pop()}">{_OWN_STYLE.sub("", found[0])}</g>'


def _colour(found: str) -> str:
    return f"var({style.VARIABLES[found]})" if found in style.VARIABLES else scale.PAGE.get(found, found)
