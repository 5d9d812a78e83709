"""What reasons of many nodes have in common (standard library only)."""

WRITTEN_OUT_MAX = 3  # digits of a number that may be what a reason is about: a status, a signal


def alike(reason: str) -> str:
    """A reason without the words that differ from node to node: hosts, files, jobs, sizes; to tell thousands in one line."""
    return " ".join("*" if _is_of_one_node(word.strip("().,;:'\"")) else word for word in reason.split())


def _is_of_one_node(word: str) -> bool:
    return any(map(str.isdigit, word)) and not (word.isdecimal() and len(word) <= WRITTEN_OUT_MAX)
