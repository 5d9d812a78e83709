"""Compare two sets of constants: changes by degree of freedom, and the largest ones. Pure."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from faser_align.alignment.parameters.constants import DOFS, Six, subtract_constants
from faser_align.alignment.parameters.labels import KEYS

UM, URAD = 1e3, 1e6  # per mm, per rad


class Change(NamedTuple):
    """Change of one degree of freedom of one element.

    Attributes:
        key: that of the constants.
        dof: x, y, z, rx, ry or rz.
        value: in ``unit``, which is um or urad.
        error: its statistical error; None if it is unknown.
        words: element and degree of freedom, as ``module 3 of layer 1 of station 0, rz``.
    """

    key: str
    dof: str
    value: float
    unit: str
    error: float | None
    words: str


class Moved(NamedTuple):
    """Changes of one degree of freedom over all layers or all modules.

    Attributes:
        kind: ``layer`` or ``module``.
        dof: x, y, z, rx, ry or rz.
        elements: number of elements that changed.
        rms, mean: over these elements (``unit``: um or urad).
        largest: the largest absolute change, with its sign.
        where: its key.
        error: its statistical error; None if it is unknown.
        sigma: rms of the changes over their errors, of elements that have one; None without any.
    """

    kind: str
    dof: str
    elements: int
    rms: float
    mean: float
    largest: float
    where: str
    unit: str
    error: float | None
    sigma: float | None

    @property
    def words(self) -> str:
        """The element of the largest change in words."""
        return element(self.where)


def element(key: str) -> str:
    """Return a key of the constants in words: ``013`` is ``module 3 of layer 1 of station 0``."""
    layer = f"layer {key[1]} of station {key[0]}"
    return f"module {key[2]} of {layer}" if len(key) > 2 else layer


def changes(
    before: Mapping[str, Six],
    after: Mapping[str, Six],
    errors: Mapping[str, Sequence[float | None]] = MappingProxyType({}),
) -> list[Change]:
    """Return the differences ``after`` - ``before`` of two sets of constants, in the order of the keys.

    A missing key means zeros. ``errors`` are those of the differences, as far as they are known; all three are in mm and rad.
    """
    found = []
    for key, six in subtract_constants(after, before).items():
        for dof, value, error in zip(DOFS, six, errors.get(key, (None,) * 6), strict=True):
            if value:
                unit, factor = ("urad", URAD) if dof.startswith("r") else ("um", UM)
                known = error * factor if error else None
                found.append(Change(key, dof, value * factor, unit, known, f"{element(key)}, {dof}"))
    return found


def moved(differences: list[Change]) -> list[Moved]:
    """Summarise changes by degree of freedom, layers first, without degrees of freedom that did not change."""
    summary = []
    for kind, length in (("layer", 2), ("module", 3)):
        for dof in DOFS:
            those = [change for change in differences if len(change.key) == length and change.dof == dof]
            if those:
                values = [change.value for change in those]
                sigmas = [change.value / change.error for change in those if change.error]
                most = max(those, key=lambda change: abs(change.value))
                numbers = rms(values), sum(values) / len(values), most.value, most.key, most.unit, most.error
                summary.append(Moved(kind, dof, len(those), *numbers, rms(sigmas) if sigmas else None))
    return summary


def rms(values: Sequence[float]) -> float:
    """Return the root mean square of values about zero."""
    return math.hypot(*values) / math.sqrt(len(values))


def movers(differences: list[Change], count: int, *, rotations: bool) -> list[Change]:
    """Return the ``count`` largest shifts or rotations, largest first."""
    those = [change for change in differences if (change.unit == "urad") == rotations]
    return sorted(those, key=lambda change: (-abs(change.value), KEYS.index(change.key)))[:count]
