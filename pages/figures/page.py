"""Put figures into pages."""

import re
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from faser_align.pages.figures import style
from faser_align.pages.figures.plot import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IDS = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(?:url\(#|href="#)([^)"]+)')
_MARKERS, _PATHS = re.compile(r"(?:<use [^>]*/>\s*)+"), re.compile(r"(?:<path [^>]*/>\s*){3,}")
_TAGS, _LONG = re.compile(r"<[^>]+>"), re.compile(r"\d+\.\d{3,}")  # labels of ticks are outside of tags
_SHAPE, _GROUP = re.compile(r' d="([^"]*)"'), re.compile(r"(<g\b[^>]*>|</g>)")
# Styles of most elements, which page.css has once.
_CLASSES = {
    "fill: var(--text); stroke: var(--text); stroke-width: 0.8": "tick-mark",
    "fill: none; stroke: var(--text); stroke-width: 0.8; stroke-linejoin: miter; stroke-linecap: square": "frame",
}
_COLOURS = style.SHADES | {colour: f"var({name})" for colour, name in style.VARIABLES.items()}
_OWN_STYLE, _CLIP = re.compile(r' style="([^"]*)"'), re.compile(r' clip-path="[^"]*"')


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
    """Return a figure as an element of a page, with the page's fonts and colours.

    Its ids begin with ``name``; screen readers read ``title``.
    """
    patches = [figure.patch, *(axes.patch for axes in figure.axes)]
    for patch in patches:
        patch.set_visible(False)
    text = style.written(figure, "svg").decode()
    for patch in patches:
        patch.set_visible(True)
    drawn = text[text.index("<g ") : text.rindex("</svg>")]
    drawn = _PATHS.sub(_styled_once, _MARKERS.sub(_styled_once, drawn))
    places = {used: f"{name}-{place}" for place, used in enumerate(sorted(set(_USED.findall(drawn))))}
    drawn = _IDS.sub(lambda found: f' id="{places[found[1]]}"' if found[1] in places else "", drawn)
    drawn = _USED.sub(lambda found: found[0].replace(found[1], places[found[1]]), drawn).replace("xlink:href", "href")
    drawn = re.sub(r" font-family: 'DejaVu Sans'[^;\"]*;", "", drawn)
    drawn = re.sub(r"#[0-9a-f]{6}\b", lambda found: _COLOURS.get(found[0], found[0]), drawn)
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.DOTALL)
    for style_of, kind in _CLASSES.items():
        drawn = drawn.replace(f'style="{style_of}"', f'class="{kind}"')
    drawn = _ungrouped(_SHAPE.sub(_short, drawn))
    drawn = _TAGS.sub(lambda tag: _LONG.sub(lambda found: f"{float(found[0]):.2f}", tag[0]), drawn)
    drawn = re.sub(r' transform="rotate\(-0 [^"]*"', "", drawn)
    drawn = re.sub(r"\s*\n\s*", "\n", drawn)
    size = f"0 0 {style.WIDTH:g} {float(figure.get_figheight()) * style.POINTS:g}"
    return Markup("<svg class='figure' viewBox='{}' role='img' aria-label='{}'><title>{}</title>{}</svg>").format(
        size, title, title, Markup(drawn)
    )


def _short(found: "re.Match[str]") -> str:
    """Return a path without repeated corners, and with tenths of a point unless it is a marker: half as long."""
    path = found[1]
    if "C" not in path:
        path = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    path = re.sub(r"\s*([A-Za-z])\s*", r"\1", path)
    path = re.sub(r"(L[^A-Za-z]+)\1+", r"\1", path)
    return f' d="{path}"'


def _ungrouped(text: str) -> str:
    """Return the elements without groups that say nothing of them."""
    parts, bare = [], []
    for part in _GROUP.split(text):
        if part.startswith("<g"):
            bare.append(part == "<g>")
        if not (part == "<g>" or (part == "</g>" and bare.pop())):
            parts.append(part)
    return "".join(parts)


def _styled_once(found: "re.Match[str]") -> str:
    """Put what the styles of consecutive markers or squares have in common into a group around them."""
    text = found[0]
    styles = [style.split("; ") for style in _OWN_STYLE.findall(text)]
    clips = _CLIP.findall(text)
    if not len(styles) == text.count("/>") > 1:
        return text
    common = [of for of in styles[0] if all(of in style for style in styles)]
    own = iter("; ".join(of for of in style if of not in common) for style in styles)
    text = _OWN_STYLE.sub(lambda _: f' style="{rest}"' if (rest := next(own)) else "", text)
    clip = ""
    if len(clips) == len(styles) and len(set(clips)) == 1:
        clip, text = clips[0], _CLIP.sub("", text)
    return f'<g{clip} style="{"; ".join(common)}">{text}</g>'
