"""Compute labels of alignment parameters, and the keys of their constants.

The FASER tracker has four stations (0 is the IFT), three layers in each, eight modules in a layer and two sides
on a module. An element's number is ``1000*station + 100*layer + 10*module + side``, plus 1000 so that no
label begins with a zero. Each degree of freedom has a label derived from it (Calypso's CKF2Alignment
numbers the elements, the Mille converter of faser-alignment-script appends the digits): 192 for x of the
modules' sides, 96 for rz of the modules, and 60 for x, y, rx, ry and rz of the layers.
Shifts are in mm, rotations in rad. ``describe`` returns a label in words, ``parse`` the label for such words.
"""

import re
from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

from faser_align.fsm.errors import UserError

STATIONS = (0, 1, 2, 3)
LAYERS = (0, 1, 2)
MODULES = (0, 1, 2, 3, 4, 5, 6, 7)
SIDES = (0, 1)
PLACES = tuple(product(STATIONS, LAYERS))
"""Station and layer of each layer, in ascending order."""

# rms distances (mm): along a strip of +-63 mm; in x or y over the bore of 100 mm radius (SCTBRLSENSOR, DIPOLEGENERAL)
STRIP_LEVER_MM, LAYER_LEVER_MM = 36.4, 50.0

Kind = Literal["layer.x", "layer.y", "layer.rx", "layer.ry", "layer.rz", "module.x", "module.rz"]
LAYER_KINDS: tuple[Kind, ...] = ("layer.x", "layer.y", "layer.rx", "layer.ry", "layer.rz")
MODULE_KINDS: tuple[Kind, ...] = ("module.x", "module.rz")


class Parameter(NamedTuple):
    """Meaning of a label: ``kind`` as ``layer.rx``, station 0-3, layer 0-2; module and side are -1 if not applicable."""

    label: int
    kind: Kind
    station: int
    layer: int
    module: int = -1
    side: int = -1

    @property
    def key(self) -> str:
        """Key of the constants that the parameter changes: ``"00"`` for a layer, ``"003"`` for a module."""
        return constants_key(self.station, self.layer, self.module)

    @property
    def dof(self) -> str:
        """Degree of freedom: x, y, rx, ry or rz."""
        return self.kind.partition(".")[2]

    @property
    def translation(self) -> bool:
        """Whether the parameter is a length (mm) instead of an angle (rad)."""
        return self.kind.endswith((".x", ".y"))

    @property
    def unit(self) -> str:
        """Unit of its value."""
        return "mm" if self.translation else "rad"

    @property
    def along_strips(self) -> int:
        """Sign of a side's x in the shift of its module along the strips (PedetoDB of faser-alignment-script)."""
        return (1 if self.module in (0, 2, 5, 7) else -1) * (1 if self.side else -1)

    @property
    def name(self) -> str:
        """Short name: key of the constants and degree of freedom, as ``00.ry``, ``003.rz``, ``003.1.x`` (side 1)."""
        side = "" if self.side < 0 else f".{self.side}"
        return f"{self.key}{side}.{self.dof}"

    @property
    def words(self) -> str:
        """Element and degree of freedom, as ``layer 2 of station 1, rotation about z``."""
        moves = f"shift along {self.dof}" if self.translation else f"rotation about {self.dof[1]}"
        module = "" if self.module < 0 else f"module {self.module} of "
        side = "" if self.side < 0 else f"side {self.side} of "
        return f"{side}{module}layer {self.layer} of station {self.station}, {moves}"


def module_x_label(station: int, layer: int, module: int, side: int) -> int:
    """Return the label of the x shift (mm) of a side, 0 or 1, of a module, 0-7; station 0-3, layer 0-2."""
    return (1000 * (station + 1) + 100 * layer + 10 * module + side) * 10 + 1


def module_rz_label(station: int, layer: int, module: int) -> int:
    """Return the label of a module's rotation about z (rad); module 0-7, station 0-3, layer 0-2."""
    return (100 * (station + 1) + 10 * layer + module) * 100 + 2


def layer_label(station: int, layer: int, dof: int) -> int:
    """Return the label of a layer's ``dof``, 1 ... 5 for x, y (mm), rx, ry, rz (rad)."""
    return layer_number(station, layer) * 10 + dof


def layer_number(station: int, layer: int) -> int:
    """Return the two digits of a layer in fix rules: 10 ... 12 for the IFT, 20 ... 42 for stations 1 to 3."""
    return 10 * (station + 1) + layer


def constants_key(station: int, layer: int, module: int = -1) -> str:
    """Return the key of a module's constants, or of a layer's if ``module`` is negative; station 0-3, layer 0-2."""
    return f"{station}{layer}" if module < 0 else f"{station}{layer}{module}"


def _parameters() -> dict[int, Parameter]:
    parameters = []
    for place in PLACES:
        for dof, kind in enumerate(LAYER_KINDS, start=1):
            parameters.append(Parameter(layer_label(*place, dof), kind, *place))
        for module in MODULES:
            for side in SIDES:
                parameters.append(Parameter(module_x_label(*place, module, side), "module.x", *place, module, side))
            parameters.append(Parameter(module_rz_label(*place, module), "module.rz", *place, module))
    return {parameter.label: parameter for parameter in sorted(parameters)}


PARAMETERS = _parameters()
"""All 348 labels in ascending order, with their meaning."""

LAYER_KEYS = tuple(constants_key(*place) for place in PLACES)
MODULE_KEYS = tuple(constants_key(*place, module) for place in PLACES for module in MODULES)
KEYS = tuple(sorted(LAYER_KEYS + MODULE_KEYS))
"""All 108 keys of the constants, sorted as ``inputforalign.txt`` has them: ``00 000 001 ... 327``."""

_BY_WORDS = {text: label for label, parameter in PARAMETERS.items() for text in (parameter.name, parameter.words)}
_NAMED_AT_MOST = 4


def describe(label: int) -> str:
    """Return a label in words: ``10302`` is ``module 3 of layer 0 of station 0, rotation about z``.

    A label outside the tracker, as in a steering file of another detector, is ``label 4711``.
    """
    return PARAMETERS[label].words if label in PARAMETERS else f"label {label}"


def describe_all(labels: Sequence[int]) -> str:
    """Return labels in words with their numbers; only the first ones if there are many."""
    first = labels[:_NAMED_AT_MOST]
    named = [f"{describe(label)} ({label})" if label in PARAMETERS else describe(label) for label in first]
    more = len(labels) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def parse(text: str) -> int:
    """Return the label for ``text``: a description, a short name such as ``003.rz``, or the number.

    Raises UserError if the tracker has no such parameter.
    """
    words = re.sub(r"\s+", " ", text.strip().lower()).removeprefix("label ")
    label = int(words) if words.isdecimal() and len(words) < 10 else _BY_WORDS.get(words, 0)
    if label not in PARAMETERS:
        raise UserError(
            f"{text.strip()!r} is not a parameter of the tracker; give a label, a name such as 003.rz, or words "
            "such as 'layer 2 of station 1, rotation about z'"
        )
    return label
