"""Format numbers with their nouns."""


def count(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``6 files``, ``17,000 tracks``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
