"""Compare two sets of constants: changes by degree of freedom, and the largest ones. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from faser_align.alignment.parameters.constants import DOFS, Six, subtract_constants
from faser_align.alignment.parameters.labels import KEYS

UM, URAD = 1e3, 1e6  # per mm, per rad


class Change(NamedTuple):
    """Change of one degree of freedom of one element.

    ``key`` is that of the constants, ``dof`` one of x, y, z, rx, ry, rz; ``value`` is in um or urad.
    """

    key: str
    dof: str
    value: float

    @property
    def rotation(self) -> bool:
        """Whether it is an angle (urad) instead of a length (um)."""
        return self.dof.startswith("r")

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return "urad" if self.rotation else "um"

    @property
    def words(self) -> str:
        """Element and degree of freedom, as ``module 3 of layer 1 of station 0, rz``."""
        return f"{element(self.key)}, {self.dof}"


class Moved(NamedTuple):
    """Changes of one degree of freedom over all layers or all modules.

    Attributes:
        kind: ``layer`` or ``module``.
        dof: x, y, z, rx, ry or rz.
        elements: number of elements that changed.
        rms, mean: over these elements (um or urad).
        largest: the largest absolute change, with its sign.
        error: that of the largest change, None if it is unknown.
        sigma: rms of the changes over their errors, of elements that have one; None without any.
    """

    kind: str
    dof: str
    elements: int
    rms: float
    mean: float
    largest: Change
    error: float | None
    sigma: float | None


def element(key: str) -> str:
    """Return a key of the constants in words: ``013`` is ``module 3 of layer 1 of station 0``."""
    layer = f"layer {key[1]} of station {key[0]}"
    return f"module {key[2]} of {layer}" if len(key) > 2 else layer


def changes(before: Mapping[str, Six], after: Mapping[str, Six]) -> list[Change]:
    """Return the differences ``after`` - ``before`` of two sets of constants (mm, rad), in the order of the keys.

    A missing key means zeros.
    """
    difference = subtract_constants(after, before)
    return [
        Change(key, dof, value * (URAD if dof.startswith("r") else UM))
        for key, six in difference.items()
        for dof, value in zip(DOFS, six, strict=True)
        if value
    ]


def moved(differences: list[Change], error_of: Callable[[Change], float | None] = lambda _: None) -> list[Moved]:
    """Summarise changes by degree of freedom, layers first, without degrees of freedom that did not change.

    ``error_of`` returns the statistical error of a change (um or urad), None if it is unknown.
    """
    summary = []
    for kind, length in (("layer", 2), ("module", 3)):
        for dof in DOFS:
            those = [change for change in differences if len(change.key) == length and change.dof == dof]
            if those:
                values = [change.value for change in those]
                sigmas = [change.value / error for change in those if (error := error_of(change))]
                largest = max(those, key=lambda change: abs(change.value))
                numbers = rms(values), sum(values) / len(values), largest, error_of(largest)
                summary.append(Moved(kind, dof, len(those), *numbers, rms(sigmas) if sigmas else None))
    return summary


def rms(values: Sequence[float]) -> float:
    """Return the root mean square of values about zero."""
    return math.hypot(*values) / math.sqrt(len(values))


def movers(differences: list[Change], count: int, *, rotations: bool) -> list[Change]:
    """Return the ``count`` largest shifts or rotations, largest first."""
    those = [change for change in differences if change.rotation == rotations]
    return sorted(those, key=lambda change: (-abs(change.value), KEYS.index(change.key)))[:count]
