"""Describe why a configuration of faser-alignment-script cannot be converted."""

from typing import NamedTuple


class Problem(NamedTuple):
    """An old key, what is wrong with it, and the fix; both are parts of a sentence."""

    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key} {self.what}; {self.fix}"
