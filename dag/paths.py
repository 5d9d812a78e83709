"""Paths in a DAG: what DAGMan can carry, and how a script's argument is written."""

import re

from faser_align.fsm.errors import UserError

# Quotes, backslashes and dollars mean something to DAGMan, to submit descriptions or to ClassAds, each in its own way.
UNSAFE = re.compile(r"""[\x00-\x1f\x7f"'\\$]""")


def check_path(path: str, what: str, *, spaces: bool = True) -> None:
    """Raise UserError if ``path`` has characters that a DAG cannot hold.

    Args:
        path: an absolute path.
        what: what it is, for the sentence.
        spaces: whether spaces are harmless in its place.
    """
    found = UNSAFE.search(path) or (None if spaces else re.search(r"\s", path))
    if found:
        shown = "a space" if found[0] == " " else repr(found[0])
        raise UserError(f"{what} is {path}, and DAGMan cannot use a path with {shown}; move it to another one")


def encode_argument(text: str) -> str:
    """``text`` as one argument of a script line, which DAGMan splits at spaces and knows no quoting for."""
    return text.replace("%", "%25").replace(" ", "%20")
