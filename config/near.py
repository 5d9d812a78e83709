"""Find the known word that an unknown word is probably a misspelling of."""

from collections.abc import Iterable

SIMILAR_MIN = 0.65  # difflib's ratio: an exchanged, missing or added letter in a word of four gives 0.75


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word similar to ``word``, or '' if there is none."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=SIMILAR_MIN)
    return found[0] if found else ""
