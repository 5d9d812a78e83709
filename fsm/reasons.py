"""Clean texts of programs and of HTCondor for display (standard library only)."""

import re

WRITTEN_OUT_MAX = 3  # digits of a number that belongs to the reason, such as a status or a signal
# Commands to a terminal: colours and cursor (CSI), titles (OSC), and others of two characters (ECMA-48, 5.3 to 5.6).
_COMMANDS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")


def strip_control_characters(text: str) -> str:
    """Return ``text`` without control characters and terminal sequences, such as colours; line breaks stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " for c in _COMMANDS.sub("", text))


def normalise_reason(reason: str) -> str:
    """Return a reason with ``*`` for words that differ from node to node (hosts, files, jobs, sizes), to group failures."""
    return " ".join("*" if _is_of_one_node(word.strip("().,;:'\"")) else word for word in reason.split())


def _is_of_one_node(word: str) -> bool:
    return any(map(str.isdigit, word)) and not (word.isdecimal() and len(word) <= WRITTEN_OUT_MAX)
