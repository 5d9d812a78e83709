"""Load the templates of pages, with filters for numbers and times."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import faser_align.templates
from faser_align.alignment.quality.notes import solver_end
from faser_align.pages import nodetimes
from faser_align.pages.numbers import beside, measured, signed, significant
from faser_align.system.formatting import kind, shift, symbols

TEMPLATES = Path(faser_align.templates.__file__).parent


@cache
def environment() -> Environment:
    """Return the Jinja environment of pages, which escapes every value and compiles each template once."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "duration": nodetimes.duration,
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
