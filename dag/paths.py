"""Paths in a DAG: what DAGMan can carry, and how a script's argument is written."""

import re
from collections.abc import Iterable

from faser_align.fsm.errors import UserError

# Quotes, backslashes and dollars mean something to DAGMan, to submit descriptions or to ClassAds, each in its own way.
UNSAFE = re.compile(r"""["'\\$]""")
# The solver's steering text has one path a line: it begins a comment, a weight, and blanks in a row are one.
UNSAFE_IN_STEERING = re.compile(r"!| -- |  ")


def check_path(path: str, what: str, *, spaces: bool = True) -> None:
    """Raise UserError if ``path`` has characters that a DAG cannot hold.

    Args:
        path: an absolute path.
        what: what it is, for the sentence.
        spaces: whether spaces are harmless in its place.
    """
    # Control characters, line and paragraph separators, bytes that are no text: one of them ends a line somewhere.
    found = [c for c in path if UNSAFE.match(c) or not c.isprintable() or (c.isspace() and not spaces)]
    if found:
        _refuse(path, what, "DAGMan", found)
    if path != path.strip():
        raise UserError(f"{what} is {path!r}, and DAGMan cannot use a path that ends with a space; rename it")


def check_steering(path: str, what: str) -> None:
    """Raise UserError if the solver's steering text cannot name files in the folder ``path``."""
    found = UNSAFE_IN_STEERING.findall(path)
    if found:
        _refuse(path, what, "the solver", found)


_IN_WORDS = {" ": "a space", "  ": "spaces in a row"}


def _refuse(path: str, what: str, who: str, characters: Iterable[str]) -> None:
    shown = " or ".join(_IN_WORDS.get(one) or repr(one) for one in dict.fromkeys(characters))
    name = path if path.isprintable() else repr(path)
    raise UserError(f"{what} is {name}, and {who} cannot use a path with {shown}; move it to another one")


def encode_argument(text: str) -> str:
    """``text`` as one argument of a script line, which DAGMan splits at spaces and knows no quoting for."""
    return text.replace("%", "%25").replace(" ", "%20")
