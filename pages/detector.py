"""Draw the tracker: 12 layers with 8 modules each, coloured by a value. Pure.

The view is along the beam: rows 0-3 upwards at x > 0 on the left, rows 4-7 at x < 0 on the right
(``simulation.geometry``). The page's script recolours the modules for the chosen iteration and quantity with the same
scale.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from faser_align.alignment.parameters.labels import LAYERS, STATIONS, constants_key
from faser_align.pages.charts import number

CELL, GAP, STATION_GAP, TOP = 24.0, 12.0, 26.0, 34.0
ROWS = 4
SCALE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Five colours from nothing to most: the perceptually uniform map *viridis* (S. van der Walt, N. Smith, 2015)."""
NAMES = ("IFT", "station 1", "station 2", "station 3")


def colour(share: float) -> str:
    """Return the colour for ``share`` (0 to 1), a value's ratio to the largest one."""
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    at = min(int(place), len(SCALE) - 2)
    mixed = [a + (b - a) * (place - at) for a, b in zip(SCALE[at], SCALE[at + 1], strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def picture(
    values: Mapping[str, float | None], *, title: str, unit: str, station_keys: Sequence[int] = STATIONS
) -> Markup:
    """Draw the detector with each module coloured by its value relative to the largest one.

    Args:
        values: by module key of the constants, such as ``003``; None or missing values are hatched.
        title: what is shown.
        unit: unit of the values.
        station_keys: stations to draw.
    """
    largest = max((abs(value) for value in values.values() if value is not None), default=0.0)
    parts, x = [], 4.0
    for station in station_keys:
        parts.append(
            Markup("<text class='station' x='{:g}' y='12'>{}</text>").format(x, NAMES[station - min(STATIONS)])
        )
        for layer in LAYERS:
            key = constants_key(station, layer)
            parts.append(Markup("<text class='layer' x='{:g}' y='28'>{}</text>").format(x + CELL, key))
            parts += [_module(f"{key}{m}", m, x, values, largest, unit) for m in range(2 * ROWS)]
            x += 2 * CELL + GAP
        x += STATION_GAP - GAP
    return Markup(
        "<svg class='detector' viewBox='0 0 {w:g} {h:g}' role='img' aria-label='{title}'><title>{title}</title>{parts}</svg>"
    ).format(w=x - STATION_GAP + 4, h=TOP + ROWS * CELL + 4, title=title, parts=Markup("").join(parts))


def _module(
    key: str, number_in_layer: int, x: float, values: Mapping[str, float | None], largest: float, unit: str
) -> Markup:
    column, row = divmod(number_in_layer, ROWS)
    value = values.get(key)
    fill = "url(#hatch)" if value is None else colour(abs(value) / largest if largest else 0.0)
    words = f"module {key}: {'no number' if value is None else f'{number(value)} {unit}'.strip()}"
    return Markup(
        "<rect data-module='{key}' x='{x:g}' y='{y:g}' width='{side:g}' height='{side:g}' fill='{fill}'><title>{words}</title>"
        "</rect>"
    ).format(
        key=key, x=x + column * CELL, y=TOP + (ROWS - 1 - row) * CELL, side=CELL - 1.5, fill=Markup(fill), words=words
    )
