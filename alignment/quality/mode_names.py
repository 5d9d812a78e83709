"""Number the repeated names of weak modes in a list. Needs no NumPy."""

from collections import Counter
from collections.abc import Iterable

LARGEST = ", largest in "  # before the modules with the largest part


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names of directions, largest error first; if one repeats, it has a number: "layer.rx of station 1 (2)".

    A direction hardly changes its error between iterations, and so keeps its number. The modules with the largest part
    may change: see ``without_modules``.
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        known = without_modules(name)
        seen[known] += 1
        number = f" ({seen[known]})" if seen[known] > 1 else ""
        found.append(f"{known}{number}{name.removeprefix(known)}")
    return found


def without_modules(name: str) -> str:
    """Return the part of a name that a direction keeps in all iterations."""
    return name.partition(LARGEST)[0]


def kinds_of(names: Iterable[str]) -> list[str]:
    """Return the different names without numbers and modules, for lists that may be long."""
    return list(dict.fromkeys(without_modules(name).partition(" (")[0] for name in names))
