"""Parse HTCondor's job event log. Pure: lines in, tuples out.

Source: HTCondor manual, "Job event log codes"; the text of events as HTCondor 23.9 and 25.14 write it.
"""

import functools
import re
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

SUBMITTED, EXECUTING, EVICTED, TERMINATED, ABORTED, HELD, RELEASED, RECONNECT_FAILED = 0, 1, 4, 5, 9, 12, 13, 24
REMOVED = -1002  # DAGMan's $RETURN of a job that was removed

_HEAD = re.compile(r"(\d{3}) \((\d+)\.(\d+)\.\d+\) (\S+ \S+) ?(.*)")
_DAG_NODE, _DAG_NODE_NAME = "DAG Node: ", 'DAGNodeName = "'


class JobEvent(NamedTuple):
    """An event: code, job id, time as in the log, and the text of its lines."""

    code: int
    job_id: str
    time: str
    said: tuple[str, ...]

    @property
    def node(self) -> str:
        """Node of a submission; empty if the event names none.

        HTCondor 23 writes ``DAG Node: NAME``, 25.14 ``[ DAGNodeName = "NAME"; ... ]``.
        """
        for line in self.said:
            if line.startswith(_DAG_NODE):
                return line[len(_DAG_NODE) :]
            if line[:1] == "[" and _DAG_NODE_NAME in line:
                return line.partition(_DAG_NODE_NAME)[2].partition('"')[0]
        return ""

    @property
    def value(self) -> int | None:
        """Value of the job that this event ended, as in DAGMan's $RETURN; None for an event that ends no job."""
        if self.code == ABORTED:
            return REMOVED
        if self.code == TERMINATED:
            for pattern, sign in ((r"return value (\d+)", 1), (r"signal (\d+)", -1)):
                said = re.search(pattern, " ".join(self.said[:2]))
                if said:
                    return sign * int(said[1])
        return None

    @property
    def why_held(self) -> str:
        """Reason of a hold, in one line."""
        lines = list(self.said[1:])
        code = next((place for place, line in enumerate(lines) if line.startswith("Code ")), len(lines))
        return " ".join(lines[:code])


def job_events(lines: Iterable[str], codes: Collection[int] = range(1000)) -> Iterator[JobEvent]:
    """Yield the events with one of ``codes`` from the lines of an event log.

    An event is ``CODE (CLUSTER.PROC.SUBPROC) TIME TEXT``, indented lines, and ``...``; a full disk may have cut it off.
    """
    head: re.Match[str] | None = None
    said: list[str] = []
    for line in lines:
        new = _HEAD.match(line) if line[3:5] == " (" else None
        if new is not None:
            if head is not None:
                yield _event(head, said)
            head, said = (new, []) if int(new[1]) in codes else (None, [])
        elif head is not None and line[:1].isspace():
            said.append(line.strip())
    if head is not None:
        yield _event(head, said)


def _event(head: re.Match[str], said: list[str]) -> JobEvent:
    return JobEvent(int(head[1]), f"{int(head[2])}.{int(head[3])}", head[4], (head[5], *said))


@functools.lru_cache(maxsize=1024)  # many lines are of one second
def local_s(text: str) -> int | None:
    """Return the Unix time (s) of a log's local time, ``11/25/26 10:50:43`` or ISO; None if it is not a time."""
    try:
        if text[2:3] == "/":
            return int(time.mktime(time.strptime(text, "%m/%d/%y %H:%M:%S")))
        return int(datetime.fromisoformat(text[: len("2026-11-25 10:50:43")]).timestamp())
    except (ValueError, OverflowError):
        return None
