"""What keeps a configuration of faser-alignment-script from becoming one of ours."""

from typing import NamedTuple


class Problem(NamedTuple):
    """A key of theirs, what is wrong with it, and the fix; both are parts of a sentence."""

    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key} {self.what}; {self.fix}"
