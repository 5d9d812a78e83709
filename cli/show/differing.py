"""Show differences of constants, for ``constants diff``."""

from collections.abc import Mapping, Sequence

from faser_align.alignment.parameters import differences
from faser_align.alignment.parameters.constants import Six
from faser_align.cli import console
from faser_align.system import formatting


def show(
    before: Mapping[str, Six],
    after: Mapping[str, Six],
    largest: int,
    errors: Mapping[str, Sequence[float | None]],
    *,
    plain: bool = False,
) -> None:
    """Write the changes by degree of freedom, then the ``largest`` shifts and rotations with their elements.

    ``errors`` are those of the changes (mm, rad) by key, as far as they are known.
    """
    found = differences.changes(before, after, errors)
    for name, ours, others in (("first", before, after), ("second", after, before)):
        only = [key for key in ours if key not in others]
        if only:
            console.say(f"only in the {name}: {', '.join(only)} (zeros in the other)")
    if not found:
        console.say("no difference")
        return
    rows = []
    for part in differences.moved(found):
        rms = formatting.number(part.sigma, ".1f")
        numbers = (part.elements, f"{part.rms:,.2f}", f"{round(part.mean, 2) + 0.0:+,.2f}", *[rms] * bool(errors))
        shown = formatting.plus_minus(part.largest, part.error, "+,.2f")
        rows.append([f"{part.kind} {part.dof}", *numbers, shown, part.unit, part.words])
    sigma = [">rms\nsigma"] * bool(errors)
    console.table(["", ">changed", ">rms", ">mean", *sigma, ">largest", "unit", "where"], rows, plain=plain)
    for title, rotations in (("largest shifts", False), ("largest rotations", True)):
        top = differences.movers(found, largest, rotations=rotations)
        if top:
            rows = [
                [
                    *(change.key, change.words, formatting.plus_minus(change.value, change.error, "+,.2f")),
                    *[formatting.with_sigma(change.value, change.error)] * bool(errors),
                    change.unit,
                ]
                for change in top
            ]
            console.table(["key", title, ">change", *[">sigma"] * bool(errors), "unit"], rows, plain=plain)
    if errors:
        console.say("errors are statistical; a change without one was fixed, or its error is unknown")
