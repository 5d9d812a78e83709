"""Parse DAGMan's logs of scripts and jobs into lines of JOBSTATE_LOG. Pure: texts in, tuples out.

JOBSTATE_LOG, dagman.out and the log of the scripts' output describe the same scripts and jobs. All become lines of
JOBSTATE_LOG, so that one reader serves them all. A line that is cut off, or that is not a line of the log, is skipped.

Sources: HTCondor manual, "DAGMan: machine-readable event history" (JOBSTATE_LOG); the rest as HTCondor 23.9 and 25.14 write it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state.joblogs import REMOVED, local_s

DAGMAN = "INTERNAL"  # in place of a node's name, in lines about DAGMan itself


class Logs(NamedTuple):
    """The texts of a campaign's logs, empty without a log, and the first DAGMan of each extension's DAG."""

    jobstate: str = ""
    dagman_out: str = ""
    dagman_log: str = ""
    scripts: str = ""
    jobs: str = ""
    extended_by: tuple[str, ...] = ()


class Line(NamedTuple):
    """A line of JOBSTATE_LOG: Unix time (s), node, event, and a value: job id, job's exit status or DAGMan's id."""

    at_s: int
    node: str
    what: str
    value: str


class Script(NamedTuple):
    """A script's end: Unix time (s), PRE, POST or HOLD, node, exit status or -signal, and macros."""

    at_s: int
    kind: str
    node: str
    status: int
    macros: tuple[str, ...]


def jobstate(text: str) -> list[Line]:
    """Return the lines of JOBSTATE_LOG: ``TIME NODE EVENT VALUE SITE - SEQUENCE``, or ``TIME INTERNAL *** EVENT VALUE ***``."""
    found = []
    for words in (line.split() for line in text.splitlines()):
        if len(words) >= 5 and words[0].isdigit():
            if words[1] == DAGMAN:
                words = [*words[:2], *words[3:], ""]
            found.append(Line(int(words[0]), words[1], words[2], words[3].strip("*")))
    return found


# A failed PRE in JOBSTATE_LOG, and a killed POST, which JOBSTATE_LOG calls failed.
PRE_FAILED, POST_KILLED = "PRE_SCRIPT_FAILURE", "POST_SCRIPT_KILLED"
_OUT_TIME = re.compile(r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (.*)")
_JOB = re.compile(r"Event: ULOG_\w+ for HTCondor Node (\S+) \((-?\d+)\.(-?\d+)\.")
# Line of dagman.out -> line of JOBSTATE_LOG: node, event, value; JOB is the job of the node's last event.
_OUT = {
    re.compile(pattern): line
    for pattern, line in {
        # The program's name at its start; from HTCondor 25.11 only the batch has the job id.
        r"(?:\*\* condor_scheduniv_exec\.|Workflow batch-id: <)(\d+\.\d+)": rf"{DAGMAN} DAGMAN_STARTED \1",
        r"PRE Script of node (\S+) completed succ": r"\1 PRE_SCRIPT_SUCCESS -",
        r"PRE_SKIP return value .* with node (\S+)": r"\1 PRESKIP -",
        r"PRE Script of (?:node|Job) (\S+) died on signal (\d+)": rf"\1 {PRE_FAILED} -\2",
        r"PRE Script of (?:node|Job) (\S+) failed": rf"\1 {PRE_FAILED} -",
        r"Running PRE script of Node (\S+)\.\.\.": r"\1 PRE_SCRIPT_STARTED -",
        r"Running POST script of Node (\S+)\.\.\.": r"\1 POST_SCRIPT_STARTED JOB",
        r"Node (\S+) job proc \(\S+\) completed succ": r"\1 JOB_SUCCESS 0",
        r"Node (\S+) job proc \(\S+\) failed with status (\d+)": r"\1 JOB_FAILURE \2",
        r"Node (\S+) job proc \(\S+\) failed with signal (\d+)": r"\1 JOB_FAILURE -\2",
        r"Event: ULOG_JOB_ABORTED for HTCondor Node (\S+)": rf"\1 JOB_FAILURE {REMOVED}",
        r"Event: ULOG_JOB_HELD for HTCondor Node (\S+)": r"\1 JOB_HELD JOB",
        r"POST Script of node (\S+) completed succ": r"\1 POST_SCRIPT_SUCCESS JOB",
        r"POST Script of node (\S+) failed": r"\1 POST_SCRIPT_FAILURE JOB",
        r"POST Script of node (\S+) died on signal": rf"\1 {POST_KILLED} JOB",
        r"DAG status: (\d+) ": rf"{DAGMAN} DAG_STATUS \1",
        r"Received (SIGUSR1)": rf"{DAGMAN} REMOVED \1",
    }.items()
}


def dagman_out(text: str) -> list[Line]:
    """Return dagman.out as lines of JOBSTATE_LOG, with two further events, ``DAG_STATUS`` and ``REMOVED``."""
    found: list[Line] = []
    jobs: dict[str, str] = {}
    for line in text.splitlines():
        timed = _OUT_TIME.match(line)
        if timed is None:
            continue
        event = _JOB.match(timed[2])
        if event is not None:
            jobs[event[1]] = f"{event[2]}.{event[3]}"  # also in the lines that a recovering DAGMan reads again
        if "[recovery mode]" in line:
            continue
        for pattern, written in _OUT.items():
            said = pattern.match(timed[2])
            if said is not None and (at_s := local_s(timed[1])) is not None:
                node, what, value = said.expand(written).split()
                found.append(Line(at_s, node, what, jobs.get(node, "-") if value == "JOB" else value))
                break
    return found


PHASES = ("pre", "post", "hold", "final")
_SCRIPT = re.compile(r"\*\*\* Node=(\S+) Type=(\w+) (Status|ExitCode|Signal)=(-?\d+) Completion=(\d+) Cmd='(.*)'")


def scripts(text: str) -> list[Script]:
    """Return the scripts that ended, in order, with the macros after the node's name."""
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


def lines_of(script: Script) -> Iterator[Line]:
    """Yield the end of a script as lines of JOBSTATE_LOG; only POST has the job's exit status."""
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
        yield Line(at_s, node, "POST_SCRIPT_STARTED", job_id)
        what = "POST_SCRIPT_FAILURE" if script.status else "POST_SCRIPT_SUCCESS"
        yield Line(at_s, node, POST_KILLED if script.status < 0 else what, job_id)
    elif script.kind == "HOLD" and script.macros:
        yield Line(at_s, node, "JOB_HELD", script.macros[0])
