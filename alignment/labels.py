"""Labels of the alignment parameters, and the keys of the constants that they belong to.

The FASER tracker has four stations (0 is the IFT), three layers in each, eight modules in a layer and two sides
on a module. An element's number is ``1000*station + 100*layer + 10*module + side``, raised by 1000 so that no
label begins at zero; every degree of freedom that can be aligned has a label made of it (Calypso's CKF2Alignment
numbers the elements, the Mille converter of faser-alignment-script appends the digits):

====================  ==============================  =========================
parameter             label                           number of labels
====================  ==============================  =========================
x of a module's side  ``number*10 + 1``               4*3*8*2 = 192
rz of a module        ``number//10*100 + 2``          4*3*8 = 96
x y rx ry rz, layer   ``number//100*10 + 1 ... 5``    4*3*5 = 60
====================  ==============================  =========================
"""

from typing import Literal, NamedTuple

STATIONS = (0, 1, 2, 3)
LAYERS = (0, 1, 2)
MODULES = (0, 1, 2, 3, 4, 5, 6, 7)
SIDES = (0, 1)

Kind = Literal["layer.x", "layer.y", "layer.rx", "layer.ry", "layer.rz", "module.x", "module.rz"]
LAYER_KINDS: tuple[Kind, ...] = ("layer.x", "layer.y", "layer.rx", "layer.ry", "layer.rz")
MODULE_KINDS: tuple[Kind, ...] = ("module.x", "module.rz")


class Parameter(NamedTuple):
    """What a label means; module and side are -1 where they have no meaning."""

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
    def translation(self) -> bool:
        """Whether the parameter is a length (mm) and not an angle (rad)."""
        return self.kind.endswith((".x", ".y"))


def module_x_label(station: int, layer: int, module: int, side: int) -> int:
    """Label of the x shift of one side of a module."""
    return (1000 * (station + 1) + 100 * layer + 10 * module + side) * 10 + 1


def module_rz_label(station: int, layer: int, module: int) -> int:
    """Label of the rotation of a module about its z axis."""
    return (100 * (station + 1) + 10 * layer + module) * 100 + 2


def layer_label(station: int, layer: int, dof: int) -> int:
    """Label of a layer; ``dof`` is 1 ... 5 for x, y, rx, ry, rz."""
    return layer_number(station, layer) * 10 + dof


def layer_number(station: int, layer: int) -> int:
    """The two digits by which fix rules name a layer: 10 ... 12 for the IFT, 20 ... 42 for stations 1 to 3."""
    return 10 * (station + 1) + layer


def constants_key(station: int, layer: int, module: int = -1) -> str:
    """Key of a module's constants, or of a layer's if ``module`` is negative."""
    return f"{station}{layer}" if module < 0 else f"{station}{layer}{module}"


def _parameters() -> dict[int, Parameter]:
    found = []
    for station in STATIONS:
        for layer in LAYERS:
            for dof, kind in enumerate(LAYER_KINDS, start=1):
                found.append(Parameter(layer_label(station, layer, dof), kind, station, layer))
            for module in MODULES:
                for side in SIDES:
                    label = module_x_label(station, layer, module, side)
                    found.append(Parameter(label, "module.x", station, layer, module, side))
                label = module_rz_label(station, layer, module)
                found.append(Parameter(label, "module.rz", station, layer, module))
    return {parameter.label: parameter for parameter in sorted(found)}


PARAMETERS = _parameters()
"""All 348 labels in ascending order, with their meaning."""

KEYS = tuple(
    sorted(
        [constants_key(station, layer) for station in STATIONS for layer in LAYERS]
        + [constants_key(station, layer, module) for station in STATIONS for layer in LAYERS for module in MODULES]
    )
)
"""All 108 keys of the constants, sorted as ``inputforalign.txt`` has them: ``00 000 001 ... 327``."""
