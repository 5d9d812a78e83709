"""Show differences of constants, for ``constants diff``."""

from collections.abc import Mapping

from faser_align.alignment.parameters import differences
from faser_align.alignment.parameters.constants import Six
from faser_align.cli import console


def show(before: Mapping[str, Six], after: Mapping[str, Six], largest: int, *, plain: bool = False) -> None:
    """Write the changes by degree of freedom, then the ``largest`` shifts and rotations with their elements."""
    found = differences.changes(before, after)
    for name, ours, others in (("first", before, after), ("second", after, before)):
        only = [key for key in ours if key not in others]
        if only:
            console.say(f"only in the {name}: {', '.join(only)} (zeros in the other)")
    if not found:
        console.say("no difference")
        return
    rows = []
    for part in differences.moved(found):
        where = part.largest
        numbers = (part.elements, f"{part.rms:.3f}", f"{part.mean:+.3f}", f"{where.value:+.3f}")
        rows.append([f"{part.kind} {part.dof}", *numbers, where.unit, differences.element(where.key)])
    console.table(["", ">changed", ">rms", ">mean", ">largest", "unit", "where"], rows, plain=plain)
    for title, rotations in (("largest shifts", False), ("largest rotations", True)):
        top = differences.movers(found, largest, rotations=rotations)
        if top:
            rows = [[change.key, change.words, f"{change.value:+.3f}", change.unit] for change in top]
            console.table(["key", title, ">change", "unit"], rows, plain=plain)
