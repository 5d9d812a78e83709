"""What programs and HTCondor say of nodes, made fit to be read (standard library only)."""

import re

WRITTEN_OUT_MAX = 3  # digits of a number that may be what a reason is about: a status, a signal
# Commands to a terminal: colours and cursor (CSI), titles (OSC), and others of two characters (ECMA-48, 5.3 to 5.6).
_COMMANDS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")


def harmless(text: str) -> str:
    """``text`` without what would command a terminal, since jobs print colours and worse; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " for c in _COMMANDS.sub("", text))


def alike(reason: str) -> str:
    """A reason without the words that differ from node to node: hosts, files, jobs, sizes; to tell thousands in one line."""
    return " ".join("*" if _is_of_one_node(word.strip("().,;:'\"")) else word for word in reason.split())


def _is_of_one_node(word: str) -> bool:
    return any(map(str.isdigit, word)) and not (word.isdecimal() and len(word) <= WRITTEN_OUT_MAX)
