"""Check an expert's own steering lines before a solver reads them. Pure."""

from collections.abc import Iterable
from typing import Literal

from faser_align.alignment.pede.keywords import FILE_KINDS, METHODS, UNSUPPORTED, find_keyword, find_method
from faser_align.alignment.pede.steering_words import take_apart
from faser_align.fsm.errors import UserError


def check_lines(lines: Iterable[str], key: str, backend: Literal["builtin", "pede"]) -> None:
    """Raise UserError for a line that would end the run.

    Args:
        lines: steering lines, in order.
        key: key of the configuration, for the message.
        backend: pede supports keywords that the built-in solver does not.

    Raises UserError for an unknown keyword, an unknown method, and ``end``, after which nothing would be read.
    """
    for line in lines:
        whole, word, argument, _ = take_apart(line)
        if not word or not (word[0].isalpha() or word[0] == "\t"):
            continue
        where = f"{key} has {line.strip()!r}"
        if whole.lower() == "end":
            raise UserError(f"{where}, after which nothing is read; leave it out, faser-align writes it at the end")
        if whole.lower() in FILE_KINDS or "." in whole.split(" ")[0]:
            continue
        keyword = find_keyword(word)
        if keyword is None:
            tab = "put blanks instead of tabs, which are letters to pede" if "\t" in whole else "correct it"
            raise UserError(f"{where}, but {word!r} is no keyword of pede; {tab}")
        if keyword == "method" and argument and find_method(argument) is None:
            raise UserError(f"{where}, but pede's methods are {', '.join(METHODS)}")
        if backend == "builtin" and keyword in UNSUPPORTED:
            raise UserError(f"{where}, which the built-in solver does not have: {UNSUPPORTED[keyword]}")
