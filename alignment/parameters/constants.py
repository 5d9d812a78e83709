"""Read, write and combine alignment constants in the text format of ``inputforalign.txt``.

A constants file is a list ``"003": [x, y, z, rx, ry, rz],"00": [...]`` without braces; lengths are in mm, angles in
rad. Two digits are station and layer, three add the module. A missing key means six zeros.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from faser_align.alignment.parameters.labels import (
    KEYS,
    MODULES,
    PARAMETERS,
    PLACES,
    SIDES,
    constants_key,
    layer_label,
    module_rz_label,
    module_x_label,
)
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, write_text

Six = tuple[float, float, float, float, float, float]
Constants = dict[str, Six]

DOFS = ("x", "y", "z", "rx", "ry", "rz")
ZERO: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

_ENTRY = re.compile(r'\s*"([^"\n]*)"\s*:\s*\[([^\[\]"]*)\]\s*(,|$|\})?')
STEREO_RAD = 0.04  # stereo angle between the sides of a module (SCTBRLMODULE of Calypso's geometry)


def parse_constants(text: str, source: str) -> Constants:
    """Parse constants from ``text``; ``source`` names the file in error messages.

    The order of the file is kept. Braces around the whole list are accepted. Raises UserError if the text is empty or
    malformed, has only one of the two braces, if a key is unknown or given twice, does not have exactly six values, or
    a value is not finite.
    """
    body = text.strip()
    if not body:
        raise UserError(f"{source} is empty; it must contain alignment constants (zeros for a start without any)")
    if body.startswith("{") != body.endswith("}"):
        raise UserError(f"{source} has only one of two braces; add the other, or copy a truncated file again")
    position = 1 if body.startswith("{") else 0
    end = len(body) - position
    constants: Constants = {}
    separated = True
    while position < end:
        entry = _ENTRY.match(body, position)
        if entry is None or not separated:
            shown = body[position : position + 30].replace("\n", " ").strip()
            raise UserError(f'{source}: expected ,"key": [x, y, z, rx, ry, rz] near {shown!r}; correct the text there')
        key = entry[1]
        if key in constants:
            raise UserError(f'{source}: key "{key}" is given twice; remove one of the two')
        constants[key] = _six(entry[2], key, source)
        separated = entry[3] == ","
        position = entry.end()
    if not constants:
        raise UserError(f'{source} contains no constants; expected "key": [x, y, z, rx, ry, rz], ...')
    return constants


def read_constants(path: Name) -> Constants:
    """Read a constants file; raise UserError as ``parse_constants`` does, and if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # skips a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the constants file {path}: {reason}; check its name and permissions") from error
    return parse_constants(text, str(path))


def format_constants(constants: Mapping[str, Six]) -> str:
    """Return constants as one line of ``inputforalign.txt``, without a line end.

    Computed numbers have six significant digits; a number that was read with more keeps them.
    """
    return ",".join(f'"{key}": [' + ", ".join(map(_text, six)) + "]" for key, six in constants.items())


def write_constants(path: Name, constants: Mapping[str, Six]) -> None:
    """Write a constants file atomically.

    Raises UserError for constants that ``parse_constants`` would refuse, and OSError if the file cannot be written.
    """
    text = format_constants(constants)
    parse_constants(text, str(path))
    write_text(path, text)


def export_constants(
    constants: Mapping[str, Six],
    form: Literal["calypso", "json", "csv"],
    errors: Mapping[str, Sequence[float | None]] | None = None,
) -> str:
    """Return constants as text for other programs, at full precision except for ``calypso``.

    Args:
        constants: six numbers (mm, rad) by key.
        form: ``calypso`` is a dictionary in braces for Calypso's option ``AlignDbTool.AlignmentConstants``.
        errors: statistical errors by key (mm, rad), for ``json`` and ``csv``; None to leave them out.
    """
    if form == "calypso":
        return "{" + format_constants(constants) + "}\n"
    if form == "json":
        values = {key: list(six) for key, six in constants.items()}
        return json.dumps({"constants": values, "errors": errors} if errors else values, indent=1) + "\n"
    names = ["x_mm", "y_mm", "z_mm", "rx_rad", "ry_rad", "rz_rad"]
    lines = [",".join(["key", *names, *(f"error_{name}" for name in names if errors)])]
    for key, six in constants.items():
        known = (errors.get(key) or [None] * 6) if errors else []
        lines.append(",".join([key, *map(repr, six), *("" if error is None else repr(error) for error in known)]))
    return "\n".join(lines) + "\n"


def add_constants(constants: Mapping[str, Six], correction: Mapping[str, Six]) -> Constants:
    """Add constants (mm, rad) value by value; the result has the keys of both, sorted as in ``inputforalign.txt``.

    A sum has six significant digits, as in add_param of faser-alignment-script; a constant to which nothing is added
    stays exactly the same.
    """
    return _combine(constants, correction, lambda a, b: _rounded(a + b) if b else a)


def subtract_constants(constants: Mapping[str, Six], other: Mapping[str, Six]) -> Constants:
    """Subtract ``other`` value by value; the result has the keys of both, sorted."""
    return _combine(constants, other, lambda a, b: a - b)


def correction_from_parameters(values: Mapping[int, float]) -> Constants:
    """Convert Millepede parameters to a correction of the constants.

    Args:
        values: parameter by label (mm, rad); missing labels count as zero.

    Returns:
        All 108 keys, layers first. A layer has its five parameters. A module's two sides measure x along
        axes rotated against each other by 40 mrad: their mean gives its x and their difference its y, as in
        PedetoDB of faser-alignment-script. Values have the six digits of the text, so that a reader of the
        correction sees exactly what is added.
    """
    layers: Constants = {}
    modules: Constants = {}
    for place in PLACES:
        x, y, rx, ry, rz = (_rounded(values.get(layer_label(*place, dof), 0.0)) for dof in range(1, 6))
        layers[constants_key(*place)] = (x, y, 0.0, rx, ry, rz)
        for m in MODULES:
            x0, x1 = (values.get(module_x_label(*place, m, side), 0.0) for side in SIDES)
            y = PARAMETERS[module_x_label(*place, m, 1)].along_strips * (x1 - x0) / STEREO_RAD
            rz = _rounded(values.get(module_rz_label(*place, m), 0.0))
            modules[constants_key(*place, m)] = (_rounded((x0 + x1) / 2), _rounded(y), 0.0, 0.0, 0.0, rz)
    return layers | modules


def on_constants(values: Mapping[int, Any]) -> dict[tuple[str, str], Any]:
    """Return by how much parameters change each constant, by its key and degree of freedom.

    ``values`` are numbers or arrays by label, in units of equal lengths and equal angles.
    """
    changes: dict[tuple[str, str], Any] = {}
    for label, value in values.items():
        parameter = PARAMETERS[label]
        parts = {parameter.dof: value}
        if parameter.kind == "module.x":
            parts = {"x": value / 2, "y": parameter.along_strips * value / STEREO_RAD}
        for dof, part in parts.items():
            place = parameter.key, dof
            changes[place] = changes[place] + part if place in changes else part
    return changes


def parameters_from_correction(correction: Mapping[str, Six]) -> dict[int, float]:
    """Return Millepede parameters (mm, rad) of all labels: the inverse of ``correction_from_parameters``.

    Constants without a parameter are ignored: z of a layer, and z, rx and ry of a module.
    """
    values = {}
    for label, parameter in PARAMETERS.items():
        six = dict(zip(DOFS, correction.get(parameter.key, ZERO), strict=True))
        values[label] = six[parameter.dof]
        if parameter.kind == "module.x":
            values[label] += parameter.along_strips * six["y"] * STEREO_RAD / 2
    return values


def errors_from_parameters(errors: Mapping[int, float]) -> Constants:
    """Propagate errors of Millepede parameters (mm, rad) through ``correction_from_parameters``.

    A module's sides count as independent: x has ``hypot(e0, e1) / 2`` and y ``hypot(e0, e1) / 0.04``. Fixed parameters
    have no error and get 0.
    """
    # All parameters except the sides' x are copied.
    propagated = correction_from_parameters(errors)
    for place in PLACES:
        for m in MODULES:
            both = math.hypot(*(errors.get(module_x_label(*place, m, side), 0.0) for side in SIDES))
            key = constants_key(*place, m)
            propagated[key] = (both / 2, both / STEREO_RAD, 0.0, 0.0, 0.0, propagated[key][5])
    return propagated


def _six(text: str, key: str, source: str) -> Six:
    if key not in KEYS:
        raise UserError(
            f'{source}: key "{key}" is not a layer or module; a key is station 0-3, layer 0-2, and for a module 0-7'
        )
    words = [word.strip() for word in text.split(",")]
    if len(words) != 6:
        count = 0 if words == [""] else len(words)
        raise UserError(f'{source}: key "{key}" has {count} values instead of six (x, y, z in mm, rx, ry, rz in rad)')
    x, y, z, rx, ry, rz = (_number(word, key, dof, source) for word, dof in zip(words, DOFS, strict=True))
    return (x, y, z, rx, ry, rz)


def _number(word: str, key: str, dof: str, source: str) -> float:
    try:
        value = float("" if "_" in word else word)  # rejects Python's 1_000
    except ValueError:
        raise UserError(f'{source}: {dof} of key "{key}" is {word!r}, which is not a number; correct it') from None
    if not math.isfinite(value):
        raise UserError(f'{source}: {dof} of key "{key}" is {word!r}; it must be a finite number')
    return value


def _combine(
    first: Mapping[str, Six], second: Mapping[str, Six], combine: Callable[[float, float], float]
) -> Constants:
    combined: Constants = {}
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key, ZERO), second.get(key, ZERO)
        combined[key] = tuple(combine(u, v) for u, v in zip(a, b, strict=True))  # type: ignore[assignment]
    return combined


def _text(value: float) -> str:
    value = float(value)  # numpy's own floats have another repr
    short = f"{value:g}"
    return short if float(short) == value or not math.isfinite(value) else repr(value)


def _rounded(value: float) -> float:
    return float(f"{value:g}") + 0.0  # + 0.0 turns -0.0 into 0.0
