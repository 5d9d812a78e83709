"""The numbers of the modules that the page's picture of the detector shows: for each iteration, and for each quantity."""

from typing import Any

from markupsafe import Markup

from faser_align.pages import charts, detector
from faser_align.pages.collect import Facts, Modules

QUANTITIES = {
    "correction": ("correction across the strips", "um"),
    "significance": ("correction over its error", "standard deviations"),
    "cut": ("share of hits cut by residual", ""),
}


def picture(found: Facts) -> Markup:
    """The detector as the page shows it before a script runs: the last iteration's corrections."""
    if not found.corrections:
        return Markup("")
    quantity = first(found)
    title, unit = QUANTITIES[quantity]
    return detector.picture(_last(found)[quantity], title=title, unit=unit)


def first(found: Facts) -> str:
    """The quantity that the picture shows at first: that of which the last iteration has numbers."""
    last = _last(found)
    return next((key for key in QUANTITIES if any(v is not None for v in last.get(key, {}).values())), "cut")


def most(found: Facts) -> str:
    """The largest value of that picture, in words: the upper end of its scale."""
    quantity = first(found)
    known = [abs(value) for value in _last(found).get(quantity, {}).values() if value is not None]
    return f"{charts.number(max(known))} {QUANTITIES[quantity][1]}".strip() if known else "no module has a number"


def by_module(found: Facts) -> list[tuple[str, list[float | None]]]:
    """Each module that has a number in the last iteration, with those of all quantities."""
    last = _last(found)
    keys = sorted({key for values in last.values() for key, value in values.items() if value is not None})
    return [(key, [last.get(quantity, {}).get(key) for quantity in QUANTITIES]) for key in keys]


def by_iteration(found: Facts) -> dict[str, Any]:
    """Numbers of the detector's picture for each iteration, with four digits."""
    return {
        found.name_of(stage, iteration): {
            quantity: {key: None if value is None else float(f"{value:.4g}") for key, value in values.items()}
            for quantity, values in by_quantity.items()
        }
        for (stage, iteration), by_quantity in sorted(found.corrections.items())
    }


def _last(found: Facts) -> Modules:
    """The numbers of the last iteration."""
    return found.corrections[max(found.corrections)] if found.corrections else {}
