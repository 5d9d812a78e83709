"""Prepare the modules' values for the page's picture of the detector, per iteration and quantity."""

from typing import Any

from markupsafe import Markup

from faser_align.pages import charts, detector
from faser_align.pages.collect import Facts, Modules

QUANTITIES = {
    "correction": ("correction across the strips", "um"),
    "pull": ("correction over its error", "standard deviations"),
    "cut": ("share of hits cut by residual", ""),
}


def picture(facts: Facts) -> Markup:
    """Draw the detector as shown before a script runs: the last iteration's corrections."""
    if not facts.corrections:
        return Markup("")
    quantity = first(facts)
    title, unit = QUANTITIES[quantity]
    return detector.picture(_last(facts)[quantity], title=title, unit=unit)


def first(facts: Facts) -> str:
    """Return the quantity that the picture shows first: the first with values in the last iteration."""
    last = _last(facts)
    return next((key for key in QUANTITIES if any(v is not None for v in last.get(key, {}).values())), "cut")


def most(facts: Facts) -> str:
    """Return the largest value of that picture with its unit: the upper end of the scale."""
    quantity = first(facts)
    known = [abs(value) for value in _last(facts).get(quantity, {}).values() if value is not None]
    return f"{charts.number(max(known))} {QUANTITIES[quantity][1]}".strip() if known else "no module has a number"


def by_module(facts: Facts) -> list[tuple[str, list[float | None]]]:
    """Return the modules that have values in the last iteration, with all quantities."""
    last = _last(facts)
    keys = sorted({key for values in last.values() for key, value in values.items() if value is not None})
    return [(key, [last.get(quantity, {}).get(key) for quantity in QUANTITIES]) for key in keys]


def by_iteration(facts: Facts) -> dict[str, Any]:
    """Return the picture's values per iteration, with four digits."""
    return {
        facts.name_of(stage, iteration): {
            quantity: {key: None if value is None else float(f"{value:.4g}") for key, value in values.items()}
            for quantity, values in by_quantity.items()
        }
        for (stage, iteration), by_quantity in sorted(facts.corrections.items())
    }


def _last(facts: Facts) -> Modules:
    """Return the values of the last iteration."""
    return facts.corrections[max(facts.corrections)] if facts.corrections else {}
