"""Give figures one look, and write them as SVG for a page or as files.

The look is that of mplhep: ticks inwards on all sides, labels at the ends of axes, the experiment in bold. mplhep itself
brings 18 MB of fonts and requires a newer matplotlib than execute nodes have, for what are twenty settings. A figure is
an ordinary one of matplotlib, so that mplhep can be applied to it.

Colours are those of the page's light mode; in a page each becomes the style sheet's variable, which has another value
in dark mode. A width of 340 points shows letters in their own size on a phone.
"""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from faser_align.fsm.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = "FASER Internal"
WIDTH, HEIGHT = 340.0, 240.0  # points
POINTS = 72.0  # in an inch
PNG_DPI = 200
TEXT, SOFT, LINE, BACK = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
GOOD, BAD = "#116329", "#b31d28"
COLOURS = ("#0550ae", "#b5420c", "#116329", "#7a3ea8", "#8a6100", "#0b6e72", "#a8195f")
BEFORE, AFTER = "#818b98", COLOURS[0]
VARIABLES = {
    TEXT: "--text",
    SOFT: "--soft",
    LINE: "--line",
    BACK: "--back",
    BAD: "--bad",
    BEFORE: "--before",
    **{colour: f"--c{place}" for place, colour in enumerate(COLOURS)},
}
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.size": 12.0,
    "text.color": TEXT,
    "axes.labelsize": 12.0,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.titlesize": 12.0,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.labelsize": 12.0,
    "ytick.labelsize": 12.0,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 12.0,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "faser-align",
    "pdf.fonttype": 42,
}


def label(config: Mapping[str, Any]) -> str:
    """Return the experiment's label; campaigns of older versions have none in their configuration."""
    return str(config.get("report", {}).get("label", LABEL))


def missing() -> str:
    """Return why figures cannot be drawn; empty if they can."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] == "matplotlib":
            return (
                f"figures need matplotlib, which is not installed for {sys.executable}; install faser-align[plot] there"
            )
        return f"matplotlib cannot be used by {sys.executable}: {problem}"
    return ""


def require() -> None:
    """Raise UserError if figures cannot be drawn."""
    if why := missing():
        raise UserError(why)


@contextmanager
def look() -> Iterator[None]:
    """Apply the settings within the context; they count when a figure is made and when it is written."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def frame(rows: int = 1, columns: int = 1, *, height: float = HEIGHT, left: float = 58.0, **options: Any) -> Any:
    """Return an empty figure and its axes (rows, columns), with the margins that all figures have (points)."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH / POINTS, height / POINTS), dpi=POINTS)
    made.patch.set_facecolor(BACK)
    axes = made.subplots(rows, columns, squeeze=False, **options)
    made.subplots_adjust(
        left=left / WIDTH, right=1 - 8 / WIDTH, bottom=36 / height, top=1 - 20 / height, hspace=0.08, wspace=0.06
    )
    return made, axes


def name(figure: "Figure", experiment: str, right: str = "") -> None:
    """Write the experiment above the axes, its first word bold and the others slanted, and ``right`` at the other end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    height = float(figure.get_figheight()) * POINTS
    margin, top = figure.subplotpars.left, 1 - 14 / height
    bold, _, others = experiment.partition(" ")
    written = figure.text(margin, top, bold, weight="bold", fontsize=13.0)
    wide = written.get_window_extent(canvas.get_renderer()).width if others else 0.0
    if others:
        figure.text(margin + (wide + 4) / WIDTH, top, others, style="italic", fontsize=12.0)
    if right:
        figure.text(1 - 8 / WIDTH, top, right, ha="right", color=SOFT, fontsize=12.0)


def written(figure: "Figure", form: str) -> bytes:
    """Return a figure as the content of a file: ``svg``, ``png`` or ``pdf``, without the time at which it was made."""
    file = io.BytesIO()
    metadata = {"svg": {"Date": None}, "png": {"Software": "faser-align"}, "pdf": {"CreationDate": None}}[form]
    with look():
        figure.savefig(file, format=form, dpi=PNG_DPI if form == "png" else POINTS, metadata=metadata)
    return file.getvalue()


_IDS = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(?:url\(#|href="#)([^)"]+)')
_MARKERS = re.compile(r"(?:<use [^>]*/>\s*)+")
_OWN_STYLE = re.compile(r' style="([^"]*)"')


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
    text = written(figure, "svg").decode()
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
    size = f"0 0 {WIDTH:g} {float(figure.get_figheight()) * POINTS:g}"
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
    return f"var({VARIABLES[found]})" if found in VARIABLES else found


def nothing(axes: "Axes", words: str) -> None:
    """Say in the middle of the axes that there is nothing to draw."""
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=SOFT)
