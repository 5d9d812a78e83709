"""What DAGMan and its jobs have written about themselves, as plain values. Pure: texts in, tuples out.

Four logs tell of the same scripts and jobs: JOBSTATE_LOG, dagman.out, the log of the scripts' output, and the jobs'
event log. The first three are translated into the lines of JOBSTATE_LOG, so that one reader serves them all; the event log
has what no other has: when and why a job was held, and the value of every job. A line that is cut, or none of
theirs, is passed over.

Sources: HTCondor manual, "DAGMan: machine-readable event history" (JOBSTATE_LOG) and "Job event log codes"; the rest
as HTCondor 23.9 and 25.14 write it.
"""

import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.fsm import exit_codes

DAGMAN = "INTERNAL"  # stands where a node's name would, in lines about DAGMan itself
REMOVED = -1002  # DAGMan's $RETURN of a job that was removed


class Logs(NamedTuple):
    """The texts of a campaign's logs, empty where there is none; and of each extension's DAG its first DAGMan."""

    jobstate: str = ""
    dagman_out: str = ""
    dagman_log: str = ""
    scripts: str = ""
    jobs: str = ""
    extended_by: tuple[str, ...] = ()


class Line(NamedTuple):
    """A line of JOBSTATE_LOG: Unix time (s), node, what happened, and a value: a job's id, its value, a DAGMan's id."""

    at_s: int
    node: str
    what: str
    value: str


class Script(NamedTuple):
    """A script that ended: PRE, POST or HOLD of a node, when (Unix time, s), its exit status or -signal, and its macros."""

    at_s: int
    kind: str
    node: str
    status: int
    macros: tuple[str, ...]


class JobEvent(NamedTuple):
    """An event of the event log: its code, the job's id, its time as it stands there, what is said below it."""

    code: int
    job_id: str
    time: str
    said: tuple[str, ...]


def jobstate(text: str) -> list[Line]:
    """The lines of JOBSTATE_LOG: ``TIME NODE EVENT VALUE SITE - SEQUENCE``, or ``TIME INTERNAL *** EVENT VALUE ***``."""
    found = []
    for words in (line.split() for line in text.splitlines()):
        if len(words) >= 5 and words[0].isdigit():
            if words[1] == DAGMAN:
                words = [*words[:2], *words[3:], ""]
            found.append(Line(int(words[0]), words[1], words[2], words[3].strip("*")))
    return found


# What JOBSTATE_LOG calls a failed PRE, and what it cannot tell from a failed POST: that it was killed.
PRE_FAILED, POST_KILLED = "PRE_SCRIPT_FAILURE", "POST_SCRIPT_KILLED"
_OUT_TIME = re.compile(r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (.*)")
_JOB = re.compile(r"Event: ULOG_\w+ for HTCondor Node (\S+) \((-?\d+)\.(-?\d+)\.")
# What dagman.out says -> the line of JOBSTATE_LOG: node, event, value; "job" is the job of the node's last event.
_OUT: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], str], tuple[str, str, str]]], ...] = (
    (
        # The name of the program that starts up; from HTCondor 25.11 it has no job id, and only the batch names it.
        re.compile(r"(?:\*\* condor_scheduniv_exec\.|Workflow batch-id: <)(\d+\.\d+)"),
        lambda m, job: (DAGMAN, "DAGMAN_STARTED", m[1]),
    ),
    (re.compile(r"PRE Script of node (\S+) completed succ"), lambda m, job: (m[1], "PRE_SCRIPT_SUCCESS", "-")),
    (re.compile(r"PRE_SKIP return value .* with node (\S+)"), lambda m, job: (m[1], "PRESKIP", "-")),
    (
        re.compile(r"PRE Script of (?:node|Job) (\S+) died on signal (\d+)"),
        lambda m, job: (m[1], PRE_FAILED, f"-{m[2]}"),
    ),
    (re.compile(r"PRE Script of (?:node|Job) (\S+) failed"), lambda m, job: (m[1], PRE_FAILED, "-")),
    (re.compile(r"Running PRE script of Node (\S+)\.\.\."), lambda m, job: (m[1], "PRE_SCRIPT_STARTED", "-")),
    (re.compile(r"Running POST script of Node (\S+)\.\.\."), lambda m, job: (m[1], "POST_SCRIPT_STARTED", job)),
    (re.compile(r"Node (\S+) job proc \(\S+\) completed succ"), lambda m, job: (m[1], "JOB_SUCCESS", "0")),
    (re.compile(r"Node (\S+) job proc \(\S+\) failed with status (\d+)"), lambda m, job: (m[1], "JOB_FAILURE", m[2])),
    (
        re.compile(r"Node (\S+) job proc \(\S+\) failed with signal (\d+)"),
        lambda m, job: (m[1], "JOB_FAILURE", f"-{m[2]}"),
    ),
    (
        re.compile(r"Event: ULOG_JOB_ABORTED for HTCondor Node (\S+)"),
        lambda m, job: (m[1], "JOB_FAILURE", str(REMOVED)),
    ),
    (re.compile(r"Event: ULOG_JOB_HELD for HTCondor Node (\S+)"), lambda m, job: (m[1], "JOB_HELD", job)),
    (re.compile(r"POST Script of node (\S+) completed succ"), lambda m, job: (m[1], "POST_SCRIPT_SUCCESS", job)),
    (re.compile(r"POST Script of node (\S+) failed"), lambda m, job: (m[1], "POST_SCRIPT_FAILURE", job)),
    (re.compile(r"POST Script of node (\S+) died on signal"), lambda m, job: (m[1], POST_KILLED, job)),
    (re.compile(r"DAG status: (\d+) "), lambda m, job: (DAGMAN, "DAG_STATUS", m[1])),
)


def dagman_out(text: str) -> list[Line]:
    """What dagman.out says of nodes and of DAGMan, as lines of JOBSTATE_LOG; and ``DAG_STATUS``, which that has not."""
    found: list[Line] = []
    jobs: dict[str, str] = {}
    for line in text.splitlines():
        timed = _OUT_TIME.match(line)
        if timed is None:
            continue
        event = _JOB.match(timed[2])
        if event is not None:
            jobs[event[1]] = f"{event[2]}.{event[3]}"  # also of what a DAGMan that recovers reads again
        if "[recovery mode]" in line:
            continue
        for pattern, translate in _OUT:
            said = pattern.match(timed[2])
            if said is not None and (at_s := local_s(timed[1])) is not None:
                node, what, value = translate(said, jobs.get(said[1], "-"))
                found.append(Line(at_s, node, what, value))
                break
    return found


def first_dagman(text: str) -> str:
    """The id of the first DAGMan that dagman.out names; empty if there is none."""
    return next((line.value for line in dagman_out(text) if line.what == "DAGMAN_STARTED"), "")


PHASES = ("pre", "post", "hold", "final")
_SCRIPT = re.compile(r"\*\*\* Node=(\S+) Type=(\w+) (Status|ExitCode|Signal)=(-?\d+) Completion=(\d+) Cmd='(.*)'")


def scripts(text: str) -> list[Script]:
    """The scripts that ended, in order; of each what stands behind its node's name in its command."""
    found = []
    for node, kind, what, status, at_s, command in _SCRIPT.findall(text):
        words = command.split()
        # PHASE CAMPAIGN NODE MACROS...; FINAL's phase and node are one word.
        place = next((i for i in range(2, len(words)) if words[i] == node and words[i - 2] in PHASES), len(words))
        macros = words[place + 1 :]
        # Status (HTCondor 23) and Signal have the status of waitpid(): its first byte is the signal, its second the exit status.
        signal = 0 if what == "ExitCode" else int(status) & 0x7F
        answer = int(status) >> (0 if what == "ExitCode" else 8)
        found.append(Script(int(at_s), kind, node, -signal if signal else answer, tuple(macros)))
    return found


def script_lines(ended: list[Script]) -> list[Line]:
    """Scripts that ended, as lines of JOBSTATE_LOG; PRE and HOLD know no value of a job, POST does."""
    return [line for script in ended for line in _lines_of(script)]


def _lines_of(script: Script) -> Iterator[Line]:
    at_s, node = script.at_s, script.node
    if script.kind == "PRE" and script.status != exit_codes.DEFER:
        what = {0: "PRE_SCRIPT_SUCCESS", exit_codes.SKIP: "PRESKIP"}.get(script.status, PRE_FAILED)
        value = f"{script.status}" if script.status < 0 else "-"
        if node == layout.FINAL_NODE and script.macros:
            value = script.macros[0]  # $DAG_STATUS
        yield Line(at_s, node, what, value)
    elif script.kind == "POST" and len(script.macros) >= 4:
        value, job_id = script.macros[2:4]
        yield Line(at_s, node, "JOB_SUCCESS" if value == "0" else "JOB_FAILURE", value)
        what = "POST_SCRIPT_FAILURE" if script.status else "POST_SCRIPT_SUCCESS"
        yield Line(at_s, node, POST_KILLED if script.status < 0 else what, job_id)
    elif script.kind == "HOLD" and script.macros:
        yield Line(at_s, node, "JOB_HELD", script.macros[0])


_EVENT = re.compile(r"(\d{3}) \((\d+)\.(\d+)\.\d+\) (\S+ \S+) (.*)")


def job_events(text: str) -> list[JobEvent]:
    """The events of a job event log: blocks that begin with ``CODE (CLUSTER.PROC.SUBPROC) TIME`` and end with ``...``."""
    found: list[JobEvent] = []
    for line in text.splitlines():
        head = _EVENT.match(line)
        if head is not None:
            found.append(JobEvent(int(head[1]), f"{int(head[2])}.{int(head[3])}", head[4], (head[5],)))
        elif found and line[:1].isspace():
            found[-1] = found[-1]._replace(said=(*found[-1].said, line.strip()))
    return found


_DAG_NODE, _DAG_NODE_NAME = "DAG Node: ", 'DAGNodeName = "'


def logged_node(line: str) -> str:
    """Return the node that a line below a submission in the event log names, else an empty string.

    HTCondor 23 writes ``DAG Node: NAME``, 25.14 ``[ DAGNodeName = "NAME"; ... ]``.
    """
    said = line.strip()
    if said.startswith(_DAG_NODE):
        return said[len(_DAG_NODE) :]
    return said.partition(_DAG_NODE_NAME)[2].partition('"')[0] if said[:1] == "[" else ""


SUBMITTED, HELD, RELEASED, ABORTED, TERMINATED = 0, 12, 13, 9, 5


def why_held(event: JobEvent) -> str:
    """The reason that stands below an event 012, in one line."""
    lines: list[str] = []
    for line in event.said[1:]:
        if line.startswith("Code "):
            break
        lines.append(line)
    return " ".join(lines)


def value_of(event: JobEvent) -> int | None:
    """The value of the job that an event ended, as DAGMan's $RETURN has it; None for an event that ends none."""
    if event.code == ABORTED:
        return REMOVED
    if event.code == TERMINATED:
        for pattern, sign in ((r"return value (\d+)", 1), (r"signal (\d+)", -1)):
            said = re.search(pattern, " ".join(event.said[:2]))
            if said:
                return sign * int(said[1])
    return None


@functools.lru_cache(maxsize=1024)  # many lines are of one second
def local_s(text: str) -> int | None:
    """Unix time (s) of a log's time, which is that of the access point's clock: ``11/25/26 10:50:43`` or ISO."""
    for form in ("%m/%d/%y %H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return int(time.mktime(time.strptime(text, form)))
        except ValueError:
            continue
    return None
