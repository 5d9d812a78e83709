"""Translate fix rules, which use faser-alignment-script's words, to labels that a step keeps fixed.

An item is a part of the tracker, a depth, both, or the number of a layer:

- ``IFT``, ``3ST``: everything of station 0, of stations 1 to 3;
- ``layer`` or ``global``: the parameters of all layers; ``module``, ``side`` or ``local``: those of all modules;
- ``rx``, ``ry``: the rotations of all layers about x, about y;
- ``frame``: what tracks cannot determine when all else is free, see ``_frame``;
- ``IFT_layer``, ``3ST_side``, ``21_module`` ...: a part and a depth;
- ``21``: layer 1 of station 1 (first digit station + 1) with its modules.

Parameters that the data cannot distinguish from others are always fixed: x of a layer while x of its modules is free
(the mean of the modules is the same shift), and with three stations the whole IFT.
"""

from collections.abc import Iterable

from faser_align.alignment.parameters.labels import (
    MODULES,
    PARAMETERS,
    PLACES,
    SIDES,
    Parameter,
    layer_label,
    layer_number,
    module_x_label,
)
from faser_align.config.values import DEPTHS, FRAME, LAYERS, PARTS
from faser_align.fsm.errors import UserError

_NUMBER_TEXTS = tuple(map(str, LAYERS))


def fix_rules(items: Iterable[str | int], stations: int = 4) -> frozenset[int]:
    """Return the labels that are fixed.

    Args:
        items: see the module's docstring.
        stations: 4, or 3 without the IFT.

    Raises:
        UserError: an item is unknown.
    """
    fixed = {label for item in items for label in _labels(item)}
    if stations == 3:
        fixed |= _labels("IFT")
    for place in PLACES:
        if not {module_x_label(*place, module, side) for module in MODULES for side in SIDES} <= fixed:
            fixed.add(layer_label(*place, 1))
    return frozenset(fixed)


def _frame() -> set[int]:
    """Return the labels that define the coordinate frame: y of layers 21, 31 and 41, rz of layers 21 and 41.

    Each track has its own y, slope and momentum, so that a shift of all layers along y, one that grows with z, and one that
    follows the bending change no residual: three y are fixed. Along x, where magnets do not bend, only the first two
    are free, for a rotation about z as well: two rz are fixed, and the mean shift of the modules along their strips in
    the same two layers (``pede.steering_text``). A third would be an error wherever the layer is not in its place.
    """
    outer, middle = ((1, 1), (3, 1)), (2, 1)
    return {layer_label(*layer, 2) for layer in (*outer, middle)} | {layer_label(*layer, 5) for layer in outer}


def _labels(item: str | int) -> set[int]:
    if item == FRAME:
        return _frame()
    part, separator, depth = str(item).partition("_")
    known = part in PARTS or part in _NUMBER_TEXTS
    if not separator and part in DEPTHS:
        part, depth, known = "", part, True
    elif separator:
        known = known and depth in DEPTHS
    if not known:
        raise UserError(
            f"fix names {item!r}, which is not one of IFT, 3ST, {FRAME}, {', '.join(DEPTHS)}, a part and a depth such as "
            f"IFT_layer, or a layer ({', '.join(_NUMBER_TEXTS)})"
        )
    kinds = DEPTHS[depth] if depth else ""
    return {p.label for p in PARAMETERS.values() if _in_part(p, part) and p.kind.startswith(kinds)}


def _in_part(parameter: Parameter, part: str) -> bool:
    if part in PARTS:
        return (parameter.station == 0) == (part == "IFT")
    return not part or layer_number(parameter.station, parameter.layer) == int(part)
