"""The nearest of the known words to one that is not known: only if it is a likely slip."""

from collections.abc import Iterable

SIMILAR_MIN = 0.65  # of difflib's ratio: an exchanged, missing or added letter in a word of four is 0.75


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is near ``word``, or '' if none is."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=SIMILAR_MIN)
    return found[0] if found else ""
