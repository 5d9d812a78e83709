"""Give figures one look, and write them as SVG for a page or as files.

The look is that of mplhep: ticks inwards on all sides, labels at the ends of axes, the experiment in bold. mplhep itself
brings 18 MB of fonts and requires a newer matplotlib than execute nodes have, for what are twenty settings. A figure is
an ordinary one of matplotlib, so that mplhep can be applied to it.

Colours are those of the page's light mode; in a page each becomes the style sheet's variable, which has another value
in dark mode. A width of 340 points shows letters in their own size on a phone.
"""

import io
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABEL = "FASER Internal"
WIDTH, HEIGHT = 340.0, 240.0  # points
POINTS = 72.0  # in an inch
PNG_DPI = 200
TEXT, SOFT, LINE, BACK = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
BAD = "#b31d28"
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
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize"), 12.0),
    "font.family": "sans-serif",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
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
    # matplotlib warns if there is no home folder for its cache, which does not matter here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] == "matplotlib":
            return (
                f"figures need matplotlib, which is not installed for {sys.executable}; install faser-align[plot] there"
            )
        return f"matplotlib cannot be used by {sys.executable}: {problem}"
    except Exception as broken:  # noqa: BLE001 -- an installation may be broken in any way
        return f"matplotlib cannot be used by {sys.executable}: {broken}"
    return ""


# Ends and middle of ColorBrewer's RdBu, whose ends differ for people who see no red or no green.
MINUS, ZERO, PLUS = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def colour(share: float) -> str:
    """Return the colour for ``share``, a value's ratio to the end of the scale, from -1 to 1."""
    end = PLUS if share > 0 else MINUS
    part = round(min(abs(share), 1.0), 2)
    return "#" + "".join(f"{round(zero + (full - zero) * part):02x}" for zero, full in zip(ZERO, end, strict=True))


def in_page(share: float) -> str:
    """Return this colour as one of the page's style sheet, which has other ends in dark mode."""
    end, part = ("plus" if share > 0 else "minus"), round(100 * min(abs(share), 1.0))
    return f"color-mix(in srgb,var(--{end}) {part}%,var(--zero))"


SHADES = {colour(percent / 100): in_page(percent / 100) for percent in range(-100, 101)}
"""The page's colour for each colour of ``colour``."""


@contextmanager
def look() -> Iterator[None]:
    """Apply the settings within the context; they count when a figure is made and when it is written."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def frame(
    experiment: str,
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = HEIGHT,
    left: float = 58.0,
    head: float = 20.0,
    **options: Any,
) -> "tuple[Figure, Any]":
    """Return an empty figure with the experiment's label, and its axes (rows, columns), with the usual margins (points).

    ``head`` is the height of what is above the axes; the figure is higher where that is more than usual.
    """
    from matplotlib.figure import Figure

    height += head - 20
    made = Figure(figsize=(WIDTH / POINTS, height / POINTS), dpi=POINTS)
    made.patch.set_facecolor(BACK)
    axes = made.subplots(rows, columns, squeeze=False, **options)
    made.subplots_adjust(
        left=left / WIDTH, right=1 - 8 / WIDTH, bottom=36 / height, top=1 - head / height, hspace=0.08, wspace=0.06
    )
    _name(made, experiment)
    return made, axes


def _name(figure: "Figure", experiment: str) -> None:
    """Write the experiment above the axes, its first word bold and the others slanted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    width, height = (float(inches) * POINTS for inches in figure.get_size_inches())
    margin, top = figure.subplotpars.left, 1 - 14 / height
    bold, _, others = experiment.partition(" ")
    written = figure.text(margin, top, bold, weight="bold", fontsize=13.0, parse_math=False)
    if others:
        wide = written.get_window_extent(canvas.get_renderer()).width * POINTS / figure.dpi
        figure.text(margin + (wide + 4) / width, top, others, style="italic", parse_math=False)


def with_unit(label: str, unit: str) -> str:
    """Return the name of an axis or panel with its unit."""
    return f"{label} [{unit}]" if unit else label


def written(figure: "Figure", form: str) -> bytes:
    """Return a figure as the content of a file: ``svg``, ``png`` or ``pdf``, without the time at which it was made."""
    file = io.BytesIO()
    metadata = {"svg": {"Date": None}, "png": {"Software": "faser-align"}, "pdf": {"CreationDate": None}}[form]
    with look():
        figure.savefig(file, format=form, dpi=PNG_DPI if form == "png" else POINTS, metadata=metadata)
    return file.getvalue()
