"""Check paths in a DAG, and encode arguments of scripts."""

import re
from collections.abc import Iterable

from faser_align.fsm.errors import UserError

# Quotes, backslashes and dollars have different meanings to DAGMan, submit descriptions and ClassAds.
UNSAFE = re.compile(r"""["'\\$]""")
# The solver's steering text has one path per line; these characters begin a comment or a weight, or are merged.
UNSAFE_IN_STEERING = re.compile(r"!| -- |  ")


def check_path(path: str, what: str, *, spaces: bool = True) -> None:
    """Raise UserError if the absolute ``path``, called ``what``, has characters that a DAG does not support."""
    # Control characters, line and paragraph separators, and bytes that are not text could end a line.
    found = [c for c in path if UNSAFE.match(c) or not c.isprintable() or (c.isspace() and not spaces)]
    if found:
        _refuse(path, what, "DAGMan", found)
    if path != path.strip():
        raise UserError(f"{what} is {path!r}, but DAGMan cannot use a path that ends with a space; rename it")


def check_steering(path: str, what: str) -> None:
    """Raise UserError if the solver's steering text cannot name files in the folder ``path``."""
    found = UNSAFE_IN_STEERING.findall(path)
    if found:
        _refuse(path, what, "the solver", found)


_IN_WORDS = {" ": "a space", "  ": "consecutive spaces"}


def _refuse(path: str, what: str, who: str, characters: Iterable[str]) -> None:
    shown = " or ".join(_IN_WORDS.get(one) or repr(one) for one in dict.fromkeys(characters))
    name = path if path.isprintable() else repr(path)
    raise UserError(f"{what} is {name}, but {who} cannot use a path with {shown}; choose another path")


def encode_argument(text: str) -> str:
    """Encode ``text`` as one argument of a script line, which DAGMan splits at spaces without quoting."""
    return text.replace("%", "%25").replace(" ", "%20")
