"""Prepare the values of modules and layers for the page's picture of the detector, per iteration and quantity."""

from collections.abc import Callable
from typing import Any, NamedTuple

from markupsafe import Markup

from faser_align.alignment.parameters.constants import Constants, subtract_constants
from faser_align.alignment.quality.figure_data import Centre
from faser_align.pages import charts, detector
from faser_align.pages.collect import Facts
from faser_align.pages.figures.shapes import Measured
from faser_align.pages.figures.source import Reference, by_dof, unit
from faser_align.system.formatting import with_error

Values = dict[str, Measured]
DOFS = ("x", "y", "rx", "ry", "rz")


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
    found = [_apart(facts, "moved", "displacement from the start", facts.start or {}, dof) for dof in DOFS]
    if reference is not None:
        found += [_apart(facts, "reference", f"difference to {reference[0]}", reference[1], dof) for dof in DOFS]
    found.append(
        _of_data(facts, "residual", "median residual", lambda centre: Measured(centre.median_um, centre.error_um))
    )
    found += [_correction(facts, dof) for dof in DOFS]
    found.append(_of_data(facts, "width", "width of residuals", lambda centre: Measured(centre.width_um)))
    found += [
        Quantity(
            "pull", "largest correction over its error", "σ", {at: _pulls(facts, at, row) for at, row in _judged(facts)}
        ),
        Quantity(
            "hits",
            "hits",
            "",
            {at: {k: Measured(float(sum(of))) for k, of in _hits(row).items()} for at, row in _judged(facts)},
        ),
        Quantity(
            "cut",
            "fraction of hits cut by residual",
            "",
            {
                at: {k: Measured(cut / (kept + cut)) for k, (kept, cut) in _hits(row).items() if kept + cut}
                for at, row in _judged(facts)
            },
        ),
    ]
    return [quantity for quantity in found if any(quantity.values.values())]


def picture(shown: list[Quantity]) -> Markup:
    """Draw the detector as shown before a script runs: the first quantity in the last iteration."""
    if not shown:
        return Markup("")
    first = shown[0]
    return detector.picture(first.last, title=first.name, unit=first.unit, most=first.most)


def end(quantity: Quantity) -> str:
    """Return the end of a quantity's scale with its unit."""
    return f"{charts.number(quantity.most)} {quantity.unit}".strip()


def by_element(shown: list[Quantity]) -> list[tuple[str, list[Measured | tuple[None, None]]]]:
    """Return the layers and modules that have values in the last iteration, with all quantities and their errors."""
    keys = sorted({key for quantity in shown for key in quantity.last})
    return [(key, [quantity.last.get(key, (None, None)) for quantity in shown]) for key in keys]


def for_script(facts: Facts, shown: list[Quantity]) -> dict[str, Any]:
    """Return what the page's script draws: a value with four digits, or ``value±error``."""
    return {
        quantity.key: {
            "name": quantity.name,
            "unit": quantity.unit,
            "most": quantity.most,
            "values": {
                facts.name_of(*at): {key: _digits(*measured) for key, measured in of.items()}
                for at, of in sorted(quantity.values.items())
            },
        }
        for quantity in shown
    }


def _digits(value: float, error: float | None) -> float | str:
    return "±".join(with_error(value, error)) if error else float(f"{value:.4g}")


def _apart(facts: Facts, key: str, name: str, other: Constants, dof: str) -> Quantity:
    values = {
        at: _values(subtract_constants(of.constants, other), of.all_errors, dof)
        for at, of in facts.solutions.items()
        if of.constants
    }
    return Quantity(f"{key}.{dof}", f"{name}, {dof}", unit(dof), values)


def _correction(facts: Facts, dof: str) -> Quantity:
    values = {at: _values(of.correction, of.errors, dof) for at, of in facts.solutions.items()}
    return Quantity(f"correction.{dof}", f"correction, {dof}", unit(dof), values)


def _values(constants: Constants, errors: Constants, dof: str) -> Values:
    return by_dof(constants, errors).get(dof, {})


def _of_data(facts: Facts, key: str, name: str, choose: Callable[[Centre], Measured]) -> Quantity:
    values = {
        at: {module: choose(centre) for module, centre in centres.items()}
        for at, data in facts.figures.items()
        if at in facts.solutions and (centres := data.module_medians())
    }
    return Quantity(key, name, "µm", values)


def _judged(facts: Facts) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    return [((row["stage"], row["iteration"]), row["metrics"]) for row in facts.judged]


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


def _hits(metrics: dict[str, Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = metrics.get("hits", {}).get("modules", {})
    return found
