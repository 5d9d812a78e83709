"""Load the templates of pages, with filters for numbers and times."""

from functools import cache
from typing import Any

from jinja2 import Environment

from faser_align.alignment.quality.notes import solver_end
from faser_align.pages.numbers import beside, measured, signed, significant
from faser_align.system import jinja
from faser_align.system.formatting import clock, criterion_value, kind, shift, symbols


@cache
def environment() -> Environment:
    """Return the Jinja environment of pages, which compiles each template once."""
    made = jinja.environment()
    made.filters |= {
        "number": _number,
        "criterion": lambda value, name: "–" if value is None else signed(symbols(criterion_value(value, name))),
        "duration": clock,
        "moment": lambda utc: f"{utc[:10]} {utc[11:19]} UTC" if utc else "–",
        "words": lambda name: name.replace("_", " "),
        "kind": kind,  # a class of the style sheet
        "sign": lambda name: _SIGNS[kind(name)],  # for readers who do not see its colour
        "symbols": lambda text: signed(symbols(text)),
        "measured": measured,
        "significant": significant,
        "beside": beside,
        "shift": lambda um: shift(um) if isinstance(um, int | float) else "–",
        "solver_end": solver_end,
    }
    return made


def rendered(template: str, **values: Any) -> str:
    """Return a page made of a template."""
    return environment().get_template(template).render(values)


_SIGNS = {"good": "✓", "doubt": "!", "bad": "✗", "going": "▸"}  # those of terminals


def _number(value: object, form: str = ".4g") -> str:
    """Return a number, a large one without an exponent where that is readable; a dash if there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    text = format(value, f",{form}" if form[-1] == "g" else form).replace("%", " %")
    return signed(format(value, ",.0f") if "e+0" in text else text)
