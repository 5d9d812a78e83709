"""Prepare the values of modules and layers for the page's picture of the detector, and draw it. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from faser_align.alignment.parameters.constants import Constants, subtract_constants
from faser_align.alignment.parameters.labels import LAYERS, STATIONS, constants_key
from faser_align.alignment.quality.figure_data import Centre
from faser_align.pages.charts import number
from faser_align.pages.collect import Facts
from faser_align.pages.figures import style
from faser_align.pages.figures.shapes import Measured
from faser_align.pages.figures.source import Reference, by_dof, unit
from faser_align.pages.numbers import measured, signed
from faser_align.system.formatting import with_error

Values = dict[str, Measured]
DOFS = ("x", "y", "rx", "ry", "rz")
CELL, GAP, TOP, BAR = 24.0, 12.0, 48.0, 8.0  # of the picture
ROWS = 4
NAMES = ("IFT", "station 1", "station 2", "station 3")


class Quantity(NamedTuple):
    """A quantity that the picture can show: key, title, unit, and values by iteration (stage, number) and element.

    ``most`` is the end of the scale, the same for all iterations.
    """

    key: str
    name: str
    unit: str
    values: dict[tuple[int, int], Values]

    @property
    def most(self) -> float:
        """Largest absolute value of all iterations."""
        return max((abs(value) for of in self.values.values() for value, _ in of.values()), default=0.0)

    @property
    def last(self) -> Values:
        """Values of the last iteration that has any."""
        known = [at for at, of in self.values.items() if of]
        return self.values[max(known)] if known else {}


def quantities(facts: Facts, reference: Reference = None) -> list[Quantity]:
    """Return the quantities that have a value, the displacement from the start first."""
    judged = [((row["stage"], row["iteration"]), row["metrics"]) for row in facts.judged]
    hits: list[tuple[tuple[int, int], dict[str, list[int]]]] = [
        (at, metrics.get("hits", {}).get("modules", {})) for at, metrics in judged
    ]

    def apart(key: str, name: str, other: Constants) -> list[Quantity]:
        solved = {at: of for at, of in facts.solutions.items() if of.constants}
        return _of_constants(
            key, name, {at: (subtract_constants(of.constants, other), of.all_errors) for at, of in solved.items()}
        )

    corrections = {at: (of.correction, of.errors) for at, of in facts.solutions.items()}
    found = [
        *apart("moved", "displacement from the start", facts.start or {}),
        *(apart("reference", f"difference to {reference[0]}", reference[1]) if reference is not None else []),
        _of_data(facts, "residual", "median residual", lambda centre: Measured(centre.median_um, centre.error_um)),
        *_of_constants("correction", "correction", corrections),
        _of_data(facts, "width", "width of residuals", lambda centre: Measured(centre.width_um)),
        Quantity("pull", "largest correction over its error", "σ", {at: _pulls(facts, at, of) for at, of in judged}),
        Quantity("hits", "hits", "", {at: {k: Measured(float(sum(n))) for k, n in of.items()} for at, of in hits}),
        Quantity(
            "cut",
            "hits cut by residual",
            "%",
            {
                at: {k: Measured(100 * cut / (kept + cut)) for k, (kept, cut) in of.items() if kept + cut}
                for at, of in hits
            },
        ),
    ]
    return [quantity for quantity in found if any(quantity.values.values())]


def picture(shown: list[Quantity]) -> Markup:
    """Draw the detector as shown before a script runs: the first quantity in the last iteration.

    The view is along the beam: rows 0-3 upwards at x > 0 on the left, rows 4-7 at x < 0 on the right
    (``simulation.geometry``). A bar above the modules is the layer as a whole; elements without a value are hatched. Each
    station is a picture of its own, so that they wrap on a phone. The page's script recolours them for the chosen
    iteration and quantity with the same scale.
    """
    if not shown:
        return Markup("")
    title, unit, values, most = shown[0].name, shown[0].unit, shown[0].last, shown[0].most

    def rect(key: str, what: str, *place: float) -> Markup:
        fill, words = "url(#hatch)", "no number"
        if key in values:
            value, error = values[key]
            fill = style.in_page(value / most if most else 0.0)
            words = measured(value, error, unit) if error else f"{signed(number(value))} {unit}".strip()
        return Markup(
            "<rect data-key='{}' x='{:g}' y='{:g}' width='{:g}' height='{:g}' style='fill:{}'><title>{}</title></rect>"
        ).format(key, *place, Markup(fill), f"{what} {key}: {words}")

    def station(at: int, name: str) -> Markup:
        parts, x = [], 2.0
        for layer in LAYERS:
            key = constants_key(at, layer)
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


def by_element(shown: list[Quantity]) -> list[tuple[str, list[Measured | tuple[None, None]]]]:
    """Return the layers and modules that have values in the last iteration, with all quantities and their errors."""
    keys = sorted({key for quantity in shown for key in quantity.last})
    return [(key, [quantity.last.get(key, (None, None)) for quantity in shown]) for key in keys]


def for_script(facts: Facts, shown: list[Quantity]) -> dict[str, Any]:
    """Return a value for the page's script: with four digits, or as ``value±error``."""
    return {
        quantity.key: {
            "name": quantity.name,
            "unit": quantity.unit,
            "most": quantity.most,
            "values": {
                facts.name_of(*at): {key: _digits(*value) for key, value in of.items()}
                for at, of in sorted(quantity.values.items())
            },
        }
        for quantity in shown
    }


def _digits(value: float, error: float | None) -> float | str:
    return "±".join(with_error(value, error)) if error else float(f"{value:.4g}")


def _of_constants(key: str, name: str, found: Mapping[tuple[int, int], tuple[Constants, Constants]]) -> list[Quantity]:
    """Return a quantity for each degree of freedom of constants with their errors, by iteration."""
    values = {at: by_dof(*of) for at, of in found.items()}
    return [
        Quantity(f"{key}.{dof}", f"{name}, {dof}", unit(dof), {at: of.get(dof, {}) for at, of in values.items()})
        for dof in DOFS
    ]


def _of_data(facts: Facts, key: str, name: str, choose: Callable[[Centre], Measured]) -> Quantity:
    values = {
        at: {module: choose(centre) for module, centre in centres.items()}
        for at, data in facts.figures.items()
        if at in facts.solutions and (centres := data.module_medians())
    }
    return Quantity(key, name, "µm", values)


def _pulls(facts: Facts, at: tuple[int, int], metrics: dict[str, Any]) -> Values:
    """Return by module the largest correction over its error; metrics of older versions have none."""
    if "module_pulls" in metrics:
        return {key: Measured(value) for key, value in metrics["module_pulls"].items() if value is not None}
    solution = facts.solutions.get(at)
    found: dict[str, float] = {}
    for of in by_dof(solution.correction, solution.errors).values() if solution else ():
        for key, (value, error) in of.items():
            if error and len(key) == 3:
                found[key] = max(found.get(key, 0.0), abs(value) / error)
    return {key: Measured(value) for key, value in found.items()}
