"""Show differences of constants, for ``constants diff``."""

from collections.abc import Mapping, Sequence
from functools import partial

from faser_align.alignment.parameters import differences
from faser_align.alignment.parameters.constants import DOFS, Six
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

    ``errors`` are those of the changes (um, urad) by key, as far as they are known.
    """
    found = differences.changes(before, after)
    for name, ours, others in (("first", before, after), ("second", after, before)):
        only = [key for key in ours if key not in others]
        if only:
            console.say(f"only in the {name}: {', '.join(only)} (zeros in the other)")
    if not found:
        console.say("no difference")
        return
    rows = []
    for part in differences.moved(found, partial(_error, errors=errors)):
        where, rms = part.largest, formatting.number(part.sigma, ".1f")
        numbers = (part.elements, f"{part.rms:,.2f}", f"{round(part.mean, 2) + 0.0:+,.2f}", *[rms] * bool(errors))
        shown = formatting.plus_minus(where.value, part.error, "+,.2f")
        rows.append([f"{part.kind} {part.dof}", *numbers, shown, where.unit, differences.element(where.key)])
    sigma = [">rms\nsigma"] * bool(errors)
    console.table(["", ">changed", ">rms", ">mean", *sigma, ">largest", "unit", "where"], rows, plain=plain)
    for title, rotations in (("largest shifts", False), ("largest rotations", True)):
        top = differences.movers(found, largest, rotations=rotations)
        if top:
            rows = [[change.key, change.words, *_with_error(change, errors), change.unit] for change in top]
            console.table(["key", title, ">change", *[">sigma"] * bool(errors), "unit"], rows, plain=plain)
    if errors:
        console.say("errors are statistical; a change without one was fixed, or its error is unknown")


def _error(change: differences.Change, errors: Mapping[str, Sequence[float | None]]) -> float | None:
    six = errors.get(change.key)
    return six[DOFS.index(change.dof)] if six else None


def _with_error(change: differences.Change, errors: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Return a change with its error, and in standard deviations if any error is known."""
    error = _error(change, errors)
    shown = formatting.plus_minus(change.value, error, "+,.2f")
    return [shown, formatting.with_sigma(change.value, error)] if errors else [shown]
