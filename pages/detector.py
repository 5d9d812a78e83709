"""Draw the tracker for a page: 12 layers with 8 modules each, coloured by a value about zero. Pure.

The view is along the beam: rows 0-3 upwards at x > 0 on the left, rows 4-7 at x < 0 on the right
(``simulation.geometry``). A bar above the modules is the layer as a whole. Each station is a picture of its own, so that
they wrap on a phone. The page's script recolours them for the chosen iteration and quantity with the same scale.
"""

from collections.abc import Mapping

from markupsafe import Markup

from faser_align.alignment.parameters.labels import LAYERS, STATIONS, constants_key
from faser_align.pages.charts import number
from faser_align.pages.figures import style
from faser_align.pages.figures.shapes import Measured
from faser_align.pages.numbers import measured, signed

CELL, GAP, TOP, BAR = 24.0, 12.0, 48.0, 8.0
ROWS = 4
NAMES = ("IFT", "station 1", "station 2", "station 3")


def picture(values: Mapping[str, Measured], *, title: str, unit: str, most: float) -> Markup:
    """Draw the detector with each module and layer coloured by its value relative to the end of the scale.

    Args:
        values: by key of the constants, such as ``003`` or ``00``, with their errors; missing values are hatched.
        title: what is shown.
        unit: unit of the values.
        most: end of the scale in both directions.
    """

    def rect(key: str, what: str, *place: float) -> Markup:
        fill, words = "url(#hatch)", "no number"
        if key in values:
            value, error = values[key]
            fill = style.in_page(value / most if most else 0.0)
            words = measured(value, error, unit) if error else f"{signed(number(value))} {unit}".strip()
        return Markup(
            "<rect data-key='{}' x='{:g}' y='{:g}' width='{:g}' height='{:g}' style='fill:{}'><title>{}</title></rect>"
        ).format(key, *place, Markup(fill), f"{what} {key}: {words}")

    def station(number: int, name: str) -> Markup:
        parts, x = [], 2.0
        for layer in LAYERS:
            key = constants_key(number, layer)
            parts.append(Markup("<text class='layer' x='{:g}' y='32'>{}</text>").format(x + CELL, key))
            parts.append(rect(key, "layer", x, TOP - BAR - 3, 2 * CELL - 1.5, BAR))
            for module in range(2 * ROWS):
                column, row = divmod(module, ROWS)
                place = x + column * CELL, TOP + (ROWS - 1 - row) * CELL
                parts.append(rect(f"{key}{module}", "module", *place, CELL - 1.5, CELL - 1.5))
            x += 2 * CELL + GAP
        return Markup(
            "<svg viewBox='0 0 {w:g} {h:g}'><text class='station' x='2' y='13'>{name}</text>{parts}</svg>"
        ).format(w=x - GAP + 1, h=TOP + ROWS * CELL + 2, name=name, parts=Markup("").join(parts))

    drawn = Markup("").join(map(station, STATIONS, NAMES))
    return Markup("<div class='detector' role='img' aria-label='{}'>{}</div>").format(title, drawn)
