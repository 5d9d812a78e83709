"""Read the end of a failed job's own log, with bounded length and without control characters.

The own log of a reconstruction job is the output of its programs: ``NODE.log``, which ``reconstruct.sh`` keeps of a
failed attempt. That of a Millepede job without a solution is the solver's output. Other jobs use standard error.
"""

import re
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.fsm.reasons import strip_control_characters
from faser_align.system.read import end_of

LINES = 20
LINE_CHARS_MAX = 300
BYTES_MAX = 2_000_000  # bytes read from a log; ``reconstruct.sh`` keeps as many
_LEVEL = re.compile(r"\b(?:ERROR|FATAL)\b")  # as in Athena's and pede's output


class LogEnd(NamedTuple):
    """The last lines of a job's own log, and its last line with ERROR or FATAL; empty without any."""

    path: str = ""
    lines: tuple[str, ...] = ()
    error: str = ""


def log_end(folder: str, node: str, why: str) -> LogEnd:
    """Return the end of the own log of a node's last job, which failed for the reason ``why``.

    The line with the reason itself is omitted. A log without other lines is skipped.
    """
    printed = _lines(layout.job_log(folder, node, "err"))
    reason = printed[-1].strip() if printed else ""
    for path in _paths(folder, node, why, reason):
        lines = _lines(path)
        if lines and lines[-1].strip() == reason:
            lines = lines[:-1]
        if lines:
            levelled = (_shown(line).strip() for line in reversed(lines) if "ERROR" in line or "FATAL" in line)
            error = next((line for line in levelled if _LEVEL.search(line)), "")
            return LogEnd(path, tuple(_shown(line) for line in lines[-LINES:]), error)
    return LogEnd()


def _paths(folder: str, node: str, why: str, reason: str) -> list[str]:
    """Return the logs to which the node's job may have written, most informative first."""
    own = layout.job_log(folder, node, "log")
    # A log that this attempt did not name is an earlier one's. Its folder may have another name on the execute node.
    found = [own] if reason.endswith(f"/{node}.log)") else []
    if layout.parse_node(node)[0] == "mille" and why.startswith(exit_codes.JOB_FAILURES[exit_codes.SOLVER][0]):
        found += layout.solver_logs(folder, node)
    return [*found, layout.job_log(folder, node, "err"), layout.job_log(folder, node, "out")]


def _lines(path: str) -> list[str]:
    """Return the nonblank lines at the end of a log; none if it is not a readable file."""
    text = end_of(path, BYTES_MAX).decode("utf-8", "replace")
    return [line for line in text.split("\n") if line.strip()]


def _shown(line: str) -> str:
    """Return a line without control characters, cut if it is long."""
    text = strip_control_characters(line[: 4 * LINE_CHARS_MAX]).replace("\n", " ").rstrip()
    return text if len(text) <= LINE_CHARS_MAX else f"{text[: LINE_CHARS_MAX - 1]}…"
