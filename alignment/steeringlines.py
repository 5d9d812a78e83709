"""Looking at an expert's own steering lines before a solver sees them. Pure."""

from collections.abc import Iterable
from typing import Literal

from faser_align.alignment.keywords import FILE_KINDS, METHODS, UNSUPPORTED, find_keyword, find_method
from faser_align.fsm.errors import UserError


def check_lines(lines: Iterable[str], key: str, backend: Literal["builtin", "pede"]) -> None:
    """Refuse a line that would end the run.

    Args:
        lines: steering lines, in their order.
        key: of the configuration, for the message.
        backend: pede knows keywords that the built-in solver does not have.

    Raises UserError for a word that is no keyword of pede, a method that it does not have, and ``end``, behind which
    nothing would be read.
    """
    for line in lines:
        words = line.split("!", 1)[0].split()
        if not words or line.startswith("*") or not words[0][0].isalpha():
            continue
        where = f"{key} has {line.strip()!r}"
        if words[0].lower() == "end":
            raise UserError(f"{where}, behind which nothing is read; leave it out, it is written at the end")
        if words[0].lower() in FILE_KINDS or "." in words[0]:
            continue
        keyword = find_keyword(words[0])
        if keyword is None:
            raise UserError(f"{where}, but {words[0]!r} is no keyword of pede; correct it")
        if keyword == "method" and len(words) > 1 and find_method(words[1]) is None:
            raise UserError(f"{where}, but pede's methods are {', '.join(METHODS)}")
        if backend == "builtin" and keyword in UNSUPPORTED:
            raise UserError(f"{where}, which the built-in solver does not have: {UNSUPPORTED[keyword]}")
